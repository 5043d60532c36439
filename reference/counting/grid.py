"""The grid of a histogram: its edges along each axis, and a point within a cell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from core import Array
from core.checks import number, whole
from core.errors import InputError
from reference.counting.frequencies import MOST_CELLS

Each = float | Sequence[float] | None  # one number for all axes, or one for each


def equal_cells(dim: int, bins: Any, low: Each, high: Each) -> list[Any]:
    """Equally spaced edges for each axis; zeros where the support isn't known yet."""
    K = [whole("bins", b, 1) for b in _each("bins", bins, dim)]
    check_size(K)
    if low is None or high is None:
        return [np.zeros(K_j + 1) for K_j in K]
    given = (("low", low), ("high", high))
    ends = ([number(name, end) for end in _each(name, every, dim)] for name, every in given)
    rows = list(zip(*ends, K, strict=True))
    for a, b, _ in rows:
        if not a < b:
            raise InputError(f"low must be < high, got {a:g} and {b:g}")
    return [np.linspace(a, b, K_j + 1) for a, b, K_j in rows]


def as_edges(edges: Any, dim: int, dtype: Any) -> list[Any]:
    """dim × (K_j + 1,); InputError unless there are two numbers or more for each axis."""
    try:
        arrays = [np.array(e, dtype) for e in edges]
    except (TypeError, ValueError):
        arrays = []
    if len(arrays) != dim or not all(e.ndim == 1 and len(e) > 1 for e in arrays):
        raise InputError(f"edges must be a list of numbers for each of {dim} axes, got {edges!r}")
    return arrays


def _each(name: str, setting: Any, dim: int) -> Sequence[Any]:
    """One setting for each axis, of one for all of them or a list."""
    listed = setting if isinstance(setting, (list, tuple, np.ndarray)) else [setting] * dim
    if np.shape(listed) != (dim,):
        raise InputError(f"{name} must be one number, or a list of {dim}, got {setting!r}")
    return list(listed)


def check_size(shape: Sequence[int]) -> None:
    """InputError for more cells than are built."""
    if math.prod(shape) > MOST_CELLS:
        size = f"{shape[0]} to the power {len(shape)}" if len(set(shape)) == 1 else str(shape)
        raise InputError(f"the grid must have at most 2**26 cells, got {size}")


def check_edges(edges: list[Any], of: str = "edges") -> list[Any]:
    """The edges; InputError unless they are finite and increase."""
    if not all(np.isfinite(e).all() and (np.diff(e) > 0).all() for e in edges):
        raise InputError(f"{of} must give finite edges that increase, low < high")
    return edges


def within(e: Any, k: Any, u: Any) -> Array:
    """The point a fraction u of the way through cell k, in the dtype of the edges e."""
    x = (e[k] + u * (e[k + 1] - e[k])).astype(e.dtype)
    return np.minimum(x, np.nextafter(e[k + 1], e[k]))  # rounding up must not leave the cell
