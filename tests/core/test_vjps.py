"""Every row of the table of derivatives, first and second order, in float32 and float64.

The law: along a random direction u, with L(x) = ⟨c, f(x)⟩ for a random c,

    ⟨∇L(x), u⟩ = d/ds L(x + s·u) at s = 0,    ⟨∇⟨∇L, u⟩, v⟩ = d/ds ⟨∇L(x + s·v), u⟩ at s = 0,

by central differences, and the same derivatives by PyTorch. Planted wrong rows must fail it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from core import Tensor, no_grad, value
from core.tensor import ROWS, Row
from tests.core import network_cases, vjp_cases
from tests.core.derivatives import (
    check_against_differences,
    directional,
    gradients,
    loss,
    random_like,
)
from tests.core.vjp_cases import Case


def all_cases(torch: Any = None) -> list[Case]:
    """NumPy's functions and ours; with PyTorch's module given, each case knows its peer."""
    return vjp_cases.all_cases(torch) + network_cases.all_cases(torch)


CASES = all_cases()
each_case = pytest.mark.parametrize("case", CASES, ids=lambda c: c.label)


def test_every_row_has_cases():
    assert set(ROWS) <= {c.key for c in CASES}


@each_case
def test_derivatives_match_finite_differences(case: Case):
    check_against_differences(case.f, case.inputs)


@each_case
def test_same_values_on_arrays_and_tensors(case: Case):
    plain = np.asarray(case.f(*case.inputs))
    taped = case.f(*[Tensor(a) for a in case.inputs])
    with no_grad():
        silent = case.f(*[Tensor(a) for a in case.inputs])
    assert isinstance(taped, Tensor)
    assert not isinstance(silent, Tensor)
    np.testing.assert_array_equal(taped.data, plain)
    np.testing.assert_array_equal(silent, plain)


@each_case
def test_layout_of_the_inputs_does_not_matter(case: Case):
    strided = [_with_strides(a) for a in case.inputs]
    for a, b in zip(gradients(case.f, strided)[0], gradients(case.f, case.inputs)[0], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def _with_strides(a: np.ndarray) -> np.ndarray:
    """The same values, neither C- nor Fortran-contiguous where that is possible."""
    spread = np.zeros((*a.shape, 2)).T
    spread[0] = a.T
    return spread[0].T


@each_case
def test_inputs_and_gradients_share_no_memory(case: Case):
    before = [a.copy() for a in case.inputs]
    tensors = [Tensor(a) for a in case.inputs]
    loss(case.f, tensors).backward()
    for t, a, b in zip(tensors, case.inputs, before, strict=True):
        np.testing.assert_array_equal(a, b)
        others = [o.grad for o in tensors if o is not t] + case.inputs
        assert not any(np.shares_memory(t.grad, o) for o in others if o is not None)


@pytest.mark.parametrize("case", [c for c in CASES if c.key != "astype"], ids=lambda c: c.label)
def test_float32_stays_float32(case: Case):
    narrow = [a.astype(np.float32) for a in case.inputs]
    first, tensors = gradients(case.f, narrow, create_graph=True)
    assert case.f(*narrow).dtype == np.float32
    assert all(g.dtype == np.float32 for g in first)
    wide, _ = gradients(case.f, [a.astype(np.float64) for a in narrow])
    scale = 1 + max((np.abs(w).max() for w in wide if w.size), default=0)
    for g, w in zip(first, wide, strict=True):
        np.testing.assert_allclose(g.data, w, atol=2e-5 * scale)
    second = directional(first, tensors, random_like(tensors, 12))
    assert all(g.dtype == np.float32 for g in second)


WITHOUT_A_PEER = {"cbrt", "zeta", "mills", "mills_excess", "scatter", "recurrence"}
WITHOUT_A_PEER |= {"cofactor_slope", "conv2d_kernel", "unpool", "picked", "put_back"}
WITHOUT_A_PEER |= {"binary_entropy", "gelu_slope", "silu_slope"}


def test_derivatives_match_pytorch():
    torch = pytest.importorskip("torch")
    compared = set()
    for case in all_cases(torch):
        if case.torch is None:
            continue
        for dtype, tolerance in ((np.float64, 1e-9), (np.float32, 1e-4)):
            if _compare_with_torch(torch, case, dtype, tolerance):
                compared.add(case.key)
    assert {ROWS[key].name for key in set(ROWS) - compared} == WITHOUT_A_PEER


def _compare_with_torch(torch: Any, case: Case, dtype: Any, tolerance: float) -> bool:
    arrays = [a.astype(dtype) for a in case.inputs]
    peers = [torch.tensor(a, requires_grad=True) for a in arrays]
    z = case.torch(*peers)
    if z is None:
        return False
    if case.key == "astype":
        dtype = np.float64
    ours, tensors = gradients(case.f, arrays, create_graph=True)
    (c,) = random_like([case.f(*arrays)], 11)
    theirs = torch.autograd.grad((torch.tensor(c) * z).sum(), peers, create_graph=True)
    u = random_like(arrays, 12)
    _assert_close([g.data for g in ours], theirs, tolerance, case.label)
    along = sum((g * torch.tensor(d)).sum() for g, d in zip(theirs, u, strict=True))
    if along.requires_grad:
        second = torch.autograd.grad(along, peers, allow_unused=True)
        again = [
            torch.zeros_like(p) if s is None else s for s, p in zip(second, peers, strict=True)
        ]
        _assert_close(directional(ours, tensors, u), again, 10 * tolerance, case.label)
    return True


def _assert_close(ours: Any, theirs: Any, tolerance: float, label: str) -> None:
    for a, b in zip(ours, theirs, strict=True):
        b = b.detach().numpy(force=True)
        scale = 1 + (np.abs(b).max() if b.size else 0)
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * scale, err_msg=label)


# Planted wrong rows: the check must be able to fail

WRONG_TANH = {
    "sign": lambda g, z, x: -g * (1 - z * z),
    "formula": lambda g, z, x: g * (1 - z),
    "a factor": lambda g, z, x: g * (1 - z * z) * 1.0001,
    "ignores g": lambda g, z, x: 1 - z * z,
    "loses the graph (first order right, second wrong)": lambda g, z, x: g * (1 - value(z) ** 2),
    "zero": lambda g, z, x: 0 * g,
}


@pytest.mark.parametrize("name", WRONG_TANH)
def test_wrong_rows_are_rejected(name: str):
    wrong = Row("tanh", np.tanh, (WRONG_TANH[name],), lambda x: ((x,), {}))
    inputs = [np.random.default_rng(0).normal(size=(3, 4))]
    with pytest.raises(AssertionError):
        check_against_differences(wrong, inputs)
    right = Row("tanh", np.tanh, (lambda g, z, x: g * (1 - z * z),), lambda x: ((x,), {}))
    check_against_differences(right, inputs)


def test_wrong_broadcasting_is_rejected(monkeypatch: pytest.MonkeyPatch):
    def forgets_leading_axes(g: Any, shape: tuple[int, ...], name: str) -> Any:
        return np.reshape(g[(0,) * (g.ndim - len(shape))], shape)

    inputs = [np.ones((3, 4)), np.ones(4)]
    monkeypatch.setattr("core.tensor.unbroadcast", forgets_leading_axes)
    with pytest.raises(AssertionError):
        check_against_differences(np.multiply, inputs)


def test_astype():
    x = Tensor(np.array([1.5, 2.5], np.float32))
    y = np.sum(x.astype(np.float64) * np.array([2.0, 3.0]))
    y.backward()
    assert y.dtype == np.float64
    assert x.grad.dtype == np.float32
    np.testing.assert_array_equal(x.grad, [2, 3])
