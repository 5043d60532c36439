"""Every twin in the table against its definition; every twin with a planted fault is rejected."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InputError
from core.operation import BACKENDS, backend, operation, register_twins
from kernels import OPS, BackendError, Op, check
from reference.operations import masks

TWINS = [(op, where) for op in OPS.values() for where in op.twins if where == "numba"]
WRONG = [(op, fault) for op in OPS.values() for fault in op.wrong]
name_of = {"ids": lambda v: v.name if isinstance(v, Op) else str(v)}


def calls(op: Op) -> st.SearchStrategy[tuple[dict[str, int], str, int]]:
    """What hypothesis draws for one call: dims, dtype, seed."""
    dims = st.fixed_dictionaries({k: st.integers(a, b) for k, (a, b) in op.dims.items()})
    return st.tuples(dims, st.sampled_from(op.dtypes), st.integers(0, 2**32 - 1))


def arguments(op: Op, dims: dict[str, int], dtype: str, seed: int) -> dict[str, Any]:
    return op.make(np.random.default_rng(seed), dims, dtype)


@pytest.mark.parametrize(("op", "where"), TWINS, **name_of)
def test_twin_equals_its_definition(op: Op, where: str):
    implementation = op.load(where)

    @given(calls(op))
    def holds(call: tuple[dict[str, int], str, int]) -> None:
        dims, dtype, seed = call
        check(op, implementation, arguments(op, dims, dtype, seed), dtype)

    holds()


DRAWS, REJECTED = 50, 5
"""A fault that shows in a tenth of all calls slips through 200 of them once in 10⁹ runs."""


def complaint(op: Op, implementation: Any, call: dict[str, Any], dtype: str) -> str:
    """What the check says against one call; "" if nothing."""
    try:
        check(op, implementation, call, dtype)
    except AssertionError as error:
        return str(error) or "a law"
    return ""


@pytest.mark.parametrize(("op", "fault"), WRONG, **name_of)
def test_a_wrong_twin_is_rejected(op: Op, fault: str):
    """For its numbers, not its shape or dtype, and in so many calls that no run can miss it."""
    said = [complaint(op, op.wrong[fault], *op.draw(seed)) for seed in range(DRAWS)]
    wrong_kind = re.compile(r": (\(.*\)|\w+|\d+ results) (is|are) not |changed its argument")
    found = [line for line in said if line and not wrong_kind.search(line)]
    assert len(found) >= REJECTED, f"{fault!r} shows in {len(found)} of {DRAWS} calls: {said}"


@pytest.mark.parametrize("op", OPS.values(), **name_of)
def test_the_definition_passes_its_own_check(op: Op):
    rng = np.random.default_rng(0)
    for dtype in op.dtypes:
        dims = {k: int(rng.integers(a, b + 1)) for k, (a, b) in op.dims.items()}
        check(op, op.load(), arguments(op, dims, dtype, 1), dtype)


def nudged(x: Any) -> Any:
    """x with its last entries off by 1e-4."""
    off = x.copy()
    off[..., -1] += 1e-4
    return off


def test_each_array_of_a_tuple_is_judged():
    """One entry that is wrong, missing, of another shape or dtype is enough."""
    op = replace(OPS["masked_attention_backward"], laws=())
    dims = dict.fromkeys(op.dims, 2) | {"mask": 1}
    call = arguments(op, dims, "float32", 0)
    right = op.load()(**call)
    assert not complaint(op, lambda **_: right, call, "float32")
    spoilt = (nudged, lambda x: x[:, :, 1:], lambda x: x.astype(np.float64))
    for i in range(3):
        for spoil in spoilt:
            wrong = (*right[:i], spoil(right[i]), *right[i + 1 :])
            assert complaint(op, lambda w=wrong, **_: w, call, "float32")
    assert "2 results" in complaint(op, lambda **_: right[:2], call, "float32")


def test_a_floor_may_be_one_twins_own():
    op = replace(OPS["masked_attention"], floor={"float32": 0.0, "triton float32": 1e-3}, laws=())
    op = replace(op, cap={"float32": 1.0})
    call = arguments(op, dict.fromkeys(op.dims, 2) | {"mask": 0}, "float32", 0)
    off = op.load()(**call) + np.float32(1e-4)
    check(op, lambda **_: off, call, "float32", "triton")
    assert "allowed" in complaint(op, lambda **_: off, call, "float32")


def overwrites_an_edge(x: Any, edges: Any, weights: Any = None) -> Any:
    found = OPS["histogram_nd"].load()(x, edges, weights)
    edges[0][-1] += 1
    return found


def overwrites_ids(mask: Any, q_len: int, k_len: int) -> Any:
    found = OPS["intervals"].load()(mask, q_len, k_len)
    mask.b.ids[0] += 1
    return found


def test_arguments_inside_lists_and_masks_must_stay_too():
    edges = [np.arange(3.0), np.arange(4.0)]
    call: dict[str, Any] = {"x": np.zeros((5, 2)), "edges": edges}
    said = complaint(OPS["histogram_nd"], overwrites_an_edge, call, "float64")
    assert said == "histogram_nd changed its argument edges"
    mask = masks.causal() & masks.documents(np.array([0, 0, 1]))
    call = {"mask": mask, "q_len": 3, "k_len": 3}
    said = complaint(OPS["intervals"], overwrites_ids, call, "int32")
    assert said == "intervals changed its argument mask"


@pytest.mark.parametrize(
    ("floor", "cap", "passes", "fails"),
    [
        (1e-3, 1.0, 0.9e-3, 1.2e-3),  # the floor alone, the definition's own error being 3e-8
        (1.0, 1e-3, 0.9e-3, 1.1e-3),  # the cap is the smaller
    ],
)
def test_floor_and_cap_are_the_limits(floor: float, cap: float, passes: float, fails: float):
    op = replace(OPS["normal"], floor={"float32": floor}, cap={"float32": cap}, laws=())
    call = {"seed": 2, "shape": (2,), "step": 0, "stream": "noise", "first": 0}
    truth = op.load()(**call)
    assert abs(truth).max() < 1, "the limits grow in proportion"
    assert not complaint(op, lambda **_: truth + np.float32(passes), call, "float32")
    assert "allowed" in complaint(op, lambda **_: truth + np.float32(fails), call, "float32")


def test_twice_the_definitions_own_error_is_allowed(monkeypatch: pytest.MonkeyPatch):
    """Of a definition that is off by 1e-3 in float32; in float64 that counts by the eps's ratio."""
    op = replace(OPS["masked_attention"], laws=(), floor={}, cap={"float32": 1.0, "float64": 1.0})
    exact = op.load()

    def rough(q: Any, *args: Any, **rest: Any) -> Any:
        return exact(q, *args, **rest) + q.dtype.type(1e-3 if q.dtype == np.float32 else 0)

    monkeypatch.setattr(Op, "load", lambda self, where="": rough)
    for dtype, own in (("float32", 1e-3), ("float64", 1e-3 * 2.0**-29)):
        call = arguments(op, dict.fromkeys(op.dims, 2) | {"mask": 0}, dtype, 0)
        truth = exact(**call)
        for error, passes in ((1.8 * own, True), (2.4 * own, False)):
            wrong = truth + truth.dtype.type(error)
            said = complaint(op, lambda w=wrong, **_: w, call, dtype)
            assert passes == (not said), (dtype, error, said)


def test_what_is_wrong_is_named():
    op = OPS["histogram"]
    call: dict[str, Any] = {"x": np.array([0.5]), "edges": np.array([0.0, 1.0])}
    said = [complaint(op, lambda r=r, **_: r, call, "float64") for r in ([1], None)]
    assert said == [
        "histogram: list is not an array",
        "histogram: NoneType is not an array",
    ]
    many = complaint(op, lambda **_: np.array([7]), call, "float64")
    assert many == "histogram breaks a law: Counts add up to at most the number of values"
    assert "histogram" in complaint(op, lambda **_: np.array([0]), call, "float64")
    with pytest.raises(InputError, match=r"dtype of histogram must be one of .*, got 'float16'"):
        check(op, op.load(), call, "float16")


def test_every_row_can_be_measured_and_can_fail():
    for op in OPS.values():
        assert op.twins, f"{op.name} has no twin"
        assert op.wrong, f"{op.name} has no wrong twin"
        assert op.bench, f"{op.name} has no benchmark"
        assert set(op.twins) <= set(BACKENDS)
        floats = {d for d in op.dtypes if d.startswith("float")}
        assert floats <= set(op.cap) or not floats


# Choosing a back end


def test_backend_chooses_and_restores():
    x, edges = np.array([0.5, 1.5, 1.6]), np.array([0.0, 1.0, 2.0])
    from reference.operations.histogram import histogram

    with backend("numba") as used:
        assert not used
        assert histogram(x, edges).tolist() == [1, 2]
        assert used == {"reference.operations.histogram:histogram"}
        with pytest.raises(BackendError, match="no triton twin"), backend("triton"):
            histogram(x, edges)
        assert histogram(x, edges).tolist() == [1, 2]
    assert histogram(x, edges).tolist() == [1, 2]


def test_unknown_names_are_errors():
    with pytest.raises(InputError, match="backend"), backend("cuda"):
        pass

    @operation
    def nobody_knows(x):
        return x

    assert nobody_knows(3) == 3
    with backend("numba"), pytest.raises(BackendError, match="nobody_knows has no numba twin"):
        nobody_knows(3)


def test_two_operations_of_one_name_are_an_error():
    def histogram(x):
        return x

    histogram.__module__, histogram.__qualname__ = "reference.operations.histogram", "histogram"
    with pytest.raises(ValueError, match="histogram:histogram is an operation"):
        operation(histogram)
    with pytest.raises(ValueError, match="has its twins already"):
        register_twins(OPS["histogram"])


def test_a_missing_back_end_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("kernels.table.find_spec", lambda name: None)
    with pytest.raises(BackendError, match="pip install numba"):
        OPS["histogram"].load("numba")


@pytest.mark.parametrize("first", ["numba", "kernels"])
def test_compiled_code_is_cached_by_its_sources_whoever_is_imported_first(first: str):
    """Elsewhere it would outlive a change in a file that it inlined from."""
    code = (
        f"import {first}\nfrom kernels.histogram import twin_numba as h\n"
        "print(h._count.stats.cache_path)"
    )
    environment = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"}
    out = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert re.search(r"__pycache__.numba-[0-9a-f]{16}\b", out.stdout)
