"""Masks on the way to a kernel, on the CPU: a pass over the queries, nothing of size S² (row K4).

Whatever windows bound is computed in one loop. Documents are runs of equal ids, each met once, and
narrow the intervals of their own queries; other masks bring their intervals along.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from core.errors import InputError
from kernels.masks.bits_numba import filled, pack, runs
from reference.operations.intervals import Interval, common_lead
from reference.operations.lowering import SEVERAL, Intervals, Packed, check_blocks, packed
from reference.operations.masks import (
    And,
    Boolean,
    Documents,
    Mask,
    Or,
    Raster,
    Window,
    narrowest,
)

_how: dict[str, Any] = {"error_model": "numpy", "nogil": True, "cache": True}
_AT_ONCE = 128  # ids that are compared before one looks whether any differ


@njit(**_how)
def _between(at: int, window: Any, low: int, high: int, start: Any, stop: Any) -> None:
    """Keys low … high − 1 in a window (left, right) around each query; the first stands at `at`."""
    before, after = np.int32(at - window[0]), np.int32(at + window[1] + 1)
    least, most = np.int32(low), np.int32(high)
    for i in range(start.size):  # each value an int32: in int64 half as many fit into a register
        n = np.int32(i)
        s, t = np.int32(before + n), np.int32(after + n)
        s, t = s if s > least else least, t if t < most else most
        start[i], stop[i] = s, t if t > s else s


@njit(**_how)
def _narrow(low: int, high: int, start: Any, stop: Any) -> None:
    for i in range(start.size):
        start[i] = max(start[i], np.int32(low))
        stop[i] = max(start[i], min(stop[i], np.int32(high)))


@njit(**_how)
def _run_end(ids: Any, j: int) -> int:
    """Where the run of equal ids that begins at j ends."""
    one = ids[j]
    while j + _AT_ONCE <= ids.size:
        differ = one ^ one
        for n in range(_AT_ONCE):  # unsigned: a negative index would need a test, which ends SIMD
            differ |= ids[np.uint64(j) + np.uint64(n)] ^ one
        if differ != 0:
            break
        j += _AT_ONCE
    while j < ids.size and ids[j] == one:
        j += 1
    return j


@njit(**_how)
def _runs(first: int, window: Any, anew: bool, ids: Any, start: Any, stop: Any) -> bool:
    """Keys of the query's own run of ids, in the window; query i is key first + i.

    anew: whether the intervals are to be written, or to be narrowed. False if an id has two runs.
    """
    begin, runs, rises, falls = 0, 0, True, True
    of_run = np.empty(16, ids.dtype)
    while begin < ids.size:
        end = _run_end(ids, begin)
        i, j = max(begin - first, 0), max(end - first, 0)
        if anew:
            _between(first + i, window, begin, end, start[i:j], stop[i:j])
        else:
            _narrow(begin, end, start[i:j], stop[i:j])
        if end < ids.size:
            rises &= ids[end] > ids[begin]
            falls &= ids[end] < ids[begin]
        if runs == of_run.size:
            of_run = np.append(of_run, np.empty(runs, ids.dtype))
        of_run[runs] = ids[begin]
        begin, runs = end, runs + 1
    return bool(rises or falls or _all_differ(of_run[:runs]))


@njit(**_how)
def _all_differ(ids: Any) -> bool:
    ids.sort()
    return bool(np.all(ids[1:] != ids[:-1]))


@njit(**_how)
def _ranges(start: Any, stop: Any, k_len: int, block_q: int, block_k: int, out: Any) -> None:
    """The four numbers of `block_ranges` for each block of one line of queries."""
    zero, all_keys = np.int32(0), np.int32(k_len)
    for block in range(len(out)):
        low, high, latest, earliest = all_keys, zero, zero, all_keys
        own = slice(block * block_q, (block + 1) * block_q)
        s, t = start[own], stop[own]
        for i in range(s.size):
            none = s[i] == t[i]
            low = min(low, np.int32(all_keys if none else s[i]))
            high = max(high, np.int32(zero if none else t[i]))
            latest, earliest = max(latest, s[i]), min(earliest, t[i])
        first = low // block_k
        last = max(first, -(-high // block_k))
        full_first = min(max(-(-latest // block_k), first), last)
        out[block, 0], out[block, 1], out[block, 3] = first, full_first, last
        out[block, 2] = min(max(earliest // block_k, full_first), last)


def intervals(mask: Mask, q_len: int, k_len: int) -> Interval:
    """Twin of `intervals`. Raises InputError as it does."""
    found = _intervals(_packed_once(mask, q_len, k_len), q_len, k_len)
    if found is None:
        raise InputError(SEVERAL)
    return found


def lower(mask: Mask, q_len: int, k_len: int) -> Intervals | Packed:
    """`reference.operations.lowering.lower` of the same mask. Raises InputError as it does."""
    mask = _packed_once(mask, q_len, k_len)
    found = _intervals(mask, q_len, k_len)
    if found is None:
        return Packed(_bits(mask, q_len, k_len), k_len)
    return Intervals(*found, k_len)


def block_ranges(lowered: Intervals, block_q: int, block_k: int) -> Any:
    """Twin of `block_ranges`. Raises InputError as it does."""
    block_q, block_k = check_blocks(lowered, Intervals, block_q, block_k)
    *lead, q_len = lowered.start.shape
    lines = math.prod(lead)
    out = np.empty((lines, -(-q_len // block_q), 4), np.int32)
    start, stop = (x.reshape(lines, q_len) for x in (lowered.start, lowered.stop))
    for line in range(lines):
        _ranges(start[line], stop[line], lowered.k_len, block_q, block_k, out[line])
    return out.reshape(*lead, *out.shape[1:])


def _intervals(mask: Mask, q_len: int, k_len: int) -> Interval | None:
    parts = list(_conjuncts(mask))
    documents = [part for part in parts if isinstance(part, Documents)]
    others = [p.interval(q_len, k_len) for p in parts if not isinstance(p, (Window, Documents))]
    for part in documents:
        part.check(q_len, k_len)
    found = [x for x in others if x is not None]
    if len(found) < len(others):
        return None
    batches = [(len(part.ids), 1) for part in documents if part.ids.ndim == 2]
    lead = common_lead(*batches, *(x.shape[:-1] for x in itertools.chain(*found)))
    start, stop = (np.empty((*lead, q_len), np.int32) for _ in range(2))
    lines = start.reshape(math.prod(lead), q_len), stop.reshape(math.prod(lead), q_len)
    window = narrowest([part for part in parts if isinstance(part, Window)], q_len, k_len)
    if not _fill(window, documents, k_len - q_len, k_len, *lines):
        return None
    for low, high in found:
        np.maximum(start, low, out=start)
        np.minimum(stop, high, out=stop)
    return start, np.maximum(start, stop, out=stop)


def _fill(
    window: tuple[int, int],
    documents: Sequence[Documents],
    at: int,
    k_len: int,
    start: Any,
    stop: Any,
) -> bool:
    """Lines (n, Q) of intervals; False if documents aren't runs. The first query stands at `at`."""
    for line in range(0 if documents else len(start)):
        _between(at, window, 0, k_len, start[line], stop[line])
    for n, part in enumerate(documents):
        ids = np.ascontiguousarray(np.atleast_2d(part.ids))
        for line in range(len(start)):
            own = ids[line * len(ids) // len(start)]
            if not _runs(at, window, n == 0, own, start[line], stop[line]):
                return False
    return True


def _conjuncts(mask: Mask) -> Iterator[Mask]:
    """The masks that all have to show a key."""
    if isinstance(mask, And):
        yield from _conjuncts(mask.a)
        yield from _conjuncts(mask.b)
    else:
        yield mask


@dataclass(frozen=True)
class _Bits(Mask):
    """A `Boolean` that was packed."""

    bits: Any

    def interval(self, q_len: int, k_len: int) -> Interval | None:
        return runs(self.bits, k_len)


def _packed_once(mask: Mask, q_len: int, k_len: int) -> Mask:
    """The same mask; its bools, which are long to read, as bits."""
    if isinstance(mask, And | Or):
        parts = (_packed_once(part, q_len, k_len) for part in (mask.a, mask.b))
        return type(mask)(*parts)
    return _Bits(pack(mask.dense(q_len, k_len))) if isinstance(mask, Boolean) else mask


def _bits(mask: Mask, q_len: int, k_len: int) -> Any:
    """As the definition's, but one interval of keys is filled in, not compared with every key."""
    if isinstance(mask, And | Or):
        a, b = _bits(mask.a, q_len, k_len), _bits(mask.b, q_len, k_len)
        common_lead(a.shape[:-2], b.shape[:-2])
        return a & b if isinstance(mask, And) else a | b
    if isinstance(mask, _Bits):
        return mask.bits
    found = None if isinstance(mask, Raster) else _intervals(mask, q_len, k_len)
    return packed(mask, q_len, k_len).bits if found is None else filled(found, k_len)
