"""Masked attention on the GPU: forward, backward, and split keys for decoding (row K4).

FlashAttention-2 (Dao, 2023) over the blocks of keys that a mask leaves. Where each query sees one
interval of keys, a program finds its own blocks in the O(S) starts and stops: partial blocks on
either side of full ones, and only the partial ones are masked. Packed masks come with a list of
blocks for each program. Scores are in units of log 2, so that exp is exp2: `scale` below is
scale·log2 e, and `lse` a base-2 logarithm. Backward adds up dK, dV and dQ in loops of their own,
without atomics: the same inputs give the same bits.

Arrays (B, H, length, D) may have any strides but the last, which is 1: …_batch and …_head count
UNIT elements, …_ROW one. A program's place in them is a 64-bit offset.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import triton
import triton.language as tl

LOG2E = tl.constexpr(1.4426950408889634)
LENGTHS = ["q_len", "k_len"]
MASK_STEPS = ["mask_batch", "mask_head"]


@triton.jit
def tile(
    base, first, low, high, ROW: tl.constexpr, D: tl.constexpr, ROWS: tl.constexpr,
    BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Rows first … first+ROWS−1 of a head, those outside low … high−1 as 0: (ROWS, BLOCK_D)."""
    n, d = tl.arange(0, ROWS), tl.arange(0, BLOCK_D)
    inside = ((low <= first + n) & (first + n < high))[:, None]
    at = base + tl.cast(first, tl.int64) * ROW + (n[:, None] * ROW + d[None, :])
    return tl.load(at, mask=inside if D == BLOCK_D else inside & (d < D)[None, :], other=0.0)


@triton.jit
def store_tile(base, offsets, x, inside, D: tl.constexpr, BLOCK_D: tl.constexpr):
    """Rows x (rows, BLOCK_D) to their offsets, those that are inside."""
    d = tl.arange(0, BLOCK_D)
    whole = inside[:, None] & (d < D)[None, :]
    tl.store(base + offsets[:, None] + d[None, :], x.to(base.dtype.element_ty), mask=whole)


@triton.jit
def _head(ptr, batch, head, b, h, UNIT: tl.constexpr):
    """Where head h of batch entry b, int64, begins."""
    return ptr + (b * batch + h * head) * UNIT


@triton.jit
def _interval(start_ptr, stop_ptr, rows, inside, PACKED: tl.constexpr):
    """The queries' intervals, empty for those not inside; a packed mask has none."""
    if PACKED:
        return rows * 0, rows * 0
    start = tl.load(start_ptr + rows, mask=inside, other=0)
    return start, tl.load(stop_ptr + rows, mask=inside, other=0)


@triton.jit
def _visible(
    rows, first, start, stop, bits, inside, k_len, BLOCK_K: tl.constexpr, PACKED: tl.constexpr
):
    """bool (rows, BLOCK_K): which keys from the first on the mask shows each query."""
    if not PACKED:
        keys = first + tl.arange(0, BLOCK_K)
        return (start[:, None] <= keys[None, :]) & (keys[None, :] < stop[:, None])
    row_bytes = (k_len + 7) // 8
    place = first // 8 + tl.arange(0, BLOCK_K // 8)
    inside = inside[:, None] & (place < row_bytes)[None, :]
    byte = tl.load(bits + rows[:, None] * row_bytes + place[None, :], mask=inside, other=0)
    bit = (byte[:, :, None] >> tl.arange(0, 8).to(tl.uint8)[None, None, :]) & 1
    return tl.reshape(bit, (rows.shape[0], BLOCK_K)) != 0


@triton.jit
def hull(start, stop, k_len, PACKED: tl.constexpr):
    """From the first to the last key that some query of the block sees; all keys if packed."""
    if PACKED:
        return k_len * 0, k_len
    none = start >= stop
    return tl.min(tl.where(none, k_len, start), 0), tl.max(tl.where(none, 0, stop), 0)


@triton.jit
def _block_ranges(start, stop, inside, k_len, BLOCK_K: tl.constexpr):
    """first ≤ full_first ≤ full_last ≤ last block of keys, as `lowering.block_ranges`."""
    none = start >= stop
    first = tl.min(tl.where(none, k_len, start), 0) // BLOCK_K
    last = tl.cdiv(tl.max(tl.where(none, 0, stop), 0), BLOCK_K)
    last = tl.maximum(first, last)
    full_first = tl.cdiv(tl.max(tl.where(inside, start, 0), 0), BLOCK_K)
    full_first = tl.minimum(tl.maximum(full_first, first), last)
    full_last = tl.min(tl.where(inside, stop, k_len), 0) // BLOCK_K
    return first, full_first, tl.minimum(tl.maximum(full_last, full_first), last), last


@triton.jit
def _four(ptr):
    """Four numbers in a row: first, full_first, full_last, last."""
    return tl.load(ptr), tl.load(ptr + 1), tl.load(ptr + 2), tl.load(ptr + 3)


@triton.jit
def _block(blocks, n, full_first, full_last, PACKED: tl.constexpr):
    """(number, whether it needs its mask) of the n-th block: listed, or block n itself."""
    if PACKED:
        entry = tl.load(blocks + n)
        return entry >> 1, (entry & 1) != 0
    return n, (n < full_first) | (n >= full_last)


@triton.jit
def _within(n, span, split):
    """n, moved into the part of the blocks that belongs to this split."""
    return tl.minimum(tl.maximum(n, split * span), split * span + span)


# The blocks that backward and packed masks need beforehand


@triton.jit(do_not_specialize=LENGTHS)
def ranges_kernel(
    start_ptr, stop_ptr, ranges_ptr, q_len, k_len, BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr
):
    """The ranges of each block of queries, (masks, blocks, 4). Grid (blocks of queries, masks)."""
    n_q, n = tl.cdiv(q_len, BLOCK_Q), tl.program_id(0)
    line = tl.program_id(1).to(tl.int64)
    rows = n * BLOCK_Q + tl.arange(0, BLOCK_Q)
    inside, at = rows < q_len, line * q_len
    start, stop = _interval(start_ptr + at, stop_ptr + at, rows, inside, False)
    a, b, c, d = _block_ranges(start, stop, inside, k_len, BLOCK_K)
    out = ranges_ptr + (line * n_q + n) * 4
    tl.store(out, a)
    tl.store(out + 1, b)
    tl.store(out + 2, c)
    tl.store(out + 3, d)


@triton.jit(do_not_specialize=["n_q"])
def columns_kernel(ranges_ptr, columns_ptr, n_q, CHUNK: tl.constexpr):
    """Of each block of keys: the blocks of queries that meet it, first … last, and full ones.

    (masks, blocks, 4), from `ranges_kernel`'s. Blocks between first and last may see nothing of
    it; full ones are the first that follow each other. Grid (blocks of keys, masks).
    """
    j, line = tl.program_id(0), tl.program_id(1).to(tl.int64)
    ranges = ranges_ptr + line * n_q * 4
    first, last, full_first = n_q, n_q * 0, n_q
    for part in range(tl.cdiv(n_q, CHUNK)):
        n, some, full = _meeting(ranges, part, j, n_q, CHUNK)
        first = tl.minimum(first, tl.min(tl.where(some, n, n_q), 0))
        last = tl.maximum(last, tl.max(tl.where(some, n + 1, 0), 0))
        full_first = tl.minimum(full_first, tl.min(tl.where(full, n, n_q), 0))
    full_last = last
    for part in range(tl.cdiv(n_q, CHUNK)):
        n, some, full = _meeting(ranges, part, j, n_q, CHUNK)
        ends = (n >= full_first) & (n < n_q) & (full == 0)
        full_last = tl.minimum(full_last, tl.min(tl.where(ends, n, n_q), 0))
    out = columns_ptr + (line * tl.num_programs(0) + j) * 4
    full_first = tl.minimum(full_first, last)
    tl.store(out, tl.minimum(first, last))
    tl.store(out + 1, full_first)
    tl.store(out + 2, tl.maximum(full_last, full_first))
    tl.store(out + 3, last)


@triton.jit
def _meeting(ranges, part, j, n_q, CHUNK: tl.constexpr):
    """(n, whether they see some of block j of keys, whether all of it): a chunk of blocks."""
    n = part * CHUNK + tl.arange(0, CHUNK)
    inside = n < n_q
    a = tl.load(ranges + 4 * n, mask=inside, other=0)
    b = tl.load(ranges + 4 * n + 1, mask=inside, other=0)
    c = tl.load(ranges + 4 * n + 2, mask=inside, other=0)
    d = tl.load(ranges + 4 * n + 3, mask=inside, other=0)
    return n, (a <= j) & (j < d), (b <= j) & (j < c)


@triton.jit(do_not_specialize=LENGTHS)
def list_kernel(
    bits_ptr, blocks_ptr, counts_ptr, q_len, k_len,
    BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr, TRANSPOSED: tl.constexpr,
):  # fmt: skip
    """Which blocks of keys a block of queries meets: 2·number + whether it needs its mask.

    TRANSPOSED: which blocks of queries a block of keys does. blocks (masks, n, m), counts (masks,
    n). Grid (n, masks).
    """
    own, line = tl.program_id(0), tl.program_id(1).to(tl.int64)
    row_bytes = (k_len + 7) // 8
    bits = bits_ptr + line * q_len * row_bytes
    others = tl.cdiv(q_len, BLOCK_Q) if TRANSPOSED else tl.cdiv(k_len, BLOCK_K)
    at = line * tl.num_programs(0) + own
    count = own * 0
    for other in range(others):
        i, j = (other, own) if TRANSPOSED else (own, other)
        rows = i * BLOCK_Q + tl.arange(0, BLOCK_Q)
        place = j * (BLOCK_K // 8) + tl.arange(0, BLOCK_K // 8)
        inside = (rows < q_len)[:, None] & (place < row_bytes)[None, :]
        byte = tl.load(bits + rows[:, None] * row_bytes + place[None, :], mask=inside, other=0)
        byte = byte.to(tl.int32)
        full = tl.min(tl.min(tl.where((rows < q_len)[:, None], byte, 255), 1), 0) == 255
        some = tl.max(tl.max(byte, 1), 0) > 0
        entry = 2 * other + tl.where(full, 0, 1)
        tl.store(blocks_ptr + at * others + count, entry, mask=some)
        count += tl.where(some, 1, 0)
    tl.store(counts_ptr + at, count)


# Forward


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
    PACKED: tl.constexpr,
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
    start, stop = _interval(start_ptr + at, stop_ptr + at, rows, inside, PACKED)
    bits = bits_ptr + at * ((k_len + 7) // 8)
    block = 0 if SHARED > 1 else block
    listed = line * (1 if SHARED > 1 else n_q) + block
    blocks = blocks_ptr + listed * n_k
    if PACKED:
        a, d = n_k * 0, tl.load(counts_ptr + listed)
        full_first, full_last = a, d
    else:
        a, full_first, full_last, d = _block_ranges(start, stop, inside, k_len, BLOCK_K)
    low, high = hull(start, stop, k_len, PACKED)

    k = _head(k_ptr, k_batch, k_head, b, h // GROUP, UNIT)
    v = _head(v_ptr, v_batch, v_head, b, h // GROUP, UNIT)
    place = member.to(tl.int64) * q_head * UNIT + rows.to(tl.int64) * Q_ROW
    q = _rows(_head(q_ptr, q_batch, q_head, b, h, UNIT), place, inside, D, BLOCK_D)
    acc = tl.zeros([BLOCK_Q, BLOCK_D], tl.float32)
    Z = tl.zeros([BLOCK_Q], tl.float32)
    m = Z - float("inf")
    for n in range(_within(a, span, split), _within(d, span, split)):
        j, partial = _block(blocks, n, full_first, full_last, PACKED)
        k_j = tile(k, j * BLOCK_K, low, high, K_ROW, D, BLOCK_K, BLOCK_D)
        v_j = tile(v, j * BLOCK_K, low, high, V_ROW, D, BLOCK_K, BLOCK_D)
        s = tl.dot(q, tl.trans(k_j), input_precision="ieee")
        if partial:
            seen = _visible(rows, j * BLOCK_K, start, stop, bits, inside, k_len, BLOCK_K, PACKED)
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
    out = _head(out_ptr, out_batch, out_head, b, h, UNIT) + split.to(tl.int64) * out_split * UNIT
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


# Backward


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
    DOUT_ROW: tl.constexpr, DQ_ROW: tl.constexpr, PACKED: tl.constexpr,
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
    start, stop = _interval(start_ptr + at, stop_ptr + at, rows, inside, PACKED)
    bits = bits_ptr + at * ((k_len + 7) // 8)
    blocks = blocks_ptr + (line * n_q + block) * n_k
    if PACKED:
        a, d = n_k * 0, tl.load(counts_ptr + line * n_q + block)
        full_first, full_last = a, d
    else:
        a, full_first, full_last, d = _block_ranges(start, stop, inside, k_len, BLOCK_K)
    low, high = hull(start, stop, k_len, PACKED)

    first = block * BLOCK_Q
    out = _head(out_ptr, out_batch, out_head, b, h, UNIT)
    out = tile(out, first, 0, q_len, OUT_ROW, D, BLOCK_Q, BLOCK_D)
    dout = _head(dout_ptr, dout_batch, dout_head, b, h, UNIT)
    dout = tile(dout, first, 0, q_len, DOUT_ROW, D, BLOCK_Q, BLOCK_D)
    place = head * q_len + rows
    dlse = tl.load(dlse_ptr + place, mask=inside, other=0.0) * LOG2E
    delta = tl.sum(out.to(tl.float32) * dout.to(tl.float32), 1) - dlse
    tl.store(delta_ptr + place, delta, mask=inside)

    k = _head(k_ptr, k_batch, k_head, b, h // GROUP, UNIT)
    v = _head(v_ptr, v_batch, v_head, b, h // GROUP, UNIT)
    q = _head(q_ptr, q_batch, q_head, b, h, UNIT)
    q = tile(q, first, 0, q_len, Q_ROW, D, BLOCK_Q, BLOCK_D)
    lse = tl.load(lse_ptr + place, mask=inside, other=0.0)
    dq = tl.zeros([BLOCK_Q, BLOCK_D], tl.float32)
    for n in range(a, d):
        j, partial = _block(blocks, n, full_first, full_last, PACKED)
        k_j = tile(k, j * BLOCK_K, low, high, K_ROW, D, BLOCK_K, BLOCK_D)
        v_j = tile(v, j * BLOCK_K, low, high, V_ROW, D, BLOCK_K, BLOCK_D)
        s = tl.dot(q, tl.trans(k_j), input_precision="ieee")
        dp = tl.dot(dout, tl.trans(v_j), input_precision="ieee")
        ds = tl.exp2(s * scale - lse[:, None]) * (dp - delta[:, None])
        if partial:
            seen = _visible(rows, j * BLOCK_K, start, stop, bits, inside, k_len, BLOCK_K, PACKED)
            ds = tl.where(seen, ds, 0.0)
        dq = tl.dot(ds.to(k_j.dtype), k_j, dq, input_precision="ieee")
    dq_at = _head(dq_ptr, dq_batch, dq_head, b, h, UNIT)
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
    DK_ROW: tl.constexpr, DV_ROW: tl.constexpr, PACKED: tl.constexpr,
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
    k = _head(k_ptr, k_batch, k_head, b, h_kv, UNIT)
    k = tile(k, first, 0, k_len, K_ROW, D, BLOCK_K, BLOCK_D)
    v = _head(v_ptr, v_batch, v_head, b, h_kv, UNIT)
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
            a, full_first, full_last, d = _four(counts_ptr + (line * n_k + block) * 4)
        q = _head(q_ptr, q_batch, q_head, b, h, UNIT)
        dout = _head(dout_ptr, dout_batch, dout_head, b, h, UNIT)
        place = (b * H + h) * q_len
        for n in range(a, d):
            i, partial = _block(blocks, n, full_first, full_last, PACKED)
            rows = i * BLOCK_Q + tl.arange(0, BLOCK_Q)
            inside = rows < q_len
            q_i = tile(q, i * BLOCK_Q, 0, q_len, Q_ROW, D, BLOCK_Q, BLOCK_D)
            dout_i = tile(dout, i * BLOCK_Q, 0, q_len, DOUT_ROW, D, BLOCK_Q, BLOCK_D)
            lse = tl.load(lse_ptr + place + rows, mask=inside, other=0.0)
            delta = tl.load(delta_ptr + place + rows, mask=inside, other=0.0)
            s = tl.dot(k, tl.trans(q_i), input_precision="ieee")
            p = tl.exp2(s * scale - lse[None, :])
            ds = p * (tl.dot(v, tl.trans(dout_i), input_precision="ieee") - delta[None, :])
            if partial:
                start, stop = _interval(start_ptr + at, stop_ptr + at, rows, inside, PACKED)
                seen = _visible(rows, first, start, stop, bits, inside, k_len, BLOCK_K, PACKED)
                seen = tl.trans(seen.to(tl.int8)) != 0
                p, ds = tl.where(seen, p, 0.0), tl.where(seen, ds, 0.0)
            dv = tl.dot(p.to(q_i.dtype), dout_i, dv, input_precision="ieee")
            dk = tl.dot(ds.to(q_i.dtype), q_i, dk, input_precision="ieee")
    inside = keys < k_len
    dk_at = _head(dk_ptr, dk_batch, dk_head, b, h_kv, UNIT)
    dv_at = _head(dv_ptr, dv_batch, dv_head, b, h_kv, UNIT)
    store_tile(dk_at, keys.to(tl.int64) * DK_ROW, dk * dk_scale, inside, D, BLOCK_D)
    store_tile(dv_at, keys.to(tl.int64) * DV_ROW, dv, inside, D, BLOCK_D)
