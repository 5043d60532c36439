"""What every flow is: a chain of bijections from a standard normal z to x.

    x = g_K(… g_1(z))       log p(x) = log N(z; 0, I) + Σ_k log |det ∂g_k⁻¹/∂·|

A bijection has `forward` and `inverse`, each with the log-determinant of its own Jacobian; a flow
has both as well, so flows are bijections too. MISSION row N1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from core import Array
from core.checks import real
from core.model import Described, draws
from core.random import normal


class Bijection(Protocol):
    """An invertible map of rows (B, D) or images (B, C, H, W), differentiable both ways."""

    def forward(self, x: Array) -> tuple[Array, Array]:
        """x (B, …) → y (B, …) and log |det ∂y/∂x| (B,)."""

    def inverse(self, y: Array) -> tuple[Array, Array]:
        """y (B, …) → x (B, …) and log |det ∂x/∂y| (B,)."""


class Flow(Described):
    """Density of x (B, dim), any reals, by the change of variables."""

    dim: int
    dtype: Any

    @property
    def bijections(self) -> Sequence[Bijection]:
        """g_1, …, g_K, from noise to data."""
        raise NotImplementedError

    def forward(self, z: Array) -> tuple[Array, Array]:
        """z (B, dim) → x = g(z) (B, dim) and log |det ∂x/∂z| (B,)."""
        x, log_abs_det_jacobian = real(z, self.dim, self.dtype, name="z"), 0.0
        for g in self.bijections:
            x, log_det = g.forward(x)
            log_abs_det_jacobian = log_abs_det_jacobian + log_det
        return x, log_abs_det_jacobian

    def inverse(self, x: Array) -> tuple[Array, Array]:
        """x (B, dim) → z = g⁻¹(x) (B, dim) and log |det ∂z/∂x| (B,)."""
        z, log_abs_det_jacobian = self._read(x), 0.0
        for g in reversed(self.bijections):
            z, log_det = g.inverse(z)
            log_abs_det_jacobian = log_abs_det_jacobian + log_det
        return z, log_abs_det_jacobian

    def log_prob(self, x: Array) -> Array:
        """log p(x) in nats, (B,), of x (B, dim)."""
        z, log_abs_det_jacobian = self.inverse(x)
        log_p_z = -0.5 * np.sum(z * z, axis=-1) - 0.5 * math.log(2 * math.pi) * self.dim
        return log_p_z + log_abs_det_jacobian

    @draws
    def sample(self, n: int, *, seed: int = 0) -> Any:
        """n points (n, dim): x = g(z) of standard normal z."""
        z = normal(seed, (n, self.dim), stream="latent", dtype=self.dtype)
        return self.forward(z)[0]

    def _read(self, x: Array) -> Array:
        """x, once it is seen to be what the flow is of."""
        return real(x, self.dim, self.dtype)
