"""The launches of the attention kernels: what each takes beside q, k and v (row K4).

A mask here is (start, stop, bits) of a `device_masks.DeviceMask`; blocks are as `configuration`
gives them.
"""

from __future__ import annotations

import contextvars
import math
from typing import Any

import torch
import triton
from torch import Tensor

from kernels.attention import backward_triton, lists_triton, twin_triton
from kernels.attention.configurations import configuration
from kernels.device import card

LOG2E = math.log2(math.e)
BLOCKS_OF_A_SPLIT, _MAX_SPLITS, CHUNK = 4, 64, 1024


def launch_forward(
    q: Tensor, k: Tensor, v: Tensor, mask: Any, scale: float, out: Tensor, lse: Tensor,
    blocks: Any, shared: int = 1,
) -> None:  # fmt: skip
    """Write out (splits, B, H, Q, D) and lse (splits, B, H, Q), contiguous, base 2.

    shared: of `shared_heads`.
    """
    (B, H, Q, D), K, splits = q.shape, k.shape[2], out.shape[0]
    block_q, block_k, stages, warps, block_d = blocks
    q, k, v = (_with_dense_rows(x) for x in (q, k, v))
    steps, sizes = _layout(q=q, k=k, v=v, out=out)
    programs = triton.cdiv(shared * Q, block_q) * B * (H // shared)
    if programs:
        _launch(
            twin_triton.forward_kernel, (programs, splits),
            q, k, v, out, lse, *_listed(mask, block_q, block_k, Q, K), *_mask_steps(mask),
            **steps, out_split=out.stride(0) // sizes["UNIT"] if splits > 1 else 0,
            q_len=Q, k_len=K, scale=scale * LOG2E,
            span=max(triton.cdiv(triton.cdiv(K, block_k), splits), 1),
            H=H, GROUP=H // k.shape[1], SHARED=shared, D=D, BLOCK_D=block_d, BLOCK_Q=block_q,
            BLOCK_K=block_k, PACKED=mask[2].ndim == 4, TMA=descriptors(k, v), **sizes,
            num_stages=stages, num_warps=warps,
        )  # fmt: skip


def blocks_for(kernel: str, q: Tensor, mask: Any) -> tuple[int, int, int, int, int]:
    """The blocks of a kernel for q's dtype, head size and device, and for the kind of mask."""
    packed = mask[2].ndim == 4
    return configuration(kernel, q.itemsize, q.shape[3], *card(q.device), packed=packed)


def shared_heads(q: Tensor, k: Tensor, mask: Any) -> int:
    """How many query heads fill a block of queries together: a group, if one mask is for all."""
    whole = mask[2] if mask[2].ndim == 4 else mask[0]
    return max(q.shape[1] // k.shape[1], 1) if whole.shape[1] == 1 else 1


def n_splits(programs: int, n_k: int, multiprocessors: int) -> int:
    """Parts of the keys that go to programs of their own, so that all of the device is at work.

    programs: without splits; n_k: blocks of keys. A part has a few blocks, as merging costs too.
    """
    wanted = -(-2 * multiprocessors // max(programs, 1))
    return max(min(wanted, n_k // BLOCKS_OF_A_SPLIT, _MAX_SPLITS), 1)


def launch_dq(
    arguments: dict[str, Tensor], rows: Any, mask: Any, scale: float, dq: Tensor, blocks: Any
) -> None:
    """Write dq, and delta. arguments: q, k, v, out, dout; rows: lse, dlse, delta, (B, H, Q)."""
    tensors = {name: _with_dense_rows(x) for name, x in arguments.items()}
    q, k = tensors["q"], tensors["k"]
    (B, H, Q, _), (H_kv, K) = q.shape, k.shape[1:3]
    block_q, block_k, *_ = blocks
    steps, sizes = _layout(**tensors, dq=dq)
    _launch(
        backward_triton.dq_kernel, (B * H * triton.cdiv(Q, block_q),),
        *tensors.values(), *rows, dq, *_listed(mask, block_q, block_k, Q, K),
        *_mask_steps(mask), **steps, q_len=Q, k_len=K, scale=scale * LOG2E, dq_scale=scale,
        **sizes, **_constants(q, H_kv, mask, blocks), TMA=descriptors(k, tensors["v"]),
    )  # fmt: skip


def launch_dkv(
    arguments: dict[str, Tensor], rows: Any, mask: Any, scale: float, dk: Tensor, dv: Tensor,
    blocks: Any,
) -> None:  # fmt: skip
    """Write dk and dv; arguments as for `launch_dq`, which has written delta.

    Wide heads go without descriptors: together with two sums they would spill.
    """
    tensors = {n: _with_dense_rows(x) for n, x in arguments.items() if n != "out"}
    q, k = tensors["q"], tensors["k"]
    (B, _, Q, _), (H_kv, K), (lse, _, delta) = q.shape, k.shape[1:3], rows
    block_q, block_k, _, _, block_d = blocks
    steps, sizes = _layout(**tensors, dk=dk, dv=dv)
    _launch(
        backward_triton.dkv_kernel, (B * H_kv * triton.cdiv(K, block_k),),
        *tensors.values(), lse, delta, dk, dv,
        *_listed(mask, block_q, block_k, Q, K, transposed=True), *_mask_steps(mask),
        **steps, q_len=Q, k_len=K, scale=scale * LOG2E, dk_scale=scale,
        **sizes, **_constants(q, H_kv, mask, blocks),
        TMA=block_d <= 64 and descriptors(q, tensors["dout"]),
    )  # fmt: skip


def _constants(q: Tensor, H_kv: int, mask: Any, blocks: Any) -> dict[str, Any]:
    block_q, block_k, stages, warps, block_d = blocks
    return {
        "H": q.shape[1], "GROUP": q.shape[1] // H_kv, "D": q.shape[3], "BLOCK_D": block_d,
        "BLOCK_Q": block_q, "BLOCK_K": block_k, "PACKED": mask[2].ndim == 4,
        "num_stages": stages, "num_warps": warps,
    }  # fmt: skip


def merged(parts: Tensor, lse: Tensor, out: Tensor, block_d: int) -> tuple[Tensor, Tensor]:
    """(out, lse) of their splits, laid out as out."""
    splits, D = parts.shape[0], parts.shape[-1]
    merged, whole = parts.new_empty(parts.shape[1:], dtype=out.dtype), torch.empty_like(lse[0])
    if whole.numel():
        twin_triton.merge_kernel[(whole.numel(),)](
            parts, lse, merged, whole, whole.numel(), splits,
            D=D, BLOCK_D=block_d, BLOCK_S=triton.next_power_of_2(splits),
        )  # fmt: skip
    return laid_out_as(out, merged), whole


def laid_out_as(like: Tensor, x: Tensor) -> Tensor:
    """x with the strides of torch.empty_like(like), which is what torch.compile was promised."""
    if x.stride() == torch.empty_like(like, device="meta").stride():
        return x
    return torch.empty_like(like).copy_(x)


def _launch(kernel: Any, grid: tuple[int, ...], *arguments: Any, **constants: Any) -> None:
    """Launch a kernel that may make descriptors; the caller's own allocator stays as it is."""
    contextvars.copy_context().run(_with_scratch, kernel[grid], arguments, constants)


def _with_scratch(launch: Any, arguments: Any, constants: Any) -> None:
    triton.set_allocator(lambda size, *_: torch.empty(size, dtype=torch.int8, device="cuda"))
    launch(*arguments, **constants)


def descriptors(*streams: Tensor) -> bool:
    """Whether the card reads these by descriptors: all rows must begin at multiples of 16 bytes.

    Not for float32, whose products, made by hand, are what it waits for.
    """
    hopper = card(streams[0].device)[0] == "sm_90"
    return hopper and all(x.itemsize == 2 and _aligned(x) for x in streams)


def _aligned(x: Tensor) -> bool:
    apart = x.stride(-2) >= x.shape[-1]  # not one row for all
    steps = (n * x.itemsize for n in x.stride()[:-1])
    return apart and not any(n % 16 for n in (x.data_ptr(), *steps))


def _with_dense_rows(x: Tensor) -> Tensor:
    """x, or a copy where its last axis has gaps; other strides are the kernels' to follow."""
    return x if x.stride(-1) == 1 or x.shape[-1] == 1 else x.contiguous()


def _layout(**tensors: Tensor) -> tuple[dict[str, int], dict[str, int]]:
    """(…_batch and …_head, in units; UNIT and …_ROW) of tensors (…, B, H, length, D).

    A unit of 16 bytes, where strides allow it, tells the compiler that wide loads are aligned.
    """
    strides = {name: x.stride()[-4:-1] for name, x in tensors.items()}
    widest = 16 // min(x.itemsize for x in tensors.values())
    unit = math.gcd(widest, *(n for outer in strides.values() for n in outer[:2]))
    steps: dict[str, int] = {}
    sizes = {"UNIT": unit}
    for name, (batch, head, row) in strides.items():
        steps |= {f"{name}_batch": batch // unit, f"{name}_head": head // unit}
        sizes[f"{name.upper()}_ROW"] = row
    return steps, sizes


def _mask_steps(mask: Any) -> tuple[int, int]:
    """From one batch entry of a mask to the next, and from one head: in masks, 0 where shared."""
    whole = mask[2] if mask[2].ndim == 4 else mask[0]
    return whole.shape[1] * (whole.shape[0] > 1), int(whole.shape[1] > 1)


def _listed(
    mask: Any, block_q: int, block_k: int, Q: int, K: int, transposed: bool = False
) -> tuple[Tensor, ...]:
    """(start, stop, bits, blocks, counts): a mask's arrays, and what its blocks are known by."""
    start, stop, bits = mask
    if bits.ndim == 4:
        return start, stop, bits, *packed_blocks(bits, block_q, block_k, Q, K, transposed)
    if transposed:
        return start, stop, bits, start, columns(start, stop, block_q, block_k, K)
    return start, stop, bits, start, start


def packed_blocks(
    bits: Tensor, block_q: int, block_k: int, Q: int, K: int, transposed: bool = False
) -> tuple[Tensor, Tensor]:
    """`list_kernel`'s lists (B', H', n, m) and counts (B', H', n), int32."""
    n, m = triton.cdiv(Q, block_q), triton.cdiv(K, block_k)
    n, m = (m, n) if transposed else (n, m)
    blocks = bits.new_empty((*bits.shape[:2], n, m), dtype=torch.int32)
    counts = bits.new_empty((*bits.shape[:2], n), dtype=torch.int32)
    if counts.numel():
        lists_triton.list_kernel[(n, bits.shape[0] * bits.shape[1])](
            bits, blocks, counts, Q, K, BLOCK_Q=block_q, BLOCK_K=block_k, TRANSPOSED=transposed
        )
    return blocks, counts


def columns(start: Tensor, stop: Tensor, block_q: int, block_k: int, K: int) -> Tensor:
    """Int32 (B', H', ⌈K/block_k⌉, 4) of `columns_kernel`, by way of the ranges of the queries."""
    Q, masks = start.shape[2], start.shape[0] * start.shape[1]
    n_q, n_k = triton.cdiv(Q, block_q), triton.cdiv(K, block_k)
    ranges = start.new_empty((masks, n_q, 4))
    found = start.new_empty((*start.shape[:2], n_k, 4))
    lists_triton.ranges_kernel[(n_q, masks)](
        start, stop, ranges, Q, K, BLOCK_Q=block_q, BLOCK_K=block_k
    )
    lists_triton.columns_kernel[(n_k, masks)](ranges, found, n_q, CHUNK=CHUNK)
    return found
