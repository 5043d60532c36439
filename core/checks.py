"""What arguments must be. All bad input is told in one form: "x must be …, got …" (InputError).

Numbers may be Python's or NumPy's; True and False are no numbers. Data at a model's door may have
any dtype that loses nothing when it becomes the model's own.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from numbers import Real
from operator import index
from typing import Any, SupportsIndex

import numpy as np

from core.errors import InputError
from core.samples import Padded
from core.tensor import Array, Tensor, value

# Numbers, names and dtypes


def whole(name: str, n: Any, least: int = 0, most: int | None = None) -> int:
    """n as an int; InputError unless it is an integer in least … most."""
    if not is_whole(n):
        raise InputError(f"{name} must be an int, got {n!r}")
    if least <= index(n) and (most is None or index(n) <= most):
        return index(n)
    bounds = f">= {least}" if most is None else f"in [{power(least)}, {power(most + 1)})"
    raise InputError(f"{name} must be an int {bounds}, got {n}")


def is_whole(n: Any) -> bool:
    """Whether n is an integer, of Python or NumPy, and not a bool."""
    if type(n) is int:
        return True  # asking for the protocol is slow
    return isinstance(n, SupportsIndex) and not isinstance(n, (bool, np.bool_, np.ndarray))


def whole_even(name: str, n: Any) -> int:
    """n as an int; InputError unless it is even and at least 2."""
    if whole(name, n, 2) % 2:
        raise InputError(f"{name} must be even, got {n}")
    return index(n)


def multiple(name: str, n: Any, of: int) -> int:
    """n as an int; InputError unless it is `of` times an integer ≥ 1."""
    if whole(name, n, 1) % of:
        raise InputError(f"{name} must be a multiple of {of}, got {n}")
    return index(n)


def whole_odd(name: str, n: Any, least: int = 1) -> int:
    """n as an int; InputError unless it is odd and at least so large."""
    if whole(name, n, least) % 2 == 0:
        raise InputError(f"{name} must be odd, got {n}")
    return index(n)


def divisor(name: str, n: Any, of: str, total: int) -> int:
    """n as an int; InputError unless it divides the total, which is named `of`."""
    if total % whole(name, n, 1):
        raise InputError(f"{name} must divide {of} = {total}, got {n}")
    return index(n)


def number(
    name: str,
    x: Any,
    *,
    least: float = -math.inf,
    above: float = -math.inf,
    most: float = math.inf,
    below: float = math.inf,
) -> float:
    """x as a float; InputError unless finite, ≥ least, > above, ≤ most and < below."""
    fits = isinstance(x, Real) and not isinstance(x, bool) and math.isfinite(x)
    if fits and least <= x <= most and above < x < below:
        return float(x)
    signs = ((">=", least), (">", above), ("<=", most), ("<", below))
    bounds = " and ".join(f"{sign} {bound:g}" for sign, bound in signs if math.isfinite(bound))
    raise InputError(f"{name} must be a finite number{bounds and ' ' + bounds}, got {x!r}")


def one_of(name: str, choice: Any, allowed: Collection[Any]) -> Any:
    """The choice; InputError unless it is one of those allowed."""
    if not isinstance(choice, str | int | None) or choice not in allowed:
        raise InputError(f"{name} must be one of {', '.join(map(str, allowed))}, got {choice!r}")
    return choice


def float_dtype(dtype: Any) -> np.dtype[Any]:
    """The dtype; InputError unless it is float32 or float64."""
    try:
        found: np.dtype[Any] | None = None if dtype is None else np.dtype(dtype)
    except TypeError:
        found = None
    if found is None or found not in (np.float32, np.float64):
        raise InputError(
            f"dtype must be float32 or float64, got {repr(dtype) if found is None else found}"
        )
    return found


def flag(name: str, b: Any) -> bool:
    """True or False; InputError for anything else, so that "no" is not taken for yes."""
    if not isinstance(b, bool | np.bool_):
        raise InputError(f"{name} must be True or False, got {b!r}")
    return bool(b)


def sizes(name: str, widths: Any, least: int = 0) -> tuple[int, ...]:
    """Widths of layers as ints ≥ 1; InputError unless a list or tuple of at least so many."""
    if not isinstance(widths, Sequence) or isinstance(widths, str) or len(widths) < least:
        several = f"{least} or more " if least else ""
        raise InputError(f"{name} must be a list of {several}ints >= 1, got {widths!r}")
    return tuple(whole(name, n, 1) for n in widths)


def pair(name: str, n: Any, least: int = 0) -> tuple[int, int]:
    """(rows, columns) as ints ≥ least, from one int for both or from two."""
    first, second = n if isinstance(n, Sequence) and len(n) == 2 else (n, n)
    return whole(name, first, least), whole(name, second, least)


def power(n: int) -> str:
    """2**63 rather than nineteen digits."""
    for base, suffix in ((n, ""), (n - 1, " + 1")):
        if base >= 2**16 and base & (base - 1) == 0:
            return f"2**{base.bit_length() - 1}{suffix}"
    return str(n)


# Data


def shaped(name: str, x: Array, shape: tuple[int | str, ...], dtype: Any) -> Array:
    """x as it is; InputError unless an array or Tensor of this shape and dtype (None: a float's).

    shape: lengths, and names of axes that may have any: ("B", 3, "H", "W"). "…", first or last,
    stands for any number of axes. What x holds is not looked at.
    """
    if not isinstance(x, (Tensor, np.ndarray)):
        raise InputError(f"{name} must be an array {_axes(shape)}, got {type(x).__name__}")
    if not _shape_fits(x.shape, shape):
        raise InputError(f"{name} must have shape {_axes(shape)}, got {x.shape}")
    if x.dtype != dtype if dtype is not None else x.dtype not in (np.float32, np.float64):
        raise InputError(f"{name} must be {dtype or 'float32 or float64'}, got {x.dtype}")
    return x


def _shape_fits(found: tuple[int, ...], shape: tuple[int | str, ...]) -> bool:
    n = len(shape)
    if shape[0] == "…":
        found, shape = found[max(len(found) - n + 1, 0) :], shape[1:]
    elif shape[-1] == "…":
        found, shape = found[: n - 1], shape[:-1]
    return len(found) == len(shape) and all(map(_length_fits, found, shape))


def _length_fits(n: int, wanted: int | str) -> bool:
    return isinstance(wanted, str) or n == wanted


def _axes(shape: tuple[int | str, ...]) -> str:
    return f"({', '.join(map(str, shape))}{',' * (len(shape) == 1)})"


def real(x: Array, dim: int, dtype: Any = None, *, name: str = "x") -> Array:
    """x (B, dim), finite, in the model's dtype; dtype None keeps float32 or float64.

    Integers, bits and the other float dtype are cast where that loses nothing. InputError for
    another shape, for NaN and infinity, and for numbers that the dtype can't hold.
    """
    data = value(x)
    if not isinstance(data, np.ndarray):
        raise InputError(f"{name} must be an array of shape (B, {dim}), got {type(data).__name__}")
    if data.ndim != 2 or data.shape[1] != dim:
        raise InputError(f"{name} must have shape (B, {dim}), got {data.shape}")
    x = in_dtype(x, data.dtype if dtype is None and data.dtype.kind == "f" else dtype, name=name)
    finite = np.isfinite(value(x))
    if not finite.all():
        raise InputError(f"{name} must hold finite numbers, got {value(x)[~finite][0]}")
    return x


def in_dtype(x: Array, dtype: Any, *, name: str = "x") -> Array:
    """x as float32 or float64 (None: float32); InputError where the cast would change a number."""
    dtype = np.dtype(np.float32 if dtype is None else dtype)
    if x.dtype == dtype:
        return x
    if isinstance(x, Tensor):
        raise InputError(f"{name} must be a {dtype} Tensor, got {x.dtype}; {name}.astype casts it")
    if x.dtype.kind not in "biuf":
        raise InputError(f"{name} must hold numbers, got {x.dtype}")
    with np.errstate(over="ignore"):
        cast = x.astype(dtype)
    if not np.array_equal(cast, x, equal_nan=x.dtype.kind == "f"):
        raise InputError(
            f"{name} must be {dtype}, got {x.dtype} that it can't hold exactly; "
            f"{name}.astype(np.{dtype}) rounds it"
        )
    return cast


def binary(x: Array, dim: int, dtype: Any = None, *, name: str = "x") -> Array:
    """x (B, dim) of 0 and 1, in the model's dtype as `real` has it; else InputError."""
    x = real(x, dim, dtype, name=name)
    wrong = (value(x) != 0) & (value(x) != 1)
    if wrong.any():
        raise InputError(f"{name} must hold 0 and 1 only, got {value(x)[wrong][0]}")
    return x


def numbers(x: Array, dim: int, *, name: str = "x") -> Array:
    """x (B, dim) of finite numbers; floats as they are, integers and booleans made float64."""
    data = value(x)
    floats = isinstance(data, np.ndarray) and data.dtype.kind == "f"
    return real(data, dim, None if floats else np.float64, name=name)


def categories(x: Array, dim: int, levels: int, *, name: str = "x") -> Array:
    """x (B, dim) as int64. InputError unless every value is one of 0, …, levels − 1."""
    x = numbers(x, dim, name=name)
    wrong = (x != np.floor(x)) | (x < 0) | (x >= levels)
    if wrong.any():
        expected = "0 and 1 only" if levels == 2 else f"whole numbers in 0 … {levels - 1}"
        raise InputError(f"{name} must hold {expected}, got {x[wrong][0]}")
    return x.astype(np.int64)


def rows(x: Array, shape: tuple[int, ...], *, name: str = "x") -> Array:
    """x (B, *shape) as rows (B, D); InputError unless an array or Tensor of this shape."""
    wanted: tuple[int | str, ...] = ("B", *shape)
    data = value(x)
    if not isinstance(data, np.ndarray):
        raise InputError(f"{name} must be an array {_axes(wanted)}, got {type(data).__name__}")
    if not _shape_fits(data.shape, wanted):
        raise InputError(f"{name} must have shape {_axes(wanted)}, got {data.shape}")
    return np.reshape(x, (len(x), math.prod(shape)))


def pixels(x: Array, shape: tuple[int, ...], levels: int) -> Array:
    """x (B, *shape) as int64. InputError unless every value is one of 0, …, levels − 1."""
    flat = rows(value(x), shape)
    return categories(flat, flat.shape[1], levels).reshape(len(flat), *shape)


def image_shape(shape: Sequence[int]) -> tuple[int, int, int]:
    """(C, H, W); InputError unless it is three ints ≥ 1."""
    found = sizes("shape", shape)
    if len(found) != 3:
        raise InputError(f"shape must be (C, H, W), got {shape!r}")
    return found


def images(x: Array, shape: tuple[int, ...], dtype: Any = None, *, name: str = "x") -> Array:
    """x (B, *shape), finite, in the model's dtype as `real` has it; else InputError."""
    wanted: tuple[int | str, ...] = ("B", *shape)
    data = value(x)
    if not isinstance(data, np.ndarray):
        raise InputError(f"{name} must be an array {_axes(wanted)}, got {type(data).__name__}")
    if not _shape_fits(data.shape, wanted):
        raise InputError(f"{name} must have shape {_axes(wanted)}, got {data.shape}")
    flat = np.reshape(x, (len(data), math.prod(shape)))
    return np.reshape(real(flat, flat.shape[1], dtype, name=name), data.shape)


def tokens(x: Array, levels: int, *, name: str = "x") -> Array:
    """x (B, T) as int64, T ≥ 1. InputError unless every token is one of 0, …, levels − 1."""
    data = value(x)
    if not isinstance(data, np.ndarray):
        raise InputError(f"{name} must be an array (B, T), got {type(data).__name__}")
    if data.ndim != 2 or data.shape[1] == 0:
        raise InputError(f"{name} must have shape (B, T) with T at least 1, got {data.shape}")
    return categories(data, data.shape[1], levels, name=name)


def padded(y: Any, n: int, *, name: str = "y") -> Padded:
    """y as it is; InputError unless it is Padded, with n rows."""
    if not isinstance(y, Padded):
        raise InputError(f"{name} must be a core.samples.Padded, got {type(y).__name__}")
    if len(y) != n:
        raise InputError(f"{name} must have {n} rows, one for each of x, got {len(y)}")
    return y


def padded_tokens(y: Any, n: int, levels: int, *, name: str = "y") -> Padded:
    """Padded y (n, S) as int64, 0 where it is padding; InputError unless the rest are tokens."""
    y = padded(y, n, name=name)
    if y.data.ndim != 2:
        raise InputError(f"{name} must have shape (B, S), got {y.shape}")
    here = np.where(y.mask, y.data, np.zeros((), y.dtype))
    return Padded(categories(here, here.shape[1], levels, name=name), y.lengths)


def labels(y: Any, n: int, classes: int) -> Array:
    """y (n,) as int64. InputError if it is missing, not whole, or out of 0, …, classes − 1."""
    if y is None:
        raise InputError(f"y must be {n} labels in 0 … {classes - 1}, got none")
    y = np.asarray(y)
    if y.dtype.kind not in "iu" or y.shape != (n,):
        raise InputError(f"y must be integers of shape ({n},), got {y.dtype} of shape {y.shape}")
    if n and not (y.min() >= 0 and y.max() < classes):
        raise InputError(f"y must lie in 0 … {classes - 1}, got {y.min()} … {y.max()}")
    return y.astype(np.int64)


def some(x: Array) -> Array:
    """x; InputError if it has no rows: nothing can be learned from nothing, nor averaged."""
    sized: bool = hasattr(x, "__len__") and getattr(value(x), "ndim", 1) != 0
    if sized and len(x) == 0:
        raise InputError("x must have at least one row, got none")
    return x


def ordering(name: str, order: Sequence[int] | None, dim: int) -> Array:
    """An order of dim variables as int64 (dim,); 0, 1, …, dim − 1 if none is given.

    InputError unless it holds each of them once.
    """
    given = np.asarray(range(dim) if order is None else order)
    if given.dtype.kind not in "iu" or sorted(given.ravel()) != list(range(dim)) or given.ndim != 1:
        raise InputError(f"{name} must hold each of 0, …, {dim - 1} once, got {order}")
    return given.astype(np.int64)
