"""From pixels to all real numbers (Dinh, Sohl-Dickstein & Bengio 2016, section 4.1).

    y = logit(α + (1 − 2α) x/levels),      x = levels (σ(y) − α) / (1 − 2α)
    log |dy/dx| = log (1 − 2α) − log levels − log p − log (1 − p),      p = σ(y)

A flow from a normal reaches every real number, a pixel lies in [0, levels]; α keeps both ends of
that at a finite y. (The paper has 1 − α, so that white is further out than black.) The Jacobian is
part of the density: without it bits per dimension would depend on how data are scaled.
MISSION row N1.
"""

from __future__ import annotations

import math

import numpy as np

from core import Array, value
from core.errors import InputError
from core.functional import log_sigmoid, sigmoid

ALPHA = 0.05


class Logit:
    """Images of [0, levels] (B, C, H, W) as real numbers; from noise to data a sigmoid."""

    def __init__(self, levels: int) -> None:
        self.levels = levels

    def forward(self, y: Array) -> tuple[Array, Array]:
        """y (B, C, H, W), any reals → x and log |det ∂x/∂y| (B,)."""
        x = (sigmoid(y) - ALPHA) * (self.levels / (1 - 2 * ALPHA))
        return x, -self._log_slope(y)

    def inverse(self, x: Array) -> tuple[Array, Array]:
        """x (B, C, H, W) → y and log |det ∂y/∂x| (B,). InputError where no y leads to x."""
        p = ALPHA + (1 - 2 * ALPHA) / self.levels * x
        inside = (value(p) > 0) & (value(p) < 1)
        if not inside.all():
            far = value(x)[~inside][0]
            raise InputError(f"x must lie in [0, {self.levels}], got {far}")
        y = np.log(p) - np.log(1 - p)
        return y, self._log_slope(y)

    def _log_slope(self, y: Array) -> Array:
        """Σ log dy/dx (B,) at y."""
        constant = math.log(1 - 2 * ALPHA) - math.log(self.levels)
        return np.sum(constant - log_sigmoid(y) - log_sigmoid(-y), axis=(1, 2, 3))
