"""One interval of keys for each query: the arithmetic behind masks (MISSION row K4).

An interval is (start, stop), integers (…, Q): the keys start ≤ j < stop. Where a query's keys are
no interval, the functions here say None.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from core.errors import InputError

Interval = tuple[Any, Any]


def overlap(a: Interval, b: Interval) -> Interval:
    """The keys in both."""
    (s, t), (u, w) = a, b
    start = np.maximum(s, u)
    return start, np.maximum(start, np.minimum(t, w))


def union(a: Interval, b: Interval) -> Interval | None:
    """The keys in one or both; None if they lie apart."""
    (s, t), (u, w) = a, b
    no_a, no_b = s == t, u == w
    meet = np.maximum(s, u) <= np.minimum(t, w)
    if not (meet | no_a | no_b).all():
        return None
    start = np.where(no_a, u, np.where(no_b, s, np.minimum(s, u)))
    return start, np.where(no_a, w, np.where(no_b, t, np.maximum(t, w)))


def of_rows(seen: Any) -> Interval | None:
    """The rows of a bool (…, Q, K) as intervals, if each is one."""
    if not seen.shape[-1]:
        return np.zeros(seen.shape[:-1], np.int32), np.zeros(seen.shape[:-1], np.int32)
    count = seen.sum(-1, dtype=np.int32)
    start = seen.argmax(-1).astype(np.int32)
    stop = np.where(count > 0, seen.shape[-1] - seen[..., ::-1].argmax(-1), start).astype(np.int32)
    return (start, stop) if (stop - start == count).all() else None


def of_runs(ids: Any) -> Interval | None:
    """The run of equal ids (K,) around each entry; None if an id has two runs."""
    edges = np.flatnonzero(np.concatenate([[True], ids[1:] != ids[:-1], [True]]))
    first, last = edges[:-1], edges[1:]
    if not ids.size:
        return ids.astype(np.int32), ids.astype(np.int32)
    if np.unique(ids[first]).size < first.size:
        return None
    return np.repeat(first, last - first), np.repeat(last, last - first)


def raster_runs(at: Any, width: int, reach: int, own: bool) -> Interval:
    """(start, stop), int32 (Q, R): in each row of the image, the pixels near the one `at` (Q,).

    From `reach` rows above, in order, to the pixel's own row, which ends before it, or with it if
    it sees itself (`own`). Rows above the image are empty.
    """
    y, x = (n[:, None] for n in divmod(at, np.int32(max(width, 1))))  # (Q, 1)
    up = np.arange(min(reach, int(y.max(initial=0))), -1, -1, dtype=np.int32)  # (R,)
    row = np.maximum(y - up, 0) * np.int32(width)
    left, right = np.maximum(x, reach) - reach, np.where(up > 0, x + min(reach, width), x + own - 1)
    start, stop = row + left, row + np.minimum(right, width - 1) + 1
    return start.astype(np.int32), np.where(up > y, start, stop).astype(np.int32)


def hull(start: Any, stop: Any) -> Interval | None:
    """Several intervals (Q, R) of each query, in order and apart, as one; None if they aren't."""
    none = start >= stop
    first = np.where(none, np.int32(2**31 - 1), start).min(-1, initial=2**31 - 1)
    last = np.where(none, 0, stop).max(-1, initial=0)
    if (np.maximum(last - first, 0) != (stop - start).sum(-1)).any():
        return None
    return np.minimum(first, last), last


def common_lead(*leads: tuple[int, ...]) -> tuple[int, ...]:
    """What the leading axes of a mask's parts, () or (B, H), broadcast to; else InputError."""
    try:
        return np.broadcast_shapes(*leads)
    except ValueError:
        sizes = [sorted({*axis} - {1}) for axis in zip(*filter(None, leads), strict=True)]
        what, found = ("batches", sizes[0]) if len(sizes[0]) > 1 else ("heads", sizes[1])
        parts = " and ".join(map(str, found))
        raise InputError(f"mask: its parts are for {what} {parts}") from None
