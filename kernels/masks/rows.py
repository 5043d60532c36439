"""The rows of `OPS` that turn masks into what a kernel reads (MISSION row K4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from kernels.calls import Arguments
from kernels.table import Op
from reference.operations import lowering, masks
from reference.operations.lowering import Intervals
from reference.operations.masks import And, Documents, Mask

Dims = Mapping[str, int]
_intervals = lowering.intervals.definition
_ranges = lowering.block_ranges.definition


def _ids(rng: np.random.Generator, lead: tuple[int, ...], K: int, documents: int) -> Any:
    """Runs of equal ids, in no order: (*lead, K)."""
    cuts = np.sort(rng.integers(0, K + 1, (*lead, documents - 1)), axis=-1)
    number = (cuts[..., None, :] <= np.arange(K)[:, None]).sum(-1)
    return rng.permutation(documents)[number].astype(rng.choice(["int32", "int64"]))


def _mask(rng: np.random.Generator, dims: Dims, Q: int, K: int) -> Mask:
    """Intervals of every kind, alone and combined; Q ≤ K."""
    left, right = (int(n) for n in rng.integers(0, dims.get("window", 40), 2))
    documents, nearby = dims["documents"], masks.causal() & masks.window(left)
    cut = np.sort(rng.integers(0, K + 1, (2, dims["B"], 2, Q)), axis=0)[..., None]
    key = np.arange(K)
    kinds: dict[int, Callable[[], Mask]] = {
        0: lambda: masks.full(),
        1: lambda: masks.window(left, right),
        2: lambda: nearby | masks.causal() & masks.window(3),
        3: lambda: masks.causal() | masks.prefix(left),
        4: lambda: nearby & masks.documents(_ids(rng, (), K, documents)),
        5: lambda: masks.documents(_ids(rng, (dims["B"],), K, documents)),
        6: lambda: masks.padding(rng.integers(0, K + 1, dims["B"])) & kinds[4](),
        7: lambda: masks.raster(1, K, own=False) & masks.window(left) & kinds[5](),
        8: lambda: masks.boolean((cut[0] <= key) & (key < cut[1])) & kinds[5]() & kinds[4](),
    }
    return kinds[dims["mask"]]()


def _make(rng: np.random.Generator, dims: Dims, dtype: str) -> Arguments:
    K = dims["K"]
    Q = min(dims["Q"], K)
    arguments = {"mask": _mask(rng, dims, Q, K), "q_len": Q, "k_len": K}
    if dims["mask"] < 4:  # documents have a key for each query, the others need not
        arguments["q_len"] = dims["Q"]
    return arguments


def _make_ranges(rng: np.random.Generator, dims: Dims, dtype: str) -> Arguments:
    arguments = _make(rng, dims, dtype)
    start, stop = _intervals(**arguments)
    lowered = Intervals(start, stop, arguments["k_len"])
    return {"lowered": lowered, "block_q": dims["block_q"], "block_k": dims["block_k"]}


def _show_what_the_mask_shows(arguments: Arguments, result: Any) -> None:
    """Raised to (…, Q, K) again, the intervals are the dense mask."""
    (start, stop), K = result, arguments["k_len"]
    if K <= 1000:
        dense = arguments["mask"].dense(arguments["q_len"], K)
        np.testing.assert_array_equal(lowering.raised(Intervals(start, stop, K)), dense)


def _every_pair_once(arguments: Arguments, result: Any) -> None:
    """Blocks outside the ranges hold no key that is seen, full ones none that isn't."""
    lowered = arguments["lowered"]
    if lowered.k_len > 1000:
        return
    block_q, block_k = arguments["block_q"], arguments["block_k"]
    seen = lowering.raised(lowered)
    for *lead, n in np.ndindex(result.shape[:-1]):
        rows = seen[(*lead, slice(n * block_q, (n + 1) * block_q))]
        first, full_first, full_last, last = result[(*lead, n)] * block_k
        assert not rows[:, :first].any()
        assert not rows[:, last:].any()
        assert rows[:, full_first:full_last].all()


# Twins with a planted fault


def top_left(mask: Mask, q_len: int, k_len: int) -> Any:
    """Counts queries from the first key on: they end together."""
    start, stop = _intervals(mask, q_len, k_len)
    return tuple(np.clip(x - (k_len - q_len), 0, k_len) for x in (start, stop))


def one_to_the_right(mask: Mask, q_len: int, k_len: int) -> Any:
    """Shows one key more."""
    start, stop = _intervals(mask, q_len, k_len)
    return start, np.minimum(stop + 1, k_len)


def joins_documents(mask: Mask, q_len: int, k_len: int) -> Any:
    """Looks across the border of a document."""
    return _intervals(_without_documents(mask), q_len, k_len)


def _without_documents(mask: Mask) -> Mask:
    if isinstance(mask, And):
        return _without_documents(mask.a) & _without_documents(mask.b)
    return masks.full() if isinstance(mask, Documents) else mask


def negative_intervals(mask: Mask, q_len: int, k_len: int) -> Any:
    """Stops before it starts where nothing is seen."""
    start, stop = _intervals(mask, q_len, k_len)
    return start, np.where(start == stop, start - 1, stop)


def partial_for_full(lowered: Intervals, block_q: int, block_k: int) -> Any:
    """Rounds full blocks outwards."""
    ranges = _ranges(lowered, block_q, block_k)
    ranges[..., 1], ranges[..., 2] = ranges[..., 0], ranges[..., 3]
    return ranges


def leaves_out_the_last(lowered: Intervals, block_q: int, block_k: int) -> Any:
    """Rounds the end down."""
    ranges = _ranges(lowered, block_q, block_k)
    ranges[..., 3] = ranges[..., 2]
    return ranges


def by_the_first_query(lowered: Intervals, block_q: int, block_k: int) -> Any:
    """Takes the block's first query for all."""
    start, stop = (
        np.repeat(x[..., ::block_q], block_q, axis=-1)[..., : x.shape[-1]]
        for x in (lowered.start, lowered.stop)
    )
    return _ranges(Intervals(start, stop, lowered.k_len), block_q, block_k)


_DIMS = {"Q": (0, 90), "K": (1, 90), "B": (1, 3), "documents": (1, 6), "mask": (0, 8)}
_LONG = {"Q": 65536, "K": 65536, "B": 1, "documents": 100, "mask": 4, "window": 8192}
_LABEL = "S = 65 536, causal & window & 100 documents"

ROWS = [
    Op(
        name="intervals",
        mission=("K4",),
        definition="reference.operations.lowering:intervals",
        twins={"numba": "kernels.masks.twin_numba:intervals"},
        make=_make,
        dims=_DIMS,
        dtypes=("int32",),
        laws=(_show_what_the_mask_shows,),
        wrong={
            "aligned top left": top_left,
            "one key more": one_to_the_right,
            "across documents": joins_documents,
            "stops before it starts": negative_intervals,
        },
        bench={_LABEL: (_LONG, "int32")},
    ),
    Op(
        name="block_ranges",
        mission=("K4",),
        definition="reference.operations.lowering:block_ranges",
        twins={"numba": "kernels.masks.twin_numba:block_ranges"},
        make=_make_ranges,
        dims={**_DIMS, "block_q": (1, 20), "block_k": (1, 20)},
        dtypes=("int32",),
        laws=(_every_pair_once,),
        wrong={
            "partial taken for full": partial_for_full,
            "last block left out": leaves_out_the_last,
            "first query for all": by_the_first_query,
        },
        bench={f"{_LABEL}, blocks of 128": ({**_LONG, "block_q": 128, "block_k": 128}, "int32")},
    ),
]
