"""What parameters and points must be. All bad input raises InputError and names the argument."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from core.checks import is_whole
from core.errors import InputError
from core.tensor import Array, Tensor, value

# Parameters


def only_one(first: str, a: Any, second: str, b: Any) -> str:
    """The name of the argument that was given."""
    if (a is None) == (b is None):
        raise InputError(f"{first} or {second} must be given, one of them")
    return first if b is None else second


def dtype_of(x: Any) -> Any:
    """The dtype of an array or Tensor; None for a Python number."""
    return getattr(x, "dtype", None)


def parameters(finite: bool = True, **given: Any) -> list[Any]:
    """Checked parameters of one dtype. Two Python numbers stay numbers: they have no dtype."""
    given = {name: int(x) if is_whole(x) else x for name, x in given.items()}
    dtypes = {name: x.dtype for name, x in given.items() if hasattr(x, "dtype")}
    if len(set(dtypes.values())) > 1:
        kinds = " and ".join(f"{name} {dtype}" for name, dtype in dtypes.items())
        raise InputError(f"parameters must have one dtype, got {kinds}")
    if len(given) > 1 and all(_is_weak(x) for x in given.values()):
        checked = {name: float(x) for name, x in given.items()}
    else:
        dtype = next(iter(dtypes.values()), np.dtype(np.float32))
        checked = {name: as_float(name, x, dtype) for name, x in given.items()}
    for name, x in checked.items():
        if finite:
            require(name, x, "finite", np.isfinite)
        else:
            require(name, x, "a number", _not_nan)
    return list(checked.values())


def arrays(**given: Any) -> list[Any]:
    """Checked parameters, Python numbers as float32 arrays."""
    dtype = next((x.dtype for x in given.values() if hasattr(x, "dtype")), np.dtype(np.float32))
    return parameters(**{name: as_float(name, x, dtype) for name, x in given.items()})


def _is_weak(x: Any) -> bool:
    return isinstance(x, (int, float)) and not hasattr(x, "dtype")


def as_float(name: str, x: Any, dtype: Any) -> Any:
    """x as a float32 or float64 array or Tensor; what has no dtype yet takes this one."""
    if isinstance(x, Tensor):
        return x
    try:
        x = np.asarray(x) if hasattr(x, "dtype") else np.asarray(x, dtype)
    except (TypeError, ValueError):
        raise InputError(f"{name} must be numbers, got {type(x).__name__}") from None
    if x.dtype not in (np.float32, np.float64):
        raise InputError(f"{name} must be float32 or float64, got {x.dtype}")
    return x


def _not_nan(x: Any) -> Any:
    return x == x


def require(name: str, x: Array, what: str, holds: Callable[[Any], Any]) -> None:
    """Refuse x, naming its first bad entry, unless every entry is as it must be."""
    x = np.asarray(value(x))
    if not (good := np.asarray(holds(x))).all():
        raise InputError(f"{name} must be {what}, got {x[~good][0]}")


def broadcast(**shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that all broadcast to."""
    try:
        return np.broadcast_shapes(*shapes.values())
    except ValueError:
        pair = " and ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise InputError(f"shapes don't broadcast: {pair}") from None


# Points


def _check_shape(shape: tuple[int, ...], d: Any) -> None:
    split = len(shape) - len(d.event_shape)
    if split < 0 or shape[split:] != d.event_shape:
        raise InputError(f"x must end in the event_shape {d.event_shape}, got shape {shape}")
    broadcast(x=shape[:split], batch_shape=d.batch_shape)


def point(x: Array, d: Any) -> Array:
    """x as floats in the dtype of the location of d, without NaN, of a shape that fits d."""
    inner = d
    while hasattr(inner, "base"):
        inner = inner.base
    dtype = dtype_of(getattr(inner, "loc", None))
    x = as_float("x", x, dtype or np.float32)
    if dtype is not None and x.dtype != dtype:
        raise InputError(f"x must have the parameters' dtype {dtype}, got {x.dtype}")
    require("x", x, "a number", _not_nan)
    _check_shape(x.shape, d)
    return x


def binary(x: Array, dtype: Any, d: Any) -> Array:
    """x as 0 and 1 in this dtype."""
    x = x if isinstance(x, Tensor) else np.asarray(x)
    require("x", x, "0 or 1", lambda x: (x == 0) | (x == 1))
    _check_shape(x.shape, d)
    return x if isinstance(x, Tensor) else x.astype(dtype, copy=False)


def integers(x: Any, n: int, d: Any) -> Any:
    """x as int64 in 0 … n−1."""
    x = np.asarray(value(x))
    if x.dtype.kind not in "iub":
        raise InputError(f"x must be integers in [0, {n}), got {x.dtype}")
    require("x", x, f"in [0, {n})", lambda x: (x >= 0) & (x < n))
    _check_shape(x.shape, d)
    return x.astype(np.int64)


# Formulas used more than once


def log(x: Array) -> Array:
    """ln x; a Python number stays one, so that it adopts the dtype it meets."""
    return math.log(x) if isinstance(x, float) else np.log(x)


def spread(x: Array, shape: tuple[int, ...]) -> Array:
    """x broadcast to a shape."""
    return x if np.shape(x) == shape else np.broadcast_to(x, shape)
