"""Convolutions without columns: sums over windows as small products of pixels where they lie (K1).

A few images at a time are laid, channels last, into a room with their padding. For the outputs the
rows of a tile are pixels that stand in one line, and its sums run along the taps and channels of a
line of the kernel; for the kernels the rows are channels, and the sums run over the pixels of a few
lines. Kernels, or lines, are taken in parts that stay in the first cache meanwhile.

Taken are one group, more than one tap, and whole vectors of output channels; for the others the
definition runs.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.lib.stride_tricks import as_strided

from core import columns
from core.columns import Window
from kernels.convolution.tile_numba import VECTORS, lanes, most_rows, tile
from kernels.numerics_numba import fused
from kernels.sharing import share

_DEEP = 96  # terms of a sum at a time
_LINES = 64  # pixels at a time, those of a line at least
_RUNS = 4  # of images: what threads share, and whose terms of the taps are summed apart


@njit(**fused)
def _parts(n: Any, most: Any) -> Any:
    """Into how many parts of no more than `most` n is cut; part i begins at n·i // parts."""
    return (n + most - 1) // most


@njit(**fused)
def _fill(room: Any, x: Any, low: Any, reach: Any) -> Any:
    """room, (H, W, C) in one line, zeros around: pixel i, j is x[i + low_0, j + low_1]."""
    (h, v, c), left = x.shape, max(low[1], 0)
    run = max(min(low[1] + reach[1], v) - left, 0) * c
    for i in range(max(low[0], 0), min(low[0] + reach[0], h)):
        there = ((i - low[0]) * reach[1] + left - low[1]) * c
        room[there : there + run] = x[i].reshape(-1)[left * c : left * c + run]
    return room


@njit(**fused)
def _wide(vectors: Any) -> Any:
    """Vectors that a tile takes of those left."""
    if vectors >= VECTORS:
        return VECTORS
    return 2 if vectors >= 2 else 1


@njit(**fused)
def _add_run(
    a: Any, a0: Any, ai: Any, ar: Any, aq: Any, w: Any, w0: Any, wq: Any, wk: Any, y: Any, y0: Any,
    yi: Any, yr: Any, h: Any, v: Any, vectors: Any, Q: Any, K: Any,
) -> None:  # fmt: skip
    """y[i, r, :] += Σ_q Σ_k a[q, k, pixel] w[q, k, :] for h lines of v pixels i, r of y."""
    tiles = _parts(v, most_rows(vectors))
    for i in range(h):
        for part in range(tiles):
            r, end = v * part // tiles, v * (part + 1) // tiles
            tile(
                end - r, vectors, a, a0 + i * ai + r * ar, ar, aq, 1, w, w0, wq, wk,
                y, y0 + i * yi + r * yr, yr, Q, K,
            )  # fmt: skip


@njit(**fused)
def _clear(y: Any, y0: Any, yi: Any, yr: Any, h: Any, v: Any, o: Any) -> None:
    for i in range(h):
        for r in range(v):
            there = y0 + i * yi + r * yr
            y[there : there + o] = 0


@njit(**fused)
def _correlate(
    x: Any, starts: Any, y: Any, size: Any, yi: Any, yr: Any, w: Any, start: Any, kernel: Any,
    stride: Any, dilation: Any, low: Any, reach: Any, n: Any,
) -> None:  # fmt: skip
    """x (B, H, W, C) → y by what `_packed` makes of w (h·w·C, O).

    y: flat; an image of size (H', W', O) begins at each of starts, yi and yr are from a line and a
    pixel to the next.
    """
    (h, v, o), c, row = size, x.shape[3], reach[1] * x.shape[3]
    room, terms = np.zeros(reach[0] * row, x.dtype), kernel[0] * kernel[1] * c
    joined = kernel[1] if dilation[1] == 1 else 1  # taps of a line that lie side by side
    run, runs = joined * c, kernel[1] // joined
    together = min(max(_DEEP // run, 1), kernel[0])
    parts, lines = _parts(run, _DEEP), max(_LINES // v, 1)
    whole = low[0] == 0 and low[1] == 0 and reach == x.shape[1:3]
    for b in range(len(x)):
        a = x[b].reshape(-1) if whole else _fill(room, x[b], low, reach)
        for top in range(0, h, lines):
            y0, some = starts[b] + top * yi, min(lines, h - top)
            _clear(y, y0, yi, yr, some, v, o)
            first = 0
            while first < o:
                vectors = _wide((o - first) // n)
                width = vectors * n
                for j in range(runs):
                    for i in range(0, kernel[0], together):
                        for part in range(parts):
                            k, end = run * part // parts, run * (part + 1) // parts
                            a0 = (top * stride[0] + i * dilation[0]) * row + k
                            _add_run(
                                a, a0 + j * dilation[1] * c,
                                stride[0] * row, stride[1] * c, dilation[0] * row,
                                w, start + first * terms + ((i * runs + j) * run + k) * width,
                                kernel[1] * c * width, width, y, y0 + first, yi, yr, some, v,
                                vectors, min(together, kernel[0] - i), end - k,
                            )  # fmt: skip
                first += width


@njit(**fused)
def _correlate_taps(
    x: Any, y: Any, total: Any, kernel: Any, stride: Any, dilation: Any, low: Any, reach: Any,
    n: Any,
) -> None:  # fmt: skip
    """total (h·w·C, O) += Σ over pixels of x (B, H, W, C) under each tap times y (B, H', W', O)."""
    (h, v, o), c = y.shape[1:], x.shape[3]
    row, lines = reach[1] * c, max(_LINES // v, 1)
    room, out = np.zeros(reach[0] * row, x.dtype), total.reshape(-1)
    some = np.empty(lines * v * o + n, x.dtype)
    start = _aligned(some)
    joined = kernel[1] if dilation[1] == 1 else 1
    run, runs = joined * c, kernel[1] // joined
    whole = low[0] == 0 and low[1] == 0 and reach == x.shape[1:3]
    for b in range(len(x)):
        a = x[b].reshape(-1) if whole else _fill(room, x[b], low, reach)
        g = y[b].reshape(h * v, o)
        for top in range(0, h, lines):
            deep = min(lines, h - top) * v
            first = 0
            while first < o:
                vectors = _wide((o - first) // n)
                width, parts = vectors * n, _parts(run, most_rows(vectors))
                for p in range(deep):
                    for m in range(width):
                        some[start + p * width + m] = g[top * v + p, first + m]
                for q in range(kernel[0] * runs):
                    i, j = q // runs, q % runs
                    a0 = (top * stride[0] + i * dilation[0]) * row + j * dilation[1] * c
                    for part in range(parts):
                        k, end = run * part // parts, run * (part + 1) // parts
                        tile(
                            end - k, vectors, a, a0 + k, 1, stride[0] * row, stride[1] * c,
                            some, start, v * width, width,
                            out, (q * run + k) * o + first, o, deep // v, v,
                        )  # fmt: skip
                first += width


@njit(**fused)
def _aligned(a: Any) -> Any:
    """The first number of a flat array that stands on a line of the cache."""
    return (-a.ctypes.data) % 64 // a.itemsize


@njit(**fused)
def _packed(w: Any, n: Any) -> Any:
    """w (K, O) as blocks of columns, the widths of tiles; where they start."""
    (k, o), out = w.shape, np.empty(w.size + n, w.dtype)
    start = _aligned(out)
    first, at = 0, start
    while first < o:
        width = _wide((o - first) // n) * n
        for i in range(k):
            for m in range(width):
                out[at + m] = w[i, first + m]
            at += width
        first += width
    return out, start


def correlate(x: Any, taps: Any, window: Window, *, out: Any = None) -> Any:
    """Twin of `correlate`."""
    g, k, c, o = taps.shape
    shape = (len(x), *window.size, g * o)
    y = np.empty(shape, x.dtype) if out is None else np.moveaxis(out, 1, 3)
    if y.strides[3] != y.itemsize or not _taken(x, y, g, o, window):
        return columns.correlate.definition(x, taps, window, out=out)
    w = _packed(np.ascontiguousarray(taps).reshape(k * c, o), lanes(x.dtype))
    along, *within = (n // y.itemsize for n in y.strides[:3])
    line = as_strided(y, (1 + sum(_last(y)),), y.strides[3:])
    how = (line, shape[1:], *within, *w, *_geometry(window, x.dtype))
    starts = np.arange(len(x)) * along
    share(_correlate, (columns.channels_last(x), starts), how, slices=_runs(len(x)))
    return np.moveaxis(y, 3, 1)


def correlate_taps(x: Any, y: Any, groups: int, window: Window) -> Any:
    """Twin of `correlate_taps`."""
    c, o = x.shape[1] // groups, y.shape[1] // groups
    if not _taken(x, y, groups, o, window):
        return columns.correlate_taps.definition(x, y, groups, window)
    pixels, y = columns.channels_last(x), columns.channels_last(y)
    totals = np.zeros((_RUNS, math.prod(window.kernel) * c, o), x.dtype)
    share(_correlate_taps, (pixels, y), _geometry(window, x.dtype), (totals,), _runs(len(x)))
    return totals.sum(axis=0).reshape(1, math.prod(window.kernel), c, o)


def _last(y: Any) -> list[int]:
    """How far, in numbers, the last of each axis is from the first."""
    return [(n - 1) * s // y.itemsize for n, s in zip(y.shape, y.strides, strict=True)]


def _runs(images: int) -> list[slice]:
    return [slice(images * i // _RUNS, images * (i + 1) // _RUNS) for i in range(_RUNS)]


def _taken(x: Any, y: Any, groups: int, o: int, window: Window) -> bool:
    """A kernel of one tap is a plain product already."""
    fits = x.dtype in (np.float32, np.float64) and o % lanes(x.dtype) == 0
    return groups == 1 and fits and window.kernel != (1, 1) and x.size > 0 and y.size > 0


def _geometry(window: Window, dtype: Any) -> tuple[Any, ...]:
    w = window
    return w.kernel, w.stride, w.dilation, w.offset, w.reach(), lanes(dtype)
