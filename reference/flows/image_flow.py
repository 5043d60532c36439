"""Flows of images, and what makes them models of pixels: dequantisation.

A density of real numbers can't be compared with probabilities of whole ones; fitted to them as they
are, it would grow without bound. So each pixel is spread out over the interval up to the next one:

    P(x) = ∫ p(x + u) du over u in [0, 1)^D,    ln P(x) ≥ E ln p(x + u),  u ~ U[0, 1)^D

The bound (Theis, van den Oord & Bethge 2015, section 3.1) is what is trained, and what bits per
dimension are of. Uria, Murray & Larochelle 2013. MISSION rows N1, N2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from core import Array, value
from core.checks import image_shape, pixels, real, some
from core.errors import InputError
from core.model import Described, draws
from core.random import Generator, checked_generator
from reference.flows.actnorm import start
from reference.flows.flow import Bijection, Flow


class ImageFlow(Flow):
    """Density of images x (B, *shape) of real numbers; `bijections` from rows of noise to them."""

    def __init__(self, shape: Sequence[int], bijections: Sequence[Bijection], dtype: Any) -> None:
        self.shape, self.dtype = image_shape(shape), dtype
        self.dim, self.chain = math.prod(self.shape), list(bijections)

    @property
    def bijections(self) -> list[Bijection]:
        """From noise to data."""
        return self.chain

    def _read(self, x: Array) -> Array:
        data = value(x)
        if not isinstance(data, np.ndarray) or data.shape[1:] != self.shape:
            got = getattr(data, "shape", type(data).__name__)
            raise InputError(
                f"x must be an array (B, {', '.join(map(str, self.shape))}), got {got}"
            )
        flat = real(np.reshape(x, (len(x), self.dim)), self.dim, self.dtype)
        return np.reshape(flat, (len(x), *self.shape))


class Dequantised(Described):
    """Distribution of images x (B, *shape) of 0, …, levels − 1, by a `flow` of x + u."""

    shape: tuple[int, int, int]
    levels: int
    flow: ImageFlow
    dtype: Any

    def elbo(self, x: Array, y: Any = None, rng: Generator | None = None) -> Array:
        """ln p(x + u) in nats, (B,), of x (B, C, H, W): on average at most ln P(x)."""
        return self.flow.log_prob(self._spread(x, rng))

    def loss(self, x: Array, y: Any = None, rng: Generator | None = None) -> Array:
        """−ELBO, the mean over a batch."""
        return -np.mean(self.elbo(some(x), rng=rng))

    def begin(self, x: Array, rng: Generator) -> None:
        """Let activation normalisations begin with the moments of a batch x (B, C, H, W)."""
        start(self.flow.bijections, self._spread(some(x), rng))

    @draws
    def sample(self, n: int, *, seed: int = 0) -> Any:
        """n images (n, C, H, W): the flow's, rounded down; what is out of range is moved in."""
        return np.clip(np.floor(self.flow.sample(n, seed=seed)), 0, self.levels - 1)

    def _spread(self, x: Array, rng: Generator | None) -> Array:
        """x + u (B, C, H, W)."""
        x = pixels(x, self.shape, self.levels)
        u = checked_generator(rng).uniform(x.shape, dtype=self.dtype)
        return x.astype(u.dtype) + u
