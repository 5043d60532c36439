"""Masks: the lowered form is the dense one, and so are the blocks that a kernel visits."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InputError
from kernels.masks import twin_numba as masks_numba
from reference.operations import lowering, masks
from reference.operations.lowering import (
    EMPTY,
    FULL,
    Intervals,
    Packed,
    block_classes,
    block_ranges,
)
from reference.operations.masks import Mask

B = 2


@st.composite
def cases(draw: Any) -> tuple[Mask, int, int]:
    """A random term of the algebra, and lengths that it fits."""
    height, width = draw(st.integers(1, 5)), draw(st.integers(1, 7))
    k_len = height * width
    q_len = draw(st.integers(1, k_len))
    mask = draw(leaves(height, width, q_len))
    for _ in range(draw(st.integers(0, 2))):
        other = draw(leaves(height, width, q_len))
        mask = mask & other if draw(st.booleans()) else mask | other
    return mask, q_len, k_len


def leaves(height: int, width: int, q_len: int) -> st.SearchStrategy[Mask]:
    small = st.integers(0, 9)
    K = height * width
    rng = st.integers(0, 10**6).map(np.random.default_rng)
    return st.one_of(
        st.just(masks.causal()),
        st.just(masks.full()),
        st.builds(masks.window, small, small),
        small.map(masks.prefix),
        st.tuples(small, small).map(masks.padding),
        rng.map(lambda r: masks.documents(np.sort(r.integers(0, 4, (B, K)), axis=-1))),
        rng.map(lambda r: masks.documents(r.integers(0, 3, K))),
        st.one_of(st.none(), small).map(lambda n: masks.raster(height, width, reach=n)),
        rng.map(lambda r: masks.boolean(r.random((q_len, K)) < 0.6)),
        rng.map(lambda r: masks.boolean(r.random((B, 1, q_len, K)) < 0.05)),
    )


@given(cases())
def test_lowered_is_dense(case: Any):
    mask, q_len, k_len = case
    lowered = lowering.lower(mask, q_len, k_len)
    dense = np.broadcast_to(mask.dense(q_len, k_len), (B, 3, q_len, k_len))
    assert dense.dtype == np.bool_
    np.testing.assert_array_equal(np.broadcast_to(lowering.raised(lowered), dense.shape), dense)
    if isinstance(lowered, Intervals):
        assert lowered.start.dtype == lowered.stop.dtype == np.int32
        assert (lowered.start >= 0).all()
        assert (lowered.start <= lowered.stop).all()
        assert (lowered.stop <= k_len).all()


@given(cases(), st.integers(1, 9), st.integers(1, 9))
def test_the_numba_twin_lowers_any_term_to_the_same_arrays(case: Any, block_q: int, block_k: int):
    plain, fast = lowering.lower(*case), masks_numba.lower(*case)
    assert type(plain) is type(fast)
    if isinstance(plain, Packed) or isinstance(fast, Packed):
        np.testing.assert_array_equal(fast.bits, plain.bits, strict=True)
        return
    np.testing.assert_array_equal(fast.start, plain.start, strict=True)
    np.testing.assert_array_equal(fast.stop, plain.stop, strict=True)
    ranges = masks_numba.block_ranges(fast, block_q, block_k)
    np.testing.assert_array_equal(ranges, block_ranges(plain, block_q, block_k), strict=True)


RUNS = {
    "short, inside what is compared at once": [64, 10, 182],
    "many, in no order": [5] * 40,
    "longer than what is compared at once": [127, 128, 129, 300],
}


@pytest.mark.parametrize("lengths", RUNS.values(), ids=RUNS)
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64"])
def test_an_id_that_returns_is_seen(lengths: list[int], dtype: str):
    """Wherever the second run is; distinct ids give intervals, in whatever order they come."""
    distinct = np.random.default_rng(0).permutation(len(lengths))
    for back in (None, *range(len(lengths) - 2)):
        names = distinct.copy()
        if back is not None:
            names[-1] = names[back]
        mask = masks.documents(np.repeat(names, lengths).astype(dtype))
        S = sum(lengths)
        found = masks_numba.lower(mask, S, S)
        assert isinstance(found, Intervals if back is None else Packed)
        np.testing.assert_array_equal(lowering.raised(found), mask.dense(S, S))


def test_lowering_65_536_queries_takes_less_than_a_megabyte():
    S = 65536
    mask = masks.causal() & masks.window(4095) & masks.documents(np.arange(S) // 656)
    for _ in range(2):  # the first has to load compiled code
        tracemalloc.start()
        lowered = masks_numba.lower(mask, S, S)
        ranges = masks_numba.block_ranges(lowered, 128, 128)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 1 << 20
    assert (ranges[:, 3] - ranges[:, 0] <= 4095 // 128 + 2).all()


@given(cases(), st.sampled_from([1, 3, 4, 16]), st.sampled_from([8, 16]))
def test_blocks_agree_with_dense(case: Any, block_q: int, block_k: int):
    mask, q_len, k_len = case
    lowered = lowering.lower(mask, q_len, k_len)
    expected = classes(mask.dense(q_len, k_len), block_q, block_k)
    if isinstance(lowered, Packed):
        np.testing.assert_array_equal(block_classes(lowered, block_q, block_k), expected)
    else:
        check_ranges(block_ranges(lowered, block_q, block_k), expected)


def classes(dense: Any, block_q: int, block_k: int) -> Any:
    """Empty, partial and full blocks, read off the dense mask; keys past the end are unseen."""
    *batch, Q, K = dense.shape
    extra = [(0, 0)] * len(batch)
    seen = np.pad(dense, [*extra, (0, 0), (0, -K % block_k)])
    seen = np.pad(seen, [*extra, (0, -Q % block_q), (0, 0)], mode="edge")
    seen = seen.reshape(*batch, -(-Q // block_q), block_q, -(-K // block_k), block_k)
    return seen.any((-1, -3)).astype(int) + seen.all((-1, -3))


def check_ranges(ranges: Any, expected: Any) -> None:
    j = np.arange(expected.shape[-1])
    first, full_first, full_last, last = (ranges[..., n : n + 1] for n in range(4))
    assert ((first <= full_first) & (full_first <= full_last) & (full_last <= last)).all()
    visited = (first <= j) & (j < last)
    assert (expected[~visited] == EMPTY).all()
    inside = (full_first <= j) & (j < full_last)
    np.testing.assert_array_equal(inside, expected == FULL)
    ends = np.maximum(last - first, 0) * 0 + np.where(last > first, first, 0)
    nothing = (last > first) & (np.take_along_axis(expected, ends, -1) == EMPTY)
    assert not nothing.any()


@pytest.mark.parametrize("fault", ["start", "stop"])
def test_a_block_left_out_is_noticed(fault: str):
    mask = masks.causal() & masks.window(9)
    lowered = lowering.lower(mask, 32, 32)
    assert isinstance(lowered, Intervals)
    step = np.int32(8)
    wrong = Intervals(
        lowered.start + step * (fault == "start"), lowered.stop - step * (fault == "stop"), 32
    )
    with pytest.raises(AssertionError):
        check_ranges(block_ranges(wrong, 4, 8), classes(mask.dense(32, 32), 4, 8))


SMALL: dict[str, tuple[Callable[[], Mask], int, int, list[str]]] = {
    "causal ends with the keys": (masks.causal, 2, 4, ["1110", "1111"]),
    "causal, more queries than keys": (masks.causal, 3, 2, ["00", "10", "11"]),
    "window": (lambda: masks.window(1, 1), 3, 4, ["1110", "0111", "0011"]),
    "prefix": (lambda: masks.causal() | masks.prefix(2), 3, 3, ["110", "110", "111"]),
    "documents": (lambda: masks.documents(np.array([7, 7, 3])), 3, 3, ["110", "110", "001"]),
    "raster": (lambda: masks.raster(2, 2, own=False), 4, 4, ["0000", "1000", "1100", "1110"]),
    "raster nearby": (
        lambda: masks.raster(2, 3, reach=1),
        6,
        6,
        ["100000", "110000", "011000", "110100", "111110", "011011"],
    ),
}


@pytest.mark.parametrize("name", SMALL)
def test_small_masks_by_hand(name: str):
    make, q_len, k_len, rows = SMALL[name]
    expected = [[c == "1" for c in row] for row in rows]
    np.testing.assert_array_equal(make().dense(q_len, k_len), expected)


def test_padding_differs_between_batch_entries():
    dense = masks.padding(np.array([1, 3])).dense(2, 3)
    assert dense.shape == (2, 1, 2, 3)
    np.testing.assert_array_equal(dense[:, 0, 0], [[True, False, False], [True, True, True]])


def test_intervals_are_small_and_a_hole_is_packed():
    ids = np.repeat(np.arange(100), 50)
    mask = masks.causal() & masks.window(255) & masks.documents(ids)
    lowered = lowering.lower(mask, 5000, 5000)
    assert isinstance(lowered, Intervals)
    assert lowered.start.nbytes + lowered.stop.nbytes == 8 * 5000
    assert isinstance(lowering.lower(masks.window(0) | masks.prefix(1), 5, 5), Packed)
    assert isinstance(lowering.lower(masks.boolean(np.tri(5, dtype=bool)), 5, 5), Intervals)


LOWER = [lowering.lower, masks_numba.lower]


def same(a: Intervals | Packed, b: Intervals | Packed) -> None:
    np.testing.assert_array_equal(lowering.raised(a), lowering.raised(b), strict=True)


@pytest.mark.parametrize("lower", LOWER)
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint32", "uint64", ">i4", ">u8"])
def test_integers_of_any_dtype_byte_order_and_stride(dtype: str, lower: Any):
    """300 keys are more than a byte counts."""
    ids, lengths = np.repeat([7, 3, 5], 100), np.array([3, 100, 5])
    narrow = (ids.astype(dtype)[::-1], lengths.astype(dtype)[::-1])
    made = [
        [
            masks.documents(i),
            masks.padding(n) & masks.documents(i),
            masks.padding(n) | masks.causal(),
            masks.prefix(n[0]) & masks.documents(np.stack([i, i])),
        ]
        for i, n in (narrow, (ids[::-1].copy(), lengths[::-1].copy()))
    ]
    for mask, plain in zip(*made, strict=True):
        np.testing.assert_array_equal(mask.dense(9, 300), plain.dense(9, 300))
        same(lower(mask, 9, 300), lowering.lower(plain, 9, 300))


@pytest.mark.parametrize("lower", LOWER)
@pytest.mark.parametrize("most", [2**31 - 10, 2**31 - 1, 2**31, 2**63 - 1, 2**70])
def test_a_bound_past_every_key_bounds_nothing(most: int, lower: Any):
    def terms(n: int) -> list[Mask]:
        several = [
            masks.window(n),
            masks.window(0, n),
            masks.window(n, n),
            masks.prefix(min(n, 2**64 - 1)),
        ]
        several += [masks.raster(5, 6, reach=n)]
        return several + [mask | masks.prefix(1) for mask in several]

    for mask, plain in zip(terms(most), terms(99), strict=True):
        dense = plain.dense(4, 30)
        np.testing.assert_array_equal(mask.dense(4, 30), dense)
        np.testing.assert_array_equal(lowering.raised(lower(mask, 4, 30)), dense)


def test_a_side_of_a_raster_may_be_a_narrow_integer():
    side = np.uint8(20)  # 400 pixels are more than it counts
    same(
        lowering.lower(masks.raster(side, side), 3, 400),
        lowering.lower(masks.raster(20, 20), 3, 400),
    )


@pytest.mark.parametrize("dtype", ["int8", "int32", "int64", "uint64"])
def test_a_mask_sees_its_array_change(dtype: str):
    lengths, ids = np.array([3, 5], dtype), np.array([0, 0, 1, 1], dtype)
    padding, documents = masks.padding(lengths), masks.documents(ids)
    lengths[:], ids[:] = 1, 0
    assert padding.dense(4, 4).sum() == 8
    assert documents.dense(4, 4).all()


@pytest.mark.parametrize("combine", [masks.And, masks.Or])
@pytest.mark.parametrize("how", [Mask.dense, lowering.intervals.definition, *LOWER])  # type: ignore[attr-defined]
def test_parts_for_different_batches_or_heads_are_named(how: Any, combine: Any):
    ids = masks.documents(np.zeros((2, 4), int))
    three = masks.boolean(np.ones((1, 3, 4, 4), bool))
    for other, named in (
        (masks.padding(np.array([1, 2, 3])), "its parts are for batches 2 and 3"),
        (masks.boolean(np.ones((5, 1, 4, 4), bool)) & masks.causal(), "batches 2 and 5"),
        (three & masks.boolean(np.ones((1, 2, 4, 4), bool)), "heads 2 and 3"),
    ):
        mask = combine(ids, other)
        with pytest.raises(InputError, match=named):
            mask.dense(4, 4) if how is Mask.dense else how(mask, 4, 4)


SOME = lowering.lower(masks.causal(), 5, 5)
HOLES = lowering.packed(masks.causal(), 5, 5)
BAD_BLOCKS: dict[str, tuple[Any, Any, Any, str]] = {
    "no queries": (SOME, 0, 2, "block_q must be an int >= 1, got 0"),
    "no keys": (SOME, 2, 0, "block_k must be an int >= 1, got 0"),
    "half a key": (SOME, 2, 0.5, "block_k must be an int"),
    "packed": (HOLES, 2, 2, "lowered must be Intervals, got Packed"),
    "a mask": (masks.causal(), 2, 2, "lowered must be Intervals, got Window"),
}


@pytest.mark.parametrize("ranges", [block_ranges, masks_numba.block_ranges])
@pytest.mark.parametrize("case", BAD_BLOCKS)
def test_blocks_that_make_no_sense_are_named(case: str, ranges: Any):
    *arguments, named = BAD_BLOCKS[case]
    with pytest.raises(InputError, match=named):
        ranges(*arguments)


@pytest.mark.parametrize("ranges", [block_ranges, masks_numba.block_ranges])
def test_the_size_of_a_block_may_be_a_narrow_integer(ranges: Any):
    lowered = lowering.lower(masks.causal(), 300, 300)
    size = np.uint8(200)
    np.testing.assert_array_equal(ranges(lowered, size, size), ranges(lowered, 200, 200))


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: masks.window(-1), "left"),
        (lambda: masks.window(1, True), "right"),
        (lambda: masks.prefix(-2), "length"),
        (lambda: masks.padding(np.array([0.5])), "lengths"),
        (lambda: masks.documents(np.zeros(3)), "ids"),
        (lambda: masks.boolean(np.zeros((2, 2))), "seen"),
        (lambda: masks.raster(2, 2, reach=-1), "reach"),
        (lambda: masks.causal() & np.ones((2, 2), bool), "mask"),
        (lambda: masks.documents(np.zeros(3, int)).dense(4, 4), "4 keys, got 3 ids"),
        (lambda: masks.raster(2, 2).interval(3, 5), "2×2"),
        (lambda: lowering.lower(masks.boolean(np.ones((2, 2), bool)), 2, 3), "mask"),
        (lambda: lowering.intervals(masks.window(0) | masks.prefix(1), 5, 5), "several intervals"),
        (lambda: masks_numba.intervals(masks.window(0) | masks.prefix(1), 5, 5), "several"),
        (lambda: masks_numba.lower(masks.documents(np.zeros(3, int)), 4, 4), "4 keys, got 3 ids"),
        (lambda: block_classes(SOME, 2, 8), "lowered must be Packed, got Intervals"),
        (lambda: block_classes(HOLES, 2, 4), "block_k must be a multiple of 8, got 4"),
    ],
)
def test_bad_masks_name_the_argument(make: Callable[[], Any], named: str):
    with pytest.raises(InputError, match=named):
        make()


HOLES_OF = {
    "raster": masks.raster(64, 64, reach=8),
    "raster in documents": masks.raster(64, 64, reach=8) & masks.documents(np.arange(4096) // 64),
    "raster of odd width": masks.raster(63, 65, reach=3, own=False),
}


@pytest.mark.parametrize("name", HOLES_OF)
def test_a_mask_with_holes_is_packed_from_its_parts(name: str):
    """The bits take 2 MiB; whether one key is seen, for all pairs, would take 16 as bytes."""
    mask = HOLES_OF[name]
    k_len = 63 * 65 if "odd" in name else 4096
    tracemalloc.start()
    found = lowering.packed(mask, k_len, k_len)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    if name != "raster in documents":
        assert peak < 6 << 20
    np.testing.assert_array_equal(lowering.raised(found), mask.dense(k_len, k_len))
