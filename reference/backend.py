"""Which implementation of an operation runs: its definition, or a fast twin chosen by name.

    with backend("numba"):
        model.fit(x)

No model imports a twin. An operation marked `@operation` looks at the choice when it is called and
asks `kernels`, by name, for the twin; without a choice the definition runs. A twin that is not
there is an error that says what to install, never a silent fall back to the definition. MISSION K1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from importlib import import_module
from typing import Any, TypeVar, cast

from core.errors import InputError

BACKENDS = ("numba", "triton")
_chosen: ContextVar[tuple[str, set[str]] | None] = ContextVar("genzoo_backend", default=None)
F = TypeVar("F", bound=Callable[..., Any])


@contextmanager
def backend(name: str | None) -> Iterator[set[str]]:
    """Run operations on the back end `name`, "numba" or "triton"; None is the definition.

    Yields the names of the operations whose twin ran. Raises InputError for another name, and
    BackendError when an operation has no such twin.
    """
    if name is not None and name not in BACKENDS:
        raise InputError(f"backend must be one of {', '.join(BACKENDS)}, got {name!r}")
    used: set[str] = set()
    token = _chosen.set(None if name is None else (name, used))
    try:
        yield used
    finally:
        _chosen.reset(token)


def operations() -> Mapping[str, Any]:
    """The table of operations that have twins: name → `kernels.Op`."""
    table: Mapping[str, Any] = import_module("kernels").OPS
    return table


def operation(definition: F) -> F:
    """Mark a definition as one that has twins; `.definition` is the function itself."""

    @wraps(definition)
    def run(*args: Any, **kwargs: Any) -> Any:
        chosen = _chosen.get()
        if chosen is None:
            return definition(*args, **kwargs)
        where, used = chosen
        twin = import_module("kernels").twin(definition.__name__, where)
        used.add(definition.__name__)
        return twin(*args, **kwargs)

    run.definition = definition  # type: ignore[attr-defined]
    return cast(F, run)
