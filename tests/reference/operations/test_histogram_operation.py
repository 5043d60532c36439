"""Histograms of data that are not in memory at once, and of weights, whatever the threads."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InputError
from core.operation import backend
from kernels import OPS
from reference.operations.histogram import (
    count_categories,
    histogram,
    histogram_nd,
    histogram_nd_of_chunks,
    histogram_of_chunks,
)

WHERE = (None, "numba")
EDGES = np.linspace(-2, 2, 9)


def pieces(x: Any, cuts: list[int]) -> Iterator[Any]:
    yield from np.split(x, sorted(c % (len(x) + 1) for c in cuts))


@given(st.integers(0, 10**6), st.lists(st.integers(0, 99), max_size=5), st.sampled_from(WHERE))
def test_chunks_add_up_to_the_whole(seed: int, cuts: list[int], where: str | None):
    rng = np.random.default_rng(seed)
    x, w = rng.normal(size=(99, 2)), rng.normal(size=99)
    grid = [EDGES, EDGES[::2]]
    with backend(where):
        counts = histogram_of_chunks(pieces(x[:, 0], cuts), EDGES)
        sums = histogram_of_chunks(pieces(x[:, 0], cuts), EDGES, pieces(w, cuts))
        grids = histogram_nd_of_chunks(pieces(x, cuts), grid)
        weighed = histogram_nd_of_chunks(pieces(x, cuts), grid, pieces(w, cuts))
    assert counts.dtype == grids.dtype == np.int64
    assert sums.dtype == weighed.dtype == np.float64
    np.testing.assert_array_equal(counts, histogram(x[:, 0], EDGES))
    np.testing.assert_array_equal(grids, histogram_nd(x, grid))
    np.testing.assert_allclose(sums, histogram(x[:, 0], EDGES, w), atol=1e-13)
    np.testing.assert_allclose(weighed, histogram_nd(x, grid, w), atol=1e-13)


@given(st.integers(0, 10**6), st.lists(st.integers(0, 99), max_size=5), st.sampled_from(WHERE))
def test_a_bin_is_the_sum_of_its_own_weights(seed: int, cuts: list[int], where: str | None):
    """However large those of the other bins are, in chunks and in whole."""
    rng = np.random.default_rng(seed)
    x, w = rng.normal(size=(99, 2)), 10.0 ** rng.integers(-8, 17, 99)
    exact = {k: math.fsum(w[np.digitize(x[:, 0], EDGES) == k + 1]) for k in range(8)}
    grid = [EDGES, np.array([-99.0, 99.0])]
    with backend(where):
        sums = [
            histogram(x[:, 0], EDGES, w),
            histogram_of_chunks(pieces(x[:, 0], cuts), EDGES, pieces(w, cuts)),
            histogram_nd(x, grid, w)[:, 0],
            histogram_nd_of_chunks(pieces(x, cuts), grid, pieces(w, cuts))[:, 0],
        ]
    for found in sums:
        np.testing.assert_allclose(found, list(exact.values()), rtol=1e-13)


@pytest.mark.parametrize("where", WHERE)
def test_a_grid_takes_the_memory_of_its_cells(where: str | None):
    """Not of its cells and their neighbours along every axis: 3¹⁶ for 2¹⁶."""
    edges = [np.array([-0.5, 0.5, 1.5])] * 16
    x = np.random.default_rng(0).integers(0, 2, (20, 16))
    with backend(where):
        tracemalloc.start()
        counts = histogram_nd(x, edges)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert counts.shape == (2,) * 16
    assert counts.sum() == 20
    assert all(counts[tuple(row)] for row in x)
    assert peak < 16 << 20


@pytest.mark.parametrize("where", WHERE)
def test_no_chunk_is_a_histogram_of_nothing(where: str | None):
    with backend(where):
        np.testing.assert_array_equal(histogram_of_chunks([], EDGES), np.zeros(8, np.int64))
        assert histogram_of_chunks(iter(()), EDGES, iter(())).dtype == np.float64
        assert histogram_nd_of_chunks([], [EDGES, EDGES]).shape == (8, 8)


@pytest.mark.parametrize(
    ("chunks", "weights", "named"),
    [(2, 1, "weights ends after 1"), (1, 3, "chunks ends after 1")],
)
def test_chunks_and_weights_end_together(chunks: int, weights: int, named: str):
    with pytest.raises(InputError, match=named):
        histogram_of_chunks([np.zeros(3)] * chunks, EDGES, [np.zeros(3)] * weights)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16", ">f4"])
@pytest.mark.parametrize("where", WHERE)
def test_a_file_is_counted_without_reading_it_whole(where: str | None, dtype: str, tmp_path: Path):
    """Memory stays below a quarter of the file; the counts are those of its values."""
    x = np.random.default_rng(0).normal(0, 2, 2_000_000).astype(dtype)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    with backend(where):
        histogram(mapped, EDGES)  # whatever has to be compiled or loaded
        tracemalloc.start()
        counts = histogram(mapped, EDGES)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    np.testing.assert_array_equal(counts, np.histogram(x, EDGES)[0])
    assert peak < max(x.nbytes / 4, 3 << 20)


@pytest.mark.parametrize("name", ["histogram", "histogram_nd"])
def test_weighted_sums_have_the_same_bits_on_any_number_of_threads(name: str):
    """And lie within n·eps of the exact sums of what each bin holds."""
    rng = np.random.default_rng(1)
    x, w = rng.normal(size=(300_000, 2)), rng.normal(size=300_000) * 10.0 ** rng.integers(-8, 8)
    arguments = {"x": x, "edges": [EDGES, EDGES]}
    if name == "histogram":
        arguments = {"x": x[:, 0], "edges": EDGES}
    twin, threads = OPS[name].load("numba"), numba.get_num_threads()
    runs = []
    for n in {1, threads}:
        numba.set_num_threads(n)
        runs.append(twin(**arguments, weights=w))
    numba.set_num_threads(threads)
    assert len({run.tobytes() for run in runs}) == 1
    if name == "histogram":
        held = np.searchsorted(EDGES, x[:, 0], side="right") - 1
        for k, total in enumerate(runs[0]):
            own = w[held == k]
            assert abs(total - math.fsum(own)) <= len(w) * np.finfo(float).eps * np.abs(own).sum()


@pytest.mark.parametrize("side", [9, 130])
@pytest.mark.parametrize("by_column", [False, True])
def test_rows_are_counted_to_the_last_by_every_thread(by_column: bool, side: int):
    """Enough rows for a share for each thread, in shares of no round size; 4 tables, or 1."""
    x = np.random.default_rng(2).normal(size=(200_003, 2))
    edges = [np.linspace(-3, 3, side + 1), np.linspace(-2, 4, side + 1)]
    x[-4:] = 0.1  # what a loop that stops early leaves out
    x[100_001:100_003] = 0.1
    counts = OPS["histogram_nd"].load("numba")(np.asfortranarray(x) if by_column else x, edges)
    np.testing.assert_array_equal(counts, np.histogramdd(x, edges)[0])


@pytest.mark.parametrize("by_column", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pairs_on_and_beside_even_edges(dtype: Any, by_column: bool):
    """Where the estimate is the wrong bin in one block of many: 0.3 and 3 · 0.1 differ."""
    edges = [np.linspace(0.1, 1.3, 13), np.linspace(-0.7, 0.7, 15)]
    beside = [[e, np.nextafter(e, -9), np.nextafter(e, 9)] for e in edges]
    u, v = (np.ravel(b).astype(dtype) for b in beside)
    x = np.full((50_000, 2), 0.123, dtype)
    x[20_000 : 20_000 + u.size * v.size] = np.stack(np.meshgrid(u, v), -1).reshape(-1, 2)
    counts = OPS["histogram_nd"].load("numba")(np.asfortranarray(x) if by_column else x, edges)
    np.testing.assert_array_equal(counts, np.histogramdd(x, edges)[0])


def test_categories_are_counted_to_the_last_by_every_thread():
    x = np.random.default_rng(3).integers(0, 7, 200_003).astype(np.uint8)
    counts = OPS["count_categories"].load("numba")(x, 7)
    np.testing.assert_array_equal(counts, np.bincount(x))


# Edges that are many, extreme, or whole numbers that float64 can't hold


def every_form(x: Any, edges: Any) -> Iterator[tuple[Any, ...]]:
    """The arguments of 1-D and N-D histograms with x (n,) along each axis, weighted and not."""
    w = np.arange(1.0, len(x) + 1)  # whole weights: sums are exact, in whatever order
    few = [EDGES, np.array([0, 1, 9])]
    for weights in (None, w):
        yield histogram, x, edges, weights
        yield histogram_nd, x[:, None], [edges], weights
        for other in few:
            yield histogram_nd, np.stack([x, x], axis=1), [edges, other], weights
            yield histogram_nd, np.asfortranarray(np.stack([x, x], axis=1)), [other, edges], weights


def equals_its_definition(x: Any, edges: Any) -> None:
    for count, *arguments in every_form(x, edges):
        with backend("numba"):
            result = count(*arguments)
        expected = count(*arguments)
        assert result.dtype == expected.dtype
        np.testing.assert_array_equal(result, expected)


def around(edges: Any) -> Any:
    """The finite edges, their neighbours, and what lies beyond."""
    e = np.asarray(edges, np.float64)[:: max(1, len(edges) // 500)]
    x = np.concatenate([e, np.nextafter(e, np.inf), np.nextafter(e, -np.inf)])
    return np.concatenate([x, [np.nan, np.inf, -np.inf, 0.0, -0.0]])


@pytest.mark.parametrize("bins", [16384, 16385, 50_000, 65_537, 100_000])
@pytest.mark.parametrize("spacing", ["powers", "draws"])
def test_any_number_of_uneven_bins_is_searched(bins: int, spacing: str):
    rng = np.random.default_rng(bins)
    edges = np.sort(rng.random(bins + 1))
    if spacing == "powers":
        edges = np.logspace(-6, 6, bins + 1)
    equals_its_definition(np.append(around(edges), rng.normal(size=3000) * 10), edges)


def test_a_guide_serves_many_bins():
    """Not a binary search of thrice its time."""
    from kernels.histogram import twin_numba as twin

    edges = np.random.default_rng(0).random(40_001) + np.arange(40_001)
    assert twin._Axis(edges, edges.dtype).way == twin._GUIDED
    assert twin._Axis(np.logspace(-6, 6, 40_001), edges.dtype).way == twin._SEARCHED


EXTREME = [
    [0, 1.8e-308, 2e-308],
    [0, 1e-308, 2e-308, 2.5e-308, 9e-308],
    [0, 5e-324],
    [0, 5e-324, 1e-323, 4e-323],
    [0, 1e-304, 1.1e-304, 3e-304],
    [0, 1e-290, 1.1e-290, 3e-290],
    [0, 1e-289, 1.1e-289, 3e-289],
    [1, 1],
    [0, 0, 0],
    [-1e308, 0, 1e308],
    [-1e308, 0, 1e307, 7e307],
    [-1.7e308, -1e308, 0, 9e306],
    [1e308, 1.5e308, 1.7976931348623157e308],
    [1.7e308, 1.700001e308, 1.79e308, 1.7976931348623157e308],
    [-np.inf, np.inf],
    [np.inf, np.inf],
    [-np.inf, -np.inf, 0, np.inf, np.inf],
]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("edges", EXTREME, ids=str)
def test_extreme_edges_are_searched_in_silence(edges: list[float]):
    with np.errstate(all="ignore"):
        x = around(edges)
    equals_its_definition(x, np.array(edges, np.float64))


def test_no_extreme_edge_reads_outside_a_table():
    """In a process of its own, with the bounds of every array checked."""
    code = (
        "import numba, numpy as np\n"
        "assert numba.config.BOUNDSCHECK\n"
        "from kernels.histogram.twin_numba import histogram\n"
        "from tests.reference.operations.test_histogram_operation import EXTREME, around\n"
        "many = np.sort(np.random.default_rng(0).random(20_001))\n"
        "for edges in [*EXTREME, many, many * 1e-303]:\n"
        "    with np.errstate(all='ignore'):\n"
        "        x = around(edges)\n"
        "    counts = histogram(x, edges)\n"
        "    np.testing.assert_array_equal(counts, np.histogram(x, edges)[0])\n"
    )
    root = Path(__file__).resolve().parents[3]
    with tempfile.TemporaryDirectory() as cache:  # code compiled without the checks is no proof
        given = {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": cache, "PYTHONPATH": str(root)}
        out = subprocess.run(
            [sys.executable, "-W", "error::RuntimeWarning", "-c", code],
            cwd=root,
            env={**os.environ, **given},
            capture_output=True,
            text=True,
            check=False,
        )
    assert out.returncode == 0, out.stderr


BASES = (2**53, 2**53 - 2, -(2**53) - 4, 2**62, -(2**63), 2**63 - 9, 2**63 - 4, 2**64 - 9)
INTEGERS = ("int64", "uint64", ">i8", ">u8")


def holds(dtype: str, numbers: list[int]) -> list[int]:
    """Those of the numbers that the dtype can hold."""
    limits = np.iinfo(dtype)
    return [n for n in numbers if limits.min <= n <= limits.max]


@given(
    st.sampled_from(BASES),
    st.lists(st.integers(0, 8), min_size=2, max_size=6),
    st.sampled_from(INTEGERS),
    st.sampled_from([*INTEGERS, "int32", "float64", "float32"]),
)
def test_whole_numbers_beyond_float64_are_exact(base: int, offsets: list[int], of: str, to: str):
    """Whether x or the edges are the larger type, of two signs, or of floats."""
    near = [base + n for n in range(-2, 11)]
    edges = sorted(base + n for n in offsets)
    for x_dtype, edges_dtype in ((of, of), (of, to), (to, of)):
        e = edges if edges_dtype[:1] == "f" else holds(edges_dtype, edges)
        x = near if x_dtype[:1] == "f" else holds(x_dtype, [*near, 0, 1, 5, -1])
        if len(e) > 1 and x:
            equals_its_definition(np.array(x, x_dtype), np.array(e, edges_dtype))


def test_neighbours_beyond_float64_are_told_apart():
    b = 2**53
    x, edges = np.array([b, b + 1, b + 1, b + 2, b + 3]), np.array([b, b + 1, b + 2, b + 3])
    for where in WHERE:
        with backend(where):
            assert histogram(x, edges).tolist() == [1, 2, 2]
            assert histogram_nd(x[:, None], [edges]).tolist() == [1, 2, 2]


def test_a_file_of_large_whole_numbers_is_counted_a_part_at_a_time(tmp_path: Path):
    x = np.random.default_rng(0).integers(2**60, 2**60 + 100, 2_000_000)
    np.save(tmp_path / "x.npy", x)
    mapped, edges = np.load(tmp_path / "x.npy", mmap_mode="r"), 2**60 + np.arange(0, 101, 7)
    with backend("numba"):
        histogram(mapped, edges)
        tracemalloc.start()
        counts = histogram(mapped, edges)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    np.testing.assert_array_equal(counts, np.histogram(x, edges)[0])
    assert peak < x.nbytes / 2


# Categories, and what is refused


@pytest.mark.parametrize("dtype", ["|i1", "|u1", ">u2", ">i4", ">i8", "<u4", "<u8", ">u8"])
@pytest.mark.parametrize("where", WHERE)
def test_categories_may_have_any_integer_type(where: str | None, dtype: str):
    x = np.array([[3, 1, 1], [0, 4, 1]], dtype)
    with backend(where):
        for some in (x, x[:, ::2], x[:0]):
            counts = count_categories(some, 6)
            assert counts.dtype == np.int64
            np.testing.assert_array_equal(counts, [(some == k).sum() for k in range(6)])


def same_error(count: Any, *arguments: Any) -> str:
    """What the definition and the twin both say."""
    said = []
    for where in WHERE:
        with backend(where), pytest.raises(InputError) as error:
            count(*arguments)
        said.append(str(error.value))
    assert len(set(said)) == 1
    return said[0]


@pytest.mark.parametrize("levels", [2.5, 2.0, -1, 0, True, None, "3", np.float64(3)])
def test_levels_is_a_whole_number_of_at_least_one(levels: Any):
    for x in (np.array([0, 1]), np.zeros(0, int)):
        said = same_error(count_categories, x, levels)
        bound = " >= 1" if type(levels) is int else ""
        assert said == f"levels must be an int{bound}, got {levels!r}"


def test_levels_may_be_of_numpy():
    for where in WHERE:
        with backend(where):
            assert count_categories(np.array([0, 1, 1]), np.uint8(3)).tolist() == [1, 2, 0]


@pytest.mark.parametrize(("bins", "axes"), [(2**16, 2), (2**8, 4), (2**11, 3), (2**16, 5)])
def test_a_table_too_large_to_index_is_refused(bins: int, axes: int):
    """Before any of it is allocated."""
    edges = [np.arange(bins + 1)] * axes
    tracemalloc.start()
    for weights in (None, np.ones(2)):
        said = same_error(histogram_nd, np.zeros((2, axes)), edges, weights)
        assert said == f"edges must make fewer than 2**32 cells, got {bins**axes}"
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 << 20
