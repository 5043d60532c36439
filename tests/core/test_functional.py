"""Networks' functions beyond their derivatives: limits, definitions, noise, what they refuse."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from scipy import special

from core import Tensor, grad, value
from core import functional as F
from core.activations import gelu_slope, silu_slope
from core.convolution import _Geometry, conv_transpose2d
from core.errors import InputError
from core.random import Generator
from core.tensor import Row
from tests.core.derivatives import check_against_differences
from tests.core.network_cases import all_cases, geometries

INF = np.inf
phases = _Geometry.phases


def _ones(*shape: int) -> np.ndarray:
    return np.ones(shape)


# Infinite entries


SOFTMAXES = [
    ([0.0, 0.0, -INF], [0.5, 0.5, 0], np.log(2)),
    ([INF, 0.0, -INF], [1, 0, 0], INF),
    ([INF, INF, 3.0], [0.5, 0.5, 0], INF),
    ([-INF, -INF, -INF], [0, 0, 0], -INF),
    ([3e38, -3e38, 0.0], [1, 0, 0], 3e38),
    ([-3e38, -3e38, -INF], [0.5, 0.5, 0], -3e38),
]


@pytest.mark.parametrize(("x", "p", "total"), SOFTMAXES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softmax_has_its_limits_at_infinity(x: Any, p: Any, total: float, dtype: Any):
    x = np.array([x, [0.0, 1.0, 2.0]], dtype).T  # along an axis that isn't the last, as well
    with np.errstate(divide="ignore", over="ignore"):
        below = x[:, 0] - dtype(total) if np.isfinite(total) else -INF
        logs = np.where(np.array(p) > 0, np.log(p), below)
    np.testing.assert_allclose(F.softmax(x, axis=0)[:, 0], p, rtol=1e-6)
    np.testing.assert_allclose(F.log_softmax(x, axis=0)[:, 0], logs, rtol=1e-6)
    np.testing.assert_allclose(F.logsumexp(x, axis=0)[0], total, rtol=1e-6)
    losses = F.cross_entropy(np.stack([x[:, 0]] * 3), np.arange(3))
    np.testing.assert_allclose(losses, -logs, rtol=1e-6)


@pytest.mark.parametrize(("x", "p", "total"), SOFTMAXES)
def test_derivatives_at_infinity_are_numbers(x: Any, p: Any, total: float):
    labels = np.array([0])
    p = np.array(p)
    for f, expected in (
        (lambda t: F.logsumexp(t, axis=-1), p),
        (lambda t: F.softmax(t)[:, 0], p[0] * (np.eye(3)[0] - p)),
        (lambda t: F.cross_entropy(t, labels), p - np.eye(3)[0]),
        (lambda t: F.log_softmax(t)[:, 0], np.eye(3)[0] - p),
    ):
        t = Tensor(np.array([x]))
        (first,) = grad(np.sum(f(t)), [t], create_graph=True)
        np.testing.assert_allclose(first.data[0], expected, rtol=1e-12)
        (second,) = grad(np.sum(first * np.array([1.0, 2.0, 3.0])), [t])
        assert np.isfinite(second).all()


def test_a_nan_among_the_logits_is_not_hidden():
    x = np.array([0.0, np.nan, INF])
    assert np.isnan(F.softmax(x)).all()
    assert np.isnan(F.logsumexp(x))


# Activations


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gelu_and_silu_to_their_last_digits(dtype: Any):
    """Beside float64: a few units in the last place, far into the lower tail as well."""
    x = np.concatenate([np.linspace(-12, 12, 4001), [0.0, -0.0, 1e-30, -1e-30, 60, -60]])
    x, eps = x.astype(dtype), np.finfo(dtype).eps
    wide = x.astype(np.longdouble)
    cdf, logistic = special.ndtr(x.astype(np.float64)), 1 / (1 + np.exp(-wide))
    near = np.abs(x) < 3  # further out x² has rounded, and e^(−x²/2) with it
    np.testing.assert_allclose(F.gelu(x)[near], (x * cdf)[near], rtol=8 * eps)
    np.testing.assert_allclose(F.gelu(x), x * cdf, rtol=40 * eps, atol=1e-35)
    np.testing.assert_allclose(F.silu(x), x * logistic, rtol=8 * eps, atol=1e-35)
    density = np.exp(-(wide**2) / 2) / np.sqrt(2 * np.pi)
    np.testing.assert_allclose(gelu_slope(x, F.gelu(x)), cdf + x * density, atol=8 * eps)
    np.testing.assert_allclose(silu_slope(x), logistic * (1 + x * (1 - logistic)), atol=8 * eps)


def test_gelu_and_silu_at_the_ends():
    x = np.array([-INF, -3e38, 3e38, INF, np.nan], np.float32)
    slopes = np.array([0, 0, 1, 1, np.nan], np.float32)
    for f in (F.gelu, F.silu):
        np.testing.assert_array_equal(f(x), np.array([0, 0, 3e38, INF, np.nan], np.float32))
    np.testing.assert_array_equal(gelu_slope(x, F.gelu(x)), slopes)
    np.testing.assert_array_equal(silu_slope(x), slopes)


def test_activations_do_not_depend_on_memory():
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
    y, turned = F.gelu(x), np.asfortranarray(x)
    np.testing.assert_array_equal(F.gelu(turned), y)
    np.testing.assert_array_equal(gelu_slope(turned, y), gelu_slope(x, y))
    wide = np.broadcast_to(x[:, :1], x.shape)
    np.testing.assert_array_equal(
        gelu_slope(wide, F.gelu(wide)), gelu_slope(wide.copy(), F.gelu(wide))
    )


def test_max_pooling_favours_the_first_of_equals():
    x = Tensor(np.ones((1, 1, 4, 4)))
    np.sum(F.max_pool2d(x, 2)).backward()
    np.testing.assert_array_equal(x.grad[0, 0], np.kron(np.ones((2, 2)), [[1, 0], [0, 0]]))


# Convolution, literally


def literal_conv2d(x: Any, w: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    """Every tap of every kernel in a loop of its own."""
    (p, q), (o, c, h, v) = padding, w.shape
    x = np.pad(x, ((0, 0), (0, 0), (p, p), (q, q)))
    down = [
        (x.shape[2 + i] - dilation[i] * (w.shape[2 + i] - 1) - 1) // stride[i] + 1 for i in (0, 1)
    ]
    y = np.zeros((len(x), o, *down))
    for out, k, i, j in itertools.product(range(o), range(c), range(h), range(v)):
        channel = out // (o // groups) * c + k
        rows = np.arange(down[0]) * stride[0] + i * dilation[0]
        columns = np.arange(down[1]) * stride[1] + j * dilation[1]
        y[:, out] += w[out, k, i, j] * x[:, channel][:, rows[:, None], columns]
    return y


def convolution_misfit(conv2d: Any, n: int = 40) -> float:
    """How far a convolution lies from the literal one, over drawn geometries."""
    rng, worst = np.random.default_rng(0), 0.0
    for g in geometries(n, seed=20):
        x, w = rng.normal(size=g["x"]), rng.normal(size=g["w"])
        error = np.abs(conv2d(x, w, **g["how"]) - literal_conv2d(x, w, **g["how"]))
        worst = max(worst, error.max(initial=0))
    return worst


def test_convolution_is_its_definition():
    assert convolution_misfit(F.conv2d) < 1e-12


@pytest.mark.parametrize(
    "wrong",
    [
        lambda x, w, **how: F.conv2d(x, w[..., ::-1, ::-1], **how),
        lambda x, w, **how: F.conv2d(x, w[:, ::-1], **how),
        lambda x, w, **how: F.conv2d(x[..., ::-1], w, **how)[..., ::-1],
        lambda x, w, **how: F.conv2d(x, w, **how) * 1.0001,
    ],
    ids=["flipped kernels", "channels reversed", "mirrored", "a factor"],
)
def test_wrong_convolutions_are_rejected(wrong: Any):
    assert convolution_misfit(wrong) > 1e-6


def test_many_chunks_are_one_convolution():
    """More images than fit the buffer of columns at once: as many, one by one."""
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(9, 16, 20, 20)), rng.normal(size=(4, 16, 5, 5))
    ys = [F.conv2d(x[i : i + 1], w) for i in range(9)]
    np.testing.assert_allclose(F.conv2d(x, w), np.concatenate(ys), rtol=1e-12, atol=1e-12)


def test_causal_convolution_is_blind_to_the_future():
    rng = np.random.default_rng(0)
    w = rng.normal(size=(3, 2, 3))
    for t in range(8):
        x = rng.normal(size=(1, 2, 8))
        before = F.causal_conv1d(x, w, dilation=2)
        x[..., t] += 1
        change = np.abs(F.causal_conv1d(x, w, dilation=2) - before).max(axis=(0, 1))
        np.testing.assert_array_equal(change > 1e-9, [i - t in (0, 2, 4) for i in range(8)])


def test_gradient_penalty_of_a_convolutional_critic():
    """∂/∂w of (‖∂D/∂x‖ − 1)²: the second derivative through strides, norms and activations."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 2, 6, 6))
    inputs = [
        rng.normal(size=(4, 2, 3, 3)),
        rng.normal(size=4),
        rng.normal(size=4),
        rng.normal(size=(1, 4, 3, 3)),
    ]

    def penalty(w: Any, gamma: Any, beta: Any, v: Any) -> Any:
        images = Tensor(x)
        h = F.group_norm(F.conv2d(images, w, stride=2, padding=1), gamma, beta, groups=2)
        score = np.sum(F.avg_pool2d(F.conv2d(F.silu(h), v, padding=1), 3))
        (slope,) = grad(score, [images], create_graph=True)
        return (np.sqrt(np.sum(slope * slope, axis=(1, 2, 3))) - 1.0) ** 2

    def value_of(*arrays: Any) -> Any:
        z = penalty(*[a if isinstance(a, Tensor) else Tensor(a) for a in arrays])
        return z if any(isinstance(a, Tensor) for a in arrays) else value(z)

    check_against_differences(value_of, inputs)


# Normalisation


@pytest.mark.parametrize(
    ("norm", "axes"),
    [
        (lambda x: F.layer_norm(x, _ones(5), np.zeros(5)), (3,)),
        (lambda x: F.group_norm(x, _ones(4), np.zeros(4), groups=4), (2, 3)),
        (lambda x: F.batch_norm(x, _ones(4), np.zeros(4))[0], (0, 2, 3)),
    ],
)
def test_norms_leave_mean_0_and_variance_1(norm: Any, axes: Any):
    x = np.random.default_rng(0).normal(3, 7, size=(6, 4, 5, 5))
    np.testing.assert_allclose(norm(x).mean(axis=axes), 0, atol=1e-12)
    variance = x.var(axis=axes)
    np.testing.assert_allclose(norm(x).var(axis=axes), variance / (variance + 1e-5), rtol=1e-9)
    far = (x + 1e3).astype(np.float32)  # the mean's own rounding, 3e-5, over a deviation of 0.25
    np.testing.assert_allclose(norm(far), norm(far.astype(np.float64)), atol=5e-4)


def test_batch_norm_returns_its_moments():
    x = np.random.default_rng(0).normal(size=(6, 4, 5))
    gamma, beta = _ones(4) * 2, _ones(4)
    for given in (x, Tensor(x)):
        y, mean, variance = F.batch_norm(given, gamma, beta)
        np.testing.assert_allclose(mean, x.mean((0, 2)))
        np.testing.assert_allclose(variance, x.var((0, 2)))
        by = F.batch_norm_by(x, gamma, beta, mean, variance)
        np.testing.assert_allclose(value(y), by, atol=1e-12)
        assert type(mean) is type(variance) is np.ndarray


# Noise


def test_dropout():
    x = np.ones((1000, 20), np.float32)
    y = F.dropout(Tensor(x), 0.25, Generator(0, "dropout"))
    assert y.dtype == np.float32
    np.testing.assert_array_equal(np.unique(y.data), np.array([0, 1 / 0.75], np.float32))
    assert abs((y.data == 0).mean() - 0.25) < 5 * np.sqrt(0.25 * 0.75 / x.size)
    t = Tensor(x)
    F.dropout(t, 0.25, Generator(0, "dropout")).backward(x)
    np.testing.assert_array_equal(t.grad, y.data)
    assert F.dropout(t, 0.25, None) is t
    assert (F.dropout(np.full(100, INF), 0.5, Generator(0, "dropout")) != 0).any()


# What they refuse


X, W = np.zeros((1, 2, 4, 4)), np.zeros((3, 2, 3, 3))


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: F.conv2d(X[:, :1], W), "x must have 2 channels as w has, got 1"),
        (lambda: F.conv2d(X[0], W), "x must have 4 axes, got 3"),
        (lambda: F.conv2d(X, W[0]), "w must have 4 axes, got 3"),
        (lambda: F.conv2d(X, W, stride=0), "stride must be an int >= 1, got 0"),
        (lambda: F.conv2d(X, W, stride=True), "stride must be an int"),
        (lambda: F.conv2d(X, W, padding=(0, -1)), "padding must be an int >= 0, got -1"),
        (lambda: F.conv2d(X, W, dilation=1.5), "dilation must be an int, got 1.5"),
        (lambda: F.conv2d(X, W, groups=2), "w must have a multiple of 2 output channels, got 3"),
        (lambda: F.conv2d(X[..., :2], W), r"x must be at least \(3, 3\) with its padding, got"),
        (lambda: F.conv2d(X, W.astype(np.float32)), "x and w must have one float dtype"),
        (lambda: F.conv2d(X.astype(int), W.astype(int)), "x and w must have one float dtype"),
        (lambda: F.conv2d(X, W[..., :0]), "w must reach over at least one pixel"),
        (
            lambda: F.conv_transpose2d(np.zeros((1, 3, 2, 2)), W, stride=2, size=(9, 9)),
            r"size must be \(5, 5\) or up to \(1, 1\) more, got \(9, 9\)",
        ),
        (lambda: F.conv_transpose2d(X, W), "y must have 3 channels as w has, got 2"),
        (
            lambda: F.conv_transpose2d(np.zeros((1, 3, 1, 1)), W, padding=2),
            "padding must leave pixels",
        ),
        (lambda: F.conv1d(X, W), "x must have 3 axes, got 4"),
        (lambda: F.conv1d(X[0], W[0], padding=(1, 0)), "padding must be an int"),
        (lambda: F.causal_conv1d(X[0], W[0], dilation=0), "dilation must be an int >= 1"),
        (lambda: F.modulated_conv2d(X, W, _ones(1, 3)), r"style must have shape \(1, 2\)"),
        (lambda: F.avg_pool2d(X, 5), r"x must be at least \(5, 5\) pixels as window is"),
        (lambda: F.max_pool2d(X, 0), "window must be an int >= 1, got 0"),
        (lambda: F.max_pool2d(X[0], 1), "x must have 4 axes"),
        (lambda: F.avg_pool2d(X, 2, 0), "stride must be an int >= 1"),
        (lambda: F.upsample_nearest2d(X, 0), "scale must be an int >= 1"),
        (lambda: F.upsample_bilinear2d(X, 0.5), "scale must be an int"),
        (lambda: F.layer_norm(X, _ones(3), _ones(4)), r"gamma must have shape \(4,\), got \(3,\)"),
        (lambda: F.layer_norm(X, _ones(4), _ones(4), eps=-1), "eps must be a finite number >= 0"),
        (lambda: F.group_norm(X, _ones(2), _ones(2), 3), "x must have a multiple of 3 channels"),
        (lambda: F.group_norm(X, _ones(2), _ones(3), 2), r"beta must have shape \(2,\)"),
        (
            lambda: F.instance_norm(X, _ones(2, 1), _ones(2)),
            r"gamma must have shape \(2,\) or \(1, 2\), got \(2, 1\)",
        ),
        (lambda: F.batch_norm(X[:0], _ones(2), _ones(2)), "x must have at least one sample"),
        (lambda: F.embedding(np.array([0.0]), _ones(2, 2)), "ids must be integers, got float64"),
        (lambda: F.embedding(np.array([-1]), _ones(2, 2)), r"ids must lie in 0 … 1, got -1 … -1"),
        (lambda: F.leaky_relu(X, 0.0), "slope must be a finite number > 0 and <= 1, got 0.0"),
        (lambda: F.leaky_relu(X, 2), "slope must be a finite number > 0 and <= 1, got 2"),
        (lambda: F.dropout(X, 1.0, None), "rate must be a finite number >= 0 and < 1, got 1.0"),
        (lambda: F.dropout(X, np.nan, None), "rate must be a finite number"),
        (lambda: F.one_hot(np.array([3]), 3), "labels must lie in 0 … 2, got 3 … 3"),
        (lambda: F.cross_entropy(_ones(3, 4), np.array([0.0, 1, 2])), "labels must be integers"),
        (lambda: F.cross_entropy(_ones(3, 4), np.array([0, 1])), r"labels must have shape \(3,\)"),
        (lambda: F.cross_entropy(_ones(3, 4), np.array([0, 1, 4])), "labels must lie in 0 … 3"),
        (lambda: F.cross_entropy(_ones(3, 4), np.array([-1, 0, 0])), "labels must lie in 0 … 3"),
    ],
)  # fmt: skip
def test_bad_arguments_are_named(call: Any, names: str):
    with pytest.raises(InputError, match=names):
        call()


def test_every_function_has_cases():
    """Composed and fused ones too, which no row of the table stands for."""
    proven = {case.key for case in all_cases()}
    functions = {getattr(F, name) for name in F.__all__} - {F.dropout, F.one_hot}
    assert {getattr(f, "forward", f) for f in functions} <= proven


# float32 all the way


class Watched(np.ndarray):
    """An array that notes every float64 that NumPy makes of float32 ones on the way."""

    seen: list[str] = []  # noqa: RUF012

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        plain = [_unwatched(a) for a in inputs]
        if "out" in kwargs:
            kwargs["out"] = tuple(_unwatched(a) for a in kwargs["out"])
        z = getattr(ufunc, method)(*plain, **kwargs)
        given = [np.asarray(a).dtype for a in plain if hasattr(a, "dtype")]
        if np.float32 in given and getattr(z, "dtype", None) == np.float64:
            self.seen.append(f"{ufunc.__name__} of {given}")
        return z.view(Watched) if type(z) is np.ndarray else z


def _unwatched(a: Any) -> Any:
    return a.view(np.ndarray) if isinstance(a, Watched) else a


def widened(f: Any, inputs: Any) -> list[str]:
    """Where f or its derivative on float32 inputs computes in float64."""
    Watched.seen.clear()
    tensors = [Tensor(a.astype(np.float32)) for a in inputs]
    for t in tensors:
        t._data = t._data.view(Watched)
    z = f(*tensors)
    z.backward(np.ones(z.shape, np.float32).view(Watched))
    return list(Watched.seen)


@pytest.mark.parametrize("case", all_cases(), ids=lambda c: c.label)
def test_nothing_turns_float64_on_the_way(case: Any):
    assert widened(case.f, case.inputs) == []


WIDE = np.full(3, 2.0)


@pytest.mark.parametrize(
    ("forward", "vjp"),
    [
        (lambda x: (x * WIDE).astype(np.float32), lambda g, z, x: g * 2),
        (lambda x: x * 2, lambda g, z, x: (g * WIDE).astype(np.float32)),
        (lambda x: x * 2, lambda g, z, x: (g * np.float64(2)).astype(np.float32)),
    ],
)
def test_a_float64_on_the_way_is_seen(forward: Any, vjp: Any):
    wrong = Row("double", forward, (vjp,), lambda x: ((x,), {}))
    assert widened(wrong, [np.ones(3)])


# Planted wrong rows: each must be rejected


def _conv(x: Any, w: Any) -> Any:
    return F.conv2d(x, w, stride=2, padding=1)


def _forgets_a_term(g: Any, unit: Any) -> Any:
    return g


def _flipped(g: Any, w: Any, **how: Any) -> Any:
    return conv_transpose2d(g, w[..., ::-1, ::-1], **how)


def _unswapped_phases(self: Any, axis: int, size: int) -> Any:
    for here, taps, offset, n in phases(self, axis, size):
        yield here, taps[::-1], offset, n


def _last_wins(x: Any, ids: Any, n: int) -> Any:
    total = np.zeros((n, x.shape[-1]))
    total[ids] = x
    return total


WRONG: dict[str, tuple[str, Any, Any, list[tuple[int, ...]]]] = {
    "layer norm without mean gx̂": (
        "core.normalisation._across", _forgets_a_term, F.layer_norm, [(3, 4), (4,), (4,)]
    ),
    "rms norm without mean gx̂": (
        "core.normalisation._across", _forgets_a_term, F.rms_norm, [(3, 4), (4,)]
    ),
    "softmax less nothing at the label": (
        "core.softmax.excess",
        lambda logits, labels: F.softmax(logits),
        lambda x: F.cross_entropy(x, np.array([0, 2, 1])),
        [(3, 4)],
    ),
    "kernels flipped in the adjoint": (
        "core.convolution.conv_transpose2d", _flipped, _conv, [(2, 2, 5, 5), (3, 2, 3, 3)]
    ),
    "taps of a phase in the wrong order": (
        "core.convolution._Geometry.phases", _unswapped_phases, _conv, [(2, 2, 5, 5), (3, 2, 3, 3)]
    ),
    "repeated ids written, not added": (
        "core.functional.gathered",
        _last_wins,
        lambda W: F.embedding(np.array([1, 1, 0]), W),
        [(3, 2)],
    ),
    "max pooling to every pixel": (
        "core.resampling._winner",
        lambda x, z, window, stride: np.zeros(z.shape, np.int16),
        lambda x: F.max_pool2d(x, 2),
        [(2, 1, 4, 4)],
    ),
    "gelu's slope without x φ": (
        "core.activations.gelu_slope", lambda x, y: special.ndtr(x), F.gelu, [(5,)]
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_rows_are_rejected(name: str, monkeypatch: pytest.MonkeyPatch):
    where, wrong, f, shapes = WRONG[name]
    inputs = [np.random.default_rng(0).normal(size=s) for s in shapes]
    check_against_differences(f, inputs)
    monkeypatch.setattr(where, wrong)
    with pytest.raises(AssertionError):
        check_against_differences(f, inputs)


def test_arrays_may_be_given_by_name():
    x, W, b = np.ones((2, 3)), np.ones((3, 4)), np.zeros(4)
    for kind in (np.asarray, Tensor):
        y = F.linear(kind(x), W=kind(W), b=b)
        np.testing.assert_array_equal(value(y), value(F.linear(kind(x), kind(W), b)))
        np.testing.assert_array_equal(value(F.softmax(x=kind(x), axis=0)), 0.5)
    with pytest.raises(TypeError, match=r"linear.*takes 3 arrays"):
        F.linear(x, W=W)
    with pytest.raises(TypeError, match="keyword 'w' is not supported"):
        F.linear(x, W, b, w=W)
