"""Arguments walked through: arrays, Tensors, what holds them, and layers with their attributes."""

from __future__ import annotations

from copy import copy
from dataclasses import fields, is_dataclass
from types import FunctionType
from typing import Any

import numpy as np

from core import Tensor, value


def inside(v: Any) -> dict[Any, Any]:
    """What a container, a dataclass or a layer holds, by place or name; nothing of others."""
    if isinstance(v, dict):
        return v
    if isinstance(v, list | tuple):
        return dict(enumerate(v))
    if is_dataclass(v):
        return {f.name: getattr(v, f.name) for f in fields(v)}
    plain = isinstance(v, FunctionType | type | np.ndarray | Tensor)
    return {} if plain else dict(getattr(v, "__dict__", {}))


def same(old: Any, new: Any) -> bool:
    """Whether nothing in an argument changed."""
    if isinstance(old, Tensor):
        old, new = value(old), value(new)
    if isinstance(old, np.ndarray):
        return bool(np.array_equal(old, new, equal_nan=old.dtype.kind == "f"))
    if held := inside(old):
        others = inside(new)
        return held.keys() == others.keys() and all(same(x, others[k]) for k, x in held.items())
    return type(old) is type(new) if hasattr(old, "__dict__") else bool(old == new)


def in_float(v: Any, dtype: Any) -> Any:
    """An argument with its floating arrays in this dtype, also those of lists and layers.

    v itself where nothing changes; of dataclasses nothing does.
    """
    if isinstance(v, Tensor):
        return v if v.dtype == dtype else Tensor(value(v).astype(dtype))
    if isinstance(v, np.ndarray):
        return v.astype(dtype, copy=False) if v.dtype.kind == "f" else v
    if is_dataclass(v):
        return v
    held = inside(v)
    changed = {k: in_float(x, dtype) for k, x in held.items()}
    if all(changed[k] is x for k, x in held.items()):
        return v
    if isinstance(v, list | tuple):
        return list(changed.values())
    other = copy(v)
    vars(other).update(changed)
    return other
