"""Operations with twins: which implementation of a definition runs, chosen by name.

    with backend("numba"):
        model.sample(64, seed=0)

A definition marked `@operation` looks at the choice when it is called. Without one the definition
itself runs, on arrays or Tensors. With one its twin on that back end runs; a twin that isn't there
is an error that says what to install, never a silent fall back. Where an argument is a Tensor the
twin is recorded like a row of the table of derivatives, whose vjp is the twin of the operation's
backward, so that training runs on twins as well.

The functions that networks are made of are marked with their number of arrays, `@operation(arrays=
3)`. Their backward is the definition's own gradient, `f.backward(*arrays, g, **options)`, and has
twins as f has. They are everywhere, so where a back end has no twin of one, its definition runs.

The registry's key is "module:function" of the definition. It is filled by whatever the entry point
group `genzoo.twins` names; a checkout that was never installed uses its own `kernels`. MISSION K1.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache, partial, wraps
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Protocol, TypeVar, cast, overload

import numpy as np

from core.errors import BackendError, InputError
from core.tensor import Array, JointRow, Tensor, apply, grad, recording, value

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
    def mission(self) -> tuple[str, ...]:
        """Ids of MISSION.md."""

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

    >>> from core.random import uniform
    >>> plain = uniform(0, 4)
    >>> with backend("numba") as used:
    ...     twin = uniform(0, 4)
    >>> used, bool((twin == plain).all())
    ({'core.random:uniform'}, True)
    """
    if name is not None and name not in BACKENDS:
        raise InputError(f"backend must be one of {', '.join(BACKENDS)}, got {name!r}")
    used: set[str] = set()
    token = _chosen.set(None if name is None else (name, used))
    try:
        yield used
    finally:
        _chosen.reset(token)


def chosen_backend() -> str | None:
    """The back end that operations run on here; None: their definitions.

    >>> chosen_backend() is None
    True
    """
    chosen = _chosen.get()
    return None if chosen is None else chosen[0]


@overload
def operation(definition: F) -> Any: ...
@overload
def operation(*, backward: Callable[..., Any]) -> Callable[[F], Any]: ...
@overload
def operation(*, arrays: int) -> Callable[[F], Any]: ...
def operation(
    definition: F | None = None,
    *,
    backward: Callable[..., Any] | None = None,
    arrays: int | None = None,
) -> Any:
    """Mark a definition as one that has twins; `.definition` is the function itself.

    backward: the operation (marked itself) that gives the derivatives of this one's floating
    arrays, `backward(*arrays, g, **the other arguments)`, a tuple in the order of the arrays. An
    argument that it doesn't take must have its default where derivatives are wanted.
    arrays: instead of a backward, how many of the first arguments are floating arrays: the backward
    is made, `.backward` (0: none, and no derivative). The definition runs where a back end has no
    twin.

    Raises ValueError for a second operation of the same module and name.

    >>> @operation
    ... def double(x):
    ...     return 2 * x
    >>> double(3)
    6
    """
    if definition is None:
        return partial(_marked, backward=backward, arrays=arrays)
    return _marked(definition)


def _marked(
    definition: F, backward: Callable[..., Any] | None = None, arrays: int | None = None
) -> F:
    key = f"{definition.__module__}:{definition.__qualname__}"
    if key in _definitions:
        raise ValueError(f"{key} is an operation already; one name can't stand for two")
    signature = inspect.signature(definition)
    if arrays:
        backward = _marked(_gradient(definition, signature, arrays))
    first = list(signature.parameters)[:arrays]

    def here() -> Twin | None:
        """The twin that runs here and now; None: the definition does."""
        chosen = _chosen.get()
        if chosen is None or (arrays is not None and not _has_twin(key, chosen[0])):
            return None
        twin = twin_of(key, chosen[0])
        chosen[1].add(key)
        return twin

    @wraps(definition)
    def run(*args: Any, **kwargs: Any) -> Any:
        twin = here()
        if twin is None:
            return definition(*args, **kwargs)
        if not any(isinstance(a, Tensor) for a in (*args, *kwargs.values())):
            return twin(*args, **kwargs)
        given = signature.bind(*args, **kwargs)
        if not recording():
            return twin(**{n: value(a) for n, a in given.arguments.items()})
        chosen = _chosen.get()
        assert chosen is not None
        pull_back = _Backward(key, backward, signature, chosen)
        if arrays is not None:
            return _recorded(key, twin, pull_back, given.arguments, first)
        floats = [n for n, a in given.arguments.items() if _is_floating(a)]
        return _recorded(key, twin, pull_back, given.arguments, floats)

    run.definition, run.chosen = definition, here  # type: ignore[attr-defined]
    if arrays:
        run.backward = backward  # type: ignore[attr-defined]
    if hasattr(definition, "forward"):  # a row's own function, on plain arrays
        run.forward = definition.forward  # type: ignore[attr-defined]
    _definitions[key] = run
    return cast(F, run)


def chosen(marked: Any) -> Twin:
    """What a marked operation runs on plain arrays here and now: a twin, or the definition.

    For loops that would ask at every step, and for a backward, which may be called elsewhere.

    >>> from core.random import uniform
    >>> chosen(uniform) is uniform.definition
    True
    """
    found: Twin = marked.chosen() or marked.definition
    return found


def _gradient(definition: Any, signature: inspect.Signature, arrays: int) -> Any:
    """backward(*arrays, g, **options) → the derivatives of Σ g·definition, a tuple of arrays."""
    parameters = list(signature.parameters.values())
    of_g = inspect.Parameter("g", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    taken = inspect.Signature([*parameters[:arrays], of_g, *parameters[arrays:]])

    def backward(*args: Any, **kwargs: Any) -> tuple[Any, ...]:
        given = dict(taken.bind(*args, **kwargs).arguments)
        g, inputs = given.pop("g"), [Tensor(given.pop(p.name)) for p in parameters[:arrays]]
        return tuple(grad(definition(*inputs, **given), inputs, g))

    backward.__signature__ = taken  # type: ignore[attr-defined]
    backward.__module__ = definition.__module__
    backward.__qualname__ = backward.__name__ = f"{definition.__qualname__}.backward"
    backward.__doc__ = f"∂(Σ g·z)/∂a for each array a of z = {definition.__qualname__}(…)."
    return backward


def _has_twin(key: str, where: str) -> bool:
    known = operations()
    return key in known and where in known[key].twins


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


@dataclass(frozen=True)
class _Backward:
    """The derivative of an operation on a back end, wherever it is asked for."""

    key: str
    function: Callable[..., Any] | None
    signature: inspect.Signature
    chosen: tuple[str, set[str]]

    def fitting(self, options: dict[str, Any]) -> dict[str, Any]:
        """Those of the operation's options that its backward takes; BackendError for the others."""
        if self.function is None:
            raise BackendError(
                f"{self.key} has no derivative on a back end; "
                "give it arrays (.data of a Tensor), or leave `backend` for training"
            )
        taken = inspect.signature(self.function).parameters
        for name, option in options.items():
            if name not in taken and option is not self.signature.parameters[name].default:
                raise BackendError(f"{self.key} with {name} has no derivative on a back end")
        return {name: option for name, option in options.items() if name in taken}

    def __call__(self, g: Array, arrays: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """∂(Σ g·z)/∂a for each of the arrays a, by the backward's twin."""
        assert self.function is not None
        if isinstance(g, Tensor):
            raise BackendError(
                f"{self.key} has a first derivative only on a back end, not a second"
            )
        token = _chosen.set(self.chosen)
        try:
            gradients = self.function(*arrays, g, **options)
        finally:
            _chosen.reset(token)
        found, wanted = [np.shape(d) for d in gradients], [np.shape(a) for a in arrays]
        if found != wanted:
            raise BackendError(f"{self.key}: the backward's shapes must be {wanted}, got {found}")
        return gradients


def _recorded(
    key: str, twin: Twin, backward: _Backward, arguments: dict[str, Any], floats: list[str]
) -> Array:
    """Run the twin on Tensors, and remember that its derivative is the twin of its backward."""
    options = {n: a for n, a in arguments.items() if n not in floats}
    taken = backward.fitting(options)

    def forward(*values: Any) -> Any:
        return twin(**dict(zip(floats, values, strict=True)), **options)

    def pull_back(g: Array, z: Array, *values: Array) -> Any:
        return backward(g, values, taken)

    name = key.partition(":")[2]
    return apply(JointRow(name, forward, pull_back), [arguments[n] for n in floats])


def _is_floating(a: Any) -> bool:
    return isinstance(a, Tensor | np.ndarray) and a.dtype.kind == "f"
