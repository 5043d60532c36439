"""Convolutional halves of an autoencoder: pixels to numbers, and back. MISSION row L5.

Each layer of the encoder halves the image (a stride of 2, and no pooling), each of the decoder
doubles it, to the very sizes that the encoder met (Radford et al. 2015, for generators).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from core import Array
from core.checks import sizes as widths
from core.errors import InputError
from core.functional import relu
from core.random import Generator
from reference.layers import Conv2d, ConvTranspose2d, Linear

_HALF: dict[str, Any] = {"stride": 2, "padding": 1}
_KERNEL = 4


def sizes(shape: tuple[int, ...], channels: Sequence[int]) -> list[tuple[int, int]]:
    """(H, W) of the image and after each layer; InputError if nothing is left of it."""
    found = [(shape[1], shape[2])]
    for _ in channels:
        found.append((found[-1][0] // 2, found[-1][1] // 2))
    if min(found[-1]) < 1:
        H, W = found[0]
        most = int(math.log2(min(H, W)))
        raise InputError(
            f"channels must be at most {most} for images of {H} × {W}, got {len(channels)}"
        )
    return found


class ConvEncoder:
    """Images in rows (B, C·H·W) ↦ (B, n_out).

    >>> ConvEncoder((1, 8, 8), 6, (4, 8), Generator(0))(np.ones((2, 64), np.float32)).shape
    (2, 6)
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        n_out: int,
        channels: Sequence[int],
        rng: Generator,
        *,
        dtype: Any = np.float32,
    ) -> None:
        channels, self._shape = widths("channels", channels), tuple(shape)
        how: dict[str, Any] = {**_HALF, "gain": math.sqrt(2), "dtype": dtype}
        steps = pairwise((shape[0], *channels))
        self.layers = [Conv2d(n, m, _KERNEL, rng, **how) for n, m in steps]
        h, w = sizes(shape, channels)[-1]
        self.last = Linear((shape[0], *channels)[-1] * h * w, n_out, rng, dtype=dtype)

    def __call__(self, x: Array) -> Array:
        """(B, n_out)."""
        h = np.reshape(x, (len(x), *self._shape))
        for layer in self.layers:
            h = relu(layer(h))
        return self.last(np.reshape(h, (len(x), math.prod(h.shape[1:]))))


class ConvDecoder:
    """Codes (…, latent) ↦ images in rows (…, channels_out·H·W).

    >>> decoder = ConvDecoder(6, (1, 8, 8), 1, (4, 8), Generator(0))
    >>> decoder(np.ones((3, 2, 6), np.float32)).shape
    (3, 2, 64)
    """

    def __init__(
        self,
        latent: int,
        shape: tuple[int, ...],
        size: int,
        channels: Sequence[int],
        rng: Generator,
        *,
        dtype: Any = np.float32,
    ) -> None:
        """size: how many numbers there are for each of the image's."""
        channels, out = widths("channels", channels), size * shape[0]
        self._sizes = sizes(shape, channels)[::-1]
        h, w = self._sizes[0]
        self._first = (*channels[-1:], h, w) if channels else (out, h, w)
        self.first = Linear(latent, math.prod(self._first), rng, gain=math.sqrt(2), dtype=dtype)
        how: dict[str, Any] = {**_HALF, "dtype": dtype}
        gains = [math.sqrt(2)] * (len(channels) - 1) + [1.0]
        steps = zip(pairwise((*channels[::-1], out)), gains, strict=False)
        self.layers = [
            ConvTranspose2d(n, m, _KERNEL, rng, gain=gain, **how) for (n, m), gain in steps
        ]

    def __call__(self, z: Array) -> Array:
        """(…, size·C·H·W)."""
        rows = math.prod(z.shape[:-1])
        h = np.reshape(self.first(z), (rows, *self._first))
        for layer, size in zip(self.layers, self._sizes[1:], strict=True):
            h = layer(relu(h), size)
        return np.reshape(h, (*z.shape[:-1], math.prod(h.shape[1:])))
