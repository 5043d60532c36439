"""Which keys a query may see: a small algebra of masks for attention (MISSION row K4).

    causal() & window(255) & documents(ids)        causal() | prefix(8)        padding(lengths)

`dense(q_len, k_len)` is a mask's definition: True where query i may see key j. Queries and keys
end together: query i stands at position i + k_len − q_len among the keys ("bottom-right").

Many masks show each query one interval of keys, start ≤ j < stop. `interval` gives it as O(S)
integers; an intersection of intervals is one, a union is where the two meet. `lower` carries a
mask that way when it can, and as packed bits when it can't. A blockwise kernel then asks which
blocks of keys a block of queries must visit, and which of those need no mask at all:

    block_ranges(intervals, …)   first ≤ full_first ≤ full_last ≤ last, for each block of queries
    block_classes(packed, …)     EMPTY, PARTIAL or FULL, for each pair of blocks

Shapes: a mask may differ between batch entries (B, 1, Q, K) or heads (1, H, Q, K); what doesn't is
(Q, K), and the intervals are the same without K. Windows over images: Parmar et al., Image
Transformer (2018); raster order: van den Oord et al., PixelRNN (2016).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.errors import InputError
from core.operation import operation

EMPTY, PARTIAL, FULL = 0, 1, 2
SEVERAL = "mask shows a query several intervals of keys; `lower` packs such a mask"
Interval = tuple[Any, Any]
_MOST = 2**31 - 1  # no more keys than int32 counts, so a larger bound bounds nothing either


class Mask:
    """A rule for which keys each query may see; combine with & and |."""

    def dense(self, q_len: int, k_len: int) -> Any:
        """bool (…, q_len, k_len): True where the query may see the key.

        Raises InputError if the mask was made for other lengths.
        """
        raise NotImplementedError

    def interval(self, q_len: int, k_len: int) -> Interval | None:
        """(start, stop), int32 (…, q_len), 0 ≤ start ≤ stop ≤ k_len; None if not intervals."""
        raise NotImplementedError

    def __and__(self, other: Mask) -> Mask:
        return And(self, _a_mask(other))

    def __or__(self, other: Mask) -> Mask:
        return Or(self, _a_mask(other))


def causal() -> Mask:
    """Keys at or before the query."""
    return Window(None, 0)


def window(left: int, right: int = 0) -> Mask:
    """Keys at most `left` before and `right` after the query. Raises InputError if negative."""
    return Window(min(_count("left", left), _MOST), min(_count("right", right), _MOST))


def prefix(length: Any) -> Mask:
    """The first `length` keys, for every query; an int, or one (B,) for each batch entry."""
    return Before(_counts("length", length))


def padding(lengths: Any) -> Mask:
    """Keys that aren't padding: the first lengths[b] of batch entry b. lengths: int (B,)."""
    return Before(_counts("lengths", lengths))


def documents(ids: Any) -> Mask:
    """Keys of the query's own document. ids: int (K,) or (B, K); queries are the last Q keys."""
    ids = np.asarray(ids)
    if ids.dtype.kind not in "iu" or ids.ndim not in (1, 2):
        raise InputError(f"ids must be integers (K,) or (B, K), got {ids.dtype}{ids.shape}")
    return Documents(_native(ids))


def raster(height: int, width: int, *, reach: int | None = None, own: bool = True) -> Mask:
    """Pixels before the query's in raster order, row by row, as a PixelCNN reads an image.

    reach: at most that many rows up and columns to either side (None: all pixels before).
    own: whether a pixel sees itself (PixelCNN's mask B) or not (mask A).
    """
    height, width = _count("height", height), _count("width", width)
    reach = None if reach is None else min(_count("reach", reach), _MOST)
    return Raster(height, width, reach, bool(own))


def boolean(seen: Any) -> Mask:
    """Any mask: bool (Q, K) or (B or 1, H or 1, Q, K)."""
    return _boolean("seen must be", seen)


def as_mask(mask: Any) -> Mask:
    """A Mask, what `boolean` takes, or None for every key, as a Mask; else InputError."""
    if mask is None:
        return full()
    if isinstance(mask, Mask):
        return mask
    return _boolean("mask must be a Mask or", mask)


def _boolean(must_be: str, seen: Any) -> Mask:
    seen = np.asarray(seen)
    if seen.dtype != np.bool_ or seen.ndim not in (2, 4):
        kind = f"{seen.dtype}{seen.shape}"
        raise InputError(f"{must_be} bool (Q, K) or (B, H, Q, K), got {kind}")
    return Boolean(_native(seen))


def full() -> Mask:
    """Every key."""
    return Window(None, None)


@dataclass(frozen=True)
class Window(Mask):
    """Keys from `left` before to `right` after the query; None is no bound."""

    left: int | None
    right: int | None

    def dense(self, q_len: int, k_len: int) -> Any:
        """Whether a key's distance is in bounds."""
        distance = np.arange(k_len) - _positions(q_len, k_len)[:, None]  # (Q, K)
        seen = np.ones((q_len, k_len), np.bool_)
        if self.left is not None:
            seen &= distance >= -self.left
        if self.right is not None:
            seen &= distance <= self.right
        return seen

    def interval(self, q_len: int, k_len: int) -> Interval:
        """From `left` before the query to `right` after it."""
        at = _positions(q_len, k_len)
        left, right = narrowest([self], q_len, k_len)
        start, stop = np.clip(at - left, 0, k_len), np.clip(at + (right + 1), 0, k_len)
        return start, np.maximum(start, stop)


def narrowest(windows: Sequence[Window], q_len: int, k_len: int) -> tuple[int, int]:
    """(left, right) of all together. k_len to the left, k_len + q_len to the right bound nothing.

    Larger ones would overflow the positions' int32.
    """
    left = min([k_len, *(w.left for w in windows if w.left is not None)])
    return left, min([k_len + q_len, *(w.right for w in windows if w.right is not None)])


@dataclass(frozen=True)
class Before(Mask):
    """The first `length` keys; length: int () or (B,)."""

    length: Any

    def dense(self, q_len: int, k_len: int) -> Any:
        """Whether a key comes before the length."""
        seen = np.arange(k_len) < self.length[..., None]  # (K,) or (B, K)
        return np.broadcast_to(_per_batch(seen), (*_per_batch(seen).shape[:-2], q_len, k_len))

    def interval(self, q_len: int, k_len: int) -> Interval:
        """From the first key to the length."""
        # Of type uint32, k_len makes narrower lengths wider; an int would have to fit theirs.
        stop = np.minimum(self.length, np.uint32(k_len)).astype(np.int32)  # () or (B,)
        stop = stop[:, None, None] if stop.ndim else stop
        stop = np.broadcast_to(stop, (*stop.shape[:-1], q_len))
        return np.zeros_like(stop), stop


@dataclass(frozen=True)
class Documents(Mask):
    """Keys whose id is the query's. ids: integers (K,) or (B, K)."""

    ids: Any

    def dense(self, q_len: int, k_len: int) -> Any:
        """Whether the ids are equal."""
        self.check(q_len, k_len)
        own = self.ids[..., k_len - q_len :]
        seen = own[..., :, None] == self.ids[..., None, :]
        return seen if self.ids.ndim == 1 else seen[:, None]

    def interval(self, q_len: int, k_len: int) -> Interval | None:
        """The run of equal ids that the query is in; None if an id has two runs."""
        self.check(q_len, k_len)
        lines = [_runs(line) for line in np.atleast_2d(self.ids)]
        if any(line is None for line in lines):
            return None
        both = np.array(lines, np.int32)[..., k_len - q_len :]  # (B, 2, Q)
        if self.ids.ndim == 1:
            return both[0, 0], both[0, 1]
        return both[:, None, 0], both[:, None, 1]

    def check(self, q_len: int, k_len: int) -> None:
        """Raise InputError if the ids aren't those of k_len keys, or the queries are more."""
        if self.ids.shape[-1] != k_len or q_len > k_len:
            raise InputError(
                f"mask: documents of {self.ids.shape[-1]} keys; got {q_len} queries, {k_len} keys"
            )


@dataclass(frozen=True)
class Raster(Mask):
    """Pixels before the query's, within reach; see `raster`."""

    height: int
    width: int
    reach: int | None
    own: bool

    def dense(self, q_len: int, k_len: int) -> Any:
        """Whether a pixel comes before, and is near."""
        at, key = self._positions(q_len, k_len)[:, None], np.arange(k_len)
        seen = key < at + self.own  # (Q, K)
        if self.reach is not None:
            seen &= at // self.width - key // self.width <= self.reach
            seen &= np.abs(at % self.width - key % self.width) <= self.reach
        return seen

    def interval(self, q_len: int, k_len: int) -> Interval | None:
        """All pixels before; None if a reach leaves holes."""
        at = self._positions(q_len, k_len)
        if self.reach is not None:
            return _as_intervals(self.dense(q_len, k_len))
        return np.zeros_like(at), at + np.int32(self.own)

    def _positions(self, q_len: int, k_len: int) -> Any:
        if self.height * self.width != k_len or q_len > k_len:
            raise InputError(
                f"mask: {self.height}×{self.width} pixels; got {q_len} queries, {k_len} keys"
            )
        return _positions(q_len, k_len)


@dataclass(frozen=True)
class Boolean(Mask):
    """Keys that `seen` says; bool (Q, K) or (B or 1, H or 1, Q, K)."""

    seen: Any

    def dense(self, q_len: int, k_len: int) -> Any:
        """`seen` itself."""
        if self.seen.shape[-2:] != (q_len, k_len):
            raise InputError(
                f"mask is for {self.seen.shape[-2:]} (queries, keys), got {(q_len, k_len)}"
            )
        return self.seen

    def interval(self, q_len: int, k_len: int) -> Interval | None:
        """Its rows, if each is one interval."""
        return _as_intervals(self.dense(q_len, k_len))


@dataclass(frozen=True)
class And(Mask):
    """Keys that both masks show."""

    a: Mask
    b: Mask

    def dense(self, q_len: int, k_len: int) -> Any:
        """Seen by both."""
        a, b = _both_dense(self, q_len, k_len)
        return a & b

    def interval(self, q_len: int, k_len: int) -> Interval | None:
        """Where the two overlap; None if one of them is none."""
        both = _both_intervals(self, q_len, k_len)
        if both is None:
            return None
        (s, t), (u, w) = both
        start = np.maximum(s, u)
        return start, np.maximum(start, np.minimum(t, w))


@dataclass(frozen=True)
class Or(Mask):
    """Keys that one of two masks shows."""

    a: Mask
    b: Mask

    def dense(self, q_len: int, k_len: int) -> Any:
        """Seen by one or both."""
        a, b = _both_dense(self, q_len, k_len)
        return a | b

    def interval(self, q_len: int, k_len: int) -> Interval | None:
        """Where two meet or one is empty; None if they lie apart."""
        both = _both_intervals(self, q_len, k_len)
        if both is None:
            return None
        (s, t), (u, w) = both
        no_a, no_b = s == t, u == w
        meet = np.maximum(s, u) <= np.minimum(t, w)
        if not (meet | no_a | no_b).all():
            return None
        start = np.where(no_a, u, np.where(no_b, s, np.minimum(s, u)))
        return start, np.where(no_a, w, np.where(no_b, t, np.maximum(t, w)))


def _both_dense(of: And | Or, q_len: int, k_len: int) -> tuple[Any, Any]:
    a, b = of.a.dense(q_len, k_len), of.b.dense(q_len, k_len)
    common_lead(a.shape[:-2], b.shape[:-2])
    return a, b


def _both_intervals(of: And | Or, q_len: int, k_len: int) -> tuple[Interval, Interval] | None:
    a, b = of.a.interval(q_len, k_len), of.b.interval(q_len, k_len)
    if a is None or b is None:
        return None
    common_lead(a[0].shape[:-1], b[0].shape[:-1])
    return a, b


def common_lead(*leads: tuple[int, ...]) -> tuple[int, ...]:
    """What the leading axes of a mask's parts, () or (B, H), broadcast to; else InputError."""
    try:
        return np.broadcast_shapes(*leads)
    except ValueError:
        sizes = [sorted({*axis} - {1}) for axis in zip(*filter(None, leads), strict=True)]
        what, found = ("batches", sizes[0]) if len(sizes[0]) > 1 else ("heads", sizes[1])
        parts = " and ".join(map(str, found))
        raise InputError(f"mask: its parts are for {what} {parts}") from None


# Lowered masks


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
    return Packed(np.packbits(mask.dense(q_len, k_len), axis=-1, bitorder="little"), k_len)


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
    return _count("block_q", block_q, 1), _count("block_k", block_k, 1)


def _in_blocks(x: Any, size: int, mode: str) -> Any:
    """(…, n) → (…, ⌈n/size⌉, size), the last block filled up with its last entry or zeros."""
    extra = [(0, 0)] * (x.ndim - 1) + [(0, -x.shape[-1] % size)]
    x = np.pad(x, extra, mode="edge" if mode == "edge" and x.shape[-1] else "constant")
    return x.reshape(*x.shape[:-1], x.shape[-1] // size, size)


def _as_intervals(seen: Any) -> Interval | None:
    """The rows of a bool (…, Q, K) as intervals, if each is one."""
    if not seen.shape[-1]:
        return np.zeros(seen.shape[:-1], np.int32), np.zeros(seen.shape[:-1], np.int32)
    count = seen.sum(-1, dtype=np.int32)
    start = seen.argmax(-1).astype(np.int32)
    stop = np.where(count > 0, seen.shape[-1] - seen[..., ::-1].argmax(-1), start).astype(np.int32)
    return (start, stop) if (stop - start == count).all() else None


def _runs(ids: Any) -> Interval | None:
    """(start, stop) of the run of equal ids around each entry; None if an id has two runs."""
    edges = np.flatnonzero(np.concatenate([[True], ids[1:] != ids[:-1], [True]]))
    first, last = edges[:-1], edges[1:]
    if not ids.size:
        return ids.astype(np.int32), ids.astype(np.int32)
    if np.unique(ids[first]).size < first.size:
        return None
    return np.repeat(first, last - first), np.repeat(last, last - first)


def _positions(q_len: int, k_len: int) -> Any:
    """Where each query stands among the keys: they end together."""
    return np.arange(k_len - q_len, k_len, dtype=np.int32)


def _per_batch(seen: Any) -> Any:
    """(K,) → (1, K); (B, K) → (B, 1, 1, K)."""
    return seen[None] if seen.ndim == 1 else seen[:, None, None]


def _a_mask(other: Any) -> Mask:
    if not isinstance(other, Mask):
        raise InputError(f"a mask combines with a mask, got {type(other).__name__}")
    return other


def _count(name: str, n: Any, least: int = 0) -> int:
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < least:
        raise InputError(f"{name} must be an int ≥ {least}, got {n!r}")
    return int(n)


def _counts(name: str, n: Any) -> Any:
    n = np.asarray(n)
    if n.dtype.kind not in "iu" or n.ndim > 1 or (n < 0).any():
        raise InputError(f"{name} must be integers ≥ 0, one or (B,), got {n.dtype}{n.shape}")
    return _native(n)


def _native(x: Any) -> Any:
    """x as Numba and torch can read it, contiguous and in native byte order; a copy only if not."""
    x = np.asarray(x, x.dtype.newbyteorder("="), order="C")
    return x.copy() if min(x.strides, default=0) < 0 else x  # an axis of 1 may run backwards
