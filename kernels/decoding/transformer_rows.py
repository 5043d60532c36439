"""The row of `OPS` that draws texts from transformers (MISSION row K3)."""

from __future__ import annotations

from typing import Any

import numpy as np

from core import no_grad, value
from core.random import Generator
from core.state import parameters
from kernels.calls import Arguments
from kernels.decoding.draws import (
    FLOATS,
    KINDS,
    Dims,
    controls,
    given,
    late,
    one_for_all,
    uniforms,
    without_controls,
)
from kernels.decoding.ties import tau, ties
from kernels.layouts import normal
from kernels.table import Op
from reference.autoregressive.transformer import next_logits, transformer_sample
from reference.layers import LayerNorm, TransformerBlock

_NETWORK = ("E", "P", "blocks", "norm", "V", "c")


def _make(rng: np.random.Generator, dims: Dims, dtype: str) -> Arguments:
    """Texts of which some places were seen; as many as there are, or few or many more."""
    count, places, V = dims["n"], dims["places"], dims["V"]
    n, s = dims["heads"] * dims["D"], min(dims["seen"], places)
    source = Generator(int(rng.integers(2**31)), stream="init")
    heads, layers = dims["heads"], range(dims["layers"])
    blocks = [TransformerBlock(n, heads, source, dtype=dtype) for _ in layers]
    norm = LayerNorm(n, dtype=dtype)
    for p in parameters([norm, blocks] if n < 100 else norm).values():
        value(p)[...] += normal(rng, dtype, *p.shape, scale=0.2)
    return {
        "u": uniforms(rng, dtype, count, dims["T"]),
        "x": rng.integers(0, V + 1, (count, dims["t"])),
        "seen": rng.integers(0, V + 1, (count, s)),
        "cache": rng.normal(size=(len(blocks), 2, count, heads, s, dims["D"])).astype(dtype),
        "E": normal(rng, dtype, V + 1, n),
        "P": normal(rng, dtype, places, n, scale=0.5),
        "blocks": blocks,
        "norm": norm,
        "V": normal(rng, dtype, n, V, scale=2 / n**0.5),
        "c": normal(rng, dtype, V),
        **controls(rng, V, dims["controls"]),
    }


def _followed(arguments: Arguments, result: Any) -> None:
    """Given the tokens before it, each is the definition's, but for one tie; so is the cache."""
    (drawn, seen, cache), u, logits = result, arguments["u"], []
    network = [arguments[k] for k in _NETWORK]
    x, state = arguments["x"], [arguments["seen"], arguments["cache"]]
    with no_grad():
        for t in range(u.shape[1]):
            z, *state = next_logits(x, *state, *network)
            x = drawn[:, t : t + 1]
            logits.append(value(z))
    if logits:
        assert ties(drawn, np.stack(logits, axis=1), u, **given(arguments)) <= 1
    assert np.array_equal(seen, state[0]), "what was seen is something else"
    off = np.abs(cache - value(state[1])).max(initial=0.0)
    limit = tau(u.dtype) * max(1.0, np.abs(cache).max(initial=0.0))
    assert off < limit, f"the cache is off by {off:.3g}"


# Twins with a planted fault


def reads_the_last_only(u: Any, x: Any, **rest: Any) -> Any:
    """Of the prompt."""
    return transformer_sample(u, x[:, -1:], **rest)


def forgets_the_cache(u: Any, x: Any, seen: Any, cache: Any, **rest: Any) -> Any:
    """The cache's values are those of other texts, or 0."""
    return transformer_sample(u, x, seen, np.roll(cache, 1, axis=2) * (len(x) > 1), **rest)


def stands_still(P: Any, **rest: Any) -> Any:
    """Every place is the first."""
    return transformer_sample(P=np.tile(P[:1], (len(P), 1)), **rest)


def slides_without_the_first(seen: Any, E: Any, **rest: Any) -> Any:
    """Forgets what stands before every text, once the window moves."""
    drawn, after, cache = transformer_sample(seen=seen, E=E, **rest)
    places, read = len(rest["P"]), seen.shape[1] + rest["x"].shape[1] + drawn.shape[1] - 1
    if read <= places or not drawn.shape[1]:
        return drawn, after, cache
    whole = np.concatenate([seen, rest["x"], drawn], axis=1)[:, :read]
    return drawn, whole[:, read - places :], cache


def keys_for_values(u: Any, x: Any, seen: Any, cache: Any, **rest: Any) -> Any:
    """Keys and values of the cache change places."""
    return transformer_sample(u, x, seen, cache[:, ::-1], **rest)


# Peers


def torch_loop(
    u: Any, x: Any, seen: Any, cache: Any,
    E: Any, P: Any, blocks: Any, norm: Any, V: Any, c: Any, **controls: Any,
) -> Any:  # fmt: skip
    """The loop in torch, eager, with a cache written in place; its tokens are random as well."""
    T = u.shape[1]
    if controls or seen.shape[1] or x.shape[1] > 1 or len(P) < T:
        raise NotImplementedError("torch_loop begins with one token, and stays in the window")
    import torch
    from torch.nn import functional as F

    with torch.inference_mode():
        layers = [_torch_block(block) for block in blocks]
        table, places, out, bias, gamma, beta = map(
            _torch, (E, P, V.T, c, value(norm.gamma), value(norm.beta))
        )
        kept = torch.zeros(*cache.shape[:4], T, cache.shape[5], dtype=table.dtype)
        token, drawn = torch.from_numpy(x[:, 0]), []
        for t in range(T):
            h = F.embedding(token, table) + places[t]
            for layer, kv in zip(layers, kept, strict=True):
                h = _torch_step(h, layer, kv, t)
            h = F.layer_norm(h, gamma.shape, gamma, beta)
            token = torch.multinomial(torch.softmax(F.linear(h, out, bias), dim=-1), 1)[:, 0]
            drawn.append(token)
        read = [torch.from_numpy(x), *(k[:, None] for k in drawn[:-1])]
        return torch.stack(drawn, 1).numpy(), torch.cat(read, 1).numpy(), kept.numpy()


def _torch_step(h: Any, layer: Any, kv: Any, t: int) -> Any:
    """One token h (B, n) through a block, its key and value kept at place t."""
    from torch.nn import functional as F

    norm_1, qkv, o, norm_2, first, second = layer
    B, n = h.shape
    q, k, v = F.linear(F.layer_norm(h, (n,), *norm_1), *qkv).view(B, 3, -1, kv.shape[-1]).unbind(1)
    kv[0, :, :, t], kv[1, :, :, t] = k, v
    a = F.scaled_dot_product_attention(q[:, :, None], kv[0, :, :, : t + 1], kv[1, :, :, : t + 1])
    h = h + F.linear(a.reshape(B, n), *o)
    return h + F.linear(F.gelu(F.linear(F.layer_norm(h, (n,), *norm_2), *first)), *second)


def _torch(a: Any) -> Any:
    import torch

    return torch.from_numpy(np.ascontiguousarray(a))


def _torch_block(block: Any) -> Any:
    """Weights as torch.nn.Linear lays them; queries, keys and values in one matrix."""
    import torch

    a, (first, second) = block.attention, block.mlp.layers
    norms = [[_torch(value(p)) for p in (m.gamma, m.beta)] for m in (block.norm_1, block.norm_2)]
    q, k, v, o, one, two = (
        (_torch(value(layer.W).T), _torch(value(layer.b)))
        for layer in (a.q, a.k, a.v, a.o, first, second)
    )
    qkv = [torch.cat(parts) for parts in zip(q, k, v, strict=True)]
    return norms[0], qkv, o, norms[1], one, two


def _bench(n: int, T: int, heads: int, layers: int) -> tuple[Dims, str]:
    dims = {"n": n, "t": 1, "T": T, "seen": 0, "places": 256, "layers": layers, "heads": heads}
    return {**dims, "D": 64 if heads == 8 else 32, "V": 65, "controls": 0}, "float32"


ROWS = [
    Op(
        name="transformer_sample",
        mission=("K3", "A7"),
        definition="reference.autoregressive.transformer:transformer_sample",
        twins={"numba": "kernels.decoding.transformer_numba:transformer_sample"},
        make=_make,
        dims={
            "n": (0, 4),
            "t": (1, 4),
            "T": (0, 6),
            "seen": (0, 4),
            "places": (1, 10),
            "layers": (1, 2),
            "heads": (1, 3),
            "D": (1, 9),
            "V": (1, 9),
            "controls": (0, KINDS),
        },
        dtypes=FLOATS,
        floor={"float32": 4.0, "float64": 1e-12},
        cap={"float32": 4.0, "float64": 1e-11},
        exact=("float64",),
        laws=(_followed,),
        wrong={
            "reads the last only": reads_the_last_only,
            "forgets the cache": forgets_the_cache,
            "stands still": stands_still,
            "slides without the first": slides_without_the_first,
            "keys for values": keys_for_values,
            "without controls": without_controls(transformer_sample),
            "one for all": one_for_all(transformer_sample),
            "late": late(transformer_sample),
        },
        bench={
            "60 MB of weights, 64 tokens, one stream": _bench(1, 64, 8, 5),
            "4 layers of 128, 64 tokens, one stream": _bench(1, 64, 4, 4),
            "4 layers of 128, 64 tokens, 32 at once": _bench(32, 64, 4, 4),
        },
        peers={"torch": torch_loop},
    ),
]
