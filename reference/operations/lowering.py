"""What a blockwise kernel reads of a mask: O(S) integers, or bits (MISSION row K4).

`lower` carries a mask as one interval of keys per query when it can, and as packed bits when it
can't. A kernel then asks which blocks of keys a block of queries must visit, and which of those
need no mask at all:

    block_ranges(intervals, …)   first ≤ full_first ≤ full_last ≤ last, for each block of queries
    block_classes(packed, …)     EMPTY, PARTIAL or FULL, for each pair of blocks

Shapes are those of `reference.operations.masks`: (Q, …) before (B or 1, H or 1, Q, …).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.checks import whole
from core.errors import InputError
from core.operation import operation
from reference.operations.intervals import Interval, common_lead
from reference.operations.masks import And, Mask, Or, Raster

EMPTY, PARTIAL, FULL = 0, 1, 2
SEVERAL = "mask shows a query several intervals of keys; `lower` packs such a mask"


@dataclass(frozen=True)
class Intervals:
    """start, stop: int32 (…, Q). Query i sees the keys start[i] ≤ j < stop[i] of k_len."""

    start: Any
    stop: Any
    k_len: int


@dataclass(frozen=True)
class Packed:
    """bits: uint8 (…, Q, ⌈k_len/8⌉). Query i sees key j if bit j % 8 of bits[i, j // 8] is set."""

    bits: Any
    k_len: int


@operation
def intervals(mask: Mask, q_len: int, k_len: int) -> Interval:
    """(start, stop), int32 (…, Q): query i sees the keys start[i] ≤ j < stop[i], and no others.

    Raises InputError if the mask was made for other lengths or shows a query several intervals.

    >>> from reference.operations.masks import window
    >>> start, stop = intervals(window(1), 4, 4)
    >>> start.tolist(), stop.tolist()
    ([0, 0, 1, 2], [1, 2, 3, 4])
    """
    found = mask.interval(q_len, k_len)
    if found is None:
        raise InputError(SEVERAL)
    return _whole(found)


def lower(mask: Mask, q_len: int, k_len: int) -> Intervals | Packed:
    """What a kernel reads. Raises InputError if the mask was made for other lengths."""
    found = mask.interval(q_len, k_len)
    return packed(mask, q_len, k_len) if found is None else Intervals(*_whole(found), k_len)


def _whole(found: Interval) -> Interval:
    """Both of one shape, each in memory of its own."""
    start, stop = (np.ascontiguousarray(x, np.int32) for x in np.broadcast_arrays(*found))
    return start, stop


def packed(mask: Mask, q_len: int, k_len: int) -> Packed:
    """Any mask, a bit for each query and key. Raises InputError as `lower` does."""
    return Packed(_bits(mask, q_len, k_len), k_len)


def _bits(mask: Mask, q_len: int, k_len: int) -> Any:
    """uint8 (…, Q, ⌈K/8⌉), part by part, and (Q, K) bools only where there is no shorter way."""
    if isinstance(mask, And | Or):
        a, b = _bits(mask.a, q_len, k_len), _bits(mask.b, q_len, k_len)
        common_lead(a.shape[:-2], b.shape[:-2])
        return a & b if isinstance(mask, And) else a | b
    if isinstance(mask, Raster):
        return filled(*mask.runs(q_len, k_len), k_len)
    return np.packbits(mask.dense(q_len, k_len), axis=-1, bitorder="little")


def filled(start: Any, stop: Any, k_len: int) -> Any:
    """uint8 (Q, ⌈K/8⌉): the bits of several runs of keys start ≤ j < stop (Q, R), in order."""
    bits = np.zeros((len(start), -(-k_len // 8)), np.uint8)
    query = np.arange(len(start))[:, None]
    most = int((-(-stop // 8) - start // 8).max(initial=0))  # bytes that a run touches
    for first, last in zip(start.T[..., None], stop.T[..., None], strict=True):  # (Q, 1)
        byte = np.minimum(first // 8, bits.shape[1] - most) + np.arange(most, dtype=np.int32)
        bits[query, byte] |= _ones(last - 8 * byte) & ~_ones(first - 8 * byte)
    return bits


def _ones(n: Any) -> Any:
    """A byte whose first n bits are set."""
    return ((1 << np.clip(n, 0, 8)) - 1).astype(np.uint8)


def raised(lowered: Intervals | Packed) -> Any:
    """bool (…, Q, K): the dense mask again."""
    if isinstance(lowered, Packed):
        bits = np.unpackbits(lowered.bits, axis=-1, count=lowered.k_len, bitorder="little")
        return bits.astype(np.bool_)
    key = np.arange(lowered.k_len)
    return (lowered.start[..., None] <= key) & (key < lowered.stop[..., None])


def takes_part(lowered: Intervals | Packed, group: int) -> tuple[Any, Any]:
    """bool (…, K) and (…, Q): keys that some query sees, queries that see some key.

    `group` query heads share a key head, so the heads of the first are counted in key heads.
    """
    if isinstance(lowered, Packed):
        sees: Any = lowered.bits.any(-1)
        both = np.bitwise_or.reduce(lowered.bits, -2)
        used: Any = np.unpackbits(both, axis=-1, count=lowered.k_len, bitorder="little").astype(
            np.bool_
        )
    else:
        sees, used = lowered.start < lowered.stop, _covered(lowered)
    if used.ndim == 3 and used.shape[1] > 1:
        used = used.reshape(len(used), -1, group, used.shape[-1]).any(2)
    return used, sees


def _covered(intervals: Intervals) -> Any:
    """bool (…, K): keys in some interval. Adds 1 where one starts and −1 where it stops."""
    start, stop, K = intervals.start, intervals.stop, intervals.k_len
    *lead, q_len = start.shape
    flat = math.prod(lead), q_len
    lines = [
        np.cumsum(np.bincount(s, minlength=K + 1) - np.bincount(t, minlength=K + 1))[:K] > 0
        for s, t in zip(start.reshape(flat), stop.reshape(flat), strict=True)
    ]
    return np.array(lines, np.bool_).reshape(*lead, K)


@operation
def block_ranges(lowered: Intervals, block_q: int, block_k: int) -> Any:
    """int32 (…, ⌈Q/block_q⌉, 4): first, full_first, full_last, last block of keys, half open.

    Blocks outside [first, last) are empty, those in [full_first, full_last) are seen by every
    query of the block. Padding queries count for neither. Raises InputError for a size below 1.

    >>> from reference.operations.masks import causal
    >>> block_ranges(lower(causal(), 4, 4), 2, 2).tolist()
    [[0, 0, 0, 1], [0, 0, 1, 2]]
    """
    block_q, block_k = check_blocks(lowered, Intervals, block_q, block_k)
    start, stop = (_in_blocks(x, block_q, "edge") for x in (lowered.start, lowered.stop))
    none = start == stop
    first = np.where(none, lowered.k_len, start).min(-1) // block_k
    last = -(-np.where(none, 0, stop).max(-1) // block_k)
    last = np.maximum(first, last)
    full_first = np.clip(-(-start.max(-1) // block_k), first, last)
    full_last = np.clip(stop.min(-1) // block_k, full_first, last)
    return np.stack([first, full_first, full_last, last], axis=-1).astype(np.int32)


def block_classes(packed: Packed, block_q: int, block_k: int) -> Any:
    """uint8 (…, ⌈Q/block_q⌉, ⌈K/block_k⌉): EMPTY, PARTIAL or FULL. block_k: a multiple of 8.

    A last block that is cut short by k_len is at most PARTIAL: it still needs its mask. Raises
    InputError for another size.
    """
    block_q, block_k = check_blocks(packed, Packed, block_q, block_k)
    if block_k % 8:
        raise InputError(f"block_k must be a multiple of 8, got {block_k}")
    size = block_k // 8
    blocks = _in_blocks(np.swapaxes(packed.bits, -1, -2), block_q, "edge")  # (…, K/8, n, block_q)
    none = _in_blocks(np.moveaxis(blocks.max(-1), -2, -1), size, "zero").max(-1) == 0
    full = _in_blocks(np.moveaxis(np.bitwise_and.reduce(blocks, -1), -2, -1), size, "zero")
    full = np.bitwise_and.reduce(full, -1) == 255
    return np.where(none, EMPTY, np.where(full, FULL, PARTIAL)).astype(np.uint8)


def check_blocks(lowered: Any, kind: type, block_q: Any, block_k: Any) -> tuple[int, int]:
    """The sizes as ints; InputError if they aren't ints ≥ 1, or `lowered` isn't of this kind."""
    if not isinstance(lowered, kind):
        raise InputError(f"lowered must be {kind.__name__}, got {type(lowered).__name__}")
    return whole("block_q", block_q, 1), whole("block_k", block_k, 1)


def _in_blocks(x: Any, size: int, mode: str) -> Any:
    """(…, n) → (…, ⌈n/size⌉, size), the last block filled up with its last entry or zeros."""
    extra = [(0, 0)] * (x.ndim - 1) + [(0, -x.shape[-1] % size)]
    x = np.pad(x, extra, mode="edge" if mode == "edge" and x.shape[-1] else "constant")
    return x.reshape(*x.shape[:-1], x.shape[-1] // size, size)
