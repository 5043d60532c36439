"""Every twin in the table against its definition; every twin with a planted fault is rejected."""

from __future__ import annotations

import doctest
import math
import os
import re
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from core.errors import InputError
from core.operation import backend, operation, register_twins
from kernels import OPS, BackendError, Call, Op, check, foreign, measure, proof, table
from kernels.search import smallest
from reference.operations import masks

TWINS = [(op, where) for op in OPS.values() for where in op.twins if where == "numba"]
WRONG = [(op, fault) for op in OPS.values() for fault in op.wrong]
name_of = {"ids": lambda v: v.name if isinstance(v, Op) else str(v)}


@pytest.mark.parametrize(("op", "where"), TWINS, **name_of)
def test_twin_equals_its_definition(op: Op, where: str):
    implementation = op.load(where)

    @given(op.calls())
    def holds(call: Call) -> None:
        check(implementation, call)

    holds()


DRAWS, REJECTED = 50, 5
"""A fault that shows in a tenth of all calls slips through 200 of them once in 10⁹ runs."""


def complaint(implementation: Any, call: Call) -> str:
    """What the check says against one call, without the call; "" if nothing."""
    try:
        check(implementation, call)
    except AssertionError as error:
        said, _, again = str(error).rpartition("\n")
        assert again == repr(call)
        return said
    return ""


@pytest.mark.parametrize(("op", "fault"), WRONG, **name_of)
def test_a_wrong_twin_is_rejected(op: Op, fault: str):
    """For its numbers, not its shape or dtype, and in so many calls that no run can miss it."""
    said = [complaint(op.wrong[fault], op.draw(seed)) for seed in range(DRAWS)]
    wrong_kind = re.compile(
        r" is not (an array|the definition's)| results are not |changed its | raised "
    )
    found = [line for line in said if line and not wrong_kind.search(line)]
    assert len(found) >= REJECTED, f"{fault!r} shows in {len(found)} of {DRAWS} calls: {said}"


@pytest.mark.parametrize("op", OPS.values(), **name_of)
def test_the_definition_passes_its_own_check(op: Op):
    for dtype in op.dtypes:
        check(op.load(), op.draw(0, (dtype,)))


def nudged(x: Any) -> Any:
    """x with its last entries off by 1e-4."""
    off = x.copy()
    off[..., -1] += 1e-4
    return off


def test_each_array_of_a_tuple_is_judged():
    """One entry that is wrong, missing, of another shape or dtype is enough."""
    op = replace(OPS["masked_attention_backward"], laws=())
    call = op.call(0, "float32", **dict.fromkeys(op.dims, 2) | {"mask": 1})
    right = op.load()(**call.arguments)
    assert not complaint(lambda **_: right, call)
    spoilt = (nudged, lambda x: x[:, :, 1:], lambda x: x.astype(np.float64))
    for i in range(3):
        for spoil in spoilt:
            wrong = (*right[:i], spoil(right[i]), *right[i + 1 :])
            said = complaint(lambda w=wrong, **_: w, call)
            assert said.startswith(f"result {i} of masked_attention_backward")
    assert "2 results" in complaint(lambda **_: right[:2], call)


def test_a_floor_may_be_one_twins_own():
    floor = {"float32": 0.0, "triton float32": 1e-3}
    op = replace(OPS["masked_attention"], floor=floor, cap={"float32": 1.0, "float64": 1.0})
    op = replace(op, laws=())
    call = op.call(0, "float32", **dict.fromkeys(op.dims, 2) | {"mask": 0})
    off = op.load()(**call.arguments) + np.float32(1e-4)
    check(lambda **_: off, call, "triton")
    assert "allowed" in complaint(lambda **_: off, call)


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
    call = Call(OPS["histogram_nd"], {"x": np.zeros((5, 2)), "edges": edges}, "float64")
    said = complaint(overwrites_an_edge, call)
    assert said == "histogram_nd changed its argument edges"
    mask = masks.causal() & masks.documents(np.array([0, 0, 1]))
    call = Call(OPS["intervals"], {"mask": mask, "q_len": 3, "k_len": 3}, "int32")
    said = complaint(overwrites_ids, call)
    assert said == "intervals changed its argument mask"


@pytest.mark.parametrize(
    ("floor", "cap", "passes", "fails"),
    [
        (1e-3, 1.0, 0.9e-3, 1.2e-3),  # the floor alone, the definition's own error being 3e-8
        (1.0, 1e-3, 0.9e-3, 1.1e-3),  # the cap is the smaller
    ],
)
def test_floor_and_cap_are_the_limits(floor: float, cap: float, passes: float, fails: float):
    cap_of = {"float32": cap, "float64": cap}
    op = replace(OPS["normal"], floor={"float32": floor}, cap=cap_of, laws=())
    at = {"seed": 2, "shape": (2,), "step": 0, "stream": "noise", "first": 0}
    call, truth = Call(op, at, "float32"), op.load()(**at)
    assert abs(truth).max() < 1, "the limits grow in proportion"
    assert not complaint(lambda **_: truth + np.float32(passes), call)
    said = complaint(lambda **_: truth + np.float32(fails), call)
    assert f"allowed {min(floor, cap):.3g}" in said
    assert ("the cap" in said) == (cap < floor)


def test_twice_the_definitions_own_error_is_allowed(monkeypatch: pytest.MonkeyPatch):
    """Of a definition that is off by 1e-3 in float32; in float64 that counts by the eps's ratio."""
    op = replace(OPS["masked_attention"], laws=(), floor={}, cap={"float32": 1.0, "float64": 1.0})
    exact = op.load()

    def rough(q: Any, *args: Any, **rest: Any) -> Any:
        return exact(q, *args, **rest) + q.dtype.type(1e-3 if q.dtype == np.float32 else 0)

    monkeypatch.setattr(Op, "load", lambda self, where="": rough)
    for dtype, own in (("float32", 1e-3), ("float64", 1e-3 * 2.0**-29)):
        call = op.call(0, dtype, **dict.fromkeys(op.dims, 2) | {"mask": 0})
        truth = exact(**call.arguments)
        for error, passes in ((1.8 * own, True), (2.4 * own, False)):
            wrong = truth + truth.dtype.type(error)
            said = complaint(lambda w=wrong, **_: w, call)
            assert passes == (not said), (dtype, error, said)


def test_what_is_wrong_is_named():
    op = OPS["histogram"]
    drawn = {"x": np.array([0.5]), "edges": np.array([0.0, 1.0])}
    call = Call(op, drawn, "float64")
    results = ([1], None, np.array([1.0]), np.array([1, 0]), np.array([7]), np.array([0]))
    assert [complaint(lambda r=r, **_: r, call) for r in results] == [
        "histogram: list is not an array",
        "histogram: NoneType is not an array",
        "histogram: dtype float64 is not the definition's int64",
        "histogram: shape (2,) is not the definition's (1,)",
        "histogram breaks a law: Counts add up to at most the number of values",
        "histogram is wrong at [0]: got 0, the definition has 1; 1 of 1 differ, and whole numbers "
        "must be equal",
    ]
    with pytest.raises(InputError, match=r"dtype of histogram must be one of .*, got 'float16'"):
        check(op.load(), Call(op, drawn, "float16"))


def test_the_worst_entry_is_named_with_both_values_and_why():
    op = replace(OPS["masked_attention"], laws=(), floor={"float32": 1e-6})
    op = replace(op, cap={"float32": 1.0, "float64": 1.0})
    call = op.call(0, "float32", **dict.fromkeys(op.dims, 2) | {"mask": 0})
    right = op.load()(**call.arguments)
    off, nan = right.copy(), right.copy()
    off[0, 0, 0] += np.float32(1e-3)
    off[1, 2, 0, 1] += np.float32(0.25)
    nan[1, 2, 0, 1] = math.nan
    worst = rf"at \[1, 2, 0, 1\]: got {off[1, 2, 0, 1]:.6g}\d*, the definition in float64 has "
    why = r"twice the definition's own \S+ and the floor 1e-06 × \S+, the largest value"
    said = complaint(lambda **_: off, call)
    assert re.fullmatch(rf"masked_attention is wrong {worst}\S+: off by 0.25, \S+ \S+, {why}", said)
    said = complaint(lambda **_: nan, call)
    assert "is NaN or infinite, or should be, at [1, 2, 0, 1]: got nan" in said


def test_what_overflows_on_the_way_is_judged_by_its_result():
    """Neither a warning, which is an error here, nor an ArithmeticError stops the proof."""
    op = OPS["masked_attention"]
    call = op.call(0, "float32", **dict.fromkeys(op.dims, 2) | {"mask": 0})
    right = op.load()

    def too_large(**arguments: Any) -> Any:
        return right(**arguments) * np.float32(3e38) * np.float32(10)

    def out_and_back(**arguments: Any) -> Any:
        np.float32(3e38) * np.float32(10)
        return right(**arguments)

    def divides(**arguments: Any) -> Any:
        return right(**arguments) * (1 // 0)

    assert "NaN or infinite" in complaint(too_large, call)
    assert not complaint(out_and_back, call)
    assert complaint(divides, call).startswith("masked_attention raised ZeroDivisionError")


# Calls


@pytest.mark.parametrize("op", OPS.values(), **name_of)
def test_a_call_says_how_to_draw_it_again(op: Op):
    @settings(max_examples=5)
    @given(op.calls())
    def same(call: Call) -> None:
        again = eval(repr(call), {"OPS": OPS})
        assert repr(again) == repr(call)
        assert repr(again.arguments) == repr(call.arguments)

    same()


def test_calls_can_be_narrowed():
    """To some dtypes, dims, and to calls without what the row names."""
    op, seen = OPS["masked_attention"], set()

    @settings(max_examples=50)
    @given(
        op.calls(dims={"lengths": 1, "D": (3, 4)}, dtypes=["float32"], without=["mask", "scale"])
    )
    def holds(call: Call) -> None:
        q = call.arguments["q"]
        assert q.dtype == np.float32
        assert q.shape[2] == 17
        assert call.arguments["mask"] is call.arguments["scale"] is None
        seen.add((q.shape[3], q.shape[1] > call.arguments["k"].shape[1]))

    holds()
    assert seen == {(D, shared) for D in (3, 4) for shared in (False, True)}


@given(OPS["histogram"].calls(dims={"n": (2, 5)}, without=["weights"]))
def test_a_run_of_entries_is_as_long_as_it_may_be(call: Call):
    assert 2 <= len(call.arguments["x"]) <= 5
    assert "weights" not in call.arguments


@pytest.mark.parametrize(
    ("narrow", "named"),
    [
        ({"dims": {"m": 1}}, "dims of histogram must be one of n, .*, got 'm'"),
        ({"dims": {"n": (0, 301)}}, r"n must lie in 0 … 300, got \(0, 301\)"),
        ({"dims": {"n": (5, 2)}}, r"n must lie in 0 … 300, got \(5, 2\)"),
        ({"dims": {"n": 2.5}}, "n must be an int, got 2.5"),
        ({"dtypes": ["float16"]}, "dtype of histogram must be one of .*, got 'float16'"),
        ({"without": ["edges"]}, "without of histogram must be one of weights, .*, got 'edges'"),
    ],
)
def test_what_a_row_does_not_have_cannot_be_drawn(narrow: Any, named: str):
    with pytest.raises(InputError, match=named):
        OPS["histogram"].calls(**narrow)


def test_without_hypothesis_calls_say_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("kernels.calls.find_spec", lambda name: None)
    with pytest.raises(BackendError, match="pip install hypothesis"):
        OPS["histogram"].calls()


ENTRIES = [(op, fault) for op, fault in WRONG if op.name.startswith(("hist", "count"))]


@pytest.mark.parametrize(("op", "fault"), ENTRIES, **name_of)
def test_a_wrong_histogram_is_found_and_shrunk(op: Op, fault: str):
    """Within 200 calls, to at most 3 values; whatever the seed."""
    for seed in range(3):
        found = smallest(op.wrong[fault], op, examples=200, seed=seed)
        assert found is not None
        assert found.after <= 200
        assert len(found.call.arguments["x"]) <= 3


# A row checks itself


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"name": "two words"}, "name must be an identifier, got 'two words'"),
        ({"mission": ("K99",)}, "mission of normal must be one of .*, got 'K99'"),
        ({"definition": "core.random.normal"}, 'normal must name "module:function", got'),
        ({"twins": {"numba": "kernels/philox:normal"}}, 'normal must name "module:function", got'),
        ({"twins": {"cuda": "a:b"}}, "twins of normal must be one of numba, triton, got 'cuda'"),
        ({"twins": {}}, "twins of normal must hold one at least"),
        ({"wrong": {}}, "wrong of normal must hold one at least"),
        ({"bench": {}}, "bench of normal must hold one at least"),
        ({"dtypes": ()}, "dtypes of normal must name one at least"),
        ({"dtypes": ("float33",)}, "dtypes of normal must be NumPy's, got 'float33'"),
        ({"dtypes": ("float16",)}, "floor of normal must be one of float16, got 'float32'"),
        ({"dims": {"n": (3, 2)}}, r"n of normal must be \(least, most\), got \(3, 2\)"),
        ({"entries": ("u",)}, "dims of normal must have n, for its entries"),
        ({"without": {"a": {"b": 0}}}, "normal without a: dims of normal must be one of"),
        ({"without": {"a": {"axes": 9}}}, "normal without a: axes must lie in 1 … 3, got 9"),
        ({"cap": {"float32": 1.0}}, "cap of normal must name every floating dtype, got none for"),
        ({"cap": {"float32": 1.0, "float64": math.nan}}, "cap of normal must be finite and >= 0"),
        ({"floor": {"float32": -1.0}}, "floor of normal must be finite and >= 0, got -1"),
        ({"floor": {"numba int8": 1.0}}, "floor of normal must be one of float32, float64"),
    ],
    ids=lambda v: next(iter(v)) if isinstance(v, dict) else "",
)
def test_a_row_that_cannot_be_proven_is_refused(change: dict[str, Any], named: str):
    with pytest.raises(InputError, match=named):
        replace(OPS["normal"], **change)


def test_a_floating_result_of_a_call_without_cap_is_named():
    op = replace(OPS["histogram"], cap={"float32": 1e-9, "float64": 1e-9}, floor={})
    call = op.call(0, "int8", n=3, bins=2, edges=0, weighted=1, odd=0)
    with pytest.raises(InputError, match="cap of histogram must name int8, for a result of float"):
        check(op.load(), call)


@pytest.mark.parametrize(
    "module", [table, proof, foreign, measure], ids=lambda module: module.__name__
)
def test_examples_in_docstrings_run(module: Any):
    assert doctest.testmod(module, optionflags=doctest.IGNORE_EXCEPTION_DETAIL).failed == 0


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
    OPS["histogram"].load()  # its module is imported

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
