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
from kernels.attention import twin_triton as kernels
from kernels.attention.device_masks import REACH, DeviceMask, decoded, encoded, prepare
from kernels.device import INTERPRETED
from reference.operations.attention import checked
from reference.operations.lowering import EMPTY, FULL, PARTIAL
from reference.operations.masks import Mask

_LOG2E = math.log2(math.e)
_DTYPES = (torch.float16, torch.bfloat16, torch.float32)
_DECODE_QUERIES, _SPLIT_BLOCKS, _MAX_SPLITS = 16, 16, 64


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
    return (out, lse) if return_lse else out


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
            raise InputError(f"{name} is on {x.device}, but q is on {q.device}")
    if q.device.type != "cuda" and not INTERPRETED:
        raise InputError(f"q must be on a CUDA device, got {q.device}")
    if INTERPRETED and q.dtype == torch.bfloat16:
        raise InputError("q must be float16 or float32: Triton's interpreter gets bfloat16 wrong")
    if q.ndim == 4 and q.shape[3] > 256:
        raise InputError(f"q has heads of size {q.shape[3]}; at most 256 fit")
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

    Backward sees the arrays' copies, should someone write to them in between.
    """
    out, lse = _attend(q, k, v, prepare(decoded(code, arrays), q, k), scale)
    return out, lse, [x.clone() for x in arrays]


@traced_attention.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, code: Any, arrays: Any, scale: float) -> Any:
    copies = [torch.empty_like(x) for x in arrays]
    return q.new_empty(q.shape), q.new_empty(q.shape[:3], dtype=torch.float32), copies


@torch.library.custom_op(
    "genzoo::masked_attention_backward", mutates_args=(), tags=(torch.Tag.cudagraph_unsafe,)
)
def traced_backward(
    dout: Tensor, dlse: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor,
    code: Sequence[int], arrays: Sequence[Tensor], scale: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """(dq, dk, dv) of `traced_attention`; lowers the mask again."""
    mask = prepare(decoded(code, arrays), q, k)
    q, k, v, positive = _entering(q, k, v, mask, scale)
    kept = mask.start, mask.stop, mask.bits, positive, mask.sees is not None
    dq, dk, dv = attention_backward(dout, dlse, q, k, v, out, lse, *kept)
    return _zeroed(dq * _sign(scale), mask.sees), _zeroed(dk, mask.used), _zeroed(dv, mask.used)


@traced_backward.register_fake
def _(dout: Any, dlse: Any, q: Tensor, k: Tensor, v: Tensor, *_: Any) -> Any:
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)


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
    return (q, k, v, scale) if scale > 0 else (q * _sign(scale), k, v, abs(scale) or 1.0)


def _zeroed(x: Tensor, kept: Tensor | None) -> Tensor:
    return x if kept is None else torch.where(kept, x, 0.0)


def _sign(scale: float) -> float:
    return math.copysign(scale != 0, scale)


@torch.library.custom_op("genzoo::attention_forward", mutates_args=())
def attention_forward(
    q: Tensor, k: Tensor, v: Tensor, start: Tensor, stop: Tensor, bits: Tensor, scale: float,
    idle: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(out (B, H, Q, D), lse in nats (B, H, Q) float32). scale > 0; masks as in `DeviceMask`.

    idle: whether some query sees no key; only backward asks.
    """
    (B, H, Q, D), K = q.shape, k.shape[2]
    blocks = _configuration("decode" if Q <= _DECODE_QUERIES else "forward", q)
    splits = _splits(Q, triton.cdiv(K, blocks[1]))
    parts = q.new_empty((splits, B, H, Q, D), dtype=q.dtype if splits == 1 else torch.float32)
    lse = q.new_empty((splits, B, H, Q), dtype=torch.float32)
    with torch.cuda.device_of(q):
        launch_forward(q, k, v, (start, stop, bits), scale, parts, lse, blocks)
        if splits == 1:
            return parts[0], lse[0] / _LOG2E
        return _merged(parts, lse, q.dtype, blocks[-1])


def launch_forward(
    q: Tensor, k: Tensor, v: Tensor, mask: Any, scale: float, out: Tensor, lse: Tensor, blocks: Any
) -> None:
    """Write out (splits, B, H, Q, D) and lse, base 2; blocks as `attention_triton.configuration`.

    mask: (start, stop, bits) of a `DeviceMask`.
    """
    (B, H, Q, D), K, splits = q.shape, k.shape[2], out.shape[0]
    block_q, block_k, stages, warps, block_d = blocks
    masks = _mask_arguments(mask, block_q, block_k, K, transposed=False)
    programs = triton.cdiv(Q, block_q) * B * H
    if programs:
        kernels.forward_kernel[(programs, splits)](
            *(x.contiguous() for x in (q, k, v)), out, lse, *masks, Q, K,
            max(triton.cdiv(triton.cdiv(K, block_k), splits), 1), scale * _LOG2E,
            H=H, GROUP=H // k.shape[1], D=D, BLOCK_D=block_d, BLOCK_Q=block_q, BLOCK_K=block_k,
            PACKED=mask[2].ndim == 4, num_stages=stages, num_warps=warps,
        )  # fmt: skip


def _configuration(kernel: str, q: Tensor) -> tuple[int, int, int, int, int]:
    """The blocks for q's dtype, head size and device; an unknown device is treated as sm_90."""
    target = "gfx942" if torch.version.hip else "sm_90"
    if q.is_cuda and not torch.version.hip and torch.cuda.get_device_capability(q.device)[0] < 9:
        target = "sm_80"
    return kernels.configuration(kernel, q.itemsize, q.shape[3], target)


def _splits(q_len: int, n_k: int) -> int:
    """Parts of the keys that go to programs of their own: more than one only when decoding."""
    if q_len > _DECODE_QUERIES:
        return 1
    return max(min(-(-n_k // _SPLIT_BLOCKS), _MAX_SPLITS), 1)


def _merged(parts: Tensor, lse: Tensor, dtype: Any, block_d: int) -> tuple[Tensor, Tensor]:
    splits, D = parts.shape[0], parts.shape[-1]
    out, whole = parts.new_empty(parts.shape[1:], dtype=dtype), lse.new_empty(lse.shape[1:])
    if whole.numel():
        kernels.merge_kernel[(whole.numel(),)](
            parts, lse, out, whole, whole.numel(), splits,
            D=D, BLOCK_D=block_d, BLOCK_S=triton.next_power_of_2(splits),
        )  # fmt: skip
    return out, whole / _LOG2E


def _mask_arguments(
    mask: Any, block_q: int, block_k: int, K: int, transposed: bool
) -> tuple[Any, ...]:
    """What the kernels take of a mask: its arrays, lists of blocks, and steps of batch and head."""
    start, stop, bits = mask
    packed = bits.ndim == 4
    whole = bits if packed else start
    steps = (whole.shape[1] * (whole.shape[0] > 1), int(whole.shape[1] > 1))
    if packed or transposed:
        classes = (
            _bit_classes(bits, block_q, block_k)
            if packed
            else _interval_classes(start, stop, block_q, block_k, K)
        )
        blocks, counts = _block_lists(classes.mT if transposed else classes)
    else:
        blocks = counts = start
    return start, stop, bits, blocks, counts, *steps


def _block_lists(classes: Tensor) -> tuple[Tensor, Tensor]:
    """Block numbers (…, n, m), partial ones first, then full; how many of each (…, n, 2)."""
    order = (classes - PARTIAL) % 3  # EMPTY last
    counts = torch.stack([(classes == c).sum(-1) for c in (PARTIAL, FULL)], dim=-1)
    return torch.argsort(order, dim=-1, stable=True).int().contiguous(), counts.int()


def _bit_classes(bits: Tensor, block_q: int, block_k: int) -> Tensor:
    """`reference.operations.lowering.block_classes` on the device."""
    blocks = _in_blocks(_in_blocks(bits, -1, block_k // 8, 0), -3, block_q, None)
    none = blocks.amax((-1, -3)) == 0
    full = blocks.amin((-1, -3)) == 255
    return torch.where(none, EMPTY, torch.where(full, FULL, PARTIAL))


def _interval_classes(start: Tensor, stop: Tensor, block_q: int, block_k: int, K: int) -> Tensor:
    """The same (…, ⌈Q/block_q⌉, ⌈K/block_k⌉) for intervals; no S² array."""
    start, stop = (_in_blocks(x, -1, block_q, None)[..., None] for x in (start, stop))
    edge = torch.arange(triton.cdiv(K, block_k), device=start.device, dtype=torch.int32) * block_k
    none = start >= stop
    low, high = start.masked_fill(none, K).amin(-2), stop.masked_fill(none, 0).amax(-2)
    full = (start.amax(-2) <= edge) & (edge + block_k <= stop.amin(-2))
    some = (low < edge + block_k) & (edge < high)
    return torch.where(full, FULL, torch.where(some, PARTIAL, EMPTY))


def _in_blocks(x: Tensor, axis: int, size: int, fill: int | None) -> Tensor:
    """Split an axis into (blocks, size), filled up with `fill`, or with its last entry."""
    n = x.shape[axis]
    at = torch.arange(triton.cdiv(n, size) * size, device=x.device)
    whole = x.index_select(axis, at.clamp(max=max(n - 1, 0)))
    if fill is not None and at.numel() > n:
        whole = whole.index_fill(axis, at[n:], fill)
    axis %= x.ndim
    return whole.reshape(*x.shape[:axis], at.numel() // size, size, *x.shape[axis + 1 :])


@attention_forward.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, start: Any, stop: Any, bits: Any, *_: Any) -> Any:
    return q.new_empty(q.shape), q.new_empty(q.shape[:3], dtype=torch.float32)


@torch.library.custom_op("genzoo::attention_backward", mutates_args=())
def attention_backward(
    dout: Tensor, dlse: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor,
    start: Tensor, stop: Tensor, bits: Tensor, scale: float, idle: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """(dq, dk, dv), shapes and dtypes of q, k and v; arguments as for `attention_forward`."""
    q, k, v, out, dout, dlse = (x.contiguous() for x in (q, k, v, out, dout, dlse))
    if q.numel() == 0 or k.numel() == 0:
        return torch.zeros_like(q), torch.zeros_like(k), torch.zeros_like(v)
    dq, dk, dv = (torch.empty_like(x) for x in (q, k, v))
    if idle:
        dout = dout.masked_fill((lse == -math.inf)[..., None], 0)
    lse2 = (lse.masked_fill(lse == -math.inf, 0) * _LOG2E).contiguous()
    with torch.cuda.device_of(q):
        arguments = (q, k, v, dout, lse2, _delta(out, dout, dlse, _configuration("dq", q)[-1]))
        for name, outputs in (("dq", (dq,)), ("dkv", (dk, dv))):
            blocks = _configuration(name, q)
            launch_backward(name, arguments, (start, stop, bits), scale, outputs, blocks)
    return dq, dk, dv


def _delta(out: Tensor, dout: Tensor, dlse: Tensor, block_d: int) -> Tensor:
    delta = torch.empty_like(dlse)
    kernels.delta_kernel[(triton.cdiv(delta.numel(), 16),)](
        out, dout, dlse, delta, delta.numel(), D=out.shape[3], BLOCK_D=block_d, BLOCK_Q=16
    )
    return delta


def launch_backward(
    name: str, arguments: Any, mask: Any, scale: float, outputs: Any, blocks: Any
) -> None:
    """Write dq ("dq") or dk and dv ("dkv"). arguments: q, k, v, dout, lse in base 2, delta."""
    kernel = kernels.dq_kernel if name == "dq" else kernels.dkv_kernel
    q, k, *_ = arguments
    (B, H, Q, D), (H_kv, K) = q.shape, k.shape[1:3]
    block_q, block_k, stages, warps, block_d = blocks
    masks = _mask_arguments(mask, block_q, block_k, K, transposed=name == "dkv")
    grid = B * H * triton.cdiv(Q, block_q) if name == "dq" else B * H_kv * triton.cdiv(K, block_k)
    kernel[(grid,)](
        *arguments, *outputs, *masks, Q, K, scale * _LOG2E, scale,
        H=H, GROUP=H // H_kv, D=D, BLOCK_D=block_d, BLOCK_Q=block_q, BLOCK_K=block_k,
        PACKED=mask[2].ndim == 4, num_stages=stages, num_warps=warps,
    )  # fmt: skip


@attention_backward.register_fake
def _(dout: Any, dlse: Any, q: Tensor, k: Tensor, v: Tensor, *_: Any) -> Any:
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)


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
