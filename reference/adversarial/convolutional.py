"""Generators and discriminators of images, as DCGAN has them (Radford et al. 2015). Row G2.

No pooling: strides of 2 halve an image, transposed convolutions with strides of 2 double it. From a
quarter of the side up to the whole, and back down.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from core import Array
from core.checks import sizes
from core.errors import InputError
from core.functional import (
    batch_norm,
    batch_norm_by,
    conv2d,
    conv_transpose2d,
    leaky_relu,
    relu,
)
from core.random import Generator, normal
from reference.layers import Conv2d, ConvTranspose2d, Linear, Moments, SpectralNorm
from reference.layers.initial import normal_weight, ones, zeros

Shape = tuple[int, int, int]
STANDING = 250
"""Latents whose moments stand for those of all."""

_GAIN = math.sqrt(2)  # before a ReLU


def leaky(x: Array) -> Array:
    """max(x, x/5): the discriminator must have a slope everywhere, to be followed."""
    return leaky_relu(x, 0.2)


def image_sides(shape: Sequence[int]) -> Shape:
    """(C, H, W) as ints; InputError unless it is three, with H and W at least 4."""
    found = sizes("shape", shape)
    if len(found) != 3 or min(found[1:]) < 4:
        raise InputError(f"shape must be (C, H, W) with H and W at least 4, got {shape!r}")
    return found


def halved(shape: Shape, times: int) -> tuple[int, int]:
    """(H, W) after so many strides of 2."""
    return shape[1] >> times, shape[2] >> times


class StandingNorm:
    """Batch norm by a batch's own moments, or by those of another batch that stands for all.

    What is kept beside other batch norms, a running mean, isn't needed: at any time, a large batch
    of latents gives the moments that belong to the weights (Brock et al. 2018, "standing
    statistics"), also where these are averages over training.
    """

    def __init__(self, n: int, dtype: Any) -> None:
        self.gamma, self.beta = ones(n, dtype), zeros(n, dtype)

    def batch(self, h: Array) -> tuple[Array, Moments]:
        """h (B, n, …) → (B, n, …), and the moments that it was normalised by."""
        h, mean, variance = batch_norm(h, self.gamma, self.beta)
        return h, Moments(mean, variance)

    def __call__(self, h: Array, moments: Moments) -> Array:
        """h (B, n, …) → (B, n, …), by these moments."""
        return batch_norm_by(h, self.gamma, self.beta, *moments)


class Upward:
    """z (B, n) → x (B, C, H, W) in (−1, 1): 2w channels at a quarter of the side, w at a half.

    Before a norm, which subtracts the mean, a bias would do nothing: there is none.
    """

    def __init__(self, n: int, shape: Shape, w: int, rng: Generator, dtype: Any) -> None:
        self.first = normal_weight((n, 2 * w * math.prod(halved(shape, 2))), n, rng, 1.0, dtype)
        self.up = normal_weight((2 * w, w, 4, 4), 2 * w * 4, rng, _GAIN, dtype)  # 4 taps a pixel
        self.last = ConvTranspose2d(w, shape[0], 4, rng, stride=2, padding=1, dtype=dtype)
        self.norms = [StandingNorm(2 * w, dtype), StandingNorm(w, dtype)]
        self._shape = shape

    def batch(self, z: Array) -> tuple[Array, list[Moments]]:
        """Samples of a batch normalised by its own moments, as in training, and these moments."""
        moments: list[Moments] = []

        def normalise(norm: StandingNorm, h: Array) -> Array:
            h, found = norm.batch(h)
            moments.append(found)
            return h

        return self._images(z, normalise), moments

    def standing(self, given: Array | None = None) -> list[Moments]:
        """The moments of a large batch of latents, always the same, which stand for those of all.

        given: what else is put in beside each of STANDING latents, (STANDING, m).
        """
        m = 0 if given is None else given.shape[1]
        dtype = self.first.dtype
        z = normal(0, (STANDING, len(self.first) - m), stream="evaluate", dtype=dtype)
        return self.batch(z if given is None else np.concatenate([z, given], axis=1))[1]

    def __call__(self, z: Array, moments: list[Moments]) -> Array:
        """Samples that do not depend on one another: by the moments of another batch."""
        left = iter(moments)
        return self._images(z, lambda norm, h: norm(h, next(left)))

    def _images(self, z: Array, normalise: Callable[[StandingNorm, Array], Array]) -> Array:
        h = np.reshape(z @ self.first, (len(z), len(self.up), *halved(self._shape, 2)))
        h = relu(normalise(self.norms[0], h))  # (B, 2w, H/4, W/4)
        h = conv_transpose2d(h, self.up, 2, 1, size=halved(self._shape, 1))
        h = relu(normalise(self.norms[1], h))  # (B, w, H/2, W/2)
        return np.tanh(self.last(h, halved(self._shape, 0)))


class Downward:
    """x (B, C, H, W) → logits (B,): w channels at half of the side, 2w at a quarter, batch norm."""

    def __init__(self, shape: Shape, w: int, rng: Generator, dtype: Any) -> None:
        how: Any = {"gain": _GAIN, "dtype": dtype}
        self.first = Conv2d(shape[0], w, 4, rng, stride=2, padding=1, **how)
        self.down = normal_weight((2 * w, w, 4, 4), w * 16, rng, **how)
        self.norm = StandingNorm(2 * w, dtype)
        self.out = Linear(2 * w * math.prod(halved(shape, 2)), 1, rng, dtype=dtype)

    def __call__(self, x: Array) -> Array:
        """The logit of "this is data"; a batch is normalised by its own moments, data or not."""
        h = leaky(self.first(x))
        h, _ = self.norm.batch(conv2d(h, self.down, 2, 1))
        return self.out(np.reshape(leaky(h), (len(x), -1)))[:, 0]


class SpectralDownward:
    """The same without batch norm: every weight is divided by its largest singular value."""

    def __init__(self, shape: Shape, w: int, rng: Generator, dtype: Any) -> None:
        how: Any = {"stride": 2, "padding": 1, "gain": _GAIN, "dtype": dtype}
        convs = [Conv2d(shape[0], w, 4, rng, **how), Conv2d(w, 2 * w, 4, rng, **how)]
        self.convs = [SpectralNorm(conv, rng) for conv in convs]
        self.n = 2 * w * math.prod(halved(shape, 2))
        self.out = SpectralNorm(Linear(self.n, 1, rng, dtype=dtype), rng)

    def features(self, x: Array) -> Array:
        """φ(x), (B, n)."""
        for conv in self.convs:
            x = leaky(conv(x))
        return np.reshape(x, (len(x), -1))

    def __call__(self, x: Array) -> Array:
        """l(x), (B,)."""
        return self.out(self.features(x))[:, 0]

    def follow(self) -> None:
        """One more power iteration for each weight."""
        for layer in (*self.convs, self.out):
            layer.follow()
