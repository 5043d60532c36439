"""Products inside compiled code: any distance between rows, any scalars, in runs of any length."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("numba")

from kernels.gemm_numba import add_product_T, set_product

SIZES = st.tuples(st.integers(2, 9), st.integers(2, 9), st.integers(1, 9))  # m, k, n
GAPS = st.just((0, 0, 0)) | st.tuples(*[st.integers(1, 3)] * 3)  # each is compiled for once
MOST = st.sampled_from([1, 7, 50, 1 << 62])


def spread(rng: np.random.Generator, rows: int, columns: int, gap: int, dtype: Any) -> Any:
    """Contiguous rows with a gap of NaN behind each."""
    whole = np.full((rows, columns + gap), np.nan, dtype)
    whole[:, :columns] = rng.normal(size=(rows, columns))
    return whole[:, :columns]


def check(product: Any, transposed: bool, sizes: Any, gaps: Any, most: int, how: Any) -> None:
    """AssertionError unless c ← α a b + β c, and nothing else, up to rounding."""
    (m, k, n), (seed, dtype, alpha, beta) = sizes, how
    rng = np.random.default_rng(seed)
    a = spread(rng, *((k, m) if transposed else (m, k)), gaps[0], dtype)
    b, c = spread(rng, k, n, gaps[1], dtype), spread(rng, m, n, gaps[2], dtype)
    if beta == 0:
        c[...] = np.nan
    old = np.nan_to_num(c)
    wide = (a.T if transposed else a).astype(float) @ b.astype(float)
    size = abs(alpha) * np.abs(a.T if transposed else a) @ np.abs(b) + np.abs(beta * old)
    behind = c.base[:, n:].copy()
    product(a, b, c, np.array([alpha, beta], dtype), most)
    error = np.abs(c - (alpha * wide + beta * old))
    assert (error <= 32 * np.finfo(dtype).eps * size + np.finfo(dtype).tiny).all()
    assert np.array_equal(c.base[:, n:], behind, equal_nan=True)


HOW = st.tuples(
    st.integers(0, 99),
    st.sampled_from([np.float32, np.float64]),
    st.sampled_from([1.0, -0.5, 3.0]),
    st.sampled_from([0.0, 1.0, 0.25]),
)
ONES = st.tuples(st.integers(0, 99), st.sampled_from([np.float32, np.float64]), *[st.just(1.0)] * 2)


@settings(max_examples=150)
@given(SIZES, GAPS, MOST, HOW)
def test_a_scaled_product_into_what_is_there(sizes: Any, gaps: Any, most: int, how: Any):
    check(set_product, False, sizes, gaps, most, how)


@settings(max_examples=150)
@given(SIZES, GAPS, MOST, ONES)
def test_a_transposed_product_is_added(sizes: Any, gaps: Any, most: int, how: Any):
    check(add_product_T, True, sizes, gaps, most, how)


def by_hand(fault: str) -> Any:
    """c ← α a b + β c, a transposed where its rows are those of b; right, but for the fault."""

    def run(a: Any, b: Any, c: Any, scalars: Any, most: int) -> None:
        a = a.T if fault.startswith("Tᵀ") else a
        alpha, beta = scalars
        if fault.endswith("rows side by side"):
            b = b.base.ravel()[: b.size].reshape(b.shape)
        if fault.endswith("the last run"):
            step = max(1, most // max(b.size, 1))
            a, b = (a[:, : a.shape[1] // step * step], b[: len(b) // step * step])
        if fault.endswith("reads c"):
            c[...] = alpha * (a @ b) + beta * c
        elif fault.endswith("overwrites"):
            c[...] = alpha * (a @ b)
        elif fault.endswith("unscaled"):
            c[...] = a @ b + (beta * c if beta else 0)
        elif fault.endswith("writes on"):
            c.base[: len(c)] = 0
            c[...] = alpha * (a @ b)
        else:
            c[...] = alpha * (a @ b) + (beta * c if beta else 0)

    return run


@pytest.mark.parametrize("sizes", [(0, 2, 3), (2, 3, 0), (0, 2, 0)])
def test_nothing_to_multiply(sizes: Any):
    check(set_product, False, sizes, (0, 0, 0), 7, (0, np.float32, 1.0, 0.0))
    check(add_product_T, True, sizes, (0, 0, 0), 7, (0, np.float32, 1.0, 1.0))


PLAIN = (
    "rows side by side", "forgets the last run", "reads c", "overwrites", "unscaled", "writes on"
)  # fmt: skip
TRANSPOSED = ("Tᵀ rows side by side", "Tᵀ forgets the last run", "Tᵀ overwrites", "Tᵀ writes on")


def calls(transposed: bool) -> Any:
    for seed in range(40):
        rng = np.random.default_rng(seed)
        sizes, gaps = rng.integers(1, 9, 3), rng.integers(0, 4, 3)
        scalars = (1.0, 1.0) if transposed else (rng.choice([1.0, -0.5]), rng.choice([0.0, 0.25]))
        yield sizes, gaps, int(rng.choice([7, 50])), (seed, np.float32, *scalars)


@pytest.mark.parametrize("fault", [*PLAIN, *TRANSPOSED, "", "Tᵀ"])
def test_a_wrong_product_is_rejected(fault: str):
    transposed, rejected = fault.startswith("Tᵀ"), False
    for call in calls(transposed):
        try:
            with np.errstate(all="ignore"):
                check(by_hand(fault), transposed, *call)
        except AssertionError:
            rejected = True
    assert rejected == (fault not in ("", "Tᵀ"))
