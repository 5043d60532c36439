"""Masked attention on the GPU: forward, and split keys for decoding (row K4).

FlashAttention-2 (Dao, 2023) over the blocks of keys that a mask leaves. Where each query sees one
interval of keys, a program finds its own blocks in the O(S) starts and stops: partial blocks on
either side of full ones, and only the partial ones are masked. Packed masks come with a list of
blocks for each program. Scores are in units of log 2, so that exp is exp2: `scale` below is
scale·log2 e, and `lse` a base-2 logarithm.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import triton
import triton.language as tl

from kernels.attention.tiles_triton import (
    LENGTHS,
    MASK_STEPS,
    block_of,
    block_ranges,
    head_of,
    hull,
    interval_of,
    opened,
    store_tile,
    streamed,
    visible,
    within,
)


@triton.jit(
    do_not_specialize=[
        *LENGTHS, *MASK_STEPS, "span", "q_batch", "q_head", "k_batch", "k_head",
        "v_batch", "v_head", "out_split", "out_batch", "out_head",
    ]
)  # fmt: skip
def forward_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, lse_ptr, start_ptr, stop_ptr, bits_ptr, blocks_ptr, counts_ptr,
    mask_batch, mask_head, q_batch, q_head, k_batch, k_head, v_batch, v_head,
    out_split, out_batch, out_head, q_len, k_len, span, scale,
    H: tl.constexpr, GROUP: tl.constexpr, SHARED: tl.constexpr, D: tl.constexpr,
    BLOCK_D: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr, UNIT: tl.constexpr,
    Q_ROW: tl.constexpr, K_ROW: tl.constexpr, V_ROW: tl.constexpr, OUT_ROW: tl.constexpr,
    PACKED: tl.constexpr, TMA: tl.constexpr,
):  # fmt: skip
    """One block of queries of one head, against `span` blocks of keys from split · span on.

    Grid (query blocks · B · H / SHARED, splits). lse: (splits, B, H, Q), base 2. mask_batch,
    mask_head: from one (b, h) of the mask to the next, in masks; 0 where it is shared. SHARED
    heads of one group, under one mask and with few queries, fill a block together.
    """
    n_q, n_k = tl.cdiv(SHARED * q_len, BLOCK_Q), tl.cdiv(k_len, BLOCK_K)
    which = (tl.program_id(0) // n_q).to(tl.int64)
    b, h = which // (H // SHARED), which % (H // SHARED) * SHARED
    block = n_q - 1 - tl.program_id(0) % n_q  # causal masks: the longest rows first
    split = tl.program_id(1)
    row = block * BLOCK_Q + tl.arange(0, BLOCK_Q)
    inside = row < SHARED * q_len
    rows, member = (row % q_len, row // q_len) if SHARED > 1 else (row, row * 0)
    line = b * mask_batch + h * mask_head
    at = line * q_len
    start, stop = interval_of(start_ptr + at, stop_ptr + at, rows, inside, PACKED)
    bits = bits_ptr + at * ((k_len + 7) // 8)
    block = 0 if SHARED > 1 else block
    listed = line * (1 if SHARED > 1 else n_q) + block
    blocks = blocks_ptr + listed * n_k
    if PACKED:
        a, d = n_k * 0, tl.load(counts_ptr + listed)
        full_first, full_last = a, d
    else:
        a, full_first, full_last, d = block_ranges(start, stop, inside, k_len, BLOCK_K)
    low, high = hull(start, stop, k_len, PACKED)

    k = head_of(k_ptr, k_batch, k_head, b, h // GROUP, UNIT)
    ks = opened(k, low, high, K_ROW, D, BLOCK_K, BLOCK_D, TMA)
    v = head_of(v_ptr, v_batch, v_head, b, h // GROUP, UNIT)
    vs = opened(v, low, high, V_ROW, D, BLOCK_K, BLOCK_D, TMA)
    place = member.to(tl.int64) * q_head * UNIT + rows.to(tl.int64) * Q_ROW
    q = _rows(head_of(q_ptr, q_batch, q_head, b, h, UNIT), place, inside, D, BLOCK_D)
    acc = tl.zeros([BLOCK_Q, BLOCK_D], tl.float32)
    Z = tl.zeros([BLOCK_Q], tl.float32)
    m = Z - float("inf")
    for n in range(within(a, span, split), within(d, span, split)):
        j, partial = block_of(blocks, n, full_first, full_last, PACKED)
        k_j = streamed(ks, j * BLOCK_K, low, high, K_ROW, D, BLOCK_K, BLOCK_D, TMA)
        v_j = streamed(vs, j * BLOCK_K, low, high, V_ROW, D, BLOCK_K, BLOCK_D, TMA)
        s = tl.dot(q, tl.trans(k_j), input_precision="ieee")
        if partial:
            seen = visible(rows, j * BLOCK_K, start, stop, bits, inside, k_len, BLOCK_K, PACKED)
            s = tl.where(seen, s, float("-inf"))
        m_new = tl.maximum(m, tl.max(s, 1) * scale)
        known = tl.where(m_new > float("-inf"), m_new, 0.0)
        p = tl.exp2(s * scale - known[:, None])
        alpha = tl.exp2(m - known)
        Z = Z * alpha + tl.sum(p, 1)
        acc = tl.dot(p.to(v_j.dtype), v_j, acc * alpha[:, None], input_precision="ieee")
        m = m_new

    some = Z != 0  # NaN is some
    acc = acc / tl.where(some, Z, 1.0)[:, None]
    lse = tl.where(some, m + tl.log2(tl.where(some, Z, 1.0)), float("-inf"))
    heads = (tl.num_programs(0) // n_q).to(tl.int64) * SHARED
    place = (split * heads + b * H + h + member) * q_len + rows
    tl.store(lse_ptr + place, lse, mask=inside)
    out = head_of(out_ptr, out_batch, out_head, b, h, UNIT) + split.to(tl.int64) * out_split * UNIT
    place = member.to(tl.int64) * out_head * UNIT + rows.to(tl.int64) * OUT_ROW
    store_tile(out, place, acc, inside, D, BLOCK_D)


@triton.jit
def _rows(base, offsets, inside, D: tl.constexpr, BLOCK_D: tl.constexpr):
    """Rows at their offsets, 0 for those not inside: (rows, BLOCK_D)."""
    d = tl.arange(0, BLOCK_D)
    whole = inside[:, None] & (d < D)[None, :]
    return tl.load(base + offsets[:, None] + d[None, :], mask=whole, other=0.0)


@triton.jit
def merge_kernel(
    parts_ptr, part_lse_ptr, out_ptr, lse_ptr, n_rows, splits,
    D: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_S: tl.constexpr,
):  # fmt: skip
    """Merge a query's splits: parts (splits, B·H·Q, D), part_lse (splits, B·H·Q). Grid (B·H·Q)."""
    row = tl.program_id(0).to(tl.int64)
    split, d = tl.arange(0, BLOCK_S), tl.arange(0, BLOCK_D)
    at = split.to(tl.int64) * n_rows + row
    lse = tl.load(part_lse_ptr + at, mask=split < splits, other=float("-inf"))
    m = tl.max(lse, 0)
    w = tl.exp2(lse - tl.where(m > float("-inf"), m, 0.0))
    Z = tl.sum(w, 0)
    inside = (split < splits)[:, None] & (d < D)[None, :]
    parts = tl.load(parts_ptr + at[:, None] * D + d[None, :], mask=inside, other=0.0)
    out = tl.sum(parts * w[:, None], 0) / tl.where(Z != 0, Z, 1.0)
    tl.store(out_ptr + row * D + d, out.to(out_ptr.dtype.element_ty), mask=d < D)
    whole = tl.where(Z != 0, m + tl.log2(tl.where(Z != 0, Z, 1.0)), float("-inf"))
    tl.store(lse_ptr + row, whole)
