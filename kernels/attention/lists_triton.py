"""The blocks that backward and packed masks need to know beforehand, made on the GPU (row K4)."""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import triton
import triton.language as tl

from kernels.attention.tiles_triton import LENGTHS, block_ranges, interval_of


@triton.jit(do_not_specialize=LENGTHS)
def ranges_kernel(
    start_ptr, stop_ptr, ranges_ptr, q_len, k_len, BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr
):
    """The ranges of each block of queries, (masks, blocks, 4). Grid (blocks of queries, masks)."""
    n_q, n = tl.cdiv(q_len, BLOCK_Q), tl.program_id(0)
    line = tl.program_id(1).to(tl.int64)
    rows = n * BLOCK_Q + tl.arange(0, BLOCK_Q)
    inside, at = rows < q_len, line * q_len
    start, stop = interval_of(start_ptr + at, stop_ptr + at, rows, inside, False)
    a, b, c, d = block_ranges(start, stop, inside, k_len, BLOCK_K)
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
