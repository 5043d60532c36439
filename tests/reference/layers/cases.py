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
