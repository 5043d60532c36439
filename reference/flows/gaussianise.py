"""Every number made normal on its own, by its own distribution (Chen & Gopinath 2000).

    z = Φ⁻¹(F(x)),      log |dz/dx| = log F′(x) − log φ(z)

F is the distribution function of pixels that were spread out over [k, k + 1): a line through each
level k, as steep as the level is frequent. Four fifths of a drawing are white paper, one level of
256; a logit leaves them as one narrow spike, with edges that no few layers can bend. Here they
become most of a bell, and what is left to learn is how pixels depend on each other.

The frequencies are of the first batch, with one pixel of each level added. Both ends of F are bent
in by ε, so that what lies a little outside of [0, levels] has a z as well. MISSION row N1.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from core import Array, value
from core.errors import InputError
from core.special import ndtr, ndtri

EPSILON = 0.01


class Gaussianise:
    """Images of [0, levels] (B, C, H, W) as normal numbers; from noise to data the way back."""

    def __init__(self, levels: int, dtype: Any = np.float32) -> None:
        self.counts = np.ones(levels, dtype)
        self._derive()

    def _derive(self) -> None:
        """F at 0, …, levels, and its slope from one to the next."""
        self._slope = (1 - 2 * EPSILON) * self.counts / self.counts.sum()
        self._F = np.concatenate([self._slope[:1] * 0, np.cumsum(self._slope)]) + EPSILON

    def start(self, x: Array) -> None:
        """Count the levels of a batch x (B, C, H, W)."""
        levels = len(self.counts)
        self.counts[...] = 1 + np.bincount(self._level(x).ravel(), minlength=levels)
        self._derive()

    def inverse(self, x: Array) -> tuple[Array, Array]:
        """x (B, C, H, W) → z and log |det ∂z/∂x| (B,). InputError where no z leads to x."""
        k = self._level(value(x))
        u = self._F[k] + self._slope[k] * (x - k.astype(x.dtype))
        inside = (value(u) > 0) & (value(u) < 1)
        if not inside.all():
            far = value(x)[~inside][0]
            raise InputError(f"x must lie in [0, {len(self.counts)}], got {far}")
        z = ndtri(u)
        return z, self._log_det(z, k)

    def forward(self, z: Array) -> tuple[Array, Array]:
        """z (B, C, H, W) → x and log |det ∂x/∂z| (B,)."""
        u = ndtr(z)
        k = np.searchsorted(self._F[1:-1], value(u), side="right")
        x = (u - self._F[k]) / self._slope[k] + k.astype(u.dtype)
        return x, -self._log_det(z, k)

    def _level(self, x: Any) -> Any:
        return np.clip(np.floor(x), 0, len(self.counts) - 1).astype(np.int64)

    def _log_det(self, z: Array, k: Any) -> Array:
        """Σ log F′(x) − log φ(z), (B,)."""
        each = np.log(self._slope[k]) + 0.5 * z * z + 0.5 * math.log(2 * math.pi)
        return np.sum(each, axis=(1, 2, 3))
