"""Histograms on the CPU, equal to their definition to the last count (row K2).

The bin of a value is a matter of the edges alone: edges[k] ≤ x < edges[k+1], the last bin closed.
Where the edges are evenly spaced, k is estimated as ⌊(x − low)·bins/(high − low)⌋, a block at a
time so that the loop becomes SIMD code. The estimate can be wrong only where it lies within
`slack` of an integer, and `slack` is computed from the edges themselves; a block that holds such a
value is repaired by comparing with the edges. Otherwise a table says in which bin to start
comparing, or a binary search does. Counts go to four private tables in turn, so that equal values
in a row don't wait for each other's store.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numba
import numpy as np
from numba import njit, prange

from reference.operations.histogram import (
    checked_edges,
    checked_grid,
    checked_weights,
    integers_below,
    real_numbers,
)

_BLOCK = 2048  # values
_ROWS = 1 << 14  # a table of 256² bins fills the cache: bins are found long before they are counted
_CHUNK = 1 << 16  # rows of one weighted partial sum: fixed, whatever the number of threads
_CACHED = 1 << 14  # bins of which a first-level cache holds four tables
_PART = 1 << 17  # rows that are copied at a time
_WAVE = 32  # partial sums held at a time
_UNIFORM, _GUIDED, _SEARCHED = 0, 1, 2
_CELLS, _STEPS = 1 << 16, 8  # of a guide, at most
_NARROW = 1e-290  # between the outer edges: _CELLS / width and width / _CELLS are normal above it
_EXACT = 1 << 53  # up to here float64 holds every integer
_how: dict[str, Any] = {"error_model": "numpy", "nogil": True, "cache": True}


# The bin of each value of a block


@njit(inline="always", **_how)
def _settle(x: Any, k: int, edges: Any) -> int:
    """The bin of x, which lies inside, from a guess k."""
    last = edges.size - 2
    k = min(max(k, 0), last)
    while k > 0 and x < edges[k]:
        k -= 1
    while k < last and x >= edges[k + 1]:
        k += 1
    return k


@njit(**_how)
def _uniform(x: Any, edges: Any, scale: float, slack: float, out: Any) -> None:
    """out[j] = bin of x[j], or edges.size − 1 where x[j] is outside or NaN."""
    low, high, lost = edges[0], edges[-1], edges.size - 0.5
    risky: Any = 0
    for j in range(x.size):
        v = np.float64(x[j])
        t = (v - low) * scale if (v >= low) & (v <= high) else lost
        k = np.int32(t)
        risky += abs(t - np.float64(k) - 0.5) > 0.5 - slack
        out[j] = k
    if risky:
        for j in range(x.size):
            if x[j] >= low and x[j] <= high:
                out[j] = _settle(np.float64(x[j]), out[j], edges)


@njit(**_how)
def _guided(x: Any, edges: Any, upper: Any, scale: float, guide: Any, steps: int, out: Any) -> None:
    """As `_uniform`; guide[c] is the bin in which cell c of an even grid begins, upper[k] its end.

    No cell reaches over more than `steps` edges: as many compares, and no branch, find the bin.
    The last cell is that of the outsiders.
    """
    low, high, lost = edges[0], edges[-1], np.float64(guide.size - 1)
    for j in range(x.size):
        v = np.float64(x[j])
        inside = (v >= low) & (v <= high)
        out[j] = np.int32((v - low) * scale if inside else lost)
    for j in range(x.size):
        k = guide[out[j]]
        out[j] = k + np.uint32(x[j] >= upper[k])
    for _ in range(steps - 1):
        for j in range(x.size):
            k = out[j]
            out[j] = k + np.uint32(x[j] >= upper[k])


@njit(**_how)
def _searched(x: Any, edges: Any, out: Any) -> None:
    """As `_uniform`, by binary search: for infinite or crowded edges."""
    bins = edges.size - 1
    for j in range(x.size):
        v = np.float64(x[j])
        if not (v >= edges[0] and v <= edges[bins]):
            out[j] = bins
            continue
        below, above = 0, bins
        while above - below > 1:
            middle = (below + above) // 2
            if v >= edges[middle]:
                below = middle
            else:
                above = middle
        out[j] = _settle(v, below, edges)


@njit(inline="always", **_how)
def _bins_of(x: Any, axis: Any, out: Any) -> None:
    edges, upper, guide, way, steps, scale, slack = axis
    if way == _UNIFORM:
        _uniform(x, edges, scale, slack, out)
    elif way == _GUIDED:
        _guided(x, edges, upper, scale, guide, steps, out)
    else:
        _searched(x, edges, out)


# Counting


@njit(inline="always", **_how)
def _scatter(index: Any, m: int, tables: Any) -> None:
    """Add 1 at index[j], into four tables in turn, or into one too large to have four times."""
    if len(tables) == 1:
        for j in range(m):
            tables[0, index[j]] += np.uint32(1)
        return
    whole = m - m % 4
    for j in range(0, whole, 4):
        tables[0, index[j]] += np.uint32(1)
        tables[1, index[j + 1]] += np.uint32(1)
        tables[2, index[j + 2]] += np.uint32(1)
        tables[3, index[j + 3]] += np.uint32(1)
    for j in range(whole, m):
        tables[0, index[j]] += np.uint32(1)


@njit(**_how)
def _drain(tables: Any, counts: Any) -> None:
    """Move what the tables hold into the counts; the last column held the outsiders."""
    for t in range(len(tables)):
        for k in range(counts.size):
            counts[k] += np.int64(tables[t, k])
    tables[:] = 0


@njit(**_how)
def _count(x: Any, axis: Any, counts: Any) -> None:
    """Add the counts of x (n,) to counts (bins,)."""
    index = np.empty(_BLOCK, np.uint32)
    tables = np.zeros((4, counts.size + 1), np.uint32)
    for start in range(0, x.size, _BLOCK):
        m = min(_BLOCK, x.size - start)
        _bins_of(x[start : start + m], axis, index)
        _scatter(index, m, tables)
        if (start // _BLOCK) & 0x3FFFF == 0x3FFFF:  # before a uint32 is full
            _drain(tables, counts)
    _drain(tables, counts)


@njit(parallel=True, **_how)
def _count_parallel(x: Any, axis: Any, parts: Any) -> None:
    size = (x.size + len(parts) - 1) // len(parts)
    for task in prange(len(parts)):
        part = x[min(task * size, x.size) : min((task + 1) * size, x.size)]
        _count(part, axis, parts[task])


# Rows of x: (n, D), or (D, n) where they lie by column


@njit(**_how)
def _count_rows(
    x: Any, by_column: bool, begin: int, end: int, axes: Any, tables: Any, counts: Any
) -> None:
    """Add the counts of rows begin … end − 1 to counts, the flattened bins of all axes."""
    index, column = np.empty(_ROWS, np.uint32), np.empty(_ROWS, np.uint32)
    for start in range(begin, end, _ROWS):
        m = min(_ROWS, end - start)
        _flat_bins(x, by_column, start, m, axes, counts.size, column, index)
        _scatter(index, m, tables)
        if ((start - begin) // _ROWS) & 0x1FFFF == 0x1FFFF:  # 2³¹ rows
            _drain(tables, counts)
    _drain(tables, counts)


@njit(inline="always", **_how)
def _estimated_pairs(x: Any, y: Any, step: int, gap: int, axes: Any, total: int, out: Any) -> bool:
    """The flattened bins of (x[step·j], y[step·j + gap]); False if one may be wrong."""
    edges, _, _, at, _, _, _, scales, slacks = axes
    low_u, high_u, scale_u = edges[0], edges[at[1] - 1], scales[0]
    low_v, high_v, scale_v = edges[at[1]], edges[at[2] - 1], scales[1]
    bins, lost, sure = np.uint32(at[2] - at[1] - 1), np.uint32(total), 0.5 - max(slacks)
    risky: Any = 0
    for j in range(out.size):
        u, v = np.float64(x[step * j]), np.float64(y[step * j + gap])
        inside = (u >= low_u) & (u <= high_u) & (v >= low_v) & (v <= high_v)
        s = (u - low_u) * scale_u if inside else 0.5
        t = (v - low_v) * scale_v if inside else 0.5
        k, n = np.int32(s), np.int32(t)
        f, g = abs(s - np.float64(k) - 0.5), abs(t - np.float64(n) - 0.5)
        risky += (f if f > g else g) > sure
        out[j] = np.uint32(np.uint32(k) * bins + np.uint32(n)) if inside else lost
    return bool(risky == 0)


@njit(**_how)
def _pairs(x: Any, by_column: bool, start: int, axes: Any, total: int, out: Any) -> bool:
    """`_flat_bins` of two even axes; each layout has a loop of its own, or SIMD would be lost."""
    if by_column:
        return bool(_estimated_pairs(x[0, start:], x[1, start:], 1, 0, axes, total, out))
    flat = x[start:].reshape(-1)
    return bool(_estimated_pairs(flat, flat, 2, 1, axes, total, out))


@njit(**_how)
def _flat_bins(
    x: Any, by_column: bool, start: int, m: int, axes: Any, total: int, column: Any, out: Any
) -> None:
    """out[j] = the flattened bin of row start + j, or `total` where a coordinate is outside."""
    ways = axes[5]
    if ways.size != 2 or ways[0] != _UNIFORM or ways[1] != _UNIFORM:
        _axis_by_axis(x, by_column, start, m, axes, total, column, out)
    elif not _pairs(x, by_column, start, axes, total, out[:m]):
        for at in range(0, m, _BLOCK):  # only where the estimate may be wrong is it repaired
            n = min(_BLOCK, m - at)
            if not _pairs(x, by_column, start + at, axes, total, out[at : at + n]):
                _axis_by_axis(x, by_column, start + at, n, axes, total, column, out[at:])


@njit(**_how)
def _axis_by_axis(
    x: Any, by_column: bool, start: int, m: int, axes: Any, total: int, column: Any, out: Any
) -> None:
    """`_flat_bins` of any number of axes, each even or not."""
    edges, uppers, guides, edge_at, guide_at, ways, steps, scales, slacks = axes
    lost, dense = np.uint32(total), np.empty(_ROWS, x.dtype)
    for j in range(m):
        out[j] = 0
    for d in range(ways.size):
        e, upper = edges[edge_at[d] : edge_at[d + 1]], uppers[edge_at[d] : edge_at[d + 1]]
        guide = guides[guide_at[d] : guide_at[d + 1]]
        axis = (e, upper, guide, ways[d], steps[d], scales[d], slacks[d])
        for j in range(m):  # side by side: SIMD needs that
            dense[j] = x[d, start + j] if by_column else x[start + j, d]
        _bins_of(dense[:m], axis, column)
        bins = np.uint32(e.size - 1)
        for j in range(m):
            inside = (column[j] != bins) & (out[j] != lost)
            out[j] = np.uint32(out[j] * bins + column[j]) if inside else lost


@njit(parallel=True, **_how)
def _count_rows_parallel(
    x: Any, by_column: bool, n: int, axes: Any, tables: Any, parts: Any
) -> None:
    size = (n + len(parts) - 1) // len(parts)
    for task in prange(len(parts)):
        begin, end = min(task * size, n), min((task + 1) * size, n)
        _count_rows(x, by_column, begin, end, axes, tables[task], parts[task])


@njit(parallel=True, **_how)
def _weigh_rows(x: Any, weights: Any, axes: Any, parts: Any) -> None:
    """parts[c] = the sums of weights in chunk c of the rows; one more column for outsiders."""
    for c in prange(len(parts)):
        index, column = np.empty(_ROWS, np.uint32), np.empty(_ROWS, np.uint32)
        parts[c] = 0.0
        for start in range(c * _CHUNK, min((c + 1) * _CHUNK, len(x)), _ROWS):
            m = min(_ROWS, len(x) - start, (c + 1) * _CHUNK - start)
            _flat_bins(x, False, start, m, axes, parts.shape[1] - 1, column, index)
            for j in range(m):
                parts[c, index[j]] += weights[start + j]


@njit(parallel=True, **_how)
def _categories(x: Any, parts: Any) -> None:
    size = (x.size + len(parts) - 1) // len(parts)
    for task in prange(len(parts)):
        part = x[min(task * size, x.size) : min((task + 1) * size, x.size)]
        tables = np.zeros((4, parts.shape[1] + 1), np.uint32)
        for start in range(0, part.size, 1 << 30):
            stop = min(start + (1 << 30), part.size)
            _scatter(part[start:stop], stop - start, tables)
            _drain(tables, parts[task])


# From NumPy's arguments to the loops above


class _Axis:
    """The edges of one axis, for values x of a dtype, and how to find a bin among them.

    Integers are compared in float64, which orders them rightly unless edges reach 2⁵³. Such edges
    are `whole`, and the loops see the numbers of the bins instead.
    """

    def __init__(self, edges: Any, dtype: Any) -> None:
        edges = edges.astype(np.result_type(dtype, edges), copy=False)  # int64, uint64: float64
        integers = edges.dtype.kind in "iu" and dtype.kind in "iu"
        large = integers and max(-int(edges[0]), int(edges[-1])) >= _EXACT
        self.whole = edges if large else None
        self.edges = np.asarray(np.arange(edges.size) if large else edges, np.float64)
        self.bins = self.edges.size - 1
        self.upper = np.append(self.edges[1:-1], [math.nan, math.nan])  # no value passes a NaN
        self.way, self.steps, self.scale, self.slack = _SEARCHED, 0, 0.0, 0.0
        self.guide = np.empty(0, np.uint32)
        with np.errstate(over="ignore", invalid="ignore"):  # edges as far apart as floats can be
            width = self.edges[-1] - self.edges[0]
            if _NARROW <= width < math.inf:
                self._try_uniform(width) or self._try_guide(width)

    def numbered(self, x: Any) -> Any:
        """What `edges` (bins + 1,) are for: x (n,), or among whole ones its bin, −1 outside."""
        if self.whole is None:
            return x
        k = np.searchsorted(self.whole, x, side="right") - 1
        k[x == self.whole[-1]] -= 1
        k[(x < self.whole[0]) | (k == self.bins)] = -1
        return k

    def _try_uniform(self, width: float) -> bool:
        scale = self.bins / width
        off = np.abs((self.edges - self.edges[0]) * scale - np.arange(self.bins + 1)).max()
        slack = off + 8 * np.finfo(float).eps * self.bins
        if slack > 0.01:
            return False
        self.way, self.scale, self.slack = _UNIFORM, scale, slack
        return True

    def _try_guide(self, width: float) -> bool:
        """The fewest cells that reach over one edge at most, or else over _STEPS."""
        tried = [c for c in (4 * self.bins << n for n in range(15)) if c <= _CELLS]
        for cells in tried or [_CELLS]:
            guide, steps = self._guide(cells, width)
            if steps <= 1:
                break
        if steps > _STEPS:  # many bins in one cell: stepping through would be slow
            return False
        self.way, self.steps, self.scale = _GUIDED, steps, len(guide) / width
        # the end of the last cell, and whatever a rounding takes there; the outsiders
        self.guide = np.append(guide, [guide[-1], self.bins]).astype(np.uint32)
        return True

    def _guide(self, cells: int, width: float) -> tuple[Any, int]:
        """The bin in which each cell begins, and the most edges that one reaches over.

        A value whose cell was computed may lie outside it by a rounding, and cells are that wider.
        """
        eps = 8 * np.finfo(float).eps * np.abs(self.edges[[0, -1]]).max()
        starts = self.edges[0] + np.arange(cells + 1) * (width / cells)
        first, last = (
            np.clip(np.searchsorted(self.edges, at, side="right") - 1, 0, self.bins - 1)
            for at in (starts[:-1] - eps, starts[1:] + eps)
        )
        return first, int((last - first).max())


def _packed(axes: Sequence[_Axis]) -> tuple[Any, ...]:
    edge_at = np.cumsum([0, *(a.edges.size for a in axes)])
    guide_at = np.cumsum([0, *(a.guide.size for a in axes)])
    return (
        np.concatenate([a.edges for a in axes]),
        np.concatenate([a.upper for a in axes]),
        np.concatenate([a.guide for a in axes]),
        edge_at,
        guide_at,
        np.array([a.way for a in axes]),
        np.array([a.steps for a in axes]),
        np.array([a.scale for a in axes]),
        np.array([a.slack for a in axes]),
    )


def histogram(x: Any, edges: Any, weights: Any = None) -> Any:
    """Twin of `histogram`."""
    x, edges = real_numbers("x", x), checked_edges("edges", edges)
    axis = _Axis(edges, x.dtype)
    if weights is not None:
        weights = checked_weights(weights, x.shape).ravel()
        return _weighted(x.reshape(-1, 1), weights, [axis])
    how = axis.edges, axis.upper, axis.guide, axis.way, axis.steps, axis.scale, axis.slack
    parts = np.zeros((_tasks(x.size), axis.bins), np.int64)
    for (chunk,) in _dense_floats(x.reshape(1, -1), [axis], 1):
        _count(chunk, how, parts[0]) if len(parts) == 1 else _count_parallel(chunk, how, parts)
    return parts.sum(axis=0)


def histogram_nd(x: Any, edges: Sequence[Any], weights: Any = None) -> Any:
    """Twin of `histogram_nd`."""
    x, every = checked_grid(x, edges)
    axes = [_Axis(e, x.dtype) for e in every]
    shape = tuple(a.bins for a in axes)
    if weights is not None:
        return _weighted(x, checked_weights(weights, x.shape[:1]), axes).reshape(shape)
    packed, parts = _packed(axes), np.zeros((_tasks(len(x)), math.prod(shape)), np.int64)
    copies = 4 if parts.shape[1] <= _CACHED else 1
    tables = np.zeros((len(parts), copies, parts.shape[1] + 1), np.uint32)
    by_column = bool(x.flags.f_contiguous and not x.flags.c_contiguous)
    for chunk in _dense_floats(x.T if by_column else x, axes, int(by_column)):
        n = chunk.shape[int(by_column)]
        if len(parts) == 1:
            _count_rows(chunk, by_column, 0, n, packed, tables[0], parts[0])
        else:
            _count_rows_parallel(chunk, by_column, n, packed, tables, parts)
    return parts.sum(axis=0).reshape(shape)


def count_categories(x: Any, levels: int) -> Any:
    """Twin of `count_categories`."""
    x = integers_below(x, levels)
    x = np.ascontiguousarray(x, x.dtype.newbyteorder("=")).ravel()
    parts = np.zeros((_tasks(x.size), levels), np.int64)
    _categories(x, parts)
    return parts.sum(axis=0)


def _dense_floats(x: Any, axes: Sequence[_Axis], along: int) -> Iterator[Any]:
    """x itself if it is dense and float, else dense floating copies of its parts.

    x is (n, D), or (D, n) if along is 1. One layout and two dtypes are all that is compiled.
    """
    if x.flags.c_contiguous and x.dtype.kind == "f" and x.dtype.isnative:
        yield x
        return
    dtype = x.dtype.newbyteorder("=") if x.dtype.kind == "f" else np.float64
    for start in range(0, x.shape[along], _PART):
        of = slice(start, start + _PART)
        part = _numbered(x[:, of], axes) if along else _numbered(x[of].T, axes).T
        yield np.ascontiguousarray(part, dtype)


def _numbered(x: Any, axes: Sequence[_Axis]) -> Any:
    """Columns x (D, n), or what stands for them where float64 can't hold the edges."""
    if all(a.whole is None for a in axes):
        return x
    return np.stack([a.numbered(column) for a, column in zip(axes, x, strict=True)])


def _tasks(n: int) -> int:
    """One for small inputs (a parallel region costs 50 µs), else one per thread."""
    return 1 if n < 200_000 else int(numba.get_num_threads())


def _weighted(x: Any, weights: Any, axes: Sequence[_Axis]) -> Any:
    """Sums over fixed chunks, added in the order of the chunks: the threads can't change a bit."""
    packed, total = _packed(axes), np.zeros(math.prod(a.bins for a in axes))
    for start in range(0, len(x), _WAVE * _CHUNK):
        columns = _numbered(x[start : start + _WAVE * _CHUNK].T, axes)
        rows = np.ascontiguousarray(columns.T, np.float64)
        parts = np.empty((-(-len(rows) // _CHUNK), total.size + 1))
        _weigh_rows(rows, weights[start : start + len(rows)], packed, parts)
        for part in parts:
            total += part[:-1]
    return total
