"""What to feed each function of `core.functional`, beside PyTorch's: rows, and what they compose.

Geometries of convolutions and windows are drawn, so that the cases cover their space.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from core import activations, convolution, functional, resampling, softmax, value
from core import functional as F
from tests.core.vjp_cases import Case, _away_from

Inputs = list[np.ndarray]


def _key(function: Any) -> Any:
    """What the table files a function under: a row's own function, or the composed one itself."""
    return getattr(function, "forward", function)


def _case(
    function: Any, label: str, inputs: Inputs, peer: Callable[..., Any] | None, **options: Any
) -> Case:
    name = f"{_key(function).__name__} {label}"
    return Case(_key(function), name, lambda *a: function(*a, **options), inputs, peer)


def _activations(torch: Any) -> Iterator[Case]:
    f = torch and torch.nn.functional
    rng = np.random.default_rng(10)
    table: list[tuple[Any, Any]] = [
        (F.sigmoid, torch and torch.sigmoid),
        (F.log_sigmoid, f and f.logsigmoid),
        (F.softplus, f and f.softplus),
        (F.relu, f and f.relu),
        (F.leaky_relu, f and f.leaky_relu),
        (F.silu, f and f.silu),
        (F.gelu, f and f.gelu),
    ]
    for function, peer in table:
        for shape in ((3, 4), (), (0,), (1, 5, 1)):
            x = _away_from(rng.uniform(-3, 3, shape), (0.0,))
            yield _case(function, f"{shape}", [x], peer)
    for shape in ((3, 4), (), (0,)):
        x = [rng.normal(size=shape)]
        yield _case(activations.silu_slope, f"{shape}", x, None)
        slope = lambda x: activations.gelu_slope(x, F.gelu(value(x)))  # noqa: E731
        yield Case(_key(activations.gelu_slope), f"gelu_slope {shape}", slope, x, None)
    x = _away_from(rng.uniform(-3, 3, (5,)), (0.0,))
    yield _case(F.leaky_relu, "0.2", [x], f and (lambda x: f.leaky_relu(x, 0.2)), slope=0.2)


def _softmaxes(torch: Any) -> Iterator[Case]:
    t, rng = torch, np.random.default_rng(11)
    for function, name in ((F.softmax, "softmax"), (F.log_softmax, "log_softmax")):
        for axis in (-1, 0):
            peer = t and (lambda x, n=name, a=axis: getattr(t, n)(x, a))
            yield _case(function, f"{axis}", [rng.normal(size=(3, 4))], peer, axis=axis)
        yield _case(function, "all", [rng.normal(size=(3, 4))], None, axis=None)
        yield _case(function, "two axes", [rng.normal(size=(3, 4, 2))], None, axis=(0, -1))
    for shape, axis in (((3, 4), (0, 1)), ((3, 4), 0), ((2, 3, 4), (0, -1)), ((0, 3), 1)):
        for keep in (False, True):
            peer = t and (lambda x, a=axis, k=keep: t.logsumexp(x, dim=a, keepdim=k))
            x = rng.normal(size=shape)
            yield _case(F.logsumexp, f"{shape}{axis}{keep}", [x], peer, axis=axis, keepdims=keep)
    yield _case(F.logsumexp, "all", [rng.normal(size=(2, 3))], None)
    for lead in ((), (5,), (2, 3), (0,)):
        labels = rng.integers(0, 4, lead)
        kept = t and t.as_tensor(labels)
        yield _case(
            F.cross_entropy,
            f"{lead}",
            [rng.normal(size=(*lead, 4))],
            t and (lambda x, y=kept: -t.log_softmax(x, -1).gather(-1, y[..., None])[..., 0]),
            labels=labels,
        )  # fmt: skip
        yield _case(
            softmax.excess,
            f"{lead}",
            [rng.normal(size=(*lead, 4))],
            t and (lambda x, y=kept: t.softmax(x, -1) - t.nn.functional.one_hot(y, 4)),
            labels=labels,
        )  # fmt: skip


def _products(torch: Any) -> Iterator[Case]:
    t, rng = torch, np.random.default_rng(12)
    for lead in ((), (2,), (2, 3), (0,)):
        inputs = [rng.normal(size=(*lead, 4)), rng.normal(size=(4, 3)), rng.normal(size=3)]
        yield _case(F.linear, f"{lead}", inputs, t and (lambda x, W, b: x @ W + b))
        inputs = [inputs[0][..., :0], inputs[1][:0], inputs[2]]
        yield _case(F.linear, f"{lead} of nothing", inputs, t and (lambda x, W, b: x @ W + b))
    for a, b in (((3, 4), (3, 4)), ((3, 1), (1, 4)), ((), (2, 3)), ((2, 0), (1, 1))):
        inputs = [rng.uniform(0, 1, a), rng.normal(size=b)]
        peer = t and (lambda x, l: x * l - t.nn.functional.softplus(l))  # noqa: E741
        yield _case(F.bernoulli_log_prob, f"{a}{b}", inputs, peer)
    for a, b, c in (((3, 4), (3, 4), (4,)), ((2, 0), (1,), ()), ((5,), (2, 5), (2, 1))):
        inputs = [rng.normal(size=s) for s in (a, b, c)]
        peer = t and (lambda x, m, s: t.distributions.Normal(m, s.exp(), False).log_prob(x))
        yield _case(F.normal_log_prob, f"{a}{b}{c}", inputs, peer)
    for n in (3, 300):
        for shape in ((), (7,), (2, 5), (0,)):
            ids = rng.integers(0, 3, shape) * (n // 3)
            kept = t and t.as_tensor(ids)
            W, g = rng.normal(size=(n, 2)), rng.normal(size=(*shape, 2))
            peer = t and (lambda W, i=kept: t.nn.functional.embedding(i, W))
            f = lambda W, i=ids: F.embedding(i, W)  # noqa: E731
            yield Case(_key(F.embedding), f"embedding {n}{shape}", f, [W], peer)
            total = t and (lambda g, i=kept, n=n: t.zeros(n, 2, dtype=g.dtype).index_add(0, i.ravel(), g.reshape(-1, 2)))  # fmt: skip
            yield _case(functional.gathered, f"{n}{shape}", [g], total, ids=ids, n=n)


def _norms(torch: Any) -> Iterator[Case]:
    f, rng = torch and torch.nn.functional, np.random.default_rng(13)
    for shape in ((3, 5), (2, 3, 4), (7,), (0, 4), (2, 0)):
        x, gamma, beta = (
            rng.normal(size=shape),
            rng.normal(size=shape[-1]),
            rng.normal(size=shape[-1]),
        )
        layer = f and (lambda x, a, b: f.layer_norm(x, a.shape, a, b))
        yield _case(F.layer_norm, f"{shape}", [x, gamma, beta], layer)
        rms = f and (lambda x, a: f.rms_norm(x, a.shape, a, 1e-5))
        yield _case(F.rms_norm, f"{shape}", [x, gamma], rms)
    for shape, groups in (
        ((2, 4, 3), 2),
        ((3, 6, 2, 3), 3),
        ((2, 3, 5), 3),
        ((2, 4), 1),
        ((0, 4, 3), 2),
    ):
        c = shape[1]
        x, gamma, beta = rng.normal(size=shape), rng.normal(size=c), rng.normal(size=c)
        peer = f and (lambda x, a, b, g=groups: f.group_norm(x, g, a, b))
        yield _case(F.group_norm, f"{shape}{groups}", [x, gamma, beta], peer, groups=groups)
        for lead in ((), shape[:1]):
            styles = [rng.normal(size=(*lead, c)) for _ in range(2)]
            peer = f and (lambda x, a, b: _instance_norm(f, x, a, b))
            yield _case(F.instance_norm, f"{shape}{lead}", [x, *styles], peer)
        if len(x):
            peer = f and (lambda x, a, b: f.batch_norm(x, None, None, a, b, training=True))
            batch = lambda *a: F.batch_norm(*a)[0]  # noqa: E731
            yield Case(F.batch_norm, f"batch_norm {shape}", batch, [x, gamma, beta], peer)
        mean, variance = rng.normal(size=c), rng.uniform(0.5, 2, c)
        peer = torch and _normed_by
        yield _case(F.batch_norm_by, f"{shape}", [x, gamma, beta, mean, variance], peer)


def _instance_norm(f: Any, x: Any, gamma: Any, beta: Any) -> Any:
    """PyTorch refuses single pixels; as groups of one channel it doesn't."""
    tail = [1] * (x.ndim - 2)
    return f.group_norm(x, x.shape[1]) * gamma.reshape(*gamma.shape, *tail) + beta.reshape(
        *beta.shape, *tail
    )


def _normed_by(x: Any, gamma: Any, beta: Any, mean: Any, variance: Any) -> Any:
    """PyTorch's batch_norm lets no gradient into the moments."""
    gamma, beta, mean, variance = (
        v.reshape(-1, *[1] * (x.ndim - 2)) for v in (gamma, beta, mean, variance)
    )
    return (x - mean) / (variance + 1e-5).sqrt() * gamma + beta


def geometries(n: int, seed: int = 14) -> Iterator[dict[str, Any]]:
    """Drawn shapes of x (B, C, H, W) and w (O, C/groups, h, w), stride, padding, dilation, groups."""
    rng = np.random.default_rng(seed)
    while n:
        kernel, stride, dilation = (rng.integers(1, 4, 2) for _ in range(3))
        padding, size, groups = (
            rng.integers(0, 3, 2),
            rng.integers(1, 8, 2),
            int(rng.integers(1, 3)),
        )
        if (size + 2 * padding < dilation * (kernel - 1) + 1).any():
            continue
        n -= 1
        b, (c, o) = int(rng.integers(1, 4)), rng.choice([1, 2, 3, 6], 2).tolist()
        yield {
            "x": (b - 1 if n % 7 == 0 else b, c * groups, *size.tolist()),
            "w": (o * groups, c, *kernel.tolist()),
            "how": {
                "stride": tuple(stride.tolist()),
                "padding": tuple(padding.tolist()),
                "dilation": tuple(dilation.tolist()),
                "groups": groups,
            },
        }


def _convolutions(torch: Any) -> Iterator[Case]:
    t, rng = torch, np.random.default_rng(15)
    for g in geometries(40):
        x, w, how = rng.normal(size=g["x"]), rng.normal(size=g["w"]), g["how"]
        y = rng.normal(size=F.conv2d(x, w, **how).shape)
        label = f"{g['x']}{g['w']}{tuple(how.values())}"
        yield _case(F.conv2d, label, [x, w], t and (lambda x, w, h=how: t.conv2d(x, w, **h)), **how)
        up = t and (lambda y, w, h=how, s=x.shape[2:]: _transposed(t, y, w, h, s))
        size = x.shape[2:]
        yield _case(F.conv_transpose2d, label, [y, w], up, **how, size=size)
        yield _case(convolution.conv2d_kernel, label, [x, y], None, **how, shape=w.shape)
    for shape, kernel, how in (
        ((2, 3, 9), (4, 3, 2), {"stride": 2, "padding": 1}),
        ((1, 4, 8), (4, 2, 3), {"dilation": 2, "groups": 2}),
        ((0, 2, 5), (2, 2, 5), {}),
    ):
        inputs = [rng.normal(size=shape), rng.normal(size=kernel)]
        peer = t and (lambda x, w, h=how: t.conv1d(x, w, **h))
        yield _case(F.conv1d, f"{shape}{kernel}", inputs, peer, **how)
        y = [inputs[0][:, :1].repeat(kernel[0], 1), inputs[1]]
        peer = t and (lambda x, w, h=how: t.conv_transpose1d(x, w, **h))
        yield _case(F.conv_transpose1d, f"{shape}{kernel}", y, peer, **how)
    for k, d in ((2, 1), (3, 2), (1, 4)):
        inputs = [rng.normal(size=(2, 3, 7)), rng.normal(size=(4, 3, k))]
        past = (k - 1) * d
        peer = t and (
            lambda x, w, p=past, d=d: t.conv1d(t.nn.functional.pad(x, (p, 0)), w, dilation=d)
        )
        yield _case(F.causal_conv1d, f"{k}{d}", inputs, peer, dilation=d)


def _transposed(t: Any, y: Any, w: Any, how: dict[str, Any], size: Any) -> Any:
    """PyTorch's, where it allows the size."""
    pairs = zip(
        size, y.shape[2:], w.shape[2:], how["stride"], how["padding"], how["dilation"], strict=True
    )
    extra = [n - (s * (m - 1) + d * (k - 1) + 1 - 2 * p) for n, m, k, s, p, d in pairs]
    if any(e >= max(how["stride"][i], how["dilation"][i]) for i, e in enumerate(extra)):
        return None
    return t.conv_transpose2d(y, w, output_padding=extra, **how)


def _modulated(torch: Any) -> Iterator[Case]:
    t, rng = torch, np.random.default_rng(16)
    for b, c, o, k, how in (
        (3, 2, 4, 3, {"padding": 1}),
        (1, 3, 2, 2, {"stride": 2}),
        (0, 1, 1, 1, {}),
    ):
        inputs = [rng.normal(size=s) for s in ((b, c, 5, 4), (o, c, k, k), (b, c))]
        for function, normed in ((F.modulated_conv2d, False), (F.demodulated_conv2d, True)):
            peer = t and (lambda x, w, s, n=normed, h=how: _kernel_a_sample(t, x, w, s, n, h))
            yield _case(function, f"{b}{c}{o}{k}", inputs, peer, **how)
        peer = t and (
            lambda w, s: ((s[:, None, :, None, None] * w) ** 2).sum((2, 3, 4)).add(1e-8).rsqrt()
        )
        yield _case(F.demodulation, f"{b}{c}{o}{k}", [inputs[1], inputs[2]], peer)


def _kernel_a_sample(t: Any, x: Any, w: Any, style: Any, normed: bool, how: Any) -> Any:
    """Karras et al. 2020, Eqs. 1 and 3, literally: kernels made for every sample, one group each."""
    if not len(x):
        return None
    kernels = style[:, None, :, None, None] * w
    if normed:
        kernels = kernels / (kernels.square().sum((2, 3, 4), keepdim=True) + 1e-8).sqrt()
    flat = x.reshape(1, -1, *x.shape[2:])
    y = t.conv2d(flat, kernels.reshape(-1, *kernels.shape[2:]), groups=len(x), **how)
    return y.reshape(len(x), -1, *y.shape[2:])


def _resampling(torch: Any) -> Iterator[Case]:
    f, rng = torch and torch.nn.functional, np.random.default_rng(17)
    for n in range(12):
        window, stride = (tuple(rng.integers(1, 4, 2).tolist()) for _ in range(2))
        stride = stride if n % 3 else None
        size = [k + int(rng.integers(0, 5)) for k in window]
        x = rng.normal(size=(n % 4 and 2, 3, *size))
        label, how = f"{size}{window}{stride}", {"window": window, "stride": stride}
        average = f and (lambda x, w=window, s=stride: f.avg_pool2d(x, w, s))
        yield _case(F.avg_pool2d, label, [x], average, **how)
        area = window[0] * window[1]
        total = f and (lambda x, w=window, s=stride, a=area: f.avg_pool2d(x, w, s) * a)
        yield _case(resampling.pool, label, [x], total, **how)
        peer = f and (lambda x, w=window, s=stride: f.max_pool2d(x, w, s))
        yield _case(F.max_pool2d, label, [x], peer, **how)
        y = F.avg_pool2d(x, **how)
        yield _case(resampling.unpool, label, [y], None, shape=x.shape, **how)
        winner = rng.integers(0, area, y.shape).astype(np.int16)
        yield _case(resampling.picked, label, [x], None, winner=winner, **how)
        yield _case(resampling.put_back, label, [y], None, winner=winner, shape=x.shape, **how)
    for scale in ((1, 1), (2, 3), (4, 2)):
        for size in ((1, 1), (3, 2), (5, 4)):
            x, label = rng.normal(size=(2, 3, *size)), f"{scale}{size}"
            for function, mode in (
                (F.upsample_nearest2d, "nearest"),
                (F.upsample_bilinear2d, "bilinear"),
            ):
                peer = f and (lambda x, s=scale, m=mode: f.interpolate(x, scale_factor=s, mode=m))
                yield _case(function, label, [x], peer, scale=scale)


def all_cases(torch: Any = None) -> list[Case]:
    """Every case; with PyTorch's module given, each knows its peer."""
    builders = (
        _activations,
        _softmaxes,
        _products,
        _norms,
        _convolutions,
        _modulated,
        _resampling,
    )
    return [case for build in builders for case in build(torch)]
