"""The alias method: a value of any discrete distribution from two uniforms, whatever its size.

Cut p into K columns of height 1/K, each filled by at most two values: column j holds value j up to
threshold_j and value other_j above it. Then

    p_k = 1/K · (threshold_k + Σ_{j: other_j = k} (1 − threshold_j)),

and a uniform column and a uniform height in it are a draw from p.

Walker 1977; the table in O(K) after Vose 1991. MISSION row K3.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from core.errors import InputError
from core.operation import operation


def probabilities(p: Any) -> Any:
    """p (K,) as float64. InputError unless it is non-negative, not empty, and sums to 1 ± 1e-6."""
    p = np.asarray(p, np.float64)
    if p.ndim != 1 or not p.size:
        raise InputError(f"p must have shape (K,) with K at least 1, got {p.shape}")
    if not (p >= 0).all() or not abs(p.sum() - 1) <= 1e-6:
        raise InputError(f"p must be non-negative with sum 1, got sum {p.sum()}, least {p.min()}")
    return p


def alias_table(p: Any) -> tuple[Any, Any]:
    """threshold, float64 (K,), and other, int64 (K,), of p (K,). Raises InputError for no p.

    Values that have less than a column are filled up with what those that have more can spare.
    """
    p = probabilities(p)
    threshold, other = p * (len(p) / p.sum()), np.arange(len(p))
    small = [int(k) for k in np.flatnonzero(threshold < 1)]
    large = [int(k) for k in np.flatnonzero(threshold >= 1)]
    while small and large:
        j, k = small.pop(), large[-1]
        other[j] = k
        threshold[k] -= 1 - threshold[j]
        if threshold[k] < 1:
            small.append(large.pop())
    threshold[small + large] = 1  # what is left differs from 1 by rounding
    return threshold, other


@operation
def alias_draw(u: Any, threshold: Any, other: Any) -> Any:
    """Values int64 (n,) from uniforms u (n, 2) in [0, 1): the column, and the height in it.

    >>> from core.random import uniform
    >>> threshold, other = alias_table(np.array([0.5, 0.2, 0.3]))
    >>> u = uniform(0, (10_000, 2), dtype=np.float64)
    >>> np.bincount(alias_draw(u, threshold, other))
    array([5113, 1944, 2943])
    """
    column = (u[:, 0].astype(np.float64) * len(threshold)).astype(np.int64)
    return np.where(u[:, 1] < threshold[column], column, other[column])
