"""Every twin in the table against its definition; every twin with a planted fault is rejected."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InputError
from kernels import OPS, BackendError, Op, check, twin
from reference.backend import BACKENDS, backend, operation

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


def drawn(op: Op, seed: int) -> tuple[dict[str, Any], str]:
    """The arguments of one call and their dtype, the same in every run."""
    rng = np.random.default_rng(seed)
    dims = {k: int(rng.integers(a, b + 1)) for k, (a, b) in op.dims.items()}
    dtype = op.dtypes[int(rng.integers(len(op.dtypes)))]
    return arguments(op, dims, dtype, seed), dtype


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
    said = [complaint(op, op.wrong[fault], *drawn(op, seed)) for seed in range(DRAWS)]
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
    from reference.binning import histogram

    with backend("numba") as used:
        assert not used
        assert histogram(x, edges).tolist() == [1, 2]
        assert used == {"histogram"}
        with pytest.raises(BackendError, match="no triton twin"), backend("triton"):
            histogram(x, edges)
        assert histogram(x, edges).tolist() == [1, 2]
    assert histogram(x, edges).tolist() == [1, 2]


def test_unknown_names_are_errors():
    with pytest.raises(InputError, match="backend"), backend("cuda"):
        pass
    with pytest.raises(InputError, match="unknown operation 'histogramm'"):
        twin("histogramm", "numba")

    @operation
    def nobody_knows(x):
        return x

    assert nobody_knows(3) == 3
    with backend("numba"), pytest.raises(InputError, match="nobody_knows"):
        nobody_knows(3)


def test_a_missing_back_end_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("kernels.table.find_spec", lambda name: None)
    with pytest.raises(BackendError, match="pip install numba"):
        twin("histogram", "numba")
