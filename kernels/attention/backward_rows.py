"""The row of `OPS` for the gradient of masked attention (MISSION row K4)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from kernels.attention import forward_rows
from kernels.attention.forward_rows import BENCH, DIMS, WITHOUT, sdpa, ten_bits, unseen
from kernels.calls import Arguments
from kernels.table import Op
from reference.operations import masks

Dims = Mapping[str, int]


def make(rng: np.random.Generator, dims: Dims, dtype: str) -> Arguments:
    """The forward's call and a gradient of its output, NaN where a query sees nothing."""
    arguments = forward_rows.make(rng, dims, dtype)
    q, k = arguments["q"], arguments["k"]
    dout = rng.normal(size=q.shape).astype(dtype)
    dout[unseen(arguments["mask"], q.shape, k.shape)[0]] = math.nan
    return {**arguments, "dout": dout}


# Laws that need no definition


def zero_where_nothing_is_seen(arguments: Arguments, result: Any) -> None:
    """The gradient is exactly 0 for a query that sees no key and a key that no query sees."""
    idle_q, idle_k = unseen(arguments["mask"], arguments["q"].shape, arguments["k"].shape)
    for x, idle in zip(result, (idle_q, idle_k, idle_k), strict=True):
        assert (x[idle] == 0).all(), "a gradient is not 0 where nothing is seen"


def values_share_out_dout(arguments: Arguments, result: Any) -> None:
    """Σ_j dv_j = Σ_i dout_i over the queries that see a key: a query's weights sum to 1."""
    v, dout = arguments["v"], np.nan_to_num(_wide(arguments["dout"]))
    dout = dout.reshape(*v.shape[:2], -1, v.shape[3])  # (B, H_kv, group·Q, D)
    error = np.abs(_wide(result[2]).sum(2) - dout.sum(2))
    assert (error <= 64 * np.finfo(v.dtype).eps * np.abs(dout).sum(2)).all(), "dv doesn't add up"


def queries_and_keys_balance(arguments: Arguments, result: Any) -> None:
    """Σ_i q_i · dq_i = Σ_j k_j · dk_j for each key head: out is unchanged by q → cq, k → k/c.

    Both are Σ_ij dS_ij s_ij; the bound is 16 eps of Σ_i max_j |dout_i · v_j| max_j |s_ij|.
    """
    q, k, v, dout = (np.nan_to_num(_wide(arguments[n])) for n in ("q", "k", "v", "dout"))
    heads, scale = k.shape[:2], arguments["scale"]
    scale = 1 / math.sqrt(q.shape[3]) if scale is None else abs(scale)
    by_query = (q * _wide(result[0])).reshape(*heads, -1).sum(-1)
    by_key = (k * _wide(result[1])).reshape(*heads, -1).sum(-1)
    size = (_norm(q) * _norm(dout)).reshape(*heads, -1).sum(-1)
    size *= scale * _norm(k).max(-1, initial=0) * _norm(v).max(-1, initial=0)
    bound = 16 * np.finfo(arguments["q"].dtype).eps * size
    assert (np.abs(by_query - by_key) <= bound).all(), "q · dq and k · dk don't balance"


def _wide(x: Any) -> Any:
    return x.astype(np.float64)


def _norm(x: Any) -> Any:
    return np.sqrt((x * x).sum(-1))


# Twins with a planted fault


def by_hand(fault: str = "") -> Callable[..., Any]:
    """The gradient written out on whole arrays; right, but for the fault named."""

    def backward(
        q: Any, k: Any, v: Any, dout: Any, mask: Any = None, scale: Any = None
    ) -> tuple[Any, Any, Any]:
        B, H_kv, K, D = k.shape
        by_group = (B, H_kv, q.shape[1] // H_kv, q.shape[2])
        scale = 1.0 if fault == "unscaled" else scale
        scale = 1 / math.sqrt(D) if scale is None else scale
        seen = (mask or masks.full()).dense(q.shape[2], K)
        seen = np.broadcast_to(_blurred(seen, fault), (*q.shape[:3], K)).reshape(*by_group, K)
        if fault != "leaked masked NaN":
            q, k, v, dout = (np.nan_to_num(x) for x in (q, k, v, dout))
        if fault == "tf32 where ieee was asked":
            q, k, v, dout = (ten_bits(x) for x in (q, k, v, dout))
        q, dout = q.reshape(*by_group, D), dout.reshape(*by_group, D)
        k, v = k[:, :, None], v[:, :, None]  # (B, H_kv, 1, K, D)
        p = _weights((q @ k.mT) * scale, seen, fault)  # (B, H_kv, G, Q, K)
        dp = dout @ v.mT
        delta = (p * dp).sum(-1, keepdims=True) if fault != "forgets delta" else 0.0
        ds = p * (dp - delta)
        dq = (ds @ k) * (scale if fault != "forgets scale in dq" else 1.0)
        first = (q.shape[3] - 1) // _BLOCK * _BLOCK if fault == "the last queries' dk" else 0
        dk, dv = (ds[..., first:, :].mT @ q[..., first:, :]) * scale, p.mT @ dout
        if fault == "drops the group's sum":
            return dq.reshape(B, -1, *dq.shape[3:]), dk[:, :, 0], dv[:, :, 0]
        return dq.reshape(B, -1, *dq.shape[3:]), dk.sum(2), dv.sum(2)

    return backward


def _blurred(seen: Any, fault: str) -> Any:
    if fault == "off-by-one causal":
        return np.concatenate([seen[..., :1], seen[..., :-1]], axis=-1)
    if fault == "transposed mask":
        square = seen.shape[-1] == seen.shape[-2]
        return np.swapaxes(seen, -1, -2) if square else seen[..., ::-1, ::-1]
    return seen


def _weights(s: Any, seen: Any, fault: str) -> Any:
    """Softmax over the keys seen."""
    if fault == "lse of all keys":
        e = np.exp(s - s.max(-1, keepdims=True, initial=-math.inf))
        return np.where(seen, e / e.sum(-1, keepdims=True), 0.0).astype(s.dtype)
    s = np.where(seen, s, -math.inf)
    m = np.where(seen.any(-1), s.max(-1, initial=-math.inf), 0.0)[..., None]
    e = np.exp(s - m)
    if fault == "a sum without its tail":
        some = e[..., : e.shape[-1] // _KEYS * _KEYS].sum(-1, keepdims=True)
        return e / np.where(some == 0, some.dtype.type(1), some)
    p = (e / np.where(seen.any(-1), e.sum(-1), 1.0)[..., None]).astype(s.dtype)
    return p.astype(np.float16).astype(s.dtype) if fault == "float16 weights" else p


def zeros(q: Any, k: Any, v: Any, dout: Any, mask: Any = None, scale: Any = None) -> Any:
    """Returns gradients that nothing was written to."""
    return np.zeros_like(q), np.zeros_like(k), np.zeros_like(v)


def stale(q: Any, k: Any, v: Any, dout: Any, mask: Any = None, scale: Any = None) -> Any:
    """Leaves in the gradients of what takes no part what was in their memory before."""
    idle_q, idle_k = unseen(mask, q.shape, k.shape)
    right = by_hand()(q, k, v, dout, mask, scale)
    pairs = zip(right, (idle_q, idle_k, idle_k), strict=True)
    return tuple(np.where(idle[..., None], x.dtype.type(0.5), x) for x, idle in pairs)


FAULTS = (
    "off-by-one causal",
    "transposed mask",
    "unscaled",
    "forgets scale in dq",
    "forgets delta",
    "drops the group's sum",
    "lse of all keys",
    "leaked masked NaN",
    "float16 weights",
    "tf32 where ieee was asked",
    "the last queries' dk",
    "a sum without its tail",
)
_BLOCK, _KEYS = 128, 16  # of the twin on the CPU


def flops(dims: Dims) -> float:
    """2 · 5 · S² · D for each head: scores, dout·v, dv, dk and dq; half of it under causal."""
    return 2.5 * forward_rows.flops(dims)


def torch_sdpa_gradient(
    q: Any, k: Any, v: Any, dout: Any, mask: Any = None, scale: Any = None
) -> Any:
    """torch's gradient of its scaled_dot_product_attention, whose forward runs first."""
    import torch

    q, k, v = (torch.from_numpy(x).requires_grad_() for x in (q, k, v))
    out = sdpa(q, k, v, mask, scale)
    grads = torch.autograd.grad(out, (q, k, v), torch.from_numpy(dout))
    return tuple(x.numpy() for x in grads)


ROWS = [
    Op(
        name="masked_attention_backward",
        mission=("K4",),
        definition="reference.operations.attention:masked_attention_backward",
        twins={
            "numba": "kernels.attention.backward_numba:masked_attention_backward",
            "triton": "kernels.attention.arrays:masked_attention_backward_arrays",
        },
        make=make,
        dims=DIMS,
        without=WITHOUT,
        # A softmax that is all but one key's leaves P (dp − δ) to rounding, which the definition
        # may be spared. Triton's δ = out · dout and P = exp(s − lse) are rounded once more.
        floor={"float32": 2e-6, "float64": 4e-14, "triton float32": 1e-5},
        cap={"float32": 2e-5, "float64": 1e-13},
        laws=(zero_where_nothing_is_seen, values_share_out_dout, queries_and_keys_balance),
        wrong={
            **{fault: by_hand(fault) for fault in FAULTS},
            "zeros": zeros,
            "stale output buffer": stale,
        },
        bench={
            "causal 1024×64, float32": ({**BENCH, "mask": 1}, "float32"),
            "full 1024×64, float32": ({**BENCH, "mask": 0}, "float32"),
        },
        peers={"SDPA, both ways": torch_sdpa_gradient},
        flops=flops,
    ),
]
