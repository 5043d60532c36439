"""Masked attention on the GPU: forward, backward, and split keys for decoding (row K4).

FlashAttention-2 (Dao, 2023) over the blocks of keys that a mask leaves. Where each query sees one
interval of keys, a program finds its own blocks in the O(S) starts and stops: partial blocks on
either side of full ones, and only the partial ones are masked. Packed masks come with a list of
blocks for each program, the partial ones first. Scores are in units of log 2, so that exp is exp2:
`scale` below is scale·log2 e, and `lse` a base-2 logarithm. Backward adds up dK, dV and dQ in
loops of their own, without atomics: the same inputs give the same bits.

Arrays are contiguous (B, H, length, D); a program's place in them is a 64-bit offset.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _tile(base, rows, low, high, D: tl.constexpr, BLOCK_D: tl.constexpr, MASKED: tl.constexpr):
    """Rows of an array (length, D), those outside low … high−1 as 0: (rows, BLOCK_D)."""
    d = tl.arange(0, BLOCK_D)
    at = base + rows[:, None] * D + d[None, :]
    if MASKED:
        inside = ((low <= rows) & (rows < high))[:, None]
        return tl.load(at, mask=inside if D == BLOCK_D else inside & (d < D)[None, :], other=0.0)
    if D == BLOCK_D:
        return tl.load(at)
    return tl.load(at, mask=(d < D)[None, :], other=0.0)


@triton.jit
def _interval(start_ptr, stop_ptr, at, rows, q_len, PACKED: tl.constexpr):
    """The queries' intervals, empty past the last query; a packed mask has none."""
    if PACKED:
        return rows * 0, rows * 0
    inside = rows < q_len
    start = tl.load(start_ptr + at + rows, mask=inside, other=0)
    return start, tl.load(stop_ptr + at + rows, mask=inside, other=0)


@triton.jit
def _visible(rows, j, start, stop, bits, q_len, k_len, BLOCK_K: tl.constexpr, PACKED: tl.constexpr):
    """bool (rows, BLOCK_K): which keys of block j the mask shows each query."""
    keys = j * BLOCK_K + tl.arange(0, BLOCK_K)
    if not PACKED:
        return (start[:, None] <= keys[None, :]) & (keys[None, :] < stop[:, None])
    row_bytes = (k_len + 7) // 8
    place = j * (BLOCK_K // 8) + tl.arange(0, BLOCK_K // 8)
    inside = (rows < q_len)[:, None] & (place < row_bytes)[None, :]
    byte = tl.load(bits + rows[:, None] * row_bytes + place[None, :], mask=inside, other=0)
    bit = (byte[:, :, None] >> tl.arange(0, 8).to(tl.uint8)[None, None, :]) & 1
    return tl.reshape(bit, (rows.shape[0], BLOCK_K)) != 0


@triton.jit
def _hull(start, stop, k_len, PACKED: tl.constexpr):
    """From the first to the last key that some query of the block sees; all keys if packed."""
    if PACKED:
        return 0, k_len
    none = start >= stop
    return tl.min(tl.where(none, k_len, start), 0), tl.max(tl.where(none, 0, stop), 0)


@triton.jit
def _block_ranges(start, stop, rows, q_len, k_len, BLOCK_K: tl.constexpr):
    """first ≤ full_first ≤ full_last ≤ last block of keys, as `masks.block_ranges`."""
    none, inside = start >= stop, rows < q_len
    first = tl.min(tl.where(none, k_len, start), 0) // BLOCK_K
    last = tl.cdiv(tl.max(tl.where(none, 0, stop), 0), BLOCK_K)
    last = tl.maximum(first, last)
    full_first = tl.cdiv(tl.max(tl.where(inside, start, 0), 0), BLOCK_K)
    full_first = tl.minimum(tl.maximum(full_first, first), last)
    full_last = tl.min(tl.where(inside, stop, k_len), 0) // BLOCK_K
    return first, full_first, tl.minimum(tl.maximum(full_last, full_first), last), last


@triton.jit
def _listed(counts_ptr, at):
    """The same four numbers for a list of blocks, the partial ones first."""
    partial = tl.load(counts_ptr + at * 2)
    both = partial + tl.load(counts_ptr + at * 2 + 1)
    return partial * 0, partial, both, both


@triton.jit
def _within(n, span, split):
    """n, moved into the part of the blocks that belongs to this split."""
    return tl.minimum(tl.maximum(n, split * span), split * span + span)


@triton.jit
def _forward_blocks(
    acc, m, Z, q, k_ptr, v_ptr, begin, end, blocks, rows, start, stop, bits, q_len, k_len, scale,
    D: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_D: tl.constexpr,
    MASKED: tl.constexpr, PACKED: tl.constexpr,
):  # fmt: skip
    """Take the blocks of keys begin … end−1 into the running output, maximum and sum."""
    low, high = _hull(start, stop, k_len, PACKED)
    for n in range(begin, end):
        j = tl.load(blocks + n) if PACKED else n
        keys = j * BLOCK_K + tl.arange(0, BLOCK_K)
        k = _tile(k_ptr, keys, low, high, D, BLOCK_D, MASKED)
        v = _tile(v_ptr, keys, low, high, D, BLOCK_D, MASKED)
        s = tl.dot(q, tl.trans(k), input_precision="ieee")
        if MASKED:
            seen = _visible(rows, j, start, stop, bits, q_len, k_len, BLOCK_K, PACKED)
            s = tl.where(seen, s, float("-inf"))
        m_new = tl.maximum(m, tl.max(s, 1) * scale)
        base = tl.where(m_new > float("-inf"), m_new, 0.0) if MASKED else m_new
        p = tl.exp2(s * scale - base[:, None])
        alpha = tl.exp2(m - base)
        Z = Z * alpha + tl.sum(p, 1)
        acc = tl.dot(p.to(v.dtype), v, acc * alpha[:, None], input_precision="ieee")
        m = m_new
    return acc, m, Z


@triton.jit(do_not_specialize=["q_len", "k_len", "span"])
def forward_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, lse_ptr, start_ptr, stop_ptr, bits_ptr, blocks_ptr, counts_ptr,
    batch_step, head_step, q_len, k_len, span, scale,
    H: tl.constexpr, GROUP: tl.constexpr, D: tl.constexpr, BLOCK_D: tl.constexpr,
    BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr, PACKED: tl.constexpr,
):  # fmt: skip
    """One block of queries of one head, against `span` blocks of keys from split · span on.

    Grid (query blocks · B · H, splits). out: (splits, B, H, Q, D); lse: (splits, B, H, Q), base 2.
    batch_step, head_step: from one (b, h) of the mask to the next, in masks; 0 where it is shared.
    """
    n_q, n_k = tl.cdiv(q_len, BLOCK_Q), tl.cdiv(k_len, BLOCK_K)
    head = (tl.program_id(0) // n_q).to(tl.int64)
    block = n_q - 1 - tl.program_id(0) % n_q  # causal masks: the longest rows first
    split = tl.program_id(1)
    rows = block * BLOCK_Q + tl.arange(0, BLOCK_Q)
    mask = head // H * batch_step + head % H * head_step
    start, stop = _interval(start_ptr, stop_ptr, mask * q_len, rows, q_len, PACKED)
    bits = bits_ptr + mask * q_len * ((k_len + 7) // 8)
    blocks = blocks_ptr + (mask * n_q + block) * n_k
    if PACKED:
        a, b, c, d = _listed(counts_ptr, mask * n_q + block)
    else:
        a, b, c, d = _block_ranges(start, stop, rows, q_len, k_len, BLOCK_K)
    a, b = _within(a, span, split), _within(b, span, split)
    c, d = _within(c, span, split), _within(d, span, split)

    k = k_ptr + head // GROUP * k_len * D
    v = v_ptr + head // GROUP * k_len * D
    q = _tile(q_ptr + head * q_len * D, rows, 0, q_len, D, BLOCK_D, True)
    acc = tl.zeros([BLOCK_Q, BLOCK_D], tl.float32)
    Z = tl.zeros([BLOCK_Q], tl.float32)
    m = Z - float("inf")
    acc, m, Z = _forward_blocks(
        acc, m, Z, q, k, v, a, b, blocks, rows, start, stop, bits,
        q_len, k_len, scale, D, BLOCK_K, BLOCK_D, True, PACKED)  # fmt: skip
    acc, m, Z = _forward_blocks(
        acc, m, Z, q, k, v, b, c, blocks, rows, start, stop, bits,
        q_len, k_len, scale, D, BLOCK_K, BLOCK_D, False, PACKED)  # fmt: skip
    if not PACKED:
        acc, m, Z = _forward_blocks(
            acc, m, Z, q, k, v, c, d, blocks, rows, start, stop, bits,
            q_len, k_len, scale, D, BLOCK_K, BLOCK_D, True, PACKED)  # fmt: skip

    some = Z != 0
    acc = acc / tl.where(some, Z, 1.0)[:, None]
    lse = tl.where(some, m + tl.log2(tl.where(some, Z, 1.0)), float("-inf"))
    place = (split.to(tl.int64) * (tl.num_programs(0) // n_q) + head) * q_len
    tl.store(lse_ptr + place + rows, lse, mask=rows < q_len)
    _store_tile(out_ptr + place * D, acc, rows, q_len, D, BLOCK_D)


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


@triton.jit
def _store_tile(base, x, rows, length, D: tl.constexpr, BLOCK_D: tl.constexpr):
    d = tl.arange(0, BLOCK_D)
    inside = (rows[:, None] < length) & (d[None, :] < D)
    tl.store(base + rows[:, None] * D + d[None, :], x.to(base.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["n_rows"])
def delta_kernel(
    out_ptr, dout_ptr, dlse_ptr, delta_ptr, n_rows,
    D: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_Q: tl.constexpr,
):  # fmt: skip
    """δ = Σ_d out · dout − dlse, what the softmax's derivative subtracts. Grid (rows / BLOCK_Q)."""
    rows = tl.program_id(0).to(tl.int64) * BLOCK_Q + tl.arange(0, BLOCK_Q)
    out = _tile(out_ptr, rows, 0, n_rows, D, BLOCK_D, True).to(tl.float32)
    dout = _tile(dout_ptr, rows, 0, n_rows, D, BLOCK_D, True).to(tl.float32)
    dlse = tl.load(dlse_ptr + rows, mask=rows < n_rows, other=0.0)
    tl.store(delta_ptr + rows, tl.sum(out * dout, 1) - dlse, mask=rows < n_rows)


@triton.jit
def _dq_blocks(
    dq, q, dout, lse, delta, k_ptr, v_ptr, begin, end, blocks, rows, start, stop, bits,
    q_len, k_len, scale, D: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_D: tl.constexpr,
    MASKED: tl.constexpr, PACKED: tl.constexpr,
):  # fmt: skip
    """dq += Σ_j p_ij (dout_i · v_j − δ_i) k_j over the blocks of keys begin … end−1."""
    low, high = _hull(start, stop, k_len, PACKED)
    for n in range(begin, end):
        j = tl.load(blocks + n) if PACKED else n
        keys = j * BLOCK_K + tl.arange(0, BLOCK_K)
        k = _tile(k_ptr, keys, low, high, D, BLOCK_D, MASKED)
        v = _tile(v_ptr, keys, low, high, D, BLOCK_D, MASKED)
        s = tl.dot(q, tl.trans(k), input_precision="ieee")
        dp = tl.dot(dout, tl.trans(v), input_precision="ieee")
        ds = tl.exp2(s * scale - lse[:, None]) * (dp - delta[:, None])
        if MASKED:
            seen = _visible(rows, j, start, stop, bits, q_len, k_len, BLOCK_K, PACKED)
            ds = tl.where(seen, ds, 0.0)
        dq = tl.dot(ds.to(k.dtype), k, dq, input_precision="ieee")
    return dq


@triton.jit(do_not_specialize=["q_len", "k_len"])
def dq_kernel(
    q_ptr, k_ptr, v_ptr, dout_ptr, lse_ptr, delta_ptr, dq_ptr,
    start_ptr, stop_ptr, bits_ptr, blocks_ptr, counts_ptr,
    batch_step, head_step, q_len, k_len, scale, dq_scale,
    H: tl.constexpr, GROUP: tl.constexpr, D: tl.constexpr, BLOCK_D: tl.constexpr,
    BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr, PACKED: tl.constexpr,
):  # fmt: skip
    """dQ for one block of queries of one head; arguments as in `forward_kernel`."""
    n_q, n_k = tl.cdiv(q_len, BLOCK_Q), tl.cdiv(k_len, BLOCK_K)
    head = (tl.program_id(0) // n_q).to(tl.int64)
    block = n_q - 1 - tl.program_id(0) % n_q
    rows = block * BLOCK_Q + tl.arange(0, BLOCK_Q)
    mask = head // H * batch_step + head % H * head_step
    start, stop = _interval(start_ptr, stop_ptr, mask * q_len, rows, q_len, PACKED)
    bits = bits_ptr + mask * q_len * ((k_len + 7) // 8)
    blocks = blocks_ptr + (mask * n_q + block) * n_k
    if PACKED:
        a, b, c, d = _listed(counts_ptr, mask * n_q + block)
    else:
        a, b, c, d = _block_ranges(start, stop, rows, q_len, k_len, BLOCK_K)

    k = k_ptr + head // GROUP * k_len * D
    v = v_ptr + head // GROUP * k_len * D
    q = _tile(q_ptr + head * q_len * D, rows, 0, q_len, D, BLOCK_D, True)
    dout = _tile(dout_ptr + head * q_len * D, rows, 0, q_len, D, BLOCK_D, True)
    lse = tl.load(lse_ptr + head * q_len + rows, mask=rows < q_len, other=0.0)
    delta = tl.load(delta_ptr + head * q_len + rows, mask=rows < q_len, other=0.0)
    dq = tl.zeros([BLOCK_Q, BLOCK_D], tl.float32)
    dq = _dq_blocks(dq, q, dout, lse, delta, k, v, a, b, blocks, rows, start, stop, bits,
                    q_len, k_len, scale, D, BLOCK_K, BLOCK_D, True, PACKED)  # fmt: skip
    dq = _dq_blocks(dq, q, dout, lse, delta, k, v, b, c, blocks, rows, start, stop, bits,
                    q_len, k_len, scale, D, BLOCK_K, BLOCK_D, False, PACKED)  # fmt: skip
    if not PACKED:
        dq = _dq_blocks(dq, q, dout, lse, delta, k, v, c, d, blocks, rows, start, stop, bits,
                        q_len, k_len, scale, D, BLOCK_K, BLOCK_D, True, PACKED)  # fmt: skip
    _store_tile(dq_ptr + head * q_len * D, dq * dq_scale, rows, q_len, D, BLOCK_D)


@triton.jit
def _dkv_blocks(
    dk, dv, k, v, q_ptr, dout_ptr, lse_ptr, delta_ptr, begin, end, blocks, j, keys,
    start_ptr, stop_ptr, bits, q_len, k_len, scale,
    D: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_D: tl.constexpr,
    MASKED: tl.constexpr, PACKED: tl.constexpr,
):  # fmt: skip
    """dv += Σ_i p_ij dout_i, dk += Σ_i p_ij (dout_i · v_j − δ_i) q_i over listed query blocks."""
    for n in range(begin, end):
        rows = tl.load(blocks + n) * BLOCK_Q + tl.arange(0, BLOCK_Q)
        q = _tile(q_ptr, rows, 0, q_len, D, BLOCK_D, True)
        dout = _tile(dout_ptr, rows, 0, q_len, D, BLOCK_D, True)
        lse = tl.load(lse_ptr + rows, mask=rows < q_len, other=0.0)
        delta = tl.load(delta_ptr + rows, mask=rows < q_len, other=0.0)
        p = tl.exp2(tl.dot(k, tl.trans(q), input_precision="ieee") * scale - lse[None, :])
        ds = p * (tl.dot(v, tl.trans(dout), input_precision="ieee") - delta[None, :])
        if MASKED:
            start, stop = _interval(start_ptr, stop_ptr, 0, rows, q_len, PACKED)
            if PACKED:
                seen = _visible(rows, j, start, stop, bits, q_len, k_len, BLOCK_K, PACKED)
                seen = tl.trans(seen.to(tl.int8)) != 0
            else:
                seen = (start[None, :] <= keys[:, None]) & (keys[:, None] < stop[None, :])
            p, ds = tl.where(seen, p, 0.0), tl.where(seen, ds, 0.0)
        dv = tl.dot(p.to(q.dtype), dout, dv, input_precision="ieee")
        dk = tl.dot(ds.to(q.dtype), q, dk, input_precision="ieee")
    return dk, dv


@triton.jit(do_not_specialize=["q_len", "k_len"])
def dkv_kernel(
    q_ptr, k_ptr, v_ptr, dout_ptr, lse_ptr, delta_ptr, dk_ptr, dv_ptr,
    start_ptr, stop_ptr, bits_ptr, blocks_ptr, counts_ptr,
    batch_step, head_step, q_len, k_len, scale, dk_scale,
    H: tl.constexpr, GROUP: tl.constexpr, D: tl.constexpr, BLOCK_D: tl.constexpr,
    BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr, PACKED: tl.constexpr,
):  # fmt: skip
    """dK and dV for one block of keys of one key head, over the query heads that share it.

    blocks, counts: the blocks of queries that see some of the keys, the partial ones first.
    """
    n_q, n_k = tl.cdiv(q_len, BLOCK_Q), tl.cdiv(k_len, BLOCK_K)
    kv_head = (tl.program_id(0) // n_k).to(tl.int64)
    block = tl.program_id(0) % n_k
    keys = block * BLOCK_K + tl.arange(0, BLOCK_K)
    k = _tile(k_ptr + kv_head * k_len * D, keys, 0, k_len, D, BLOCK_D, True)
    v = _tile(v_ptr + kv_head * k_len * D, keys, 0, k_len, D, BLOCK_D, True)
    dk = tl.zeros([BLOCK_K, BLOCK_D], tl.float32)
    dv = tl.zeros([BLOCK_K, BLOCK_D], tl.float32)
    for member in range(GROUP):
        head = kv_head * GROUP + member
        mask = head // H * batch_step + head % H * head_step
        bits = bits_ptr + mask * q_len * ((k_len + 7) // 8)
        start, stop = start_ptr + mask * q_len, stop_ptr + mask * q_len
        blocks = blocks_ptr + (mask * n_k + block) * n_q
        a, b, c, _ = _listed(counts_ptr, mask * n_k + block)
        q, dout = q_ptr + head * q_len * D, dout_ptr + head * q_len * D
        lse, delta = lse_ptr + head * q_len, delta_ptr + head * q_len
        dk, dv = _dkv_blocks(
            dk, dv, k, v, q, dout, lse, delta, a, b, blocks, block, keys, start, stop,
            bits, q_len, k_len, scale, D, BLOCK_Q, BLOCK_K, BLOCK_D, True, PACKED)  # fmt: skip
        dk, dv = _dkv_blocks(
            dk, dv, k, v, q, dout, lse, delta, b, c, blocks, block, keys, start, stop,
            bits, q_len, k_len, scale, D, BLOCK_Q, BLOCK_K, BLOCK_D, False, PACKED)  # fmt: skip
    _store_tile(dk_ptr + kv_head * k_len * D, dk * dk_scale, keys, k_len, D, BLOCK_D)
    _store_tile(dv_ptr + kv_head * k_len * D, dv, keys, k_len, D, BLOCK_D)


# (BLOCK_Q, BLOCK_K, stages, warps) by kernel, element size in bytes, and width of the head: those
# that compile for sm_90 without spills and, at two bytes, to tensor-core instructions.
CONFIGURATIONS = {
    ("forward", 2): {64: (128, 64, 3, 4), 128: (128, 64, 3, 8), 256: (128, 32, 2, 8)},
    ("forward", 4): {
        32: (64, 32, 1, 4),
        64: (64, 32, 1, 8),
        128: (32, 16, 1, 8),
        256: (32, 16, 1, 8),
    },
    ("decode", 2): {
        16: (16, 64, 3, 4),
        64: (16, 64, 2, 4),
        128: (16, 64, 3, 4),
        256: (16, 32, 2, 4),
    },
    ("decode", 4): {64: (16, 32, 1, 4), 128: (16, 16, 2, 8), 256: (16, 16, 1, 4)},
    ("dq", 2): {64: (128, 64, 2, 8), 128: (128, 64, 2, 8), 256: (32, 32, 1, 4)},
    ("dq", 4): {64: (32, 32, 1, 8), 128: (16, 16, 1, 8), 256: (16, 16, 1, 8)},
    ("dkv", 2): {64: (64, 128, 2, 8), 128: (32, 128, 2, 8), 256: (64, 32, 1, 8)},
    ("dkv", 4): {64: (32, 32, 1, 8), 128: (16, 32, 1, 8), 256: (16, 16, 1, 8)},
}
# Where another target needs its own to stay in registers.
OTHER_TARGETS = {
    ("sm_80", "forward", 2): {
        32: (64, 64, 3, 4), 64: (128, 64, 3, 8), 128: (64, 64, 2, 8), 256: (64, 32, 1, 8)
    },
    ("sm_80", "forward", 4): {256: (16, 16, 1, 8)},
    ("sm_80", "decode", 4): {256: (16, 16, 1, 8)},
    ("sm_80", "dq", 2): {128: (64, 64, 2, 8), 256: (64, 32, 1, 8)},
    ("sm_80", "dkv", 2): {64: (32, 64, 2, 4), 128: (64, 64, 2, 8)},
    ("sm_80", "dq", 4): {16: (16, 16, 1, 4), 64: (32, 16, 2, 8), 256: (16, 16, 2, 4)},
    ("sm_80", "dkv", 4): {16: (32, 32, 1, 8), 32: (32, 32, 2, 8), 64: (16, 64, 1, 8)},
    ("gfx942", "forward", 2): {128: (64, 64, 2, 4), 256: (64, 32, 2, 4)},
    ("gfx942", "dq", 2): {128: (64, 32, 2, 8), 256: (64, 32, 1, 4)},
    ("gfx942", "dkv", 2): {64: (32, 64, 2, 4), 128: (32, 64, 1, 4), 256: (32, 32, 1, 4)},
    ("gfx942", "dq", 4): {256: (16, 16, 1, 4)},
    ("gfx942", "dkv", 4): {64: (16, 32, 1, 8), 256: (16, 16, 1, 4)},
}  # fmt: skip
# Where a head that doesn't fill its block needs more registers.
PADDED = {
    ("sm_90", "forward", 2): {64: (128, 64, 2, 4), 256: (128, 32, 1, 8)},
    ("sm_90", "forward", 4): {256: (16, 16, 1, 4)},
}
# Where Triton 3.6 does.
TRITON_3_6 = {
    ("sm_80", "dkv", 2): {64: (32, 64, 2, 8), 128: (64, 64, 1, 8)},
    ("sm_90", "dkv", 2): {128: (32, 64, 2, 8)},
}
_OLDER = tuple(map(int, triton.__version__.split(".")[:2])) < (3, 7)


def configuration(
    kernel: str, itemsize: int, head: int, target: str = "sm_90"
) -> tuple[int, int, int, int, int]:
    """(BLOCK_Q, BLOCK_K, stages, warps, BLOCK_D) for heads of this size, 1 … 256."""
    block_d = max(16, triton.next_power_of_2(head))
    key = target, kernel, itemsize
    known = CONFIGURATIONS[kernel, itemsize] | OTHER_TARGETS.get(key, {})
    known |= PADDED.get(key, {}) if head < block_d else {}
    known |= TRITON_3_6.get(key, {}) if _OLDER else {}
    return (*known.get(block_d, known[max(64, block_d)]), block_d)
