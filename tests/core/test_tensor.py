"""The tape: what backward promises, and what it refuses rather than get wrong."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
        lambda t: np.einsum("ii->i", np.outer(t, t)),
        lambda t: np.einsum("...i->...", t),
        lambda t: np.pad(t, 1, mode="reflect"),
        lambda t: np.add.reduce(t),
        lambda t: np.cumprod(t),
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


def test_debug_mode_sees_writes_to_raw_arrays():
    raw = np.ones(3)
    x = leaf(3)
    with debug():
        y = np.sum(x * raw)
        y.backward()
        raw[0] = 7.0
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
