"""Monotone splines of rational quadratics, with their inverse.

Durkan, Bekasov, Murray & Papamakarios 2019, after Gregory & Delbourgo 1982.

Between the knots (x_k, y_k) and (x_{k+1}, y_{k+1}), with w and h the width and height of the bin,
s = h/w, slopes δ_k and δ_{k+1} at its ends and ξ = (x − x_k)/w,

    y      = y_k + h (s ξ² + δ_k ξ(1 − ξ)) / (s + (δ_{k+1} + δ_k − 2s) ξ(1 − ξ))              Eq. 4
    dy/dx  = s² (δ_{k+1} ξ² + 2s ξ(1 − ξ) + δ_k (1 − ξ)²) / (s + (δ_{k+1} + δ_k − 2s) ξ(1 − ξ))²

which rises wherever the slopes are positive, and is undone by a quadratic equation, Eqs. 6 to 8.
Outside of [−bound, bound] the spline is the identity, with slope 1 at both ends. MISSION row N1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core import Array
from core.functional import softmax, softplus
from core.tensor import value

LEAST = 1e-3
"""Of a bin's width and height, as a share of the whole, and of a slope."""


@dataclass(frozen=True)
class Spline:
    """Knots x, y (…, K + 1) and slopes (…, K + 1) of as many splines as there are numbers."""

    x: Array
    y: Array
    slope: Array
    bound: float

    def forward(self, x: Array) -> tuple[Array, Array]:
        """x (…) → y (…) and ln dy/dx (…)."""
        inside = np.abs(value(x)) < self.bound
        at = np.where(inside, x, 0.0)
        x_k, w, y_k, h, d0, d1 = self._bin(at, self.x)
        xi = (at - x_k) / w
        y = y_k + h * self._ratio(xi, h / w, d0, d1)
        return np.where(inside, y, x), np.where(inside, self._log_slope(xi, h / w, d0, d1), 0.0)

    def inverse(self, y: Array) -> tuple[Array, Array]:
        """y (…) → x (…) and ln dx/dy (…)."""
        inside = np.abs(value(y)) < self.bound
        at = np.where(inside, y, 0.0)
        x_k, w, y_k, h, d0, d1 = self._bin(at, self.y)
        s, up = h / w, at - y_k
        bend = up * (d1 + d0 - 2 * s)
        a, b, c = h * (s - d0) + bend, h * d0 - bend, -s * up  # Eqs. 6 to 8
        xi = 2 * c / (-b - np.sqrt(np.maximum(b * b - 4 * a * c, 0.0)))
        x = x_k + xi * w
        return np.where(inside, x, y), np.where(inside, -self._log_slope(xi, s, d0, d1), 0.0)

    def _bin(self, at: Array, knots: Array) -> tuple[Array, ...]:
        """x_k, w, y_k, h, δ_k, δ_{k+1} of the bin between `knots` that holds each number."""
        k = np.sum(value(at)[..., None] >= value(knots)[..., 1:-1], axis=-1, keepdims=True)
        here, there = (
            [np.take_along_axis(a, k + step, axis=-1)[..., 0] for a in (self.x, self.y, self.slope)]
            for step in (0, 1)
        )
        return here[0], there[0] - here[0], here[1], there[1] - here[1], here[2], there[2]

    @staticmethod
    def _ratio(xi: Array, s: Array, d0: Array, d1: Array) -> Array:
        middle = xi * (1 - xi)
        return (s * xi * xi + d0 * middle) / (s + (d1 + d0 - 2 * s) * middle)

    @staticmethod
    def _log_slope(xi: Array, s: Array, d0: Array, d1: Array) -> Array:
        middle = xi * (1 - xi)
        top = d1 * xi * xi + 2 * s * middle + d0 * (1 - xi) * (1 - xi)
        return 2 * np.log(s) + np.log(top) - 2 * np.log(s + (d1 + d0 - 2 * s) * middle)


def spline(parameters: Array, bound: float) -> Spline:
    """Splines of unconstrained parameters (…, 3K − 1): K widths, K heights, K − 1 slopes.

    Parameters 0 give the identity.
    """
    k = (parameters.shape[-1] + 1) // 3
    widths, heights, slopes = np.split(parameters, [k, 2 * k], axis=-1)
    one = slopes[..., :1] * 0.0 + 1.0
    shift = float(np.log(np.expm1(1 - LEAST)))  # softplus of it is 1 − LEAST
    inner = LEAST + softplus(slopes + shift)
    slope = np.concatenate([one, inner, one], axis=-1)
    return Spline(_knots(widths, bound), _knots(heights, bound), slope, bound)


def _knots(parameters: Array, bound: float) -> Array:
    """K shares of [−bound, bound] as K + 1 knots."""
    k = parameters.shape[-1]
    share = LEAST + (1 - k * LEAST) * softmax(parameters, axis=-1)
    inner = np.cumsum(share, axis=-1)[..., :-1] * (2 * bound) - bound
    end = inner[..., :1] * 0.0 + bound
    return np.concatenate([-end, inner, end], axis=-1)
