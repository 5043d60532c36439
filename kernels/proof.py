"""Whether an implementation is right on a call; where it isn't, everything that shows why."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from typing import Any, NamedTuple

import numpy as np

from core.checks import one_of
from core.errors import InputError
from kernels.calls import Arguments, Call
from kernels.table import Op, arrays
from kernels.walk import in_float, same


def check(implementation: Callable[..., Any], call: Call, where: str = "") -> Any:
    """Run one call both ways; AssertionError unless `implementation` is right. Returns its result.

    Right: the arguments are untouched, shape and dtype are the definition's, every law holds,
    integers are equal, and the error of floats against the float64 definition is at most twice the
    definition's own in that dtype plus the row's floor, and below its cap. In float64 the own error
    is taken from float32, in proportion. Of a tuple, each array is judged alone. where: the back
    end, if the row has a floor for it. Overflow on the way is judged by what comes of it, and an
    ArithmeticError is a wrong result. Raises InputError for a dtype that the row doesn't have.

    >>> from kernels import OPS, Call, check
    >>> op = OPS["histogram"]
    >>> call = Call(op, {"x": np.array([0.5, 1.0]), "edges": np.array([0.0, 1.0])}, "float64")
    >>> check(op.load("numba"), call)
    array([2])
    >>> check(op.wrong["open right edge"], call)
    Traceback (most recent call last):
    AssertionError: histogram is wrong at [0]: got 1, the definition has 2; 1 of 1 differ, and \
whole numbers must be equal
    a call of histogram in float64
    """
    one_of(f"dtype of {call.op.name}", call.dtype, call.op.dtypes)
    try:
        return _judged(implementation, call, where)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{call!r}") from error


def _judged(implementation: Callable[..., Any], call: Call, where: str) -> Any:
    op, arguments = call.op, call.arguments
    before = deepcopy(arguments)
    result = _run(op, implementation, arguments)
    for key, old in before.items():
        assert same(old, arguments[key]), f"{op.name} changed its argument {key}"
    expected = op.load()(**arguments)
    _check_kinds(op, arrays(result), arrays(expected))
    for law in op.laws:
        _check_law(op, law, arguments, result)
    for i, (x, t, limit) in enumerate(errors(call, result, expected, where)):
        what = op.name if len(arrays(result)) == 1 else f"result {i} of {op.name}"
        _check_exact(what, x, t) if limit is None else _check_error(what, x, t, limit)
    return result


def _run(op: Op, implementation: Callable[..., Any], arguments: Arguments) -> Any:
    try:
        with np.errstate(all="ignore"):
            return implementation(**arguments)
    except ArithmeticError as error:
        raise AssertionError(f"{op.name} raised {type(error).__name__}: {error}") from error


def _check_kinds(op: Op, found: tuple[Any, ...], wanted: tuple[Any, ...]) -> None:
    assert len(found) == len(wanted), f"{op.name}: {len(found)} results are not {len(wanted)}"
    for i, (x, y) in enumerate(zip(found, wanted, strict=True)):
        what = op.name if len(found) == 1 else f"result {i} of {op.name}"
        kind = f"{what}: {type(x).__name__} is not an array"
        assert isinstance(x, (np.ndarray, np.generic)), kind
        assert x.shape == y.shape, f"{what}: shape {x.shape} is not the definition's {y.shape}"
        assert x.dtype == y.dtype, f"{what}: dtype {x.dtype} is not the definition's {y.dtype}"


def _check_law(op: Op, law: Callable[..., None], arguments: Arguments, result: Any) -> None:
    try:
        law(arguments, result)
    except AssertionError as error:
        said = (law.__doc__ or law.__name__).split("\n")[0].rstrip(".")
        raise AssertionError(f"{op.name} breaks a law: {said}: {error}".rstrip(": ")) from error


# How far off


class Limit(NamedTuple):
    """What a floating result of size 1 may be off by: twice `own`, plus floor, at most cap."""

    own: float
    floor: float
    cap: float


def errors(
    call: Call, result: Any, expected: Any, where: str = ""
) -> list[tuple[Any, Any, Limit | None]]:
    """(result, truth, limit) of each array; no limit where it must be equal. The truth is float64.

    Whole numbers that need not be equal, by the row's `exact`, are left to its laws.

    Raises InputError if a result floats and the row has no cap for this call.
    """
    op, dtype = call.op, call.dtype
    truth = _truth(op, call.arguments, expected)
    own = _own_errors(op, call.arguments, expected, truth)
    floor = op.floor.get(f"{where} {dtype}", op.floor.get(dtype, 0.0))
    found: list[tuple[Any, Any, Limit | None]] = []
    for x, y, t, e in zip(*map(arrays, (result, expected, truth)), own, strict=True):
        if y.dtype.kind in "iub":
            judged = op.exact is None or dtype in op.exact
            found.append((x, y, None if judged else Limit(0.0, math.inf, math.inf)))
        elif dtype in op.cap:
            found.append((x, t, Limit(e, floor, op.cap[dtype])))
        else:
            raise InputError(f"cap of {op.name} must name {dtype}, for a result of {y.dtype}")
    return found


def _truth(op: Op, arguments: Arguments, expected: Any) -> Any:
    """The definition's result in float64; `expected` itself where nothing would be wider."""
    wide = _widened(arguments)
    exact = all(y.dtype.kind in "iub" for y in arrays(expected))
    if exact or all(wide[k] is v for k, v in arguments.items()):
        return expected
    return op.load()(**wide)


def _own_errors(op: Op, arguments: Arguments, expected: Any, truth: Any) -> list[float]:
    """What the definition is wrong by, for each result.

    Nothing is wider than float64: there it is what the definition loses in float32 on the same
    arguments, less by the ratio of the two eps.
    """
    if truth is not expected:
        return [largest(y, t) for y, t in zip(arrays(expected), arrays(truth), strict=True)]
    narrow = {k: in_float(v, np.float32) for k, v in arguments.items()}
    unchanged = all(narrow[k] is v for k, v in arguments.items())
    if unchanged or all(y.dtype.kind in "iub" for y in arrays(expected)):
        return [0.0 for _ in arrays(expected)]
    try:
        rounded, exact = op.load()(**narrow), op.load()(**_widened(narrow))
    except InputError:  # such as edges that float32 can't tell apart
        return [0.0 for _ in arrays(expected)]
    ratio = float(np.finfo(np.float64).eps / np.finfo(np.float32).eps)
    return [ratio * largest(y, t) for y, t in zip(arrays(rounded), arrays(exact), strict=True)]


def _widened(arguments: Arguments) -> Arguments:
    return {k: in_float(v, np.float64) for k, v in arguments.items()}


def largest(result: Any, truth: Any) -> float:
    """The largest error, where both are finite."""
    return float(_off(result, truth).max(initial=0.0))


def scale(truth: Any) -> float:
    """What errors are in proportion to: the largest finite value, or 1."""
    return max(1.0, float(np.abs(truth)[np.isfinite(truth)].max(initial=0.0)))


def _off(result: Any, truth: Any) -> Any:
    """|result − truth|, 0 where one of them isn't finite."""
    finite = np.isfinite(truth) & np.isfinite(result)
    x, t = (np.where(finite, y, 0).astype(np.float64) for y in (result, truth))
    return np.abs(x - t)


# What is said


def _check_exact(what: str, result: Any, truth: Any) -> None:
    wrong = np.asarray(result != truth)
    if wrong.any():
        place = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
        raise AssertionError(
            f"{what} is wrong at {_index(place)}: got {np.asarray(result)[place]}, the definition "
            f"has {np.asarray(truth)[place]}; {wrong.sum()} of {wrong.size} differ, and whole "
            "numbers must be equal"
        )


def _check_error(what: str, result: Any, truth: Any, limit: Limit) -> None:
    odd = np.asarray(np.isfinite(result) != np.isfinite(truth))
    if odd.any():
        said = _values(result, truth, np.unravel_index(int(np.argmax(odd)), odd.shape))
        raise AssertionError(f"{what} is NaN or infinite, or should be, {said}")
    off, size = np.asarray(_off(result, truth)), scale(truth)
    allowed = min(2 * limit.own + limit.floor * size, limit.cap * size)
    if off.max(initial=0.0) > allowed:
        place = np.unravel_index(int(np.argmax(off)), off.shape)
        raise AssertionError(
            f"{what} is wrong {_values(result, truth, place)}: off by {off[place]:.3g}, allowed "
            f"{allowed:.3g}, {_why(limit, size)}"
        )


def _why(limit: Limit, size: float) -> str:
    if 2 * limit.own + limit.floor * size > limit.cap * size:
        return f"the cap {limit.cap:g} × {size:.3g}, the largest value"
    return (
        f"twice the definition's own {limit.own:.3g} and the floor {limit.floor:g} × {size:.3g}, "
        "the largest value"
    )


def _values(result: Any, truth: Any, place: tuple[Any, ...]) -> str:
    got, wanted = np.asarray(result)[place], np.asarray(truth)[place]
    return f"at {_index(place)}: got {got:.9g}, the definition in float64 has {wanted:.9g}"


def _index(place: tuple[Any, ...]) -> str:
    return f"[{', '.join(str(int(i)) for i in place)}]"
