"""The row of `OPS` for masked attention (MISSION row K4)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from kernels.calls import Arguments
from kernels.table import Op
from reference.operations import masks
from reference.operations.attention import masked_attention
from reference.operations.masks import Mask

Dims = Mapping[str, int]
LENGTHS = (
    (1, 1), (17, 5), (1, 147), (64, 0), (130, 129), (150, 150), (203, 113), (113, 203), (108, 256)
)  # fmt: skip
"""(q_len, k_len) that have broken blockwise kernels: one query, odd, longer than the keys, none.

The small ones first: there a call that fails shrinks to.
"""
LONG = ((256, 512), (512, 256), (1023, 1024), (1024, 1023), (2048, 2048))
"""More of them, too long for hundreds of draws."""
SCALES = (None, -1.0, 0.0, 0.5)
"""None, or what is divided by √D."""

_plain = masked_attention.definition
_BLOCK, _FEW = 128, 16  # of the twin on the CPU


def drawn_mask(
    rng: np.random.Generator, kind: int, B: int, Q: int, K: int, reach: int = 40
) -> Mask | None:
    """One of nine classes; some leave queries without keys and keys without queries.

    A window reaches back over fewer than `reach` keys.
    """
    ids = np.sort(rng.integers(0, 3, (B, K)), axis=-1)
    documents = masks.documents(ids) if Q <= K else masks.full()
    return (
        None,
        masks.causal(),
        masks.causal() & masks.window(int(rng.integers(0, reach))),
        masks.causal() | masks.prefix(int(rng.integers(0, K + 1))),
        documents & masks.causal(),
        masks.padding(rng.integers(0, K + 1, B)),
        masks.raster(1, K, reach=3) if Q <= K else masks.causal(),
        masks.boolean(rng.random((B, 1, Q, K)) < 0.3),
        masks.boolean(rng.random((Q, K)) < 0.01),
    )[kind]


def unseen(mask: Mask | None, shape_q: Any, shape_k: Any) -> tuple[Any, Any]:
    """bool (B, H, Q) and (B, H_kv, K): the queries that see no key, the keys that none sees."""
    (B, H, Q, _), (_, H_kv, K, _) = shape_q, shape_k
    seen = np.broadcast_to((mask or masks.full()).dense(Q, K), (B, H, Q, K))
    grouped = seen.reshape(B, H_kv, H // H_kv, Q, K)
    return ~seen.any(-1), ~grouped.any((2, 3))


def make(rng: np.random.Generator, dims: Dims, dtype: str) -> Arguments:
    """One call; what takes part nowhere is NaN, and must not leak.

    Lengths are LENGTHS[dims["lengths"]], or else S queries and K (or S) keys.
    """
    S = dims.get("S", 0)
    Q, K = LENGTHS[dims["lengths"]] if "lengths" in dims else (S, dims.get("K", S))
    B, D, H_kv = dims["B"], dims["D"], dims["heads"]
    q = rng.normal(size=(B, H_kv * dims["group"], Q, D)).astype(dtype) * dims["sharpness"]
    k, v = rng.normal(size=(2, B, H_kv, K, D)).astype(dtype)
    mask = drawn_mask(rng, dims["mask"], B, Q, K)
    idle_q, idle_k = unseen(mask, q.shape, k.shape)
    q[idle_q], k[idle_k], v[idle_k] = math.nan, math.nan, math.nan
    scale = SCALES[dims.get("scale", 0)]
    scale = None if scale is None else scale / math.sqrt(D)
    return {"q": q, "k": k, "v": v, "mask": mask, "scale": scale}


def _zero_where_nothing_is_seen(arguments: Arguments, result: Any) -> None:
    """A query that sees no key gets exactly 0."""
    q, k = arguments["q"], arguments["k"]
    idle, _ = unseen(arguments["mask"], q.shape, k.shape)
    assert (result[idle] == 0).all()


# Twins with a planted fault


def off_by_one_causal(q: Any, k: Any, v: Any, mask: Any = None, scale: Any = None) -> Any:
    """Shows every query one key further to the right."""
    if mask is None or k.shape[2] == 0:
        return _plain(q, k, v, mask, scale=scale)
    seen = mask.dense(q.shape[2], k.shape[2])
    further = np.concatenate([seen[..., :1], seen[..., :-1]], axis=-1)
    return _plain(q, np.nan_to_num(k), np.nan_to_num(v), masks.boolean(further), scale=scale)


def unscaled(q: Any, k: Any, v: Any, mask: Any = None, scale: Any = None) -> Any:
    """Forgets 1/√D."""
    return _plain(q, k, v, mask, scale=1.0)


def leaks_masked_nan(q: Any, k: Any, v: Any, mask: Any = None, scale: Any = None) -> Any:
    """Multiplies the values of unseen keys by a weight of 0."""
    _, idle = unseen(mask, q.shape, k.shape)
    out = _plain(q, k, v, mask, scale=scale)
    leak = np.where(idle[..., None], v * 0, 0).sum(2, keepdims=True)  # (B, H_kv, 1, D)
    return out + np.repeat(leak, q.shape[1] // k.shape[1], axis=1)


def zeros(q: Any, k: Any, v: Any, mask: Any = None, scale: Any = None) -> Any:
    """Returns an output that nothing was written to."""
    return np.zeros_like(q)


def _stale() -> Any:
    last: dict[Any, Any] = {}

    def stale_output(q: Any, k: Any, v: Any, mask: Any = None, scale: Any = None) -> Any:
        """Leaves in its output buffer what an earlier call of this shape wrote to masked rows."""
        out = last.setdefault((q.shape, q.dtype), np.full_like(q, 0.5))
        idle, _ = unseen(mask, q.shape, k.shape)
        np.copyto(out, _plain(q, k, v, mask, scale=scale), where=~idle[..., None])
        return out.copy()

    return stale_output


def rounds_like_tf32(q: Any, k: Any, v: Any, mask: Any = None, scale: Any = None) -> Any:
    """Multiplies with 10 bits of mantissa, as tensor cores do unless told otherwise."""
    return _plain(*(ten_bits(x) for x in (q, k, v)), mask, scale=scale)


def ten_bits(x: Any) -> Any:
    """x rounded to tf32, in its own dtype."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    short = ((bits + np.uint32(1 << 12)) & np.uint32(0xFFFFE000)).view(np.float32)
    return np.where(np.isnan(x), x, short).astype(x.dtype)


def swaps_heads(q: Any, k: Any, v: Any, mask: Any = None, scale: Any = None) -> Any:
    """Gives query head h the key head h % H_kv instead of h // (H / H_kv)."""
    group = q.shape[1] // k.shape[1]
    k, v = (np.tile(np.nan_to_num(x), (1, group, 1, 1)) for x in (k, v))
    return _plain(q, k, v, mask, scale=scale)


def takes_blocks_whole(q: Any, k: Any, v: Any, mask: Any = None, scale: Any = None) -> Any:
    """Shows all of a block of queries and keys of which some is seen."""
    seen = (mask or masks.full()).dense(q.shape[2], k.shape[2]).copy()
    for i, j in np.ndindex(*(-(-n // _BLOCK) for n in seen.shape[-2:])):
        block = seen[..., i * _BLOCK : (i + 1) * _BLOCK, j * _BLOCK : (j + 1) * _BLOCK]
        block[...] = block.any((-2, -1), keepdims=True)
    return _plain(q, np.nan_to_num(k), np.nan_to_num(v), masks.boolean(seen), scale=scale)


def by_blocks(fault: str) -> Callable[..., Any]:
    """Online softmax over blocks of keys; right, but for the fault named."""

    def run(q: Any, k: Any, v: Any, mask: Any = None, scale: Any = None) -> Any:
        q, k, v = (np.nan_to_num(x) for x in (q, k, v))
        k, v = (np.repeat(x, q.shape[1] // x.shape[1], axis=1) for x in (k, v))
        seen = (mask or masks.full()).dense(q.shape[2], k.shape[2])
        s = q @ k.mT * q.dtype.type(1 / math.sqrt(q.shape[3]) if scale is None else scale)
        s = np.where(seen, s, s.dtype.type(-np.inf))
        acc, Z = np.zeros_like(q), np.zeros_like(q[..., :1])
        m = np.full_like(Z, -np.inf)
        for j in range(0, k.shape[2], _BLOCK):
            some = s[..., j : j + _BLOCK]
            raised = np.maximum(m, some.max(-1, keepdims=True))
            base = np.where(np.isinf(raised), Z.dtype.type(0), raised)
            alpha = 1 if fault == "never rescaled" else np.exp(m - base)
            e = np.exp(some - base)
            summed = (
                e[..., : e.shape[-1] // _FEW * _FEW] if fault == "a sum without its tail" else e
            )
            Z, m = Z * alpha + summed.sum(-1, keepdims=True), raised
            acc = acc * alpha + e @ v[..., j : j + _BLOCK, :]
        return acc / np.where(Z == 0, Z.dtype.type(1), Z)

    return run


DIMS = {
    "lengths": (0, len(LENGTHS) - 1),
    "B": (1, 2),
    "heads": (1, 2),
    "group": (1, 2),
    "D": (1, 40),
    "mask": (0, 8),
    "sharpness": (1, 4),
    "scale": (0, len(SCALES) - 1),
}
WITHOUT = {"mask": {"mask": 0}, "shared heads": {"group": 1}, "scale": {"scale": 0}}
BENCH = {"B": 1, "heads": 8, "group": 1, "sharpness": 1, "S": 1024, "D": 64}


def flops(dims: Dims) -> float:
    """2 · 2 · S² · D for each head, half of it under a causal mask."""
    heads = dims["B"] * dims["heads"] * dims["group"]
    return 4.0 * heads * dims["S"] ** 2 * dims["D"] * (1.0 if dims["mask"] == 0 else 0.5)


def torch_sdpa(q: Any, k: Any, v: Any, mask: Any = None, scale: Any = None) -> Any:
    """torch's scaled_dot_product_attention on the same CPU; causal by its own flag."""
    import torch

    q, k, v = (torch.from_numpy(x) for x in (q, k, v))
    return sdpa(q, k, v, mask, scale).numpy()


def sdpa(q: Any, k: Any, v: Any, mask: Any, scale: Any) -> Any:
    """The same for tensors."""
    import torch

    causal = mask == masks.causal() and q.shape[2] == k.shape[2]
    seen = None
    if mask is not None and not causal:
        seen = torch.from_numpy(mask.dense(q.shape[2], k.shape[2]).copy())
    return torch.nn.functional.scaled_dot_product_attention(
        q, k, v, seen, is_causal=causal, scale=scale
    )


ROWS = [
    Op(
        name="masked_attention",
        mission=("K4",),
        definition="reference.operations.attention:masked_attention",
        twins={
            "numba": "kernels.attention.twin_numba:masked_attention",
            "triton": "kernels.attention.arrays:masked_attention_arrays",
        },
        make=make,
        dims=DIMS,
        without=WITHOUT,
        floor={"float32": 4e-7, "float64": 2e-14},
        cap={"float32": 2e-5, "float64": 1e-13},
        laws=(_zero_where_nothing_is_seen,),
        wrong={
            "off-by-one causal": off_by_one_causal,
            "unscaled": unscaled,
            "leaked masked NaN": leaks_masked_nan,
            "zeros": zeros,
            "stale output buffer": _stale(),
            "tf32 where ieee was asked": rounds_like_tf32,
            "swapped key heads": swaps_heads,
            "partial blocks taken for full": takes_blocks_whole,
            **{fault: by_blocks(fault) for fault in ("never rescaled", "a sum without its tail")},
        },
        bench={
            "causal 1024×64, float32": ({**BENCH, "mask": 1}, "float32"),
            "full 1024×64, float32": ({**BENCH, "mask": 0}, "float32"),
        },
        peers={"torch SDPA": torch_sdpa},
        flops=flops,
    ),
]
