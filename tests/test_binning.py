"""Histograms of data that are not in memory at once, and of weights, whatever the threads."""

from __future__ import annotations

import math
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
from kernels import OPS
from reference.backend import backend
from reference.binning import (
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
