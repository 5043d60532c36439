"""What a model accepts as data: the checks its methods make before they compute."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from core import Array, value
from core.errors import InputError


def real(x: Array, dim: int) -> Array:
    """Return x if it is (B, dim), of a float dtype and finite; else raise InputError."""
    data = _matrix(x, dim)
    if data.dtype.kind != "f":
        raise InputError(f"x has dtype {data.dtype}; expected float32 or float64")
    if not np.isfinite(data).all():
        raise InputError(f"x holds {data[~np.isfinite(data)][0]}; expected finite values")
    return x


def binary(x: Array, dim: int) -> Array:
    """Return x if it is (B, dim), of a float dtype and made of 0 and 1; else raise InputError."""
    data = value(real(x, dim))
    wrong = (data != 0) & (data != 1)
    if wrong.any():
        raise InputError(f"x holds {data[wrong][0]}; expected 0 and 1 only")
    return x


def _matrix(x: Array, dim: int) -> Array:
    data = value(x)
    if not isinstance(data, np.ndarray):
        raise InputError(f"x is {type(data).__name__}; expected an array of shape (B, {dim})")
    if data.ndim != 2 or data.shape[1] != dim:
        raise InputError(f"x has shape {data.shape}; expected (B, {dim})")
    return data


def ordering(name: str, order: Sequence[int] | None, dim: int) -> Array:
    """Return an order of dim variables as int64 (dim,); 0, 1, …, dim − 1 if none is given.

    InputError unless it holds each of them once.
    """
    given = np.asarray(range(dim) if order is None else order)
    if given.dtype.kind not in "iu" or sorted(given.ravel()) != list(range(dim)) or given.ndim != 1:
        raise InputError(f"{name} must hold each of 0, …, {dim - 1} once, got {order}")
    return given.astype(np.int64)
