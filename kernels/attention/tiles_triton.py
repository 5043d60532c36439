"""What the attention kernels share: tiles of an array, and the blocks that a mask leaves (row K4).

Arrays (B, H, length, D) may have any strides but the last, which is 1: …_batch and …_head count
UNIT elements, …_ROW one. A program's place in them is a 64-bit offset. TMA: rows begin at multiples
of 16 bytes, and the card can read a tile by a descriptor that a program makes of its own rows. It
takes one thread's instruction, no addresses in registers, and gives 0 outside those rows.
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
def opened(
    base, low, high, ROW: tl.constexpr, D: tl.constexpr, ROWS: tl.constexpr, BLOCK_D: tl.constexpr,
    TMA: tl.constexpr,
):  # fmt: skip
    """Rows low … high−1 of a head, for `streamed` to read: a descriptor, or the head itself."""
    if TMA:
        begin, length = base + tl.cast(low, tl.int64) * ROW, tl.maximum(high - low, 1)
        return tl.make_tensor_descriptor(begin, [length, D], [ROW, 1], [ROWS, BLOCK_D])
    else:  # noqa: RET505  # of two returns in a row Triton asks that they agree
        return base


@triton.jit
def streamed(
    rows, first, low, high, ROW: tl.constexpr, D: tl.constexpr, ROWS: tl.constexpr,
    BLOCK_D: tl.constexpr, TMA: tl.constexpr,
):  # fmt: skip
    """`tile` of rows that were opened."""
    if TMA:
        return rows.load([first - low, 0])
    else:  # noqa: RET505
        return tile(rows, first, low, high, ROW, D, ROWS, BLOCK_D)


@triton.jit
def store_tile(base, offsets, x, inside, D: tl.constexpr, BLOCK_D: tl.constexpr):
    """Rows x (rows, BLOCK_D) to their offsets, those that are inside."""
    d = tl.arange(0, BLOCK_D)
    whole = inside[:, None] & (d < D)[None, :]
    tl.store(base + offsets[:, None] + d[None, :], x.to(base.dtype.element_ty), mask=whole)


@triton.jit
def head_of(ptr, batch, head, b, h, UNIT: tl.constexpr):
    """Where head h of batch entry b, int64, begins."""
    return ptr + (b * batch + h * head) * UNIT


@triton.jit
def interval_of(start_ptr, stop_ptr, rows, inside, PACKED: tl.constexpr):
    """The queries' intervals, empty for those not inside; a packed mask has none."""
    if PACKED:
        return rows * 0, rows * 0
    start = tl.load(start_ptr + rows, mask=inside, other=0)
    return start, tl.load(stop_ptr + rows, mask=inside, other=0)


@triton.jit
def visible(
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
def block_ranges(start, stop, inside, k_len, BLOCK_K: tl.constexpr):
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
def four(ptr):
    """Four numbers in a row: first, full_first, full_last, last."""
    return tl.load(ptr), tl.load(ptr + 1), tl.load(ptr + 2), tl.load(ptr + 3)


@triton.jit
def block_of(blocks, n, full_first, full_last, PACKED: tl.constexpr):
    """(number, whether it needs its mask) of the n-th block: listed, or block n itself."""
    if PACKED:
        entry = tl.load(blocks + n)
        return entry >> 1, (entry & 1) != 0
    return n, (n < full_first) | (n >= full_last)


@triton.jit
def within(n, span, split):
    """n, moved into the part of the blocks that belongs to this split."""
    return tl.minimum(tl.maximum(n, split * span), split * span + span)
