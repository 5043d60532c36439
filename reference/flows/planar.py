"""Planar flow: one bend after another (Rezende & Mohamed 2015, section 4.1).

    x = z + û h(wᵀz + b),  h = tanh                                                          Eq. 10
    |det ∂x/∂z| = |1 + û·w h′(wᵀz + b)|                                                      Eq. 12

It moves points along one direction, by how far they lie along another. It is invertible where
ûᵀw ≥ −1, and any u is made so by û = u + (m(wᵀu) − wᵀu) w/‖w‖², m(a) = −1 + ln(1 + eᵃ).

There is no formula for the inverse, but only one number is unknown: a = wᵀz solves

    a + ûᵀw h(a + b) = wᵀx,

whose left side rises. It is bisected; one step of Newton's at the root then carries the
derivatives, for there it is the implicit function theorem. MISSION row N1.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from core import Array, Tensor
from core.checks import float_dtype, whole
from core.functional import softplus
from core.random import Generator
from core.tensor import value
from reference.flows.flow import Flow

MARGIN = 1e-3


class Bend:
    """One planar map of `dim` variables."""

    def __init__(self, dim: int, rng: Generator, dtype: Any) -> None:
        self.w = Tensor(rng.normal((dim,), dtype=dtype))
        self.u = Tensor(0.1 * rng.normal((dim,), dtype=dtype))
        self.b = Tensor(np.zeros(1, dtype))

    def forward(self, z: Array) -> tuple[Array, Array]:
        """z (B, D) → x (B, D) and log |det ∂x/∂z| (B,)."""
        u, a = self._u(), z @ self.w  # (D,), (B,)
        return z + u * np.tanh(a + self.b)[:, None], self._log_det(a, u)

    def inverse(self, x: Array) -> tuple[Array, Array]:
        """x (B, D) → z (B, D) and log |det ∂z/∂x| (B,)."""
        u = self._u()
        a = self._root(x @ self.w, np.sum(u * self.w))
        return x - u * np.tanh(a + self.b)[:, None], -self._log_det(a, u)

    def _u(self) -> Array:
        """û (D,), with ûᵀw ≥ −1 + MARGIN: at −1 itself the map folds."""
        along = np.sum(self.w * self.u)
        return self.u + (softplus(along) - 1 + MARGIN - along) * self.w / np.sum(self.w * self.w)

    def _log_det(self, a: Array, u: Array) -> Array:
        h = np.tanh(a + self.b)
        return np.log(np.abs(1 + np.sum(u * self.w) * (1 - h * h)))  # Eq. 12

    def _root(self, target: Array, slope: Array) -> Array:
        """a (B,) with a + slope · tanh(a + b) = target (B,), differentiable in all three."""
        t, s, b = (value(v).astype(np.float64) for v in (target, slope, self.b))
        low, high = t - np.abs(s) - 1, t + np.abs(s) + 1
        for _ in range(60):
            middle = (low + high) / 2
            too_low = middle + s * np.tanh(middle + b) < t
            low, high = np.where(too_low, middle, low), np.where(too_low, high, middle)
        a = ((low + high) / 2).astype(target.dtype)
        h = np.tanh(a + self.b)
        return a - (a + slope * h - target) / (1 + slope * (1 - h * h))


class PlanarFlow(Flow):
    """Density of x (B, dim), any reals, as `layers` planar maps of a standard normal.

    >>> model = PlanarFlow(2, layers=8)
    >>> model
    PlanarFlow(dim=2, layers=8), 40 parameters
    >>> z = np.ones((1, 2), np.float32)
    >>> bool(np.allclose(model.inverse(model.forward(z)[0])[0].data, z, atol=1e-5))
    True
    """

    def __init__(
        self, dim: int, *, layers: int = 32, seed: int = 0, dtype: Any = np.float32
    ) -> None:
        self.dim, self.dtype = whole("dim", dim, 1), float_dtype(dtype)
        self.layers = whole("layers", layers, 1)
        rng = Generator(seed, stream="init")
        self.bends = [Bend(self.dim, rng, self.dtype) for _ in range(self.layers)]

    @property
    def bijections(self) -> list[Bend]:
        """From noise to data."""
        return self.bends
