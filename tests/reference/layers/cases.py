"""Every layer beside PyTorch's form of it, on the same weights: `CASES`.

A case draws its sizes from a NumPy Generator. The parameters of PyTorch's side are made from ours,
by operations that PyTorch differentiates, so that the gradients have our names and shapes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.random import Generator
from core.state import parameters
from reference import layers
from reference.operations.masks import causal


@dataclass(frozen=True)
class Pair:
    """layer; inputs: float arrays; ours(layer, *inputs) and theirs(parameters, *inputs), lists."""

    layer: Any
    inputs: list[Any]
    ours: Callable[..., list[Any]]
    theirs: Callable[..., list[Any]]


Case = Callable[..., Pair]
CASES: dict[str, Case] = {}


def case(make: Case) -> Case:
    CASES[make.__name__] = make
    return make


def source(rng: np.random.Generator) -> Generator:
    return Generator(int(rng.integers(2**31)), stream="init")


def normal(rng: np.random.Generator, dtype: Any, *shape: int) -> Any:
    return rng.normal(size=shape).astype(dtype)


def sizes(rng: np.random.Generator, n: int, most: int = 4) -> list[int]:
    return [int(s) for s in rng.integers(1, most + 1, n)]


def shaken(layer: Any, rng: np.random.Generator) -> Any:
    """The layer with all parameters moved, so that none is 0 or 1."""
    for p in parameters(layer).values():
        p[...] = p.data + rng.normal(size=p.shape).astype(p.dtype) * 0.5
    return layer


def called(layer: Any, *x: Any) -> list[Any]:
    return [layer(*x)]


@case
def linear(rng: Any, dtype: Any, kind: Any = layers.Linear) -> Pair:
    import torch

    n, m, *lead = sizes(rng, 2 + int(rng.integers(4)))
    layer = shaken(kind(n, m, source(rng), dtype=dtype), rng)

    def theirs(p: Any, x: Any) -> Any:
        return [torch.nn.functional.linear(x, p["W"].T, p["b"])]

    return Pair(layer, [normal(rng, dtype, *lead, n)], called, theirs)


@case
def mlp(rng: Any, dtype: Any, kind: Any = layers.MLP) -> Pair:
    import torch

    widths = sizes(rng, int(rng.integers(2, 5)))
    layer = shaken(kind(widths, source(rng), dtype=dtype), rng)

    def theirs(p: Any, x: Any) -> Any:
        for i in range(len(widths) - 1):
            x = torch.tanh(x) if i else x
            x = torch.nn.functional.linear(x, p[f"layers.{i}.W"].T, p[f"layers.{i}.b"])
        return [x]

    return Pair(layer, [normal(rng, dtype, sizes(rng, 1)[0], widths[0])], called, theirs)


@case
def embedding(rng: Any, dtype: Any, kind: Any = layers.Embedding) -> Pair:
    import torch

    n, m, *lead = sizes(rng, 2 + int(rng.integers(3)))
    i = rng.integers(0, n, lead)
    layer = shaken(kind(n, m, source(rng), dtype=dtype), rng)

    def theirs(p: Any) -> Any:
        return [torch.nn.functional.embedding(torch.tensor(i), p["W"])]

    return Pair(layer, [], lambda layer: [layer(i)], theirs)


@case
def learned_positions(rng: Any, dtype: Any, kind: Any = layers.LearnedPositions) -> Pair:
    n, T, B, start, more = sizes(rng, 5)
    layer = shaken(kind(start + T + more, n, source(rng), dtype=dtype), rng)

    def ours(layer: Any, x: Any) -> Any:
        return [layer(x, start), layer(x)]

    def theirs(p: Any, x: Any) -> Any:
        return [x + p["W"][start : start + T], x + p["W"][:T]]

    return Pair(layer, [normal(rng, dtype, B, T, n)], ours, theirs)


def waves(p: Any, n: int) -> Any:
    """(sin p/10000^(2i/n), cos p/10000^(2i/n)) in turn, one number at a time."""
    import torch

    at = [(i, torch.tensor(p / 10000 ** (2 * (i // 2) / n), dtype=torch.float64)) for i in range(n)]
    return torch.stack([torch.cos(a) if i % 2 else torch.sin(a) for i, a in at])


@case
def sinusoidal_positions(rng: Any, dtype: Any, kind: Any = layers.SinusoidalPositions) -> Pair:
    import torch

    half, T, B, start = sizes(rng, 4)

    def ours(layer: Any, x: Any) -> Any:
        return [layer(x, start)]

    def theirs(p: Any, x: Any) -> Any:
        return [x + torch.stack([waves(start + t, 2 * half) for t in range(T)]).to(x.dtype)]

    return Pair(kind(2 * half), [normal(rng, dtype, B, T, 2 * half)], ours, theirs)


@case
def rotary(rng: Any, dtype: Any, kind: Any = layers.Rotary) -> Pair:
    half, T, B, H, start = sizes(rng, 5)

    def ours(layer: Any, x: Any) -> Any:
        return [layer(x, start)]

    def theirs(p: Any, x: Any) -> Any:
        return [rotary_torch(x, half, start)]

    return Pair(kind(2 * half), [normal(rng, dtype, B, H, T, 2 * half)], ours, theirs)


@case
def time_embedding(rng: Any, dtype: Any, kind: Any = layers.TimeEmbedding) -> Pair:
    import torch

    half, m, B = sizes(rng, 3)
    t = rng.integers(0, 1000, B)
    layer = shaken(kind(2 * half, m, source(rng), dtype=dtype), rng)

    def theirs(p: Any) -> Any:
        W, b, U, c = p.values()
        e = torch.stack([waves(int(s), 2 * half) for s in t]).to(W.dtype)
        return [torch.nn.functional.silu(e @ W + b) @ U + c]

    return Pair(layer, [], lambda layer: [layer(t)], theirs)


def module(name: str, p: dict[str, Any], sizes: Any, *inputs: Any, **how: Any) -> Any:
    """A module of torch.nn on given parameters, which may be computed from others."""
    import torch

    made = getattr(torch.nn, name)(*sizes, **how).to(inputs[0].dtype)
    return torch.func.functional_call(made, p, inputs)


@case
def rnn(rng: Any, dtype: Any, kind: Any = layers.RNNCell) -> Pair:
    import torch

    n, m, B, T = sizes(rng, 4)
    layer = shaken(kind(n, m, source(rng), dtype=dtype), rng)

    def theirs(p: Any, x: Any, h: Any) -> Any:
        named = {"ih_l0": p["W"].T, "hh_l0": p["U"].T}
        q = {f"weight_{k}": w for k, w in named.items()}
        q |= {"bias_ih_l0": p["b"], "bias_hh_l0": torch.zeros_like(p["b"])}
        y, last = module("RNN", q, (n, m), x, h[None], batch_first=True)
        return [y, last[0]]

    inputs = [normal(rng, dtype, B, T, n), normal(rng, dtype, B, m)]
    return Pair(layer, inputs, layers.unroll, theirs)


@case
def gru(rng: Any, dtype: Any, kind: Any = layers.GRUCell) -> Pair:
    import torch

    n, m, B, T = sizes(rng, 4)
    layer = shaken(kind(n, m, source(rng), dtype=dtype), rng)

    def theirs(p: Any, x: Any, h: Any) -> Any:
        q = {"weight_ih_l0": p["W"].T, "weight_hh_l0": p["U"].T, "bias_ih_l0": p["b"]}
        q["bias_hh_l0"] = torch.cat([torch.zeros_like(p["b"][m:]), p["c_n"]])
        y, last = module("GRU", q, (n, m), x, h[None], batch_first=True)
        return [y, last[0]]

    inputs = [normal(rng, dtype, B, T, n), normal(rng, dtype, B, m)]
    return Pair(layer, inputs, layers.unroll, theirs)


@case
def lstm(rng: Any, dtype: Any, kind: Any = layers.LSTMCell) -> Pair:
    import torch

    n, m, B, T = sizes(rng, 4)
    layer = shaken(kind(n, m, source(rng), dtype=dtype), rng)

    def ours(layer: Any, x: Any, h: Any, c: Any) -> Any:
        y, state = layers.unroll(layer, x, (h, c))
        return [y, *state]

    def theirs(p: Any, x: Any, h: Any, c: Any) -> Any:
        q = {"weight_ih_l0": p["W"].T, "weight_hh_l0": p["U"].T, "bias_ih_l0": p["b"]}
        q["bias_hh_l0"] = torch.zeros_like(p["b"])
        y, state = module("LSTM", q, (n, m), x, (h[None], c[None]), batch_first=True)
        return [y, state[0][0], state[1][0]]

    inputs = [normal(rng, dtype, B, T, n), *(normal(rng, dtype, B, m) for _ in "hc")]
    return Pair(layer, inputs, ours, theirs)


def projections(p: Any) -> dict[str, Any]:
    """Ours as the parameters of torch.nn.MultiheadAttention with kdim and vdim."""
    import torch

    q = {f"{k}_proj_weight": p[f"{k}.W"].T for k in "qkv"}
    q["in_proj_bias"] = torch.cat([p[f"{k}.b"] for k in "qkv"])
    return {**q, "out_proj.weight": p["o.W"].T, "out_proj.bias": p["o.b"]}


def multihead(p: Any, heads: int, x: Any, u: Any, hidden: Any = None) -> Any:
    """torch.nn.MultiheadAttention; hidden: bool (Q, K), what a query may not see."""
    import torch

    n, m = p["o.W"].shape[0], u.shape[-1]
    made = torch.nn.MultiheadAttention(n, heads, kdim=m, vdim=m, batch_first=True).to(x.dtype)
    if m == n:  # then it would join the three projections
        joined = torch.cat([p[f"{k}.W"].T for k in "qkv"])
        q = {"in_proj_weight": joined, **projections(p)}
        q = {k: w for k, w in q.items() if k in dict(made.named_parameters())}
    else:
        q = projections(p)
    return torch.func.functional_call(made, q, (x, u, u), {"attn_mask": hidden})[0]


@case
def self_attention(rng: Any, dtype: Any, kind: Any = layers.Attention) -> Pair:
    import torch

    heads, D, B, T = sizes(rng, 4)
    n = heads * D
    layer = shaken(kind(n, n, heads, source(rng), dtype=dtype), rng)
    seen = (rng.random((T, T)) < 0.5) | np.eye(T, dtype=bool)

    def ours(layer: Any, x: Any) -> Any:
        return [layer(x), layer(x, seen)]

    def theirs(p: Any, x: Any) -> Any:
        return [multihead(p, heads, x, x), multihead(p, heads, x, x, torch.tensor(~seen))]

    return Pair(layer, [normal(rng, dtype, B, T, n)], ours, theirs)


@case
def cross_attention(rng: Any, dtype: Any, kind: Any = layers.Attention) -> Pair:
    heads, D, m, B, Q, K = sizes(rng, 6)
    n = heads * D
    layer = shaken(kind(n, n, heads, source(rng), n_context=m, dtype=dtype), rng)

    def ours(layer: Any, x: Any, u: Any) -> Any:
        return [layer(x, context=u)]

    def theirs(p: Any, x: Any, u: Any) -> Any:
        return [multihead(p, heads, x, u)]

    return Pair(layer, [normal(rng, dtype, B, Q, n), normal(rng, dtype, B, K, m)], ours, theirs)


@case
def grouped_attention(rng: Any, dtype: Any, kind: Any = layers.Attention) -> Pair:
    """Fewer heads of keys, causal, from features of another number, turned by position."""
    import torch

    groups, key_heads, half, n, B, T = sizes(rng, 6, 3)
    heads, D = groups * key_heads, 2 * half
    how = {"key_heads": key_heads, "rotary": layers.Rotary(D), "dtype": dtype}
    layer = shaken(kind(n, heads * D, heads, source(rng), **how), rng)

    def theirs(p: Any, x: Any) -> Any:
        q, k, v = (x @ p[f"{a}.W"] + p[f"{a}.b"] for a in "qkv")
        q, k, v = (a.reshape(B, T, -1, D).transpose(1, 2) for a in (q, k, v))
        k, v = (torch.repeat_interleave(a, groups, dim=1) for a in (rotary_torch(k, half), v))
        s = rotary_torch(q, half) @ k.transpose(2, 3) / D**0.5
        s = s.masked_fill(torch.ones(T, T).triu(1).bool(), -torch.inf)
        h = (s.softmax(-1) @ v).transpose(1, 2).reshape(B, T, heads * D)
        return [h @ p["o.W"] + p["o.b"]]

    def ours(layer: Any, x: Any) -> Any:
        return [layer(x, causal())]

    return Pair(layer, [normal(rng, dtype, B, T, n)], ours, theirs)


@case
def transformer_block(rng: Any, dtype: Any, kind: Any = layers.TransformerBlock) -> Pair:
    import torch

    heads, D, width, B, T = sizes(rng, 5, 3)
    n = heads * D
    layer = shaken(kind(n, heads, source(rng), width=width, dtype=dtype), rng)

    def ours(layer: Any, x: Any) -> Any:
        return [layer(x), layer(x, causal()), layer.step(x, None)[0]]

    def theirs(p: Any, x: Any) -> Any:
        own = {k.removeprefix("attention."): a for k, a in p.items()}
        hidden = torch.ones(T, T).triu(1).bool()
        for seen in (torch.zeros_like(hidden), hidden, hidden):
            y = normed(p, "norm_1", x)
            y = x + multihead(own, heads, y, y, seen)
            h = normed(p, "norm_2", y) @ p["mlp.layers.0.W"] + p["mlp.layers.0.b"]
            yield y + torch.nn.functional.gelu(h) @ p["mlp.layers.1.W"] + p["mlp.layers.1.b"]

    return Pair(layer, [normal(rng, dtype, B, T, n)], ours, lambda p, x: list(theirs(p, x)))


@case
def decoder_block(rng: Any, dtype: Any, kind: Any = layers.DecoderBlock) -> Pair:
    """Also of a context of which not all is seen, and an element at a time."""
    import torch

    heads, D, width, m, B, T, K = sizes(rng, 7, 3)
    n = heads * (D + 2)  # a norm of two features divides by their difference: by anything
    layer = shaken(kind(n, m, heads, source(rng), width=width, dtype=dtype), rng)
    seen = (rng.random((T, K)) < 0.5) | (np.arange(K) == 0)

    def ours(layer: Any, x: Any, u: Any) -> Any:
        cache, steps, memory = None, [], layer.memory(u)
        for t in range(T):
            y, cache = layer.step(x[:, t : t + 1], cache, memory, seen[t : t + 1])
            steps.append(y)
        return [layer(x, u), layer(x, u, causal(), seen), np.concatenate(steps, axis=1)]

    def theirs(p: Any, x: Any, u: Any) -> Any:
        own, cross = (
            {k.removeprefix(f"{name}."): a for k, a in p.items() if k.startswith(f"{name}.")}
            for name in ("attention", "cross")
        )
        later, none = torch.ones(T, T).triu(1).bool(), torch.zeros(T, K).bool()
        hidden = torch.tensor(~seen)
        for a, b in ((torch.zeros_like(later), none), (later, hidden), (later, hidden)):
            y = normed(p, "norm_1", x)
            y = x + multihead(own, heads, y, y, a)
            y = y + multihead(cross, heads, normed(p, "norm_2", y), u, b)
            h = normed(p, "norm_3", y) @ p["mlp.layers.0.W"] + p["mlp.layers.0.b"]
            yield y + torch.nn.functional.gelu(h) @ p["mlp.layers.1.W"] + p["mlp.layers.1.b"]

    inputs = [normal(rng, dtype, B, T, n), normal(rng, dtype, B, K, m)]
    return Pair(layer, inputs, ours, lambda p, x, u: list(theirs(p, x, u)))


def normed(p: Any, name: str, x: Any) -> Any:
    """torch's layer norm with our γ and β."""
    import torch

    return torch.nn.functional.layer_norm(x, x.shape[-1:], p[f"{name}.gamma"], p[f"{name}.beta"])


def rotary_torch(x: Any, half: int, start: int = 0) -> Any:
    """Pairs as complex numbers, times e^(i t ω)."""
    import torch

    omega = torch.tensor([10000 ** (-i / half) for i in range(half)], dtype=torch.float64)
    angle = ((start + torch.arange(x.shape[-2]))[:, None] * omega).to(x.dtype)
    z = torch.view_as_complex(x.reshape(*x.shape[:-1], half, 2).contiguous())
    turned = z * torch.polar(torch.ones_like(angle), angle)
    return torch.view_as_real(turned).reshape(x.shape)


@case
def spectral_norm(rng: Any, dtype: Any, kind: Any = layers.SpectralNorm) -> Pair:
    import torch

    n, m, B = sizes(rng, 3)
    inner = shaken(layers.Linear(n, m, source(rng), dtype=dtype), rng)
    layer = kind(inner, source(rng))
    for _ in range(int(rng.integers(4))):
        layer.follow()
    v = np.array(layer.v)  # u and v: of the layer before any call

    def ours(layer: Any, x: Any) -> Any:
        return [layer(x), layer(x)]

    def theirs(p: Any, x: Any) -> Any:
        W = p["layer.W"]
        peer = torch.nn.utils.parametrizations.spectral_norm(torch.nn.Linear(n, m).to(W.dtype))
        norm = peer.parametrizations.weight[0].eval()
        u = W.detach() @ torch.tensor(v)
        norm._u, norm._v = torch.tensor(v), u / u.norm()  # of W.T
        y = torch.nn.functional.linear(x, norm(W.T), p["layer.b"])
        return [y, y]

    return Pair(layer, [normal(rng, dtype, B, n)], ours, theirs)


def conv_sizes(rng: Any, axes: int) -> tuple[dict[str, Any], tuple[int, ...]]:
    """How a convolution steps, and a length of every axis that its kernel fits into."""
    kernel, stride, dilation = (tuple(rng.integers(1, 4, axes).tolist()) for _ in range(3))
    padding = tuple(int(rng.integers(0, k + 1)) for k in kernel)
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    fitting = [max(r - 2 * p, 1) for r, p in zip(reach, padding, strict=True)]
    lengths = tuple(n + int(rng.integers(5)) for n in fitting)
    how = {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation}
    return {k: v if axes == 2 else v[0] for k, v in how.items()}, lengths


def any_mask(rng: Any, kernel: Any, shape: tuple[int, ...]) -> Any:
    """None, "A", "B" where the kernel has a centre, or any array; and which connections it says."""
    odd = all(k % 2 for k in np.atleast_1d(kernel))
    drawn = rng.random((shape[0], shape[1], *[1] * (len(shape) - 2))) < 0.6
    choice = (None, drawn, "A", "B")[int(rng.integers(4 if odd else 2))]
    if not isinstance(choice, str):
        return choice, np.broadcast_to(True if choice is None else choice, shape)
    ahead = np.ones(shape, bool).reshape(*shape[:2], -1)
    ahead[..., ahead.shape[-1] // 2 + (choice == "B") :] = False
    return choice, ahead.reshape(shape)


def convolution(rng: Any, dtype: Any, kind: Any, axes: int) -> Pair:
    import torch

    groups, a, b, B = sizes(rng, 4, 3)
    how, lengths = conv_sizes(rng, axes)
    n, m, kernel = groups * a, groups * b, how.pop("kernel")
    mask, seen = any_mask(rng, kernel, (m, a, *np.atleast_1d(kernel)))
    layer = kind(n, m, kernel, source(rng), **how, groups=groups, mask=mask, dtype=dtype)
    of = getattr(torch.nn.functional, f"conv{axes}d")

    def theirs(p: Any, x: Any) -> Any:
        return [of(x, p["W"] * torch.tensor(seen), p["b"], groups=groups, **how)]

    return Pair(shaken(layer, rng), [normal(rng, dtype, B, n, *lengths)], called, theirs)


@case
def conv1d(rng: Any, dtype: Any, kind: Any = layers.Conv1d) -> Pair:
    return convolution(rng, dtype, kind, 1)


@case
def conv2d(rng: Any, dtype: Any, kind: Any = layers.Conv2d) -> Pair:
    return convolution(rng, dtype, kind, 2)


@case
def causal_conv1d(rng: Any, dtype: Any, kind: Any = layers.CausalConv1d) -> Pair:
    import torch

    groups, a, b, kernel, dilation, B = sizes(rng, 6, 3)
    n, m = groups * a, groups * b
    layer = kind(n, m, kernel, source(rng), dilation=dilation, groups=groups, dtype=dtype)

    def theirs(p: Any, x: Any) -> Any:
        before = torch.nn.functional.pad(x, (dilation * (kernel - 1), 0))
        how = {"dilation": dilation, "groups": groups}
        return [torch.nn.functional.conv1d(before, p["W"], p["b"], **how)]

    T = int(rng.integers(1, 9))
    return Pair(shaken(layer, rng), [normal(rng, dtype, B, n, T)], called, theirs)


def transposed(rng: Any, dtype: Any, kind: Any, axes: int) -> Pair:
    import torch

    n, m, B, *lengths = sizes(rng, 3 + axes, 3)
    kernel, stride = (tuple(rng.integers(1, 4, axes).tolist()) for _ in range(2))
    least = [s * (t - 1) + k for s, t, k in zip(stride, lengths, kernel, strict=True)]
    padding = tuple(int(rng.integers(0, max((n - 1) // 2, 0) + 1)) for n in least)
    extra = tuple(int(rng.integers(0, s)) for s in stride)
    size = tuple(n - 2 * p + e for n, p, e in zip(least, padding, extra, strict=True))
    one = (lambda v: v) if axes == 2 else (lambda v: v[0])
    how = {"stride": one(stride), "padding": one(padding)}
    layer = kind(n, m, one(kernel), source(rng), **how, dtype=dtype)
    of = getattr(torch.nn.functional, f"conv_transpose{axes}d")

    def ours(layer: Any, x: Any) -> Any:
        return [layer(x, one(size)), layer(x)]

    def theirs(p: Any, x: Any) -> Any:
        longer = of(x, p["W"], p["b"], output_padding=one(extra), **how)
        return [longer, of(x, p["W"], p["b"], **how)]

    return Pair(shaken(layer, rng), [normal(rng, dtype, B, n, *lengths)], ours, theirs)


@case
def conv_transpose1d(rng: Any, dtype: Any, kind: Any = layers.ConvTranspose1d) -> Pair:
    return transposed(rng, dtype, kind, 1)


@case
def conv_transpose2d(rng: Any, dtype: Any, kind: Any = layers.ConvTranspose2d) -> Pair:
    return transposed(rng, dtype, kind, 2)


@case
def layer_norm(rng: Any, dtype: Any, kind: Any = layers.LayerNorm) -> Pair:
    import torch

    *lead, n = sizes(rng, 1 + int(rng.integers(1, 4)))
    layer = shaken(kind(n + 1, eps=0.01, dtype=dtype), rng)

    def theirs(p: Any, x: Any) -> Any:
        return [torch.nn.functional.layer_norm(x, (n + 1,), p["gamma"], p["beta"], 0.01)]

    return Pair(layer, [normal(rng, dtype, *lead, n + 1)], called, theirs)


@case
def rms_norm(rng: Any, dtype: Any, kind: Any = layers.RMSNorm) -> Pair:
    import torch

    *lead, n = sizes(rng, 1 + int(rng.integers(1, 4)))
    layer = shaken(kind(n, eps=0.01, dtype=dtype), rng)

    def theirs(p: Any, x: Any) -> Any:
        return [torch.nn.functional.rms_norm(x, (n,), p["gamma"], 0.01)]

    return Pair(layer, [normal(rng, dtype, *lead, n)], called, theirs)


@case
def group_norm(rng: Any, dtype: Any, kind: Any = layers.GroupNorm) -> Pair:
    import torch

    groups, a, B, *pixels = sizes(rng, 3 + int(rng.integers(1, 3)), 3)
    n, pixels = groups * a, [pixels[0] + 1, *pixels[1:]]
    layer = shaken(kind(n, groups, eps=0.01, dtype=dtype), rng)

    def theirs(p: Any, x: Any) -> Any:
        return [torch.nn.functional.group_norm(x, groups, p["gamma"], p["beta"], 0.01)]

    return Pair(layer, [normal(rng, dtype, B, n, *pixels)], called, theirs)


@case
def batch_norm(rng: Any, dtype: Any, kind: Any = layers.BatchNorm) -> Pair:
    """Two batches in turn, each followed, and then the running moments."""
    import torch

    n, B, *pixels = sizes(rng, 2 + int(rng.integers(3)))
    layer = shaken(kind(n, momentum=0.3, eps=0.01, dtype=dtype), rng)

    def ours(layer: Any, x: Any) -> Any:
        layer.mean[...], layer.variance[...] = 0, 1
        first, moments = layer.batch(x)
        layer.follow(moments)
        second, moments = layer.batch(2 * x + 1)
        layer.follow(moments)
        return [first, second, layer(x)]

    def theirs(p: Any, x: Any) -> Any:
        running = torch.zeros(n).to(x.dtype), torch.ones(n).to(x.dtype)

        def of(x: Any, training: bool) -> Any:
            how = {"training": training, "momentum": 0.3, "eps": 0.01}
            return torch.nn.functional.batch_norm(x, *running, p["gamma"], p["beta"], **how)

        return [of(x, True), of(2 * x + 1, True), of(x, False)]

    return Pair(layer, [normal(rng, dtype, B + 1, n, *pixels)], ours, theirs)


@case
def adain(rng: Any, dtype: Any, kind: Any = layers.AdaIN) -> Pair:
    import torch

    k, n, B, T, more = sizes(rng, 5)
    pixels = (T + 1, more)[: int(rng.integers(1, 3))]
    layer = shaken(kind(k, n, source(rng), eps=0.01, dtype=dtype), rng)

    def theirs(p: Any, x: Any, style: Any) -> Any:
        s, t = (style @ p["affine.W"] + p["affine.b"]).split(n, dim=1)
        x_hat = torch.nn.functional.instance_norm(x, eps=0.01)
        ends = (B, n, *[1] * len(pixels))
        return [x_hat * (1 + s.reshape(ends)) + t.reshape(ends)]

    return Pair(
        layer, [normal(rng, dtype, B, n, *pixels), normal(rng, dtype, B, k)], called, theirs
    )


@case
def dropout(rng: Any, dtype: Any, kind: Any = layers.Dropout) -> Pair:
    """PyTorch draws other noise: ours is read off ones."""
    import torch

    shape, rate, seed = sizes(rng, int(rng.integers(1, 4))), float(rng.uniform(0, 0.9)), 3
    u = Generator(seed, "dropout").uniform(tuple(shape))

    def ours(layer: Any, x: Any) -> Any:
        return [layer(x), layer(x, Generator(seed, "dropout"))]

    def theirs(p: Any, x: Any) -> Any:
        return [x, torch.where(torch.tensor(u >= rate), x / (1 - rate), 0.0)]

    return Pair(kind(rate), [normal(rng, dtype, *shape)], ours, theirs)


@case
def spectral_norm_of_kernels(rng: Any, dtype: Any, kind: Any = layers.SpectralNorm) -> Pair:
    """Of a convolution and of a transposed one, whose axes of W differ."""
    import torch

    n, m, k = sizes(rng, 3, 3)
    names = ("Conv2d", "ConvTranspose2d")
    name = names[int(rng.integers(2))]
    inner = shaken(getattr(layers, name)(n, m, k, source(rng), dtype=dtype), rng)
    layer = kind(inner, source(rng))
    layer.follow()
    v = np.array(layer.v)

    def theirs(p: Any, x: Any) -> Any:
        W = p["layer.W"]
        peer = getattr(torch.nn, name)(n, m, k).to(W.dtype)
        peer = torch.nn.utils.parametrizations.spectral_norm(peer)
        norm = peer.parametrizations.weight[0].eval()
        axis = 0 if name == "Conv2d" else 1
        matrix = W.detach().movedim(axis, 0).reshape(m, -1)
        u = matrix.T @ torch.tensor(v)
        norm._u, norm._v = torch.tensor(v), u / u.norm()
        of = torch.nn.functional.conv2d if axis == 0 else torch.nn.functional.conv_transpose2d
        return [of(x, norm(W), p["layer.b"])]

    return Pair(layer, [normal(rng, dtype, 2, n, k + 1, k + 2)], called, theirs)
