"""The value that one uniform draws of a conditional's parameters, as reference's heads do (row K3).

All in float64, from parameters of either dtype: u is compared with sums that are right to 1e-15.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from kernels.numerics_numba import exp64, fused, sigmoid

WIDEST = 7.0  # of reference.autoregressive.heads


@njit(**fused)
def draw_value(theta: Any, levels: int, mixture: int, u: Any, w: Any) -> Any:
    """A whole number < levels: of `mixture` logistics, or for 0 of a softmax. w: room for K."""
    if mixture:
        return draw_logistics(theta, levels, mixture, u, w)
    return draw_bit(theta[0], u) if levels == 2 else draw_softmax(theta, levels, u, w)


@njit(**fused)
def draw_bit(logit: Any, u: Any) -> int:
    """[u < σ(logit)]."""
    return int(u * (1.0 + exp64(-np.float64(logit))) < 1.0)


@njit(**fused)
def draw_softmax(theta: Any, K: int, u: Any, w: Any) -> int:
    """#{j ≥ 1 : u Σ_i w_i < Σ_{i ≥ j} w_i}, w = exp(theta − max theta)."""
    most = theta[0]
    for k in range(1, K):
        most = max(most, theta[k])
    total = 0.0
    for k in range(K):
        w[k] = exp64(np.float64(theta[k]) - np.float64(most))
        total += w[k]
    j, tail = K - 1, w[K - 1]
    while j > 0 and not u * total < tail:
        j -= 1
        tail += w[j]
    return j


@njit(**fused)
def draw_logistics(theta: Any, levels: int, K: int, u: Any, w: Any) -> int:
    """#{j ≥ 1 : u < P(x ≥ j)}, by bisection: P(x ≥ j) = Σ_k π_k σ((μ_k − edge_j) / s_k)."""
    total = 1.0
    if K == 1:
        w[0] = 1.0
    else:
        most, total = theta[2 * K], 0.0
        for k in range(1, K):
            most = max(most, theta[2 * K + k])
        for k in range(K):
            w[k] = exp64(np.float64(theta[2 * K + k]) - np.float64(most))
            total += w[k]
    for k in range(K):
        w[K + k] = exp64(-WIDEST * math.tanh(np.float64(theta[K + k]) / WIDEST))  # 1 / s
    low, high = 0, levels - 1
    while low < high:
        j = (low + high + 1) // 2
        edge, tail = (2 * j - 1) / (levels - 1) - 1.0, 0.0
        for k in range(K):
            tail += w[k] * sigmoid((np.float64(theta[k]) - edge) * w[K + k])
        if u * total < tail:
            low = j
        else:
            high = j - 1
    return low
