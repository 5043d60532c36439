"""The tape: what backward promises, and what it refuses rather than get wrong."""

from __future__ import annotations

import copy
import doctest
import math
import pickle
import re
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

import core.tensor
from core import Tensor, debug, grad, jacobian, no_grad, value
from core import functional as F
from core.errors import InputError
from tests.core.derivatives import check_against_differences


def leaf(*shape: int, seed: int = 0, dtype: type = np.float64) -> Tensor:
    return Tensor(np.random.default_rng(seed).normal(size=shape).astype(dtype))


# What backward promises


def test_gradients_accumulate_over_paths_and_calls():
    x = Tensor(np.array([2.0, 3.0]))
    y = x * x + np.exp(x) * x
    np.sum(y).backward()
    once = x.grad.copy()
    np.testing.assert_allclose(once, 2 * x.data + np.exp(x.data) * (1 + x.data))
    np.sum(y).backward()
    np.testing.assert_allclose(x.grad, 2 * once)


def test_leaves_do_not_share_their_gradients():
    a, b = leaf(3), leaf(3)
    np.sum(a + b).backward()
    a.grad *= 5
    np.testing.assert_array_equal(b.grad, np.ones(3))


@given(st.lists(st.sampled_from(["tanh", "mul", "add", "mm", "sum"]), min_size=1, max_size=12))
def test_random_graphs_match_forward_differences(steps: list[str]):
    """Whatever the order of operations and reuse, ⟨∇L, u⟩ is the slope along u."""
    rng = np.random.default_rng(len(steps))
    x0, u = rng.normal(size=(3, 3)), rng.normal(size=(3, 3))

    def f(x):
        h, old = x, x * 0.5
        for step in steps:
            new = {
                "tanh": lambda h, o: np.tanh(h),
                "mul": lambda h, o: h * o,
                "add": lambda h, o: h + o,
                "mm": lambda h, o: (h @ o) * 0.2,
                "sum": lambda h, o: h + np.mean(o, axis=0),
            }[step](h, old)
            h, old = new, h
        return np.sum(h * h)

    (g,) = grad(f(t := Tensor(x0)), [t])
    h = 1e-5
    slope = (f(x0 + h * u) - f(x0 - h * u)) / (2 * h)
    np.testing.assert_allclose(np.sum(g * u), slope, rtol=1e-5, atol=1e-5)


def test_grad_leaves_grad_alone_and_gives_zeros_for_strangers():
    x, stranger = leaf(3), leaf(2)
    g, z = grad(np.sum(x * x), [x, stranger])
    np.testing.assert_allclose(g, 2 * x.data)
    np.testing.assert_array_equal(z, np.zeros(2))
    assert x.grad is None
    assert stranger.grad is None


def test_grad_of_one_tensor_is_one_array():
    x, stranger = leaf(3), leaf(2)
    y = np.sum(x * x)
    np.testing.assert_array_equal(grad(y, x), grad(y, [x])[0])
    np.testing.assert_array_equal(grad(y, stranger), np.zeros(2))
    slope = grad(y, x, create_graph=True)
    np.testing.assert_array_equal(grad(np.sum(slope), x), np.full(3, 2.0))


def test_grad_takes_any_iterable_of_tensors():
    params = {"a": leaf(3), "b": leaf(3)}
    y = np.sum(params["a"] * params["b"])
    for g, h in zip(grad(y, params.values()), grad(y, (p for p in params.values())), strict=True):
        np.testing.assert_array_equal(g, h)
        assert np.any(g)


def test_grad_with_respect_to_a_computed_tensor():
    x = leaf(3)
    h = np.exp(x)
    g_h, g_x = grad(np.sum(h * h), [h, x])
    np.testing.assert_allclose(g_h, 2 * h.data)
    np.testing.assert_allclose(g_x, 2 * h.data**2)


def test_jacobian_and_hessian():
    A = np.random.default_rng(1).normal(size=(4, 3))
    np.testing.assert_allclose(jacobian(lambda x: A @ x, np.ones(3)), A)
    x = leaf(3)

    def gradient(x):
        return jacobian(lambda v: np.sum((A @ v) ** 2)[None], x, create_graph=True)[0]

    np.testing.assert_allclose(jacobian(gradient, x), 2 * A.T @ A)
    assert jacobian(lambda v: v[:0], np.ones(3)).shape == (0, 3)


def test_third_derivative():
    x = Tensor(np.array(0.7))
    d = np.sin(x)
    for _ in range(2):
        (d,) = grad(d, [x], create_graph=True)
    np.testing.assert_allclose(grad(d, [x])[0], -np.cos(0.7))


def test_gradient_penalty_equals_pytorch():
    """∂/∂W of mean (‖∇_x D(x)‖ − 1)², the second-order use that GANs make (row G1)."""
    torch = pytest.importorskip("torch")
    x, W, v = leaf(5, 3), leaf(3, 8, seed=1), leaf(8, seed=2)

    def penalty(x, W, v, tanh, gradient, norm):
        (g,) = gradient(tanh(x @ W) @ v, x)
        return ((norm(g) - 1) ** 2).mean()

    ours = penalty(
        x, W, v, np.tanh,
        lambda y, x: grad(np.sum(y), [x], create_graph=True),
        lambda g: np.sqrt(np.sum(g * g, axis=1)),
    )  # fmt: skip
    peers = [torch.tensor(t.data, requires_grad=True) for t in (x, W, v)]
    theirs = penalty(
        *peers, torch.tanh,
        lambda y, x: torch.autograd.grad(y.sum(), [x], create_graph=True),
        lambda g: g.norm(dim=1),
    )  # fmt: skip
    for a, b in zip(grad(ours, [x, W, v]), torch.autograd.grad(theirs, peers), strict=True):
        np.testing.assert_allclose(a, b.numpy(), rtol=1e-12, atol=1e-14)


def test_long_chains_need_no_recursion():
    x = leaf(2)
    y = x
    for _ in range(20_000):
        y = y + 1.0
    np.sum(y).backward()
    np.testing.assert_array_equal(x.grad, [1, 1])


# Kinks and limits


def test_ties_share_the_derivative():
    x = Tensor(np.array([1.0, 3.0, 3.0]))
    np.testing.assert_array_equal(grad(np.max(x), [x])[0], [0, 0.5, 0.5])
    y = Tensor(np.array([1.0, 2.0, 3.0]))
    np.testing.assert_array_equal(grad(np.sum(np.maximum(x, y)), [x])[0], [0.5, 1, 0.5])


def test_kinks():
    x = Tensor(np.zeros(1))
    for f, slope in ((F.relu, 0), (np.abs, 0), (lambda x: np.power(x, 0), 0)):
        np.testing.assert_array_equal(grad(np.sum(f(x)), [x])[0], [slope])
    base, exponent = Tensor(np.zeros(1)), Tensor(np.full(1, 2.0))
    np.testing.assert_array_equal(grad(np.sum(base**exponent), [exponent])[0], [0])


def test_log_space_survives_empty_support():
    x = Tensor(np.full((2, 3), -np.inf))
    z = F.logsumexp(x, axis=1)
    assert np.all(np.isneginf(z.data))
    np.testing.assert_array_equal(grad(np.sum(z), [x])[0], np.zeros((2, 3)))
    y = Tensor(np.array([-np.inf, 0.0]))
    np.testing.assert_array_equal(grad(np.sum(np.logaddexp(y, y)), [y])[0], [0, 1])
    assert np.isposinf(F.logsumexp(np.array([np.inf, 0.0])))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_logaddexp_at_infinity(dtype: type):
    inf = np.inf
    x = Tensor(np.array([1, inf, inf, -inf, -inf, 1, 0], dtype))
    y = Tensor(np.array([inf, 1, inf, -inf, 1, -inf, 0], dtype))
    ones = np.ones(7, dtype)
    first = grad(np.logaddexp(x, y), [x, y], ones, create_graph=True)
    np.testing.assert_array_equal(first[0].data, np.array([0, 1, 0.5, 0, 0, 1, 0.5], dtype))
    np.testing.assert_array_equal(first[1].data, np.array([1, 0, 0.5, 0, 1, 0, 0.5], dtype))
    np.testing.assert_array_equal(grad(np.sum(first[0]), x), [0, 0, 0, 0, 0, 0, 0.25])
    np.testing.assert_array_equal(grad(np.logaddexp(x, inf), x, ones), [0, 0.5, 0.5, 0, 0, 0, 0])


def log_cdf_slopes(x: np.ndarray) -> list[np.ndarray]:
    t = Tensor(x)
    ones = np.ones_like(x)
    slope = grad(special.log_ndtr(t), t, ones, create_graph=True)
    bend = grad(slope, t, ones, create_graph=True)
    return [slope.data, bend.data, grad(bend, t, ones)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_log_cdf_of_the_normal_far_to_the_left(dtype: type):
    """With t = −x: φ/Φ = t + 1/t − 2/t³ + …; log Φ bends by −1 there, and by 0 to the right."""
    x = np.array([-1e3, -1e6, -1e20, -1e35, -np.inf, 1e3, 1e20, np.inf], dtype)
    first, second, third = log_cdf_slopes(x)
    np.testing.assert_allclose(first, np.where(x < 0, -x, 0), rtol=2e-6)
    np.testing.assert_allclose(second, np.where(x < 0, -1.0, 0), atol=2e-6)
    # 1 − h(x + h) is exact to eps, and multiplied by h ≤ 10³ where it isn't 0 already.
    np.testing.assert_allclose(third, np.zeros(8), atol=1e-8 + 1e3 * np.finfo(dtype).eps)
    assert first.dtype == second.dtype == third.dtype == dtype


def test_log_cdf_of_the_normal_equals_its_exact_ratio():
    """Against φ/Φ and its derivatives −h(x + h), by 40 digits."""
    mpmath = pytest.importorskip("mpmath")
    x = np.concatenate([np.linspace(-45, 10, 111), [-3 - 1e-9, -3.0, -3 + 1e-9]])
    with mpmath.workdps(60):
        exact = [mpmath.npdf(a) / mpmath.ncdf(a) for a in x.tolist()]
        bent = [-h * (a + h) for h, a in zip(exact, x.tolist(), strict=True)]
    first, second, _ = log_cdf_slopes(x)
    np.testing.assert_allclose(first, np.array(exact, float), rtol=1e-13)
    np.testing.assert_allclose(second, np.array(bent, float), rtol=1e-12)
    narrow = log_cdf_slopes(x.astype(np.float32))
    np.testing.assert_allclose(narrow[0], first, rtol=2e-5)
    np.testing.assert_allclose(narrow[1], second, rtol=2e-4)


def test_lengths_have_no_slope_at_zero():
    x = Tensor(np.zeros((2, 3)))
    for f in (lambda x: np.linalg.norm(x, axis=1), lambda x: np.std(x, axis=1), np.linalg.norm):
        slope = grad(np.sum(f(x)), x, create_graph=True)
        np.testing.assert_array_equal(slope.data, np.zeros((2, 3)))
        assert np.all(np.isfinite(grad(np.sum(slope), x)))
    assert np.all(grad(np.hypot(x[0, 0], x[0, 1]), x) == 0)


def test_det_of_a_singular_matrix():
    """∂det/∂x is the matrix of cofactors, here of rank 1; of a zero matrix ∂²det is left."""
    x = Tensor(np.array([[1.0, 2.0], [2.0, 4.0]]))
    slope = grad(np.linalg.det(x), x, create_graph=True)
    np.testing.assert_allclose(slope.data, [[4, -2], [-2, 1]], rtol=1e-14)
    np.testing.assert_allclose(grad(slope[0, 0], x), [[0, 0], [0, 1]], atol=1e-15)
    nothing = Tensor(np.zeros((2, 2)))
    slope = grad(np.linalg.det(nothing), nothing, create_graph=True)
    np.testing.assert_array_equal(slope.data, np.zeros((2, 2)))
    np.testing.assert_allclose(grad(slope[0, 1], nothing), [[0, 0], [-1, 0]], atol=1e-15)


def test_det_has_a_third_derivative_where_there_is_an_inverse():
    x = np.random.default_rng(0).normal(size=(3, 3))
    u, v, w = np.random.default_rng(1).normal(size=(3, 3, 3))
    t = Tensor(x)
    y = np.linalg.det(t)
    for direction in (u, v):
        y = np.sum(grad(y, t, create_graph=True) * direction)
    # det is a cubic form: its third derivative is its polarisation.
    signs = [(a, b, c) for a in (0, 1) for b in (0, 1) for c in (0, 1)]
    polar = sum((-1) ** (3 - a - b - c) * np.linalg.det(a * u + b * v + c * w) for a, b, c in signs)
    np.testing.assert_allclose(np.sum(grad(y, t) * w), polar, rtol=1e-10)


def test_solve_a_stack_for_one_vector():
    """As NumPy 2: b of one axis is a vector, whatever a is."""
    a = np.random.default_rng(0).normal(size=(3, 3, 3)) + 3 * np.eye(3)
    b = np.array([1.0, 2.0, 3.0])
    ta, tb = Tensor(a), Tensor(b)
    g = np.random.default_rng(1).normal(size=(3, 3))
    da, db = grad(np.linalg.solve(ta, tb), [ta, tb], g)
    each = [np.linalg.solve(m.T, h) for m, h in zip(a, g, strict=True)]
    np.testing.assert_allclose(db, np.sum(each, axis=0))
    for d, h, m in zip(da, each, a, strict=True):
        np.testing.assert_allclose(d, -np.outer(h, np.linalg.solve(m, b)))


@pytest.mark.parametrize("size", [700.0, 1e4])
def test_extreme_logits_stay_finite(size: float):
    logits = Tensor(np.array([-size, size]))
    for f in (F.softplus, F.sigmoid, F.log_sigmoid, F.softmax, F.log_softmax, F.silu, F.gelu):
        y = f(logits)
        assert np.all(np.isfinite(y.data)), f.__name__
        assert np.all(np.isfinite(grad(np.sum(y * y), [logits])[0] / size)), f.__name__


def test_prod_with_zeros():
    x = Tensor(np.array([[2.0, 0.0, 3.0], [0.0, 0.0, 5.0]]))
    y = np.prod(x, axis=1)
    np.testing.assert_array_equal(y.data, [0, 0])
    np.testing.assert_array_equal(grad(np.sum(y), [x])[0], [[0, 6, 0], [0, 0, 0]])
    np.testing.assert_array_equal(np.prod(x, axis=(0, 1), keepdims=True).data, [[0.0]])


# Composed functions equal NumPy's and have the composed derivative


@pytest.mark.parametrize(
    "f",
    [
        lambda x: np.var(x, axis=1, ddof=1),
        lambda x: np.std(x, axis=0, keepdims=True),
        lambda x: np.prod(x, axis=1),
        lambda x: np.linalg.norm(x, axis=1),
        lambda x: np.roll(x, 2, 1),
        lambda x: np.tile(x, (2, 2)),
        lambda x: np.repeat(x, 2),
        lambda x: np.diagonal(x, 1),
        lambda x: np.trace(x),
        lambda x: np.outer(x, x),
        lambda x: np.dot(x, x.T),
        lambda x: np.take(x, [0, 2, 2], axis=1),
        lambda x: np.sort(x, axis=0),
        lambda x: np.split(x, [1, 3], axis=1)[1],
        lambda x: np.ravel(x),
        lambda x: F.layer_norm(x, np.ones(4), np.zeros(4)),
        lambda x: F.cross_entropy(x, np.array([0, 3, 1])),
        lambda x: F.gelu(x) + F.silu(x) + F.normal_log_prob(x, 0.5, x * 0.1),
    ],
)
def test_composed_functions(f):
    x = np.random.default_rng(0).normal(size=(3, 4))
    np.testing.assert_allclose(f(Tensor(x)).data, f(x), rtol=1e-13)
    check_against_differences(f, [x])


def test_functional_matches_pytorch():
    torch = pytest.importorskip("torch")
    f = torch.nn.functional
    x, gamma, beta = (np.random.default_rng(i).normal(size=s) for i, s in enumerate([(3, 4), 4, 4]))
    t = torch.tensor(x)
    labels = np.array([0, 3, 1])
    pairs = [
        (F.gelu(x), f.gelu(t)),
        (F.silu(x), f.silu(t)),
        (F.cross_entropy(x, labels), f.cross_entropy(t, torch.tensor(labels), reduction="none")),
        (
            F.layer_norm(x, gamma, beta),
            f.layer_norm(t, (4,), torch.tensor(gamma), torch.tensor(beta)),
        ),
        (F.one_hot(labels, 4), f.one_hot(torch.tensor(labels), 4)),
    ]
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-12, atol=1e-14)


# What the tape refuses


@pytest.mark.parametrize(
    "lose",
    [
        lambda t: np.asarray(t),
        lambda t: np.array([t, t]),
        lambda t: np.sum([t, t]),
        lambda t: np.full(2, t[0]),
        lambda t: np.zeros(2).__setitem__(0, t[0]),
        lambda t: np.zeros((2, 2)).__setitem__(0, t),
        lambda t: float(t[0]),
        lambda t: t.__setitem__(0, t[1]),
        lambda t: np.add(np.zeros(2), t, out=np.zeros(2)),
    ],
)
def test_graphs_are_not_lost_silently(lose):
    with pytest.raises((TypeError, ValueError)):
        lose(leaf(2))


@pytest.mark.parametrize(
    "call",
    [
        lambda t: np.sum(t, where=t > 0),
        lambda t: np.sum(t, 0, np.float32),
        lambda t: np.exp(t, where=np.ones(3, bool)),
        lambda t: np.mean(t, dtype=np.float32),
        lambda t: np.einsum("i->", t, optimize=True),
        lambda t: np.einsum(t, [0]),
        lambda t: np.clip(np.ones(3), 0.0, t),
        lambda t: np.full_like(np.ones(3), t[0]),
        lambda t: np.where(t, 1.0, 0.0),
        lambda t: np.pad(t, 1, mode="reflect"),
        lambda t: np.add.reduce(t),
        lambda t: np.nancumprod(t),
        lambda t: np.fmod(t, 2.0),
    ],
)
def test_unsupported_calls_raise(call):
    with pytest.raises(TypeError):
        call(leaf(3))


@pytest.mark.parametrize(
    "other", [np.ones(2), np.float64(2), np.arange(2), np.ones(2, np.float16)[:0].sum(dtype=float)]
)
def test_mixed_float_dtypes_raise(other):
    t = leaf(2, dtype=np.float32)
    with pytest.raises(TypeError, match="one float dtype"):
        t * other
    with pytest.raises(TypeError, match="one float dtype"):
        other * t


def test_weak_constants_and_masks_keep_float32():
    t = leaf(2, dtype=np.float32)
    for y in (2 * t, t / 3.5, t * (t > 0), np.where(t > 0, t, 0.0), t**2, 2.0**t, t**3):
        assert y.dtype == np.float32


@pytest.mark.parametrize("data", [np.arange(3), np.ones(2, np.float16), "text", [1, 2], 1j])
def test_only_float32_and_float64(data):
    with pytest.raises(TypeError, match="float32 or float64"):
        Tensor(data)


def test_writing_after_use_raises():
    x = leaf(3)
    y = np.sum(np.exp(x))
    x[0] = 5.0
    with pytest.raises(RuntimeError, match="written to"):
        y.backward()
    fresh = np.sum(np.exp(x))
    fresh.backward()
    np.testing.assert_allclose(x.grad, np.exp(x.data))


def test_only_leaves_can_be_written():
    with pytest.raises(TypeError, match="leaf"):
        np.exp(leaf(3))[0] = 1.0


def replace(x: Tensor) -> None:
    x.data = np.ones(3)


def shrink(x: Tensor) -> None:
    x.data -= 0.1


@pytest.mark.parametrize(
    "write", [replace, shrink, lambda x: x.data.__setitem__(..., 1.0), lambda x: x.data.sort()]
)
def test_values_are_written_through_the_tensor_only(write):
    """Else backward would multiply by values that the forward pass never saw."""
    for x in (leaf(3), np.exp(leaf(3))):
        before = x.data.copy()
        with pytest.raises((AttributeError, ValueError), match=r"read-only|write t"):
            write(x)
        np.testing.assert_array_equal(x.data, before)


def test_in_place_operators_make_a_new_tensor():
    w = leaf(3)
    y = w
    y += 2 * w
    np.testing.assert_allclose(grad(np.sum(y), w), np.full(3, 3.0))
    total = np.zeros(3)
    with pytest.raises(TypeError, match=r"y = y \+ x"):
        total += w


@pytest.mark.parametrize(
    ("lose", "instead"),
    [
        (lambda t: float(t[0]), r"t\.item\(\)"),
        (lambda t: int(t[0]), r"t\.item\(\)"),
        (lambda t: math.sqrt(t[0]), r"t\.item\(\)"),
        (lambda t: t.__setitem__(0, t[1]), r"np\.where\(mask, values, y\)"),
        (lambda t: np.exp(t).__setitem__(0, 1.0), r"np\.where\(mask, values, y\)"),
        (lambda t: np.zeros(2).__setitem__(0, t[0]), r"np\.stack"),
        (lambda t: np.add(t, 1.0, out=np.zeros(2)), r"out="),
        (lambda t: np.full_like(t, t[0]), r"np\.zeros_like\(x\) \+ fill_value"),
        (lambda t: f"{t:.3f}", r"single number, got shape \(2,\)"),
    ],
)
def test_errors_say_what_to_write_instead(lose, instead):
    with pytest.raises((TypeError, ValueError)) as caught:
        lose(leaf(2))
    errors = [str(caught.value), str(caught.value.__cause__)]
    assert any(re.search(instead, e) for e in errors), errors


def test_a_single_number_is_formatted_as_a_float_is():
    for x in (Tensor(np.array(1.23456)), Tensor(np.array([[1.23456]], np.float32))):
        assert f"{x:.3f}" == "1.235"
        assert f"{x:>8.2e}" == "1.23e+00"
        assert f"{x}" == repr(x) == str(x)


# Copies and pickles


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda t: pickle.loads(pickle.dumps(t))]
)
def test_copies_of_a_leaf_are_leaves_of_their_own(again):
    w = leaf(3, dtype=np.float32)
    np.sum(w * w).backward()
    twin = again(w)
    np.testing.assert_array_equal(twin.data, w.data)
    np.testing.assert_array_equal(twin.grad, w.grad)
    twin[0] = 9.0
    assert w.data[0] != 9.0
    y = np.sum(twin * w)
    for g, other in zip(grad(y, [twin, w]), (w, twin), strict=True):
        np.testing.assert_array_equal(g, other.data)
    one, other = again([w, w]) if again is not copy.copy else (w, w)
    assert one is other


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, pickle.dumps])
def test_copies_of_a_computed_tensor_say_why_not(again):
    with pytest.raises(TypeError, match=r"computed by exp: use value\(t\)"):
        again(np.exp(leaf(3)))


def test_the_examples_run():
    found = doctest.testmod(core.tensor)
    assert found.attempted > 10
    assert found.failed == 0


def test_debug_mode_sees_writes_to_raw_arrays():
    raw = np.ones(3)
    x = leaf(3)
    with debug():
        y = np.sum(x * raw)
        y.backward()
        raw[0] = 7.0
        with pytest.raises(RuntimeError, match="behind"):
            y.backward()


@pytest.mark.parametrize(
    ("f", "kept"),
    [
        (lambda x, i: x[i], np.array([0, 1])),
        (lambda x, i: x[i], [0, 1]),
        (lambda x, i: x[i, None], np.array([0, 1])),
        (lambda x, i: x[i], np.array([True, False, True])),
        (lambda x, i: np.take(x, i), np.array([0, 1])),
        (lambda x, i: np.take_along_axis(x, i, 0), np.array([0, 1])),
        (lambda x, i: np.where(i, x, 0.0), np.array([True, False, True])),
        (lambda x, i: np.clip(x, i, None), np.array([0.0, 1.0, 2.0])),
        (lambda x, i: np.concatenate([x, i]), [0.5, 0.0]),
        (lambda x, i: np.pad(x, i), np.array([0, 1])),
    ],
)
def test_debug_mode_sees_writes_to_every_array_of_a_call(f, kept):
    x = leaf(3)
    with debug():
        y = np.sum(f(x, kept))
        y.backward()
        kept[0], kept[1] = kept[1], kept[0]
        with pytest.raises(RuntimeError, match="behind"):
            y.backward()


def test_backward_needs_a_fitting_gradient():
    x = leaf(3)
    y = x * 2.0
    for gradient, message in (
        (None, "gradient must be given"),
        (np.ones(2), "must be float64"),
        (np.ones(3, np.float32), "must be float64"),
    ):
        with pytest.raises(InputError, match=message):
            y.backward(gradient)
    with pytest.raises(InputError, match="leaf"):
        x.backward(np.ones(3))
    with pytest.raises(InputError, match="must be a Tensor"):
        grad(np.ones(()), [x])
    with pytest.raises(InputError, match=r"inputs\[0\]"):
        grad(np.sum(y), [np.ones(3)])


def test_no_grad_returns_arrays_and_restores():
    x = leaf(3)
    with no_grad():
        assert type(np.exp(x) * x) is np.ndarray
    assert isinstance(np.exp(x), Tensor)
    with pytest.raises(KeyError), no_grad():
        raise KeyError
    assert isinstance(np.exp(x), Tensor)


def test_constants_return_plain_arrays():
    x = leaf(3)
    for y in (x > 0, np.sign(x), np.isnan(x), np.argsort(x), np.zeros_like(x), x == x):
        assert type(y) is np.ndarray
    assert type(value(x)) is np.ndarray


@pytest.mark.parametrize("later", [0, 1])
def test_parts_are_added_into_a_sum_of_their_own(later: int):
    """Slices before and after h + w, whose derivative is one array for h and w alike."""
    x, w = leaf(4), leaf(4)
    c, parts = np.arange(1.0, 5.0), [slice(0, 2), [1, 1, 3], slice(None, None, -2), 2]
    h = x * 2.0
    before = [np.sum(h[i]) for i in parts]
    total = np.sum((h + w) * c) + sum(before)
    expected = c.copy()
    for i in parts:
        np.add.at(expected, i, 1 + later * 2 * h.data[i])
        total = total + np.sum(h[i] * h[i]) if later else total
    for _ in range(2):
        dh, dw, dx = grad(total, [h, w, x])
        np.testing.assert_allclose(dh, expected)
        np.testing.assert_allclose(dx, 2 * expected)
        np.testing.assert_array_equal(dw, c)
    total.backward(create_graph=True)
    np.testing.assert_allclose(x.grad.data, 2 * expected)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_memory_that_was_given_back_is_used_again():
    """A large array after another touches no new page: 256 faults a MB, if it did."""
    resource = pytest.importorskip("resource")
    np.ones(1 << 20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        np.ones(1 << 20)  # 8 MB
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 2000
