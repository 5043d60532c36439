"""How a row comes into the table of derivatives.

`row` files one for a function of NumPy's (core.vjps), `@differentiable` makes one of a function of
ours where it is defined, so that there is no second form of it to call by mistake.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable
from functools import update_wrapper
from typing import Any

import numpy as np

from core.tensor import COMPOSED, ROWS, Options, Row, Tensor

Bound = tuple[tuple[Any, ...], Options]
Binder = Callable[..., Bound]
Vjp = Callable[..., Any]


def row(
    function: Any,
    *vjps: Vjp | None,
    options: tuple[str, ...] = (),
    keywords: tuple[str, ...] = (),
    key: Any = None,
    casts: bool = False,
) -> Row:
    """Add a row for a NumPy function, ufunc, or one of our own.

    options: what may follow the arrays by position or name, in the function's own order.
    keywords: what may be given by name only.
    key: where the table files the row, if not under the function itself.
    """
    name = getattr(key, "__name__", function.__name__)
    made = Row(name, function, vjps, _binder(name, len(vjps), options, keywords), casts)
    ROWS[key or function] = made
    return made


def _binder(name: str, arrays: int, options: tuple[str, ...], keywords: tuple[str, ...]) -> Any:
    allowed = {*options, *keywords}

    def bind(*args: Any, **kwargs: Any) -> Bound:
        if not arrays <= len(args) <= arrays + len(options):
            raise TypeError(
                f"{name} on a Tensor takes {arrays} arrays and up to {len(options)} options by "
                f"position, got {len(args)} arguments"
            )
        given = dict(zip(options, args[arrays:], strict=False))
        for key, setting in kwargs.items():
            if key not in allowed:
                raise TypeError(f"{name}: keyword {key!r} is not supported on a Tensor")
            given[key] = setting
        for key, setting in given.items():
            if type(setting) is Tensor:
                raise TypeError(
                    f"{name}: {key} must be plain, got a Tensor, in which it has no derivative"
                )
        return args[:arrays], given

    return bind


def variadic(function: Any, vjp: Vjp, options: tuple[str, ...]) -> None:
    """Add a row for a function of a sequence of arrays; `vjp(i, g, z, *arrays, **options)`."""
    name = function.__name__
    one = _binder(name, 1, options, ())

    def bind(*args: Any, **kwargs: Any) -> Bound:
        (arrays,), given = one(*args, **kwargs)
        return in_one_dtype(tuple(arrays)), given

    def forward(*arrays: Any, **given: Any) -> Any:
        return function(arrays, **given)

    ROWS[function] = Row(name, forward, vjp, bind)


def in_one_dtype(arrays: tuple[Any, ...]) -> tuple[Any, ...]:
    """Python numbers beside a Tensor take its dtype; NumPy would make them float64."""
    if {int, float}.isdisjoint(map(type, arrays)):
        return arrays
    dtype = next((a.dtype for a in arrays if type(a) is Tensor), np.dtype(np.float64))
    return tuple(dtype.type(a) if type(a) in (int, float) else a for a in arrays)


def composed(function: Any) -> Callable[[Vjp], Vjp]:
    """Say how a NumPy function is written in terms of rows."""

    def note(definition: Vjp) -> Vjp:
        COMPOSED[function] = definition
        return definition

    return note


def differentiable(
    *vjps: Vjp | None, options: tuple[str, ...] = (), keywords: tuple[str, ...] = ()
) -> Callable[[Callable[..., Any]], Any]:
    """Make a function of ours, plain NumPy on arrays, a row: it then takes Tensors as well.

    Arguments as in `row`. The function's name becomes the row itself, documented as before.
    """

    def made(function: Callable[..., Any]) -> Any:
        new = row(function, *vjps, options=options, keywords=keywords)
        new.bind = _by_name(new.bind, tuple(inspect.signature(function).parameters)[: len(vjps)])
        return update_wrapper(new, function)

    return made


def _by_name(bind: Binder, arrays: tuple[str, ...]) -> Binder:
    """`bind` for a function of ours, whose arrays may be given by name as well."""

    def named(*args: Any, **kwargs: Any) -> Bound:
        if kwargs and len(args) < len(arrays):
            missing = itertools.takewhile(kwargs.__contains__, arrays[len(args) :])
            args = (*args, *(kwargs.pop(name) for name in tuple(missing)))
        return bind(*args, **kwargs)

    return named
