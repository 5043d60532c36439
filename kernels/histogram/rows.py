"""The rows of `OPS` that count into bins (MISSION row K2)."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from kernels.calls import Arguments
from kernels.table import Op

Dims = Mapping[str, int]
_MAGNITUDES = {"int8": 100, "uint8": 200, "int64": 1000}


def _edges(rng: np.random.Generator, bins: int, kind: int) -> Any:
    """Even, uneven, repeated, float32 or infinite edges over about [−3, 3]."""
    even = np.linspace(-3, 3, bins + 1)
    uneven = np.sort(rng.normal(size=bins + 1))
    crowded = np.sort(rng.choice([-1.0, 0.0, 1e-9, 2e-9, 2.0], bins + 1))
    infinite = np.concatenate([[-np.inf], uneven[1:-1], [np.inf]]) if bins > 1 else even
    return [even, uneven, crowded, even.astype(np.float32), infinite, even * 1e6 + 1e9][kind]


def _values(rng: np.random.Generator, n: int, dtype: str, edges: Any, odd_share: float) -> Any:
    """Values in and out of range; a share of them on edges, next to them, NaN or infinite; strided.

    odd_share 0 is what benchmarks take: dense normal draws and nothing else.
    """
    if dtype in _MAGNITUDES:
        top = _MAGNITUDES[dtype]
        return rng.integers(0 if dtype == "uint8" else -top, top, 2 * n).astype(dtype)[::2]
    if odd_share == 0:
        return rng.normal(size=n).astype(dtype)
    x = rng.normal(size=2 * n).astype(dtype)
    finite = edges[np.isfinite(edges)].astype(dtype)
    special = np.concatenate(
        [
            finite,
            np.nextafter(finite, dtype_like(np.inf, dtype)),
            np.nextafter(finite, dtype_like(-np.inf, dtype)),
            np.array([np.nan, np.inf, -np.inf, 0.0, -0.0], dtype),
        ]
    )
    odd = rng.random(2 * n) < odd_share
    x[odd] = rng.choice(special, odd.sum())
    return x[:: 2 if rng.random() < 0.5 else -2][:n]


def dtype_like(x: float, dtype: str) -> Any:
    """x as a scalar of this dtype."""
    return np.dtype(dtype).type(x)


def _weights(rng: np.random.Generator, n: int, kind: int) -> Any:
    """Of one size (kind 1), or of sizes so unlike that a sum of all leaves nothing of the small."""
    sizes = 1.0 if kind == 1 else 10.0 ** rng.choice([-8, 0, 16], n)
    return rng.normal(size=n) * sizes


def _make(rng: np.random.Generator, dims: Dims, dtype: str) -> Arguments:
    edges = _edges(rng, dims["bins"], dims["edges"])
    arguments: Arguments = {
        "x": _values(rng, dims["n"], dtype, edges, dims["odd"] / 10),
        "edges": edges,
    }
    if dims["weighted"]:
        arguments["weights"] = _weights(rng, dims["n"], dims["weighted"])
    return arguments


def _make_nd(rng: np.random.Generator, dims: Dims, dtype: str) -> Arguments:
    bins = [dims["bins"] + j * dims["ragged"] for j in range(dims["axes"])]
    edges = [_edges(rng, b, dims["edges"]) for b in bins]
    x = np.stack([_values(rng, dims["n"], dtype, e, dims["odd"] / 10) for e in edges], axis=1)
    x = np.asfortranarray(x) if dims["columns"] else x
    arguments: Arguments = {"x": x, "edges": edges}
    if dims["weighted"]:
        arguments["weights"] = _weights(rng, dims["n"], dims["weighted"])
    return arguments


def _make_categories(rng: np.random.Generator, dims: Dims, dtype: str) -> Arguments:
    step = dims.get("step", 1)
    x = rng.integers(0, dims["levels"], step * dims["n"]).astype(dtype)
    return {"x": x[::step], "levels": dims["levels"]}


def _nothing_twice(arguments: Arguments, result: Any) -> None:
    """Counts add up to at most the number of values."""
    if "weights" not in arguments:
        assert result.sum() <= len(arguments["x"])
        assert (result >= 0).all()


def _sums_its_own_weights(arguments: Arguments, result: Any) -> None:
    """Every bin holds the sum of its own weights, to the rounding of those alone."""
    if "weights" not in arguments:
        return
    x, edges, w = (arguments[key] for key in ("x", "edges", "weights"))
    columns, every = (x.T, edges) if x.ndim == 2 else ([x], [edges])
    own: dict[tuple[int, ...], list[float]] = {}
    for *row, w_i in zip(*columns, w, strict=True):
        cell = tuple(_bin_of(v, e) for v, e in zip(row, every, strict=True))
        own.setdefault(cell, []).append(float(w_i))
    for cell in np.ndindex(result.shape):
        mine = own.get(cell, [0.0])
        rounding = len(mine) * np.finfo(float).eps * math.fsum(map(abs, mine))
        assert abs(result[cell] - math.fsum(mine)) <= rounding, f"bin {cell}"


def _bin_of(v: Any, edges: Any) -> int:
    """By the definition's words, one edge after another; −1 outside."""
    for k in range(len(edges) - 1):
        last = k == len(edges) - 2
        if edges[k] <= v < edges[k + 1] or (last and edges[k] <= v <= edges[k + 1]):
            return k
    return -1


# Twins with a planted fault


def open_right_edge(x: Any, edges: Any, weights: Any = None) -> Any:
    """Leaves out what lies on the last edge."""
    inside = np.asarray(x) != np.asarray(edges)[-1]
    w = None if weights is None else weights[inside]
    return _plain(x[inside], edges, w)


def edges_in_float32(x: Any, edges: Any, weights: Any = None) -> Any:
    """Rounds data and edges to float32 before comparing."""
    return _plain(np.asarray(x, np.float32), np.asarray(edges, np.float32), weights)


def trusts_the_estimate(x: Any, edges: Any, weights: Any = None) -> Any:
    """Divides by the bin width and never looks at the edges."""
    edges = np.asarray(edges, np.float64)
    if not np.isfinite(edges).all() or edges[0] == edges[-1]:
        return _plain(x, edges, weights)
    x64 = np.asarray(x, np.float64)
    inside = (x64 >= edges[0]) & (x64 <= edges[-1])
    bins = edges.size - 1
    k = ((x64[inside] - edges[0]) * (bins / (edges[-1] - edges[0]))).astype(np.int64)
    w = None if weights is None else weights[inside]
    counts = np.bincount(np.minimum(k, bins - 1), w, minlength=bins)
    return counts.astype(np.int64) if weights is None else counts


def counts_nan_as_low(x: Any, edges: Any, weights: Any = None) -> Any:
    """Counts NaN into the first bin."""
    low = x if np.asarray(x).dtype.kind != "f" else np.where(np.isnan(x), edges[0], x)
    return _plain(low, edges, weights)


def _plain(x: Any, edges: Any, weights: Any) -> Any:
    """np.histogram."""
    counts = np.histogram(x, edges, weights=weights)[0]
    return counts.astype(np.int64) if weights is None else counts


def differences_of_a_running_sum(x: Any, edges: Any, weights: Any = None) -> Any:
    """What np.histogram does with weights: [1e16, 1] in two bins becomes [1e16, 0]."""
    return _plain(x, edges, weights)


def nd_transposed(x: Any, edges: Any, weights: Any = None) -> Any:
    """Exchanges the first two axes."""
    swapped = np.concatenate([x[:, 1::-1], x[:, 2:]], axis=1)
    counts = np.histogramdd(swapped, edges, weights=weights)[0]
    return counts if weights is not None else counts.astype(np.int64)


def misses_the_last(x: Any, levels: int) -> Any:
    """Leaves out the last value, as a loop in fours that forgets the rest would."""
    return np.bincount(x[: len(x) - len(x) % 4], minlength=levels)


# Peers. fast-histogram and boost-histogram are not exact: the benchmark counts where they part.


def numpy_histogram(x: Any, edges: Any) -> Any:
    """np.histogram, given the edges: twice as fast as given their number and range."""
    return np.histogram(x, edges)[0]


def numpy_histogramdd(x: Any, edges: Any) -> Any:
    """np.histogramdd."""
    return np.histogramdd(x, edges)[0]


def numpy_bincount(x: Any, levels: int) -> Any:
    """np.bincount."""
    return np.bincount(x, minlength=levels)


def _range(edges: Any, who: str) -> tuple[float, float]:
    """First and last edge. NotImplementedError if those between are not evenly spaced."""
    if abs((edges[1] - edges[0]) - (edges[-1] - edges[-2])) > 1e-9:
        raise NotImplementedError(f"{who} has even bins only")
    return float(edges[0]), float(edges[-1])


def fast_histogram(x: Any, edges: Any) -> Any:
    """fast-histogram's histogram1d."""
    from fast_histogram import histogram1d

    return histogram1d(x, len(edges) - 1, _range(edges, "fast-histogram"))


def fast_histogram_2d(x: Any, edges: Any) -> Any:
    """fast-histogram's histogram2d; its histogramdd is slower."""
    from fast_histogram import histogram2d

    ranges = [_range(e, "fast-histogram") for e in edges]
    return histogram2d(x[:, 0], x[:, 1], [len(e) - 1 for e in edges], ranges)


def _boost_axis(edges: Any) -> Any:
    import boost_histogram as bh

    try:
        return bh.axis.Regular(len(edges) - 1, *_range(edges, ""))
    except NotImplementedError:
        return bh.axis.Variable(edges)


def _boost(columns: Any, edges: Any) -> Any:
    import boost_histogram as bh

    counts = bh.Histogram(*map(_boost_axis, edges), storage=bh.storage.Int64())
    return counts.fill(*columns, threads=int(os.environ.get("OMP_NUM_THREADS", 1))).view()


def boost_histogram(x: Any, edges: Any) -> Any:
    """boost-histogram with whole counts, on as many threads as OpenMP may have."""
    return _boost([x], [edges])


def boost_histogram_nd(x: Any, edges: Any) -> Any:
    """boost-histogram with whole counts, on as many threads as OpenMP may have."""
    return _boost(x.T, edges)


_REAL = ("float32", "float64", "int8", "uint8", "int64")
_EXACT = dict.fromkeys(_REAL, 1e-9)
_WITHOUT = {"weights": {"weighted": 0}, "uneven edges": {"edges": 0}, "odd values": {"odd": 0}}
_BENCH = {"n": 10_000_000, "bins": 100, "edges": 0, "weighted": 0, "odd": 0}
_BENCH_2D = {**_BENCH, "bins": 256, "axes": 2, "ragged": 0}

ROWS = [
    Op(
        name="histogram",
        mission=("K2", "H1"),
        definition="reference.operations.histogram:histogram",
        twins={"numba": "kernels.histogram.twin_numba:histogram"},
        make=_make,
        dims={"n": (0, 300), "bins": (1, 40), "edges": (0, 5), "weighted": (0, 2), "odd": (0, 5)},
        dtypes=_REAL,
        without=_WITHOUT,
        entries=("x", "weights"),
        floor=_EXACT,
        cap=_EXACT,
        laws=(_nothing_twice, _sums_its_own_weights),
        wrong={
            "running sum": differences_of_a_running_sum,
            "open right edge": open_right_edge,
            "float32 edge rounding": edges_in_float32,
            "trusts the estimate": trusts_the_estimate,
            "NaN counted": counts_nan_as_low,
        },
        bench={
            "1-D, 10⁷ float64, 100 bins": (_BENCH, "float64"),
            "1-D, 10⁷ float32, 100 bins": (_BENCH, "float32"),
            "1-D, 10⁷ float64, 100 uneven bins": ({**_BENCH, "edges": 1}, "float64"),
        },
        peers={
            "numpy": numpy_histogram,
            "fast-histogram": fast_histogram,
            "boost-histogram": boost_histogram,
        },
    ),
    Op(
        name="histogram_nd",
        mission=("K2", "H1"),
        definition="reference.operations.histogram:histogram_nd",
        twins={"numba": "kernels.histogram.twin_numba:histogram_nd"},
        make=_make_nd,
        dims={
            "n": (0, 300),
            "bins": (1, 9),
            "edges": (0, 5),
            "axes": (1, 3),
            "weighted": (0, 2),
            "odd": (0, 5),
            "ragged": (0, 1),
            "columns": (0, 1),
        },
        dtypes=_REAL,
        without=_WITHOUT,
        entries=("x", "weights"),
        floor=_EXACT,
        cap=_EXACT,
        laws=(_nothing_twice, _sums_its_own_weights),
        wrong={"axes exchanged": nd_transposed},
        bench={
            "2-D, 10⁷ float64, 256²": ({**_BENCH_2D, "columns": 0}, "float64"),
            "2-D, 10⁷ float64, 256², by columns": ({**_BENCH_2D, "columns": 1}, "float64"),
        },
        peers={
            "numpy": numpy_histogramdd,
            "fast-histogram": fast_histogram_2d,
            "boost-histogram": boost_histogram_nd,
        },
    ),
    Op(
        name="count_categories",
        mission=("K2",),
        definition="reference.operations.histogram:count_categories",
        twins={"numba": "kernels.histogram.twin_numba:count_categories"},
        make=_make_categories,
        dims={"n": (0, 300), "levels": (1, 100), "step": (1, 3)},
        dtypes=("int8", "uint8", "int64"),
        entries=("x",),
        laws=(_nothing_twice,),
        wrong={"forgets the rest": misses_the_last},
        bench={"10⁷ uint8, 100 levels": ({"n": 10_000_000, "levels": 100}, "uint8")},
        peers={"numpy": numpy_bincount},
    ),
]
