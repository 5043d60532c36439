"""Masked attention for PyTorch: the Triton kernels as differentiable operators (row K4).

`masked_attention` takes CUDA tensors (under TRITON_INTERPRET=1, CPU tensors), and works with
autograd and torch.compile. Masks come as `reference.masks.Mask`, or as bool tensors.
"""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np
import torch
import triton
from torch import Tensor

from core.errors import InputError
from kernels import attention_triton as kernels
from reference.attention import checked, fitted
from reference.masks import EMPTY, FULL, PARTIAL, Intervals, Mask, Packed, lower, takes_part

_LOG2E = math.log2(math.e)
_DTYPES = (torch.float16, torch.bfloat16, torch.float32)
_DECODE_QUERIES, _SPLIT_BLOCKS, _MAX_SPLITS = 16, 16, 64


def masked_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Mask | Any = None,
    *,
    scale: float | None = None,
    return_lse: bool = False,
) -> Any:
    """`reference.attention.masked_attention` for float32, float16 and bfloat16 tensors.

    q: (B, H, Q, D), k, v: (B, H_kv, K, D), D ≤ 256, on one device. Products of float32 are exact
    float32, not tf32. lse: float32 (B, H, Q), nats. Raises InputError as the definition does, and
    for another dtype or device, before anything is launched.
    """
    _check_tensors(q, k, v)
    if isinstance(mask, Tensor):
        mask = mask.cpu().numpy()
    mask, scale = checked(q, k, v, mask, scale)
    lowered = lower(mask, q.shape[2], k.shape[2])
    start, stop, bits = _mask_tensors(lowered, tuple(q.shape[:3]), q.device)
    q, k, v, idle = _without_the_unused(q, k, v, lowered)
    if scale <= 0:  # the kernels take the maximum before they scale
        q, scale = q * math.copysign(scale != 0, scale), abs(scale) or 1.0
    out, lse = attention_forward(q, k, v, start, stop, bits, scale, idle)
    return (out, lse) if return_lse else out


def _check_tensors(q: Any, k: Any, v: Any) -> None:
    for name, x in (("q", q), ("k", k), ("v", v)):
        if not isinstance(x, Tensor):
            raise InputError(f"{name} must be a torch tensor, got {type(x).__name__}")
        if x.dtype not in _DTYPES:
            raise InputError(f"{name} must be float16, bfloat16 or float32, got {x.dtype}")
        if x.device != q.device:
            raise InputError(f"{name} is on {x.device}, but q is on {q.device}")
    if q.device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        raise InputError(f"q must be on a CUDA device, got {q.device}")
    if q.ndim == 4 and q.shape[3] > 256:
        raise InputError(f"q has heads of size {q.shape[3]}; at most 256 fit")


def _without_the_unused(q: Any, k: Any, v: Any, mask: Intervals | Packed) -> tuple[Any, ...]:
    """q, k, v with 0 where a NaN could leak, and whether some query sees no key.

    A kernel never reads keys before the first or after the last that its queries see, so intervals
    need a copy only where an unseen key lies between seen ones.
    """
    seen_by, sees = takes_part(mask, q.shape[1] // k.shape[1])
    if not sees.all():
        q = torch.where(torch.from_numpy(sees).to(q.device)[..., None], q, 0.0)
    holes = ~seen_by
    if isinstance(mask, Intervals):
        before = np.logical_or.accumulate(seen_by, -1)
        holes &= before & np.logical_or.accumulate(seen_by[..., ::-1], -1)[..., ::-1]
    if holes.any():
        used = torch.from_numpy(~holes).to(k.device)[..., None]
        k, v = torch.where(used, k, 0.0), torch.where(used, v, 0.0)
    return q, k, v, not bool(sees.all())


def _mask_tensors(
    lowered: Intervals | Packed, shape: tuple[int, ...], device: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """start, stop (B', H', Q), bits (B', H', Q, ⌈K/8⌉); B' and H' are 1 or B and H."""
    if isinstance(lowered, Intervals):
        fitted(lowered.start, shape)
        both = [torch.tensor(_four(x, 1), device=device) for x in (lowered.start, lowered.stop)]
        return both[0], both[1], torch.empty(0, dtype=torch.uint8, device=device)
    fitted(lowered.bits[..., :1], (*shape, 1))
    none = torch.empty(0, dtype=torch.int32, device=device)
    return none, none.clone(), torch.tensor(_four(lowered.bits, 2), device=device)


def _four(x: Any, ndim: int) -> Any:
    return x[None, None] if x.ndim == ndim else x


@torch.library.custom_op("genzoo::attention_forward", mutates_args=())
def attention_forward(
    q: Tensor, k: Tensor, v: Tensor, start: Tensor, stop: Tensor, bits: Tensor, scale: float,
    idle: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(out (B, H, Q, D), lse in nats (B, H, Q) float32). scale > 0; masks as `_mask_tensors`.

    idle: whether some query sees no key; only backward asks.
    """
    (B, H, Q, D), K = q.shape, k.shape[2]
    block_q, block_k, stages, warps, block_d = _configuration("forward", q)
    if Q <= _DECODE_QUERIES:
        block_q, warps = 16, 4
    n_q, n_k = triton.cdiv(Q, block_q), triton.cdiv(K, block_k)
    splits = _splits(Q, n_k)
    parts = q.new_empty((splits, B, H, Q, D), dtype=q.dtype if splits == 1 else torch.float32)
    lse = q.new_empty((splits, B, H, Q), dtype=torch.float32)
    masks = _mask_arguments(start, stop, bits, block_q, block_k, K, transposed=False)
    if n_q * B * H:
        kernels.forward_kernel[(n_q * B * H, splits)](
            *(x.contiguous() for x in (q, k, v)), parts, lse, *masks, Q, K,
            max(triton.cdiv(n_k, splits), 1), scale * _LOG2E,
            H=H, GROUP=H // k.shape[1], D=D, BLOCK_D=block_d, BLOCK_Q=block_q, BLOCK_K=block_k,
            PACKED=bits.numel() > 0, num_stages=stages, num_warps=warps,
        )  # fmt: skip
    if splits == 1:
        return parts[0], lse[0] / _LOG2E
    return _merged(parts, lse, q.dtype, block_d)


def _configuration(kernel: str, q: Tensor) -> tuple[int, int, int, int, int]:
    """The blocks for q's dtype, head size and device; an unknown device is treated as sm_90."""
    target = "gfx942" if torch.version.hip else "sm_90"
    if q.is_cuda and not torch.version.hip and torch.cuda.get_device_capability(q.device)[0] < 9:
        target = "sm_80"
    return kernels.configuration(kernel, q.itemsize, q.shape[3], target)


def _splits(q_len: int, n_k: int) -> int:
    """Parts of the keys that go to programs of their own: more than one only when decoding."""
    return min(triton.cdiv(n_k, _SPLIT_BLOCKS), _MAX_SPLITS) if 0 < q_len <= _DECODE_QUERIES else 1


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
    start: Tensor, stop: Tensor, bits: Tensor, block_q: int, block_k: int, K: int, transposed: bool
) -> tuple[Any, ...]:
    """What the kernels take of a mask: its arrays, lists of blocks, and steps of batch and head."""
    packed = bits.numel() > 0
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
    order = torch.tensor([2, 0, 1], device=classes.device)[classes.long()]  # EMPTY last
    counts = torch.stack([(classes == c).sum(-1) for c in (PARTIAL, FULL)], dim=-1)
    return torch.argsort(order, dim=-1, stable=True).int().contiguous(), counts.int()


def _bit_classes(bits: Tensor, block_q: int, block_k: int) -> Tensor:
    """`reference.masks.block_classes` on the device."""
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
    """(dq, dk, dv), shapes and dtypes of q, k and v."""
    q, k, v, out, dout, dlse = (x.contiguous() for x in (q, k, v, out, dout, dlse))
    dq, dk, dv = (torch.zeros_like(x) for x in (q, k, v))
    if q.numel() == 0 or k.numel() == 0:
        return dq, dk, dv
    if idle:
        dout = dout.masked_fill((lse == -math.inf)[..., None], 0)
    D = q.shape[3]
    delta = torch.empty_like(dlse)
    block_d = _configuration("dq", q)[-1]
    kernels.delta_kernel[(triton.cdiv(delta.numel(), 16),)](
        out, dout, dlse, delta, delta.numel(), D=D, BLOCK_D=block_d, BLOCK_Q=16
    )
    lse2 = lse.masked_fill(lse == -math.inf, 0) * _LOG2E
    arguments = (q, k, v, dout, lse2.contiguous(), delta)
    _launch_backward("dq", kernels.dq_kernel, arguments, (dq,), (start, stop, bits), scale)
    _launch_backward("dkv", kernels.dkv_kernel, arguments, (dk, dv), (start, stop, bits), scale)
    return dq, dk, dv


def _launch_backward(
    name: str, kernel: Any, arguments: Any, outputs: Any, mask: Any, scale: float
) -> None:
    q, k, *_ = arguments
    (B, H, Q, D), (H_kv, K) = q.shape, k.shape[1:3]
    block_q, block_k, stages, warps, block_d = _configuration(name, q)
    start, stop, bits = mask
    masks = _mask_arguments(start, stop, bits, block_q, block_k, K, transposed=name == "dkv")
    grid = B * H * triton.cdiv(Q, block_q) if name == "dq" else B * H_kv * triton.cdiv(K, block_k)
    kernel[(grid,)](
        *arguments, *outputs, *masks, Q, K, scale * _LOG2E, scale,
        H=H, GROUP=H // H_kv, D=D, BLOCK_D=block_d, BLOCK_Q=block_q, BLOCK_K=block_k,
        PACKED=bits.numel() > 0, num_stages=stages, num_warps=warps,
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


def masked_attention_arrays(
    q: Any,
    k: Any,
    v: Any,
    mask: Any = None,
    *,
    scale: float | None = None,
    return_lse: bool = False,
) -> Any:
    """The same for NumPy arrays, float16 or float32: copied to the GPU and back."""
    device = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"
    for name, x in (("q", q), ("k", k), ("v", v)):
        if getattr(x, "dtype", None) not in ("float16", "float32"):
            kind = getattr(x, "dtype", type(x).__name__)
            raise InputError(f"{name} must be a float16 or float32 array, got {kind}")
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("backend triton needs a CUDA device; torch finds none")
    tensors = (torch.tensor(x, device=device) for x in (q, k, v))
    found = masked_attention(
        next(tensors), next(tensors), next(tensors), mask, scale=scale, return_lse=return_lse
    )
    return tuple(x.cpu().numpy() for x in found) if return_lse else found.cpu().numpy()
