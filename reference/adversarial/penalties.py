"""What is added to a discriminator's loss to hold down its slope, so that two players settle.

    R1          ½ E_{p_r} ‖∇f(x)‖²    none at the data                 Mescheder et al. 2018, Eq. 9
    gradient    E (‖∇f(x̂)‖ − 1)²      1 on lines from data to samples  Gulrajani et al. 2017, Eq. 3

To follow them, a derivative is taken of a derivative. MISSION row G1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from core import Array, Tensor, grad, value


def squared_slope(f: Callable[[Array], Array], x: Any) -> Array:
    """‖∇_x f(x)‖² at each row of the array x (B, …), (B,), differentiable in f's parameters."""
    x = Tensor(x)
    (slope,) = grad(np.sum(f(x)), [x], create_graph=True)  # (B, …)
    return np.sum(slope * slope, axis=tuple(range(1, slope.ndim)))


def r1_penalty(f: Callable[[Array], Array], x: Any) -> Array:
    """½ E‖∇f(x)‖² over the rows of x (B, …)."""
    return 0.5 * np.mean(squared_slope(f, x))


def gradient_penalty(f: Callable[[Array], Array], x_hat: Any) -> Array:
    """E(‖∇f(x̂)‖ − 1)² over the rows of x̂ (B, dim)."""
    return np.mean(np.square(_root(squared_slope(f, x_hat)) - 1))


def _root(squares: Array) -> Array:
    """√ of squares (B,), with derivative 0 rather than ∞ at 0: a flat f has no way to go."""
    positive = value(squares) > 0
    return np.where(positive, np.sqrt(np.where(positive, squares, 1.0)), 0.0)
