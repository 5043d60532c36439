"""Functions from outside, to be checked and timed as twins of an operation are."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from typing import Any

import numpy as np

from core.checks import one_of
from core.errors import BackendError, InputError
from kernels.table import Op, arrays

Function = Callable[..., Any]


def find_operation(name: str) -> Op:
    """The row of this name; InputError if there is none."""
    from kernels import OPS

    row: Op = OPS[one_of("operation", name, OPS)]
    return row


def find(path: str) -> Function:
    """The function "package.module:name", looked for in the working directory too. InputError."""
    module, colon, name = path.partition(":")
    if not (module and colon and name):
        raise InputError(f"the function must be package.module:function, got {path!r}")
    if os.getcwd() not in sys.path:  # a console script, unlike `python -m`, leaves it out
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = import_module(module)
    except ModuleNotFoundError as error:
        raise InputError(f"{path} can't be imported: {error}") from None
    for part in name.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        raise InputError(f"{module} must have a function {name}, got {found!r}")
    return found  # type: ignore[no-any-return]


def adapted(function: Function, op: Op, *, torch: bool = False) -> Function:
    """The function as a twin of the operation: takes what a row draws, NumPy in and NumPy out.

    An argument that it has no name for is left out where it is the definition's default; else
    InputError says how to draw calls without. torch: on tensors, as `on_tensors` has it.
    """
    run = on_tensors(function) if torch else function
    defaults = {k: p.default for k, p in inspect.signature(op.load()).parameters.items()}
    known = _names(function)

    @wraps(function)
    def twin(**arguments: Any) -> Any:
        strange = {} if known is None else {k: v for k, v in arguments.items() if k not in known}
        for name, value in strange.items():
            if value is not defaults.get(name, inspect.Parameter.empty):
                raise InputError(f"the function must take {name}, as {op.name} does{_ways(op)}")
        return run(**{k: v for k, v in arguments.items() if k not in strange})

    return twin


def _names(function: Function) -> set[str] | None:
    """Names of the parameters that take keywords; None if any name goes, or nobody can tell."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:
        return None
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    return {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}


def _ways(op: Op) -> str:
    ways = ", ".join(
        f'--without "{what}"' if " " in what else f"--without {what}" for what in op.without
    )
    return f"; calls can be drawn {ways}" if ways else ""


def on_tensors(function: Function) -> Function:
    """A function of torch tensors as one of arrays: tensors in, its tensors back as arrays.

    >>> import torch
    >>> on_tensors(torch.sigmoid)(np.zeros(2, np.float32))
    array([0.5, 0.5], dtype=float32)
    """
    try:
        import torch
    except ModuleNotFoundError:
        raise BackendError("tensors need torch; install with pip install torch") from None

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        with torch.no_grad():
            result = function(
                *map(_to_tensor, args), **{k: _to_tensor(v) for k, v in kwargs.items()}
            )
        found = tuple(_to_array(x) for x in arrays(result))
        return found if isinstance(result, tuple) else found[0]

    return run


def _to_tensor(v: Any) -> Any:
    """An array, or each in a list or tuple, as a tensor; the same memory where strides allow it."""
    import torch

    if isinstance(v, list | tuple):
        return type(v)(_to_tensor(x) for x in v)
    if not isinstance(v, np.ndarray):
        return v
    return torch.from_numpy(v if all(s >= 0 for s in v.strides) else v.copy())


def _to_array(x: Any) -> Any:
    return x.numpy(force=True) if hasattr(x, "numpy") else x
