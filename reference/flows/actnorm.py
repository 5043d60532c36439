"""Activation normalisation (Kingma & Dhariwal 2018, section 3.1).

    x_c = s_c z_c + b_c  at every pixel,      log |det ∂x/∂z| = H · W · Σ_c log |s_c|

A scale and a shift of each channel, learned like any other parameter. They begin as standard
deviation and mean of the channel over the first batch, so that every layer begins with inputs of
mean 0 and variance 1, as batch normalisation has them; but no sample ever depends on another.
MISSION row N1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from core import Array, Tensor, no_grad, value
from reference.flows.flow import Bijection
from reference.flows.squeeze import nothing

LEAST = 1e-3
"""Of a standard deviation that a channel starts with: one that never changes has none."""


class ActNorm:
    """A scale and a shift of each of n channels of images (B, n, H, W)."""

    def __init__(self, n: int, dtype: Any = np.float32) -> None:
        self.log_s = Tensor(np.zeros((n, 1, 1), dtype))
        self.b = Tensor(np.zeros((n, 1, 1), dtype))

    def forward(self, z: Array) -> tuple[Array, Array]:
        """z (B, n, H, W) → x and log |det ∂x/∂z| (B,)."""
        return z * np.exp(self.log_s) + self.b, self._log_det(z)

    def inverse(self, x: Array) -> tuple[Array, Array]:
        """x (B, n, H, W) → z and log |det ∂z/∂x| (B,)."""
        return (x - self.b) * np.exp(-self.log_s), -self._log_det(x)

    def start(self, x: Array) -> None:
        """Take scale and shift from a batch x (B, n, H, W): its z has mean 0 and variance 1."""
        self.b[...] = x.mean(axis=(0, 2, 3))[:, None, None]
        self.log_s[...] = np.log(np.maximum(x.std(axis=(0, 2, 3)), LEAST))[:, None, None]

    def _log_det(self, x: Array) -> Array:
        H, W = x.shape[2:]
        return H * W * np.sum(self.log_s) + nothing(x)


def start(bijections: Sequence[Bijection], x: Array) -> Array:
    """Start one after another, from data to noise, each with what the ones before make of x."""
    with no_grad():
        for g in reversed(bijections):
            if hasattr(g, "start"):
                g.start(x)
            x = value(g.inverse(x)[0])
    return x
