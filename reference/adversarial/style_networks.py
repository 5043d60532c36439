"""What both StyleGANs share: the sizes of their layers, noise, and a discriminator. Row G4."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from core import Array
from core.errors import InputError
from core.functional import upsample_nearest2d
from core.random import Generator
from reference.adversarial.convolutional import Shape, image_sides, leaky
from reference.layers import Conv2d, Linear

_GAIN = math.sqrt(2)


def quarters(shape: Sequence[int]) -> Shape:
    """(C, H, W) as ints; InputError unless H and W are multiples of 4."""
    found = image_sides(shape)
    if found[1] % 4 or found[2] % 4:
        raise InputError(f"shape must have H and W that are multiples of 4, got {shape!r}")
    return found


def layer_sizes(shape: Shape) -> list[tuple[int, int]]:
    """(h, w) of every layer: one at a quarter of the side, two at a half, two at the whole.

    >>> layer_sizes((1, 8, 8))
    [(2, 2), (4, 4), (4, 4), (8, 8), (8, 8)]
    """
    return [(shape[1] >> k, shape[2] >> k) for k in (2, 1, 1, 0, 0)]


def channels(width: int) -> list[int]:
    """Of what the constant and every layer give: twice the width, but for full size."""
    return [2 * width] * 4 + [width] * 2


def grown(h: Array, size: tuple[int, int]) -> Array:
    """h (B, C, h, w) at twice its side, unless it has this size already."""
    return h if h.shape[2:] == size else upsample_nearest2d(h, 2)


class PlainDownward:
    """x (B, C, H, W) → logits (B,): a convolution at full size, then strides of 2, no norm."""

    def __init__(self, shape: Shape, w: int, rng: Generator, dtype: Any) -> None:
        how: Any = {"padding": 1, "gain": _GAIN, "dtype": dtype}
        self.convs = [
            Conv2d(shape[0], w, 3, rng, **how),
            Conv2d(w, 2 * w, 4, rng, stride=2, **how),
            Conv2d(2 * w, 4 * w, 4, rng, stride=2, **how),
        ]
        self.out = Linear(4 * w * shape[1] * shape[2] // 16, 1, rng, dtype=dtype)

    def __call__(self, x: Array) -> Array:
        """The logit of "this is data"."""
        for conv in self.convs:
            x = leaky(conv(x))
        return self.out(np.reshape(x, (len(x), -1)))[:, 0]
