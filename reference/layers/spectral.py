"""A weight divided by its largest singular value (MISSION row G1)."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np

from core import Array, value
from core.errors import InputError
from core.random import Generator, checked_generator


@runtime_checkable
class Weighted(Protocol):
    """A layer with one weight: Linear, a convolution."""

    output_axis: int

    def weight(self) -> Array:
        """The weight."""

    def using(self, W: Array, x: Array) -> Array:
        """The layer's answer to x with another weight."""


def power_iteration(W: Any, v: Any) -> tuple[Any, Any]:
    """One step towards the leading singular vectors, u (n,) and v (m,), of W (n, m).

    From then on uᵀWv approaches the largest singular value from below: Miyato et al. 2018,
    Algorithm 1.
    """
    u = W @ v
    u = u / np.linalg.norm(u)
    v = u @ W
    return u, v / np.linalg.norm(v)


class SpectralNorm:
    """A layer around another: its map with W / σ(W), which stretches no input (their Eq. 8).

    σ(W) = uᵀWv, with v (n_out,) kept and u = Wv/‖Wv‖, both constants for the derivative. Asked
    twice, the layer gives one answer; `follow` is the step by which v keeps up with a changed W.
    A kernel counts as a matrix of n_out columns.

    >>> from reference.layers import Linear
    >>> rng = Generator(0, stream="init")
    >>> layer = SpectralNorm(Linear(6, 4, rng, gain=3.0), rng)
    >>> for _ in range(100):
    ...     layer.follow()
    >>> layer, round(float(np.linalg.norm(layer.weight().data, 2)), 4)
    (SpectralNorm(Linear(6 → 4)), 1.0)
    """

    def __init__(self, layer: Weighted, rng: Generator) -> None:
        if not isinstance(layer, Weighted):
            raise InputError(f"layer must be a Linear or a convolution, got {type(layer).__name__}")
        self.layer, self.output_axis = layer, layer.output_axis
        W = value(layer.weight())
        if not W.any():
            raise InputError("layer must have a weight other than 0, got only zeros")
        v = checked_generator(rng).normal((1, W.shape[self.output_axis]), dtype=W.dtype)[0]
        self.v = v / np.linalg.norm(v)

    def sigma(self) -> Array:
        """σ(W), a single number ()."""
        W = self._matrix(self.layer.weight())
        u, _ = power_iteration(value(W), self.v)
        return np.sum((u @ W) * self.v)

    def weight(self) -> Array:
        """W / σ(W)."""
        return self.layer.weight() / self.sigma()

    def using(self, W: Array, x: Array) -> Array:
        """The layer's answer to x with another weight."""
        return self.layer.using(W, x)

    def __call__(self, x: Array) -> Array:
        """As the layer inside: x → its map with W / σ(W)."""
        return self.using(self.weight(), x)

    def follow(self) -> None:
        """One more power iteration."""
        self.v[...] = power_iteration(value(self._matrix(self.layer.weight())), self.v)[1]

    def _matrix(self, W: Array) -> Array:
        """W as (rest, n_out)."""
        last = np.moveaxis(W, self.output_axis, -1)
        return np.reshape(last, (-1, last.shape[-1]))

    def __repr__(self) -> str:
        return f"SpectralNorm({self.layer!r})"
