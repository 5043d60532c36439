"""The definition of counting into bins; which bin a value belongs to the edges alone decide.

    count_k = #{i : edges_k ≤ x_i < edges_{k+1}},    the last bin closed on the right

NaN and what lies outside is not counted. Sums of counts are the counts of sums: histograms of
chunks add up to the histogram of the whole. `kernels` has the fast twins. MISSION rows H1, K2.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from math import prod
from typing import Any

import numpy as np

from core.checks import whole
from core.errors import InputError
from core.operation import operation


@operation
def histogram(x: Any, edges: Any, weights: Any = None) -> Any:
    """Counts int64 (K,) of x, any shape, between edges (K + 1,); sums float64 (K,) of weights.

    weights: one for each x, any sign; each bin's are added in the order of x, and to no other's.
    Raises InputError for edges that fall or hold NaN, for x that are no real numbers, and for
    weights of another shape.

    >>> histogram(np.array([0.5, 1.5, 2.0]), np.array([0, 1, 2])).tolist()
    [1, 2]
    """
    x, edges = real_numbers("x", x), checked_edges("edges", edges)
    if weights is None:
        return np.histogram(x, edges)[0].astype(np.int64)
    w = checked_weights(weights, x.shape).ravel()
    return _added(_bins(x.ravel(), edges), w, edges.size - 1)


@operation
def histogram_nd(x: Any, edges: Sequence[Any], weights: Any = None) -> Any:
    """Counts int64 (K_1, …, K_D) of the rows of x (N, D), edges for each axis; sums with weights.

    Raises InputError as `histogram` does, and for 2³² cells or more.

    >>> histogram_nd(np.array([[0.5, 0.5], [1.5, 0.5], [1.5, 0.2]]), [[0, 1, 2], [0, 1]])
    array([[1],
           [2]])
    """
    x, every = checked_grid(x, edges)
    w = None if weights is None else checked_weights(weights, x.shape[:1])
    shape = tuple(e.size - 1 for e in every)
    cell = np.zeros(len(x), np.int64)
    for column, e in zip(x.T, every, strict=True):
        k = _bins(column, e)
        cell = np.where((cell < 0) | (k < 0), -1, cell * (e.size - 1) + k)
    return _added(cell, w, prod(shape)).reshape(shape)


def _bins(x: Any, edges: Any) -> Any:
    """The bin of each x (N,), −1 outside; both are compared in the dtype that holds both."""
    common = np.result_type(x, edges)
    x, edges = x.astype(common, copy=False), edges.astype(common, copy=False)
    k = np.searchsorted(edges, x, side="right") - 1
    k[x == edges[-1]] = edges.size - 2
    return np.where(k == edges.size - 1, -1, k)  # NaN is after every number


def _added(k: Any, weights: Any, bins: int) -> Any:
    inside = k >= 0
    w = None if weights is None else weights[inside]
    sums = np.bincount(k[inside], w, minlength=bins)
    return sums.astype(np.int64 if weights is None else np.float64, copy=False)


@operation
def count_categories(x: Any, levels: int) -> Any:
    """Counts int64 (levels,) of whole numbers x, any shape, in 0, …, levels − 1.

    Raises InputError for a value outside, for x that are no integers, and for levels that are no
    integer of at least 1.

    >>> count_categories(np.array([2, 0, 2, 1]), 4)
    array([1, 1, 2, 0])
    """
    x = integers_below(x, levels)
    return np.bincount(x.ravel(), minlength=levels)


def histogram_of_chunks(
    chunks: Iterable[Any], edges: Any, weights: Iterable[Any] | None = None
) -> Any:
    """The histogram of data that don't fit into memory, from an iterable of arrays.

    Counts int64 (K,), by whichever back end is chosen; with weights, an iterable of as many arrays,
    sums float64 (K,). A `numpy.memmap` needs none of this: `histogram` reads it a part at a time.
    Raises InputError as `histogram` does, and if one iterable ends before the other.
    """
    total = histogram(np.empty(0), edges, None if weights is None else np.empty(0))
    for chunk in _paired(chunks, weights):
        total += histogram(chunk[0], edges, *chunk[1:])
    return total


def histogram_nd_of_chunks(
    chunks: Iterable[Any], edges: Sequence[Any], weights: Iterable[Any] | None = None
) -> Any:
    """The same for rows (n, D) and edges for each axis: (K_1, …, K_D)."""
    none = np.empty((0, len(edges)))
    total = histogram_nd(none, edges, None if weights is None else np.empty(0))
    for chunk in _paired(chunks, weights):
        total += histogram_nd(chunk[0], edges, *chunk[1:])
    return total


def _paired(chunks: Iterable[Any], weights: Iterable[Any] | None) -> Iterator[tuple[Any, ...]]:
    if weights is None:
        yield from ((chunk,) for chunk in chunks)
        return
    for n, (chunk, w) in enumerate(zip_longest(chunks, weights)):
        if chunk is None or w is None:
            few, many = ("chunks", "weights") if chunk is None else ("weights", "chunks")
            raise InputError(f"{few} ends after {n} arrays, but {many} goes on")
        yield chunk, w


def checked_edges(name: str, edges: Any) -> Any:
    """edges as a real array (K + 1,), K ≥ 1. InputError unless they rise or stay."""
    edges = real_numbers(name, edges)
    if edges.ndim != 1 or edges.size < 2:
        raise InputError(f"{name} must be at least 2 edges (K + 1,), got shape {edges.shape}")
    if not np.all(edges[:-1] <= edges[1:]):
        raise InputError(f"{name} must not fall (nor hold NaN), got {edges}")
    return edges


def checked_grid(x: Any, edges: Sequence[Any]) -> tuple[Any, list[Any]]:
    """x as real rows (N, D), and D real arrays of edges.

    InputError for another shape of x, edges that fall, or more cells than 32 bits can number.
    """
    x = real_numbers("x", x)
    if x.ndim != 2 or x.shape[1] != len(edges) or not len(edges):
        raise InputError(
            f"x must have shape (N, {len(edges)}), as many columns as edges, got {x.shape}"
        )
    every = [checked_edges(f"edges[{j}]", e) for j, e in enumerate(edges)]
    cells = prod(e.size - 1 for e in every)
    if cells >= 2**32:
        raise InputError(f"edges must make fewer than 2**32 cells, got {cells}")
    return x, every


def checked_weights(weights: Any, shape: tuple[int, ...]) -> Any:
    """weights as float64. InputError unless they are finite and of this shape."""
    weights = real_numbers("weights", weights).astype(np.float64, copy=False)
    if weights.shape != shape:
        raise InputError(f"weights must have the shape of x, {shape}, got {weights.shape}")
    if not np.isfinite(weights).all():
        raise InputError("weights must hold finite numbers, got NaN or infinity")
    return weights


def integers_below(x: Any, levels: int) -> Any:
    """x as an integer array. InputError unless every value is one of 0, …, levels − 1.

    And unless levels is an integer of at least 1.
    """
    x, levels = np.asarray(x), whole("levels", levels, 1)
    if x.dtype.kind not in "iu":
        raise InputError(f"x must be integers, got {x.dtype}")
    if x.size and not (x.min() >= 0 and x.max() < levels):
        raise InputError(f"x must lie in 0..{levels - 1}, got {x.min()}..{x.max()}")
    return x


def real_numbers(name: str, x: Any) -> Any:
    """x as float32, float64 or integers, in any byte order; bool and float16 are widened."""
    x = np.asarray(x)
    if x.dtype.kind == "b":
        return x.astype(np.uint8)
    if x.dtype == np.float16:
        return x.astype(np.float32)
    if x.dtype.kind not in "iu" and x.dtype.newbyteorder("=") not in (np.float32, np.float64):
        raise InputError(f"{name} must be real numbers up to float64, got {x.dtype}")
    return x
