"""The gradients of masked attention on the GPU (row K4).

dK, dV and dQ are added up in loops of their own, without atomics: the same inputs give the same
bits. Units and arguments are those of the forward kernel.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import triton
import triton.language as tl

from kernels.attention.tiles_triton import (
    LENGTHS,
    LOG2E,
    MASK_STEPS,
    block_of,
    block_ranges,
    four,
    head_of,
    hull,
    interval_of,
    opened,
    store_tile,
    streamed,
    tile,
    visible,
)


@triton.jit(
    do_not_specialize=[
        *LENGTHS, *MASK_STEPS, "q_batch", "q_head", "k_batch", "k_head", "v_batch", "v_head",
        "out_batch", "out_head", "dout_batch", "dout_head", "dq_batch", "dq_head",
    ]
)  # fmt: skip
def dq_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, dout_ptr, lse_ptr, dlse_ptr, delta_ptr, dq_ptr,
    start_ptr, stop_ptr, bits_ptr, blocks_ptr, counts_ptr, mask_batch, mask_head,
    q_batch, q_head, k_batch, k_head, v_batch, v_head, out_batch, out_head,
    dout_batch, dout_head, dq_batch, dq_head, q_len, k_len, scale, dq_scale,
    H: tl.constexpr, GROUP: tl.constexpr, D: tl.constexpr, BLOCK_D: tl.constexpr,
    BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr, UNIT: tl.constexpr,
    Q_ROW: tl.constexpr, K_ROW: tl.constexpr, V_ROW: tl.constexpr, OUT_ROW: tl.constexpr,
    DOUT_ROW: tl.constexpr, DQ_ROW: tl.constexpr, PACKED: tl.constexpr, TMA: tl.constexpr,
):  # fmt: skip
    """dQ for one block of queries of one head; arguments as in `forward_kernel`.

    Σ_j p_ij (dout_i · v_j − δ_i) k_j, where δ = Σ_d out · dout − dlse is what the softmax's
    derivative subtracts; it is written for `dkv_kernel`. dlse: of the base-2 lse.
    """
    n_q, n_k = tl.cdiv(q_len, BLOCK_Q), tl.cdiv(k_len, BLOCK_K)
    head = (tl.program_id(0) // n_q).to(tl.int64)
    b, h = head // H, head % H
    block = n_q - 1 - tl.program_id(0) % n_q
    rows = block * BLOCK_Q + tl.arange(0, BLOCK_Q)
    inside = rows < q_len
    line = b * mask_batch + h * mask_head
    at = line * q_len
    start, stop = interval_of(start_ptr + at, stop_ptr + at, rows, inside, PACKED)
    bits = bits_ptr + at * ((k_len + 7) // 8)
    blocks = blocks_ptr + (line * n_q + block) * n_k
    if PACKED:
        a, d = n_k * 0, tl.load(counts_ptr + line * n_q + block)
        full_first, full_last = a, d
    else:
        a, full_first, full_last, d = block_ranges(start, stop, inside, k_len, BLOCK_K)
    low, high = hull(start, stop, k_len, PACKED)

    first = block * BLOCK_Q
    out = head_of(out_ptr, out_batch, out_head, b, h, UNIT)
    out = tile(out, first, 0, q_len, OUT_ROW, D, BLOCK_Q, BLOCK_D)
    dout = head_of(dout_ptr, dout_batch, dout_head, b, h, UNIT)
    dout = tile(dout, first, 0, q_len, DOUT_ROW, D, BLOCK_Q, BLOCK_D)
    place = head * q_len + rows
    dlse = tl.load(dlse_ptr + place, mask=inside, other=0.0) * LOG2E
    delta = tl.sum(out.to(tl.float32) * dout.to(tl.float32), 1) - dlse
    tl.store(delta_ptr + place, delta, mask=inside)

    k = head_of(k_ptr, k_batch, k_head, b, h // GROUP, UNIT)
    ks = opened(k, low, high, K_ROW, D, BLOCK_K, BLOCK_D, TMA)
    v = head_of(v_ptr, v_batch, v_head, b, h // GROUP, UNIT)
    vs = opened(v, low, high, V_ROW, D, BLOCK_K, BLOCK_D, TMA)
    q = head_of(q_ptr, q_batch, q_head, b, h, UNIT)
    q = tile(q, first, 0, q_len, Q_ROW, D, BLOCK_Q, BLOCK_D)
    lse = tl.load(lse_ptr + place, mask=inside, other=0.0)
    dq = tl.zeros([BLOCK_Q, BLOCK_D], tl.float32)
    for n in range(a, d):
        j, partial = block_of(blocks, n, full_first, full_last, PACKED)
        k_j = streamed(ks, j * BLOCK_K, low, high, K_ROW, D, BLOCK_K, BLOCK_D, TMA)
        v_j = streamed(vs, j * BLOCK_K, low, high, V_ROW, D, BLOCK_K, BLOCK_D, TMA)
        s = tl.dot(q, tl.trans(k_j), input_precision="ieee")
        dp = tl.dot(dout, tl.trans(v_j), input_precision="ieee")
        ds = tl.exp2(s * scale - lse[:, None]) * (dp - delta[:, None])
        if partial:
            seen = visible(rows, j * BLOCK_K, start, stop, bits, inside, k_len, BLOCK_K, PACKED)
            ds = tl.where(seen, ds, 0.0)
        dq = tl.dot(ds.to(k_j.dtype), k_j, dq, input_precision="ieee")
    dq_at = head_of(dq_ptr, dq_batch, dq_head, b, h, UNIT)
    store_tile(dq_at, rows.to(tl.int64) * DQ_ROW, dq * dq_scale, inside, D, BLOCK_D)


@triton.jit(
    do_not_specialize=[
        *LENGTHS, *MASK_STEPS, "q_batch", "q_head", "k_batch", "k_head", "v_batch", "v_head",
        "dout_batch", "dout_head", "dk_batch", "dk_head", "dv_batch", "dv_head",
    ]
)  # fmt: skip
def dkv_kernel(
    q_ptr, k_ptr, v_ptr, dout_ptr, lse_ptr, delta_ptr, dk_ptr, dv_ptr,
    start_ptr, stop_ptr, bits_ptr, blocks_ptr, counts_ptr, mask_batch, mask_head,
    q_batch, q_head, k_batch, k_head, v_batch, v_head, dout_batch, dout_head,
    dk_batch, dk_head, dv_batch, dv_head, q_len, k_len, scale, dk_scale,
    H: tl.constexpr, GROUP: tl.constexpr, D: tl.constexpr, BLOCK_D: tl.constexpr,
    BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr, UNIT: tl.constexpr,
    Q_ROW: tl.constexpr, K_ROW: tl.constexpr, V_ROW: tl.constexpr, DOUT_ROW: tl.constexpr,
    DK_ROW: tl.constexpr, DV_ROW: tl.constexpr, PACKED: tl.constexpr, TMA: tl.constexpr,
):  # fmt: skip
    """dK and dV for one block of keys of one key head, over the query heads that share it.

    dv_j = Σ_i p_ij dout_i, dk_j = Σ_i p_ij (dout_i · v_j − δ_i) q_i. counts: of the listed blocks
    of queries, or `columns_kernel`'s.
    """
    n_q, n_k = tl.cdiv(q_len, BLOCK_Q), tl.cdiv(k_len, BLOCK_K)
    kv_head = (tl.program_id(0) // n_k).to(tl.int64)
    b, h_kv = kv_head // (H // GROUP), kv_head % (H // GROUP)
    block = tl.program_id(0) % n_k
    first = block * BLOCK_K
    keys = first + tl.arange(0, BLOCK_K)
    k = head_of(k_ptr, k_batch, k_head, b, h_kv, UNIT)
    k = tile(k, first, 0, k_len, K_ROW, D, BLOCK_K, BLOCK_D)
    v = head_of(v_ptr, v_batch, v_head, b, h_kv, UNIT)
    v = tile(v, first, 0, k_len, V_ROW, D, BLOCK_K, BLOCK_D)
    dk = tl.zeros([BLOCK_K, BLOCK_D], tl.float32)
    dv = tl.zeros([BLOCK_K, BLOCK_D], tl.float32)
    for member in range(GROUP):
        h = h_kv * GROUP + member
        line = b * mask_batch + h * mask_head
        at = line * q_len
        bits = bits_ptr + at * ((k_len + 7) // 8)
        blocks = blocks_ptr + (line * n_k + block) * n_q
        if PACKED:
            a, d = n_q * 0, tl.load(counts_ptr + line * n_k + block)
            full_first, full_last = a, d
        else:
            a, full_first, full_last, d = four(counts_ptr + (line * n_k + block) * 4)
        q = head_of(q_ptr, q_batch, q_head, b, h, UNIT)
        qs = opened(q, 0, q_len, Q_ROW, D, BLOCK_Q, BLOCK_D, TMA)
        dout = head_of(dout_ptr, dout_batch, dout_head, b, h, UNIT)
        douts = opened(dout, 0, q_len, DOUT_ROW, D, BLOCK_Q, BLOCK_D, TMA)
        place = (b * H + h) * q_len
        for n in range(a, d):
            i, partial = block_of(blocks, n, full_first, full_last, PACKED)
            rows = i * BLOCK_Q + tl.arange(0, BLOCK_Q)
            inside = rows < q_len
            q_i = streamed(qs, i * BLOCK_Q, 0, q_len, Q_ROW, D, BLOCK_Q, BLOCK_D, TMA)
            dout_i = streamed(douts, i * BLOCK_Q, 0, q_len, DOUT_ROW, D, BLOCK_Q, BLOCK_D, TMA)
            lse = tl.load(lse_ptr + place + rows, mask=inside, other=0.0)
            delta = tl.load(delta_ptr + place + rows, mask=inside, other=0.0)
            s = tl.dot(k, tl.trans(q_i), input_precision="ieee")
            p = tl.exp2(s * scale - lse[None, :])
            ds = p * (tl.dot(v, tl.trans(dout_i), input_precision="ieee") - delta[None, :])
            if partial:
                start, stop = interval_of(start_ptr + at, stop_ptr + at, rows, inside, PACKED)
                seen = visible(rows, first, start, stop, bits, inside, k_len, BLOCK_K, PACKED)
                seen = tl.trans(seen.to(tl.int8)) != 0
                p, ds = tl.where(seen, p, 0.0), tl.where(seen, ds, 0.0)
            dv = tl.dot(p.to(q_i.dtype), dout_i, dv, input_precision="ieee")
            dk = tl.dot(ds.to(q_i.dtype), q_i, dk, input_precision="ieee")
    inside = keys < k_len
    dk_at = head_of(dk_ptr, dk_batch, dk_head, b, h_kv, UNIT)
    dv_at = head_of(dv_ptr, dv_batch, dv_head, b, h_kv, UNIT)
    store_tile(dk_at, keys.to(tl.int64) * DK_ROW, dk * dk_scale, inside, D, BLOCK_D)
    store_tile(dv_at, keys.to(tl.int64) * DV_ROW, dv, inside, D, BLOCK_D)
