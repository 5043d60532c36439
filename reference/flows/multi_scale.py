"""Multi-scale flow: noise enters an image where it is needed (Dinh et al. 2016, section 3.6).

    h⁽⁰⁾ = x,    (z⁽ⁱ⁺¹⁾, h⁽ⁱ⁺¹⁾) = f⁽ⁱ⁺¹⁾(h⁽ⁱ⁾),    z⁽ᴸ⁾ = f⁽ᴸ⁾(h⁽ᴸ⁻¹⁾),    z = (z⁽¹⁾, …, z⁽ᴸ⁾)
                                                                                  Eqs. 13 to 16

Each f squeezes the image and takes it a few steps towards noise; then half of its channels is
factored out, to be z as it is, and the other half goes on at the coarser scale. The last step of
each scale shifts and scales the half that leaves by a function of the half that stays: so detail is
drawn given what is coarse. MISSION row N1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from core import Array
from core.errors import InputError
from reference.flows.actnorm import start
from reference.flows.flow import Bijection
from reference.flows.squeeze import nothing


class MultiScale:
    """Noise z (B, C·H·W) and images x (B, C, H, W); scales: from the finest, each f's bijections.

    A scale's bijections stand from noise to data; each scale must halve the image.
    """

    def __init__(self, shape: tuple[int, int, int], scales: Sequence[Sequence[Bijection]]) -> None:
        self.scales = [list(f) for f in scales]
        self._pieces = pieces(shape, len(self.scales))
        self._cuts = np.cumsum([math.prod(piece) for piece in self._pieces])[:-1].tolist()

    def inverse(self, x: Array) -> tuple[Array, Array]:
        """x (B, C, H, W) → z (B, C·H·W) and log |det ∂z/∂x| (B,)."""
        log_abs_det_jacobian, z, h = nothing(x), [], x
        for i, f in enumerate(self.scales):
            if i > 0:
                h, left = np.split(h, 2, axis=1)
                z.append(left)
            for g in reversed(f):
                h, log_det = g.inverse(h)
                log_abs_det_jacobian = log_abs_det_jacobian + log_det
        rows = [np.reshape(piece, (len(x), math.prod(piece.shape[1:]))) for piece in (*z, h)]
        return np.concatenate(rows, axis=1), log_abs_det_jacobian

    def forward(self, z: Array) -> tuple[Array, Array]:
        """z (B, C·H·W) → x (B, C, H, W) and log |det ∂x/∂z| (B,)."""
        rows = zip(np.split(z, self._cuts, axis=1), self._pieces, strict=True)
        *left, h = (np.reshape(row, (len(z), *piece)) for row, piece in rows)
        log_abs_det_jacobian = nothing(z)
        for f in reversed(self.scales):
            for g in f:
                h, log_det = g.forward(h)
                log_abs_det_jacobian = log_abs_det_jacobian + log_det
            if left:
                h = np.concatenate([h, left.pop()], axis=1)
        return h, log_abs_det_jacobian

    def start(self, x: Array) -> None:
        """Each scale's bijections start with what a batch x (B, C, H, W) becomes there."""
        for i, f in enumerate(self.scales):
            x = start(f, np.split(x, 2, axis=1)[0] if i else x)


def pieces(shape: tuple[int, int, int], scales: int) -> list[tuple[int, int, int]]:
    """Shapes of z⁽¹⁾, …, z⁽ᴸ⁾. InputError unless an image can be halved so many times.

    >>> pieces((1, 28, 28), 2)
    [(2, 14, 14), (8, 7, 7)]
    """
    C, H, W = shape
    if H % 2**scales or W % 2**scales:
        raise InputError(f"scales must halve the {H} × {W} pixels without a rest, got {scales}")
    left = [(C * 2**i, H // 2**i, W // 2**i) for i in range(1, scales)]
    return [*left, (2 * C * 2**scales, H // 2**scales, W // 2**scales)]
