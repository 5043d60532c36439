"""Which keys a query may see: a small algebra of masks for attention (MISSION row K4).

    causal() & window(255) & documents(ids)        causal() | prefix(8)        padding(lengths)

`dense(q_len, k_len)` is a mask's definition: True where query i may see key j. Queries and keys
end together: query i stands at position i + k_len − q_len among the keys ("bottom-right").

Many masks show each query one interval of keys, start ≤ j < stop. `interval` gives it as O(S)
integers; an intersection of intervals is one, a union is where the two meet. What a blockwise
kernel reads is made of them in `reference.operations.lowering`.

Shapes: a mask may differ between batch entries (B, 1, Q, K) or heads (1, H, Q, K); what doesn't is
(Q, K), and the intervals are the same without K. Windows over images: Parmar et al., Image
Transformer (2018); raster order: van den Oord et al., PixelRNN (2016).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.checks import whole
from core.errors import InputError
from reference.operations.intervals import (
    Interval,
    common_lead,
    hull,
    of_rows,
    of_runs,
    overlap,
    raster_runs,
    union,
)

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
    return Window(min(whole("left", left, 0), _MOST), min(whole("right", right, 0), _MOST))


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
    height, width = whole("height", height, 0), whole("width", width, 0)
    reach = None if reach is None else min(whole("reach", reach, 0), _MOST)
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
        lines = [of_runs(line) for line in np.atleast_2d(self.ids)]
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
                f"mask must be for {q_len} queries and {k_len} keys, got {self.ids.shape[-1]} ids"
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
        if self.reach is not None:
            return hull(*self.runs(q_len, k_len))
        at = self._positions(q_len, k_len)
        return np.zeros_like(at), at + np.int32(self.own)

    def runs(self, q_len: int, k_len: int) -> Interval:
        """(start, stop), int32 (Q, R): the keys in reach, row by row of the image."""
        reach = self.height + self.width if self.reach is None else self.reach
        return raster_runs(self._positions(q_len, k_len), self.width, reach, self.own)

    def _positions(self, q_len: int, k_len: int) -> Any:
        if self.height * self.width != k_len or q_len > k_len:
            raise InputError(
                f"mask must be for {k_len} keys, got {self.height}×{self.width} pixels"
            )
        return _positions(q_len, k_len)


@dataclass(frozen=True)
class Boolean(Mask):
    """Keys that `seen` says; bool (Q, K) or (B or 1, H or 1, Q, K)."""

    seen: Any

    def dense(self, q_len: int, k_len: int) -> Any:
        """`seen` itself."""
        if self.seen.shape[-2:] != (q_len, k_len):
            raise InputError(f"mask must be {q_len} × {k_len}, got {self.seen.shape[-2:]}")
        return self.seen

    def interval(self, q_len: int, k_len: int) -> Interval | None:
        """Its rows, if each is one interval."""
        return of_rows(self.dense(q_len, k_len))


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
        return None if both is None else overlap(*both)


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
        return None if both is None else union(*both)


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


def _positions(q_len: int, k_len: int) -> Any:
    """Where each query stands among the keys: they end together."""
    return np.arange(k_len - q_len, k_len, dtype=np.int32)


def _per_batch(seen: Any) -> Any:
    """(K,) → (1, K); (B, K) → (B, 1, 1, K)."""
    return seen[None] if seen.ndim == 1 else seen[:, None, None]


def _a_mask(other: Any) -> Mask:
    if not isinstance(other, Mask):
        raise InputError(f"a mask must be combined with a mask, got {type(other).__name__}")
    return other


def _counts(name: str, n: Any) -> Any:
    n = np.asarray(n)
    if n.dtype.kind not in "iu" or n.ndim > 1 or (n < 0).any():
        raise InputError(f"{name} must be integers ≥ 0, one or (B,), got {n.dtype}{n.shape}")
    return _native(n)


def _native(x: Any) -> Any:
    """x as Numba and torch.compile read it: contiguous, native, writable; a copy only if not."""
    x = np.asarray(x, x.dtype.newbyteorder("="), order="C")
    backwards = min(x.strides, default=0) < 0  # an axis of 1 may be
    return x if x.flags.writeable and not backwards else x.copy()
