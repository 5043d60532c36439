"""Operations with twins: which implementation of a definition runs, chosen by name.

    with backend("numba"):
        model.sample(64, seed=0)

A definition marked `@operation` looks at the choice when it is called. Without one the definition
itself runs, on arrays or Tensors. With one its twin on that back end runs; a twin that isn't there
is an error that says what to install, never a silent fall back. Where an argument is a Tensor the
twin is recorded like a row of the table of derivatives, whose vjp is the twin of the operation's
backward, so that training runs on twins as well.

The registry's key is "module:function" of the definition. It is filled by whatever the entry point
group `genzoo.twins` names; a checkout that was never installed uses its own `kernels`. MISSION K1.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, wraps
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Protocol, TypeVar, cast

from core.errors import BackendError, InputError
from core.tensor import Array, JointRow, Tensor, apply

BACKENDS = ("numba", "triton")
Twin = Callable[..., Any]
F = TypeVar("F", bound=Callable[..., Any])


class Twins(Protocol):
    """What provides the twins of one operation: a row of the table in `kernels`."""

    @property
    def name(self) -> str:
        """Name of the operation."""

    @property
    def definition(self) -> str:
        """ "module:function"."""

    @property
    def rows(self) -> tuple[str, ...]:
        """Of MISSION.md."""

    @property
    def twins(self) -> Mapping[str, str]:
        """Back end → "module:function"."""

    def load(self, where: str = "") -> Twin:
        """The twin on back end `where`. Raises BackendError."""

    @staticmethod
    def installed(where: str) -> bool:
        """Whether the packages behind back end `where` are there."""


_chosen: ContextVar[tuple[str, set[str]] | None] = ContextVar("genzoo_backend", default=None)
_definitions: dict[str, Twin] = {}
_twins: dict[str, Twins] = {}


@contextmanager
def backend(name: str | None) -> Iterator[set[str]]:
    """Run operations on the back end `name`, "numba" or "triton"; None is the definition.

    Yields the set of the operations whose twin ran, as "module:function". Raises InputError for
    another name; inside, BackendError when an operation has no such twin.
    """
    if name is not None and name not in BACKENDS:
        raise InputError(f"backend must be one of {', '.join(BACKENDS)}, got {name!r}")
    used: set[str] = set()
    token = _chosen.set(None if name is None else (name, used))
    try:
        yield used
    finally:
        _chosen.reset(token)


def operation(definition: F | None = None, *, backward: Callable[..., Any] | None = None) -> Any:
    """Mark a definition as one that has twins; `.definition` is the function itself.

    backward: the operation (marked itself) that gives the derivatives of this one's array
    arguments, `backward(*arrays, g, **the other arguments)`, a tuple in the order of the arrays.

    Raises ValueError for a second operation of the same module and name.
    """
    if definition is None:
        return lambda function: operation(function, backward=backward)
    key = f"{definition.__module__}:{definition.__qualname__}"
    if key in _definitions:
        raise ValueError(f"{key} is an operation already; one name can't stand for two")
    signature = inspect.signature(definition)

    @wraps(definition)
    def run(*args: Any, **kwargs: Any) -> Any:
        chosen = _chosen.get()
        if chosen is None:
            return definition(*args, **kwargs)
        where, used = chosen
        twin = twin_of(key, where)
        used.add(key)
        if any(isinstance(a, Tensor) for a in (*args, *kwargs.values())):
            return _recorded(key, twin, backward, signature.bind(*args, **kwargs).arguments)
        return twin(*args, **kwargs)

    run.definition = definition  # type: ignore[attr-defined]
    _definitions[key] = run
    return cast(F, run)


def register_twins(twins: Twins) -> None:
    """Say what provides the twins of an operation; ValueError for a second provider."""
    if twins.definition in _twins:
        raise ValueError(f"{twins.definition} has its twins already; register them once")
    _twins[twins.definition] = twins


def operations() -> Mapping[str, Twins]:
    """Every operation with twins: "module:function" → what provides them."""
    _discover()
    return _twins


def twin_of(definition: str, where: str) -> Twin:
    """The twin of "module:function" on back end `where`; BackendError if there is none."""
    known = operations()
    if definition not in known:
        raise BackendError(f"{definition} has no {where} twin; it has none at all")
    return known[definition].load(where)


@cache
def _discover() -> None:
    """Import what provides twins: it registers them."""
    found = entry_points(group="genzoo.twins")
    for entry in found:
        entry.load()
    if not found:
        import_module("kernels")


def _recorded(key: str, twin: Twin, backward: Any, arguments: dict[str, Any]) -> Array:
    """Run the twin on Tensors, and remember that its derivative is the twin of its backward."""
    if backward is None:
        raise BackendError(
            f"{key} has no derivative on a back end; use arrays, or leave `backend` for training"
        )
    arrays = [n for n, a in arguments.items() if hasattr(a, "dtype") and hasattr(a, "shape")]
    floats = [n for n in arrays if arguments[n].dtype.kind == "f"]
    options = {n: a for n, a in arguments.items() if n not in floats}

    def forward(*values: Any) -> Any:
        return twin(**dict(zip(floats, values, strict=True)), **options)

    def pull_back(g: Array, z: Array, *values: Array) -> tuple[Any, ...]:
        if isinstance(g, Tensor):
            raise BackendError(f"{key} has a first derivative only on a back end, not a second")
        gradients: tuple[Any, ...] = backward(*values, g, **options)
        return gradients

    name = key.partition(":")[2]
    return apply(JointRow(name, forward, pull_back), [arguments[n] for n in floats])
