"""Calls of an operation, drawn: what its twins, and anyone's own function, are checked on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from core.checks import one_of, whole
from core.errors import BackendError, InputError

if TYPE_CHECKING:
    from kernels.table import Op

Arguments = dict[str, Any]
Narrow = Mapping[str, int | tuple[int, int]]
"""Name of a dim → what it is, or its least and most."""


@dataclass(frozen=True, repr=False)
class Call:
    """Keyword arguments of one call of an operation, in a dtype; its repr draws them again."""

    op: Op
    arguments: Arguments
    dtype: str
    again: str = ""

    def __repr__(self) -> str:
        return self.again or f"a call of {self.op.name} in {self.dtype}"


def narrowed(
    op: Op, dims: Narrow, without: Iterable[str], where: str = ""
) -> dict[str, tuple[int, int]]:
    """The row's bounds with some of them narrowed; InputError for what the row doesn't have."""
    bounds = dict(op.dims)
    left_out = [op.without[one_of(f"without of {op.name}", w, op.without)] for w in without]
    for name, new in [(k, v) for some in (dims, *left_out) for k, v in some.items()]:
        one_of(f"{where}dims of {op.name}", name, op.dims)
        least, most = new if isinstance(new, tuple) else (new, new)
        low, high = op.dims[name]
        if not low <= whole(name, least) <= whole(name, most) <= high:
            raise InputError(f"{where}{name} must lie in {low} … {high}, got {new}")
        bounds[name] = (least, most)
    return bounds


def strategy(op: Op, bounds: Mapping[str, tuple[int, int]], dtypes: tuple[str, ...]) -> Any:
    """Calls with dims in these bounds; BackendError without hypothesis."""
    if find_spec("hypothesis") is None:
        raise BackendError("drawing calls needs hypothesis; install with pip install hypothesis")
    from hypothesis import strategies as st

    least, most = bounds.get("n", (0, 0))
    fixed = {**bounds, "n": (most, most)} if op.entries else bounds
    dims = st.fixed_dictionaries({k: st.integers(a, b) for k, (a, b) in fixed.items()})
    seeds = st.integers(0, 2**32 - 1)
    # An entry that makes a call fail: first the run ends with it, then it begins with it.
    stop, length = st.integers(least, most), st.integers(least, most)
    kept = st.tuples(stop, length).map(lambda run: (max(run[0] - run[1], 0), run[0]))
    drawn = st.tuples(seeds, st.sampled_from(dtypes), kept if op.entries else st.none(), dims)
    return drawn.map(lambda d: op.call(d[0], d[1], d[2], **d[3]))
