"""Masked attention for PyTorch: the Triton kernels as differentiable operators (row K4).

`masked_attention` takes CUDA tensors (under TRITON_INTERPRET=1, CPU tensors), and works with
autograd and torch.compile. Masks come from the algebra, as bool tensors, or prepared by
`device_masks.prepare`. torch.compile sees one operator, `genzoo::masked_attention`,
which takes the mask as integers and arrays and lowers it when it runs: neither another length nor
other document ids compile again. It is a `custom_op`, opaque, and not a `triton_op`, which is
traced: lowering is NumPy's work, and decides whether the mask is intervals or bits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import triton
from torch import Tensor

from core.errors import InputError
from kernels.attention import launches
from kernels.attention.device_masks import REACH, DeviceMask, decoded, encoded, prepare
from kernels.attention.launches import blocks_for, laid_out_as
from kernels.device import INTERPRETED, processors
from reference.operations.attention import checked
from reference.operations.masks import Mask

LOG2E = math.log2(math.e)
_DTYPES = (torch.float16, torch.bfloat16, torch.float32)
DECODE_QUERIES = 16
"""So many queries or fewer are decoded: keys are split among programs."""


def masked_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Mask | DeviceMask | Any = None,
    *,
    scale: float | None = None,
    return_lse: bool = False,
) -> Any:
    """`reference.operations.attention.masked_attention` for float32, float16 and bfloat16 tensors.

    q: (B, H, Q, D), k, v: (B, H_kv, K, D), D ≤ 256, on one device; under autocast they are cast to
    its dtype first. Products of float32 are exact float32, not tf32. mask: a Mask, a bool tensor or
    array, None, or what `prepare` made; in a compiled function, a mask that holds arrays is made
    outside. lse: float32 (B, H, Q), nats. First derivatives only.
    Raises InputError as the definition does, and for another dtype or device, before anything is
    launched; also for a mask not prepared while a CUDA graph is recorded.
    """
    q, k, v = _as_autocast_asks(q, k, v)
    _check_tensors(q, k, v)
    prepared = isinstance(mask, (DeviceMask, Tensor))
    checked_mask, scale = checked(q, k, v, None if prepared else mask, scale)
    rule: Any = mask if prepared else checked_mask
    if torch.compiler.is_compiling() and not isinstance(rule, DeviceMask):
        out, lse, _ = traced_attention(q, k, v, *encoded(rule), scale)
    else:
        out, lse = _attend(q, k, v, prepare(rule, q, k), scale)
    return (out, lse / LOG2E) if return_lse else out


def _as_autocast_asks(*tensors: Any) -> Any:
    """The tensors as they are, or in autocast's dtype, as PyTorch's own attention takes them.

    What the kernels can't take is left for `_check_tensors` to name: it would lose too much.
    """
    kinds = {x.device.type for x in tensors if isinstance(x, Tensor)}
    for kind in kinds & {"cuda", "cpu"}:
        if torch.is_autocast_enabled(kind):
            dtype = torch.get_autocast_dtype(kind)
            return [x.to(dtype) if _is_taken(x) else x for x in tensors]
    return tensors


def _is_taken(x: Any) -> bool:
    return isinstance(x, Tensor) and x.dtype in _DTYPES


def _check_tensors(q: Any, k: Any, v: Any) -> None:
    for name, x in (("q", q), ("k", k), ("v", v)):
        if not isinstance(x, Tensor):
            raise InputError(f"{name} must be a torch tensor, got {type(x).__name__}")
        if x.dtype not in _DTYPES:
            raise InputError(f"{name} must be float16, bfloat16 or float32, got {x.dtype}")
        if x.device != q.device:
            raise InputError(f"{name} must be on {q.device} as q, got {x.device}")
    if q.device.type != "cuda" and not INTERPRETED:
        raise InputError(f"q must be on a CUDA device, got {q.device}")
    if INTERPRETED and q.dtype == torch.bfloat16:
        raise InputError("q must be float16 or float32: Triton's interpreter gets bfloat16 wrong")
    if q.ndim == 4 and q.shape[3] > 256:
        raise InputError(f"q must have heads of size at most 256, got {q.shape[3]}")
    for name, x in (("q", q), ("k", k)):
        if x.ndim == 4 and x.shape[2] * x.shape[3] >= REACH:
            raise InputError(f"{name} must have fewer than 2**31 elements a head")


@torch.library.custom_op(
    "genzoo::masked_attention", mutates_args=(), tags=(torch.Tag.cudagraph_unsafe,)
)
def traced_attention(
    q: Tensor, k: Tensor, v: Tensor, code: Sequence[int], arrays: Sequence[Tensor], scale: float
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """(out, lse, arrays) under the mask `decoded` from code and arrays as they are when this runs.

    lse: base 2.

    Backward sees the arrays' copies, should someone write to them in between.
    """
    out, lse = _attend(q, k, v, prepare(decoded(code, arrays), q, k), scale)
    return laid_out_as(q, out), lse, [x.clone() for x in arrays]


@traced_attention.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, code: Any, arrays: Any, scale: float) -> Any:
    copies = [torch.empty_like(x) for x in arrays]
    return torch.empty_like(q), q.new_empty(q.shape[:3], dtype=torch.float32), copies


@torch.library.custom_op(
    "genzoo::masked_attention_backward", mutates_args=(), tags=(torch.Tag.cudagraph_unsafe,)
)
def traced_backward(
    dout: Tensor, dlse: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor,
    code: Sequence[int], arrays: Sequence[Tensor], scale: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """(dq, dk, dv) of `traced_attention`; lowers the mask again."""
    mask, given = prepare(decoded(code, arrays), q, k), (q, k, v)
    q, k, v, positive = _entering(q, k, v, mask, scale)
    kept = mask.start, mask.stop, mask.bits, positive, mask.sees is not None
    dq, dk, dv = attention_backward(dout, dlse, q, k, v, out, lse, *kept)
    found = (
        _zeroed(dq * sign_of(scale), mask.sees), _zeroed(dk, mask.used), _zeroed(dv, mask.used)
    )  # fmt: skip
    dq, dk, dv = (laid_out_as(x, dx) for x, dx in zip(given, found, strict=True))
    return dq, dk, dv


@traced_backward.register_fake
def _(dout: Any, dlse: Any, q: Tensor, k: Tensor, v: Tensor, *_: Any) -> Any:
    return torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)


def _remember_traced(ctx: Any, inputs: Any, output: Any) -> None:
    *tensors, ctx.code, _, ctx.scale = inputs
    out, lse, copies = output
    ctx.save_for_backward(*tensors, out, lse, *copies)


def _backward_traced(ctx: Any, dout: Any, dlse: Any, _: Any) -> Any:
    q, k, v, out, lse, *arrays = ctx.saved_tensors
    grads = traced_backward(dout, dlse, q, k, v, out, lse, ctx.code, arrays, ctx.scale)
    return (*grads, None, [None] * len(arrays), None)


traced_attention.register_autograd(_backward_traced, setup_context=_remember_traced)


# The kernels as operators


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: DeviceMask, scale: float) -> Any:
    q, k, v, scale = _entering(q, k, v, mask, scale)
    idle = mask.sees is not None
    return attention_forward(q, k, v, mask.start, mask.stop, mask.bits, scale, idle)


def _entering(q: Tensor, k: Tensor, v: Tensor, mask: DeviceMask, scale: float) -> Any:
    """q, k, v with 0 where a NaN could leak, and a positive scale: maxima come before scaling."""
    q, k, v = _zeroed(q, mask.sees), _zeroed(k, mask.used), _zeroed(v, mask.used)
    return (q, k, v, scale) if scale > 0 else (q * sign_of(scale), k, v, abs(scale) or 1.0)


def _zeroed(x: Tensor, kept: Tensor | None) -> Tensor:
    return x if kept is None else torch.where(kept, x, 0.0)


def sign_of(scale: float) -> float:
    """−1, 0 or 1."""
    return math.copysign(scale != 0, scale)


def attended(
    q: Tensor, k: Tensor, v: Tensor, start: Tensor, stop: Tensor, bits: Tensor, scale: float,
    idle: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(out (B, H, Q, D), base-2 lse (B, H, Q) float32). scale > 0; masks as in `DeviceMask`.

    idle: whether some query sees no key; only backward asks.
    """
    (B, H, Q, D), K = q.shape, k.shape[2]
    out, mask = torch.empty_like(q), (start, stop, bits)
    decoding = Q <= DECODE_QUERIES
    blocks = blocks_for("decode" if decoding else "forward", q, mask)
    shared = launches.shared_heads(q, k, mask) if decoding else 1
    programs = triton.cdiv(shared * Q, blocks[0]) * B * (H // shared)
    n_k = triton.cdiv(K, blocks[1])
    splits = launches.n_splits(programs, n_k, processors(q)) if decoding else 1
    lse = q.new_empty((splits, B, H, Q), dtype=torch.float32)
    with torch.cuda.device_of(q):
        if splits == 1:
            launches.launch_forward(q, k, v, mask, scale, out[None], lse, blocks, shared)
            return out, lse[0]
        parts = q.new_empty((splits, B, H, Q, D), dtype=torch.float32)
        launches.launch_forward(q, k, v, mask, scale, parts, lse, blocks, shared)
        return launches.merged(parts, lse, out, blocks[-1])


attention_forward = torch.library.custom_op("genzoo::attention_forward", mutates_args=())(attended)


@attention_forward.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, start: Any, stop: Any, bits: Any, *_: Any) -> Any:
    return torch.empty_like(q), q.new_empty(q.shape[:3], dtype=torch.float32)


def gradients(
    dout: Tensor, dlse: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor,
    start: Tensor, stop: Tensor, bits: Tensor, scale: float, idle: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """(dq, dk, dv), laid out as q, k and v; arguments as for `attention_forward`."""
    dq, dk, dv = (torch.empty_like(x) for x in (q, k, v))
    if q.numel() == 0 or k.numel() == 0:
        return dq.zero_(), dk.zero_(), dv.zero_()
    if idle:
        dout = dout.masked_fill((lse == -math.inf)[..., None], 0)
    delta = torch.empty_like(lse)
    with torch.cuda.device_of(q):
        arguments = {"q": q, "k": k, "v": v, "out": out, "dout": dout}
        rows, mask = (lse, dlse.contiguous(), delta), (start, stop, bits)
        launches.launch_dq(arguments, rows, mask, scale, dq, blocks_for("dq", q, mask))
        launches.launch_dkv(arguments, rows, mask, scale, dk, dv, blocks_for("dkv", q, mask))
    return dq, dk, dv


attention_backward = torch.library.custom_op("genzoo::attention_backward", mutates_args=())(
    gradients
)


@attention_backward.register_fake
def _(dout: Any, dlse: Any, q: Tensor, k: Tensor, v: Tensor, *_: Any) -> Any:
    return torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)


def _remember(ctx: Any, inputs: Any, output: Any) -> None:
    *tensors, ctx.scale, ctx.idle = inputs
    ctx.save_for_backward(*tensors, *output)


def _backward(ctx: Any, dout: Any, dlse: Any) -> Any:
    q, k, v, start, stop, bits, out, lse = ctx.saved_tensors
    grads = attention_backward(
        dout, dlse, q, k, v, out, lse, start, stop, bits, ctx.scale, ctx.idle
    )
    return (*grads, None, None, None, None, None)


attention_forward.register_autograd(_backward, setup_context=_remember)
