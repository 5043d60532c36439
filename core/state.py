"""A model's parameters and state, by name: what optimisers and files see of it.

A model is any object. Its attributes are walked, through lists, tuples, dicts and objects of its
own: the Tensor `self.layers[0].W` is named "layers.0.W". What becomes of it shows at the line:

    self.W = Tensor(…)       learned by gradients
    self.mean = np.zeros(n)  a public ndarray: kept in the file (counts, running moments, orders)
    self._mask = …           derived from the arguments, whatever it is: never kept, never listed
"""

from collections.abc import Iterator, Mapping
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import CheckpointError, InputError
from core.tensor import Tensor, value

_OPAQUE = (type, ModuleType, FunctionType, MethodType, BuiltinFunctionType, np.ufunc)


def parameters(model: object) -> dict[str, Tensor]:
    """Name → Tensor, in the order of the attributes. A Tensor that is used twice is listed once.

    Raises InputError if two of them get the same name, or if one was computed from others.
    """
    return {name: leaf for name, leaf in _named(model).items() if isinstance(leaf, Tensor)}


def state(model: object) -> dict[str, NDArray[Any]]:
    """Name → a copy of the array, for Tensors and ndarrays alike: all that a file must keep."""
    return {name: value(leaf).copy() for name, leaf in _named(model).items()}


def load_state(
    model: object, arrays: Mapping[str, NDArray[Any]], *, source: str = "the checkpoint"
) -> None:
    """Write `arrays` into the model's Tensors and ndarrays, in place: all of them or none.

    Then what follows from them is made anew: an object with a method `_derive` is told.

    Raises CheckpointError, beginning with `source`, if a name is missing or unknown, a shape or
    dtype differs, an array holds NaN, or a Tensor's array holds an infinity.
    """
    leaves = _named(model)
    _check_names(leaves, arrays, f"{source} does not fit {type(model).__name__}")
    for name, leaf in leaves.items():
        _check_array(leaf, arrays[name], f"{source}: {name}")
    for name, leaf in leaves.items():
        leaf[...] = arrays[name]
    _derive(model, set())


def _derive(item: Any, seen: set[int]) -> None:
    """Call `_derive()` of the parts first, then of the whole, wherever it is a method."""
    if isinstance(item, (*_OPAQUE, Tensor, np.ndarray)) or id(item) in seen:
        return
    seen.add(id(item))
    for _, child in _children(item):
        _derive(child, seen)
    if callable(derive := getattr(item, "_derive", None)):
        derive()


def describe(model: object) -> str:
    """A table of a model's state: name, shape, count and kind of each array, and the totals.

    "learned" are Tensors, "kept" are ndarrays. Raises InputError as `parameters` does.

    >>> from types import SimpleNamespace
    >>> print(describe(SimpleNamespace(W=Tensor(np.zeros((3, 2))), mean=np.zeros(2))))
    W      3 × 2  6  learned
    mean   2      2  kept
    total         6  learned float64, and 2 kept
    """
    leaves = _named(model)
    rows = [(name, _shape(a), f"{a.size:,}", _kind(a)) for name, a in leaves.items()]
    rows.append(("total", "", *_total(list(leaves.values()))))
    name, shape, size = (max(len(row[i]) for row in rows) for i in range(3))
    return "\n".join(f"{n:<{name}}  {s:<{shape}}  {c:>{size}}  {k}" for n, s, c, k in rows)


def _shape(leaf: Any) -> str:
    return " × ".join(map(str, leaf.shape)) or "()"


def _kind(leaf: Any) -> str:
    return "learned" if isinstance(leaf, Tensor) else "kept"


def _total(leaves: list[Any]) -> tuple[str, str]:
    """How many numbers are learned; in which dtype, and how many others are kept."""
    learned = [a for a in leaves if isinstance(a, Tensor)]
    count = sum(a.size for a in learned)
    kept = sum(a.size for a in leaves) - count
    dtypes = ", ".join(sorted({str(a.dtype) for a in learned}))
    return f"{count:,}", f"learned {dtypes}".rstrip() + (f", and {kept:,} kept" if kept else "")


def flaw(model: object) -> str | None:
    """What makes a model's state unfit to be kept, such as "W holds NaN"; None if nothing."""
    flaws = (_flaw(name, leaf, value(leaf)) for name, leaf in _named(model).items())
    return next((found for found in flaws if found), None)


def join(parts: Mapping[str, Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """Several sets of named arrays as one, with names "part/name"."""
    return {f"{p}/{name}": a for p, arrays in parts.items() for name, a in arrays.items()}


def part(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The set that `join` was given under this name."""
    start = prefix + "/"
    return {name.removeprefix(start): a for name, a in arrays.items() if name.startswith(start)}


def _named(model: object) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, leaf in _walk("", model, set()):
        if name in found:
            raise InputError(f"two parameters of {type(model).__name__} are named {name}")
        found[name] = leaf
    return found


def _walk(name: str, item: Any, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """The Tensors and ndarrays below `item`, each once (`seen` holds the ids of those before)."""
    if isinstance(item, _OPAQUE) or id(item) in seen:
        return
    seen.add(id(item))
    if isinstance(item, (Tensor, np.ndarray)):
        yield name, _leaf(name, item)
        return
    for key, child in _children(item):
        yield from _walk(f"{name}.{key}" if name else str(key), child, seen)


def _leaf(name: str, item: Any) -> Any:
    if isinstance(item, Tensor) and item._row is not None:
        raise InputError(f"{name} must be made as Tensor(array), got a computed Tensor")
    return item


def _children(item: Any) -> list[tuple[Any, Any]]:
    if isinstance(item, Mapping):
        return list(item.items())
    if isinstance(item, (list, tuple)):
        return list(enumerate(item))
    attributes = getattr(item, "__dict__", {})
    return [(key, a) for key, a in attributes.items() if not key.startswith("_")]


def _check_names(leaves: Mapping[str, Any], arrays: Mapping[str, Any], what: str) -> None:
    for name in leaves:
        if name not in arrays:
            raise CheckpointError(f"{what}: {name} is missing")
    for name in arrays:
        if name not in leaves:
            raise CheckpointError(f"{what}: it has no {name}")


def _check_array(leaf: Any, array: NDArray[Any], what: str) -> None:
    if (leaf.shape, leaf.dtype) != (array.shape, array.dtype):
        got = f"{array.dtype} {array.shape}"
        raise CheckpointError(f"{what} must be {leaf.dtype} {leaf.shape}, got {got}")
    if found := _flaw(what, leaf, array):
        raise CheckpointError(found)


def _flaw(what: str, leaf: Any, array: NDArray[Any]) -> str | None:
    """Counted log-probabilities may be −∞; parameters may not."""
    if array.dtype.kind == "f" and np.isnan(array).any():
        return f"{what} holds NaN"
    if isinstance(leaf, Tensor) and np.isinf(array).any():
        return f"{what} holds an infinity"
    return None
