"""Sizes of blocks for the attention kernels, by kernel, dtype, head and target (row K4)."""

from __future__ import annotations

import triton

from core.errors import InputError

SHARED = {"sm_80": 163 << 10, "sm_90": 227 << 10, "gfx942": 64 << 10}
"""Bytes of shared memory that a block may have."""
# (BLOCK_Q, BLOCK_K, stages, warps) by kernel, element size in bytes, and width of the head: those
# that compile for sm_90 without spills in loops and, at two bytes, to wide tensor-core
# instructions, with the fewest instructions for a pair of a query and a key.
CONFIGURATIONS = {
    ("forward", 2): {
        16: (64, 128, 2, 4),
        32: (64, 128, 2, 4),
        64: (128, 128, 3, 4),
        128: (128, 128, 2, 8),
        256: (128, 64, 2, 8),
    },
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
    ("dq", 2): {64: (64, 128, 2, 4), 128: (128, 128, 2, 8), 256: (128, 64, 1, 8)},
    ("dq", 4): {64: (32, 32, 1, 8), 128: (16, 16, 1, 8), 256: (16, 16, 2, 4)},
    ("dkv", 2): {
        16: (64, 128, 2, 8),
        32: (64, 128, 2, 8),
        64: (64, 64, 2, 4),
        128: (64, 128, 2, 8),
        256: (32, 64, 1, 8),
    },
    ("dkv", 4): {64: (32, 32, 1, 8), 128: (16, 32, 1, 8), 256: (16, 16, 1, 8)},
}
# Where another target needs its own to stay in registers.
OTHER_TARGETS = {
    ("sm_80", "forward", 2): {
        32: (64, 64, 3, 4), 64: (128, 64, 3, 8), 128: (64, 64, 2, 8), 256: (64, 32, 1, 8)
    },
    ("sm_80", "forward", 4): {256: (16, 16, 1, 8)},
    ("sm_80", "decode", 4): {256: (16, 16, 1, 8)},
    ("sm_80", "dq", 2): {64: (128, 64, 2, 8), 128: (64, 64, 2, 8), 256: (64, 16, 1, 8)},
    ("sm_80", "dkv", 2): {64: (32, 64, 2, 4), 128: (64, 64, 2, 8), 256: (64, 32, 1, 8)},
    ("sm_80", "dq", 4): {16: (16, 16, 1, 4), 64: (32, 16, 2, 8), 256: (16, 16, 2, 4)},
    ("sm_80", "dkv", 4): {16: (32, 32, 1, 8), 32: (32, 32, 2, 8), 64: (16, 64, 1, 8)},
    ("gfx942", "decode", 2): {128: (16, 64, 2, 4)},
    ("gfx942", "forward", 2): {64: (128, 64, 3, 4), 128: (128, 64, 1, 4), 256: (64, 32, 2, 4)},
    ("gfx942", "dq", 2): {64: (128, 64, 2, 8), 128: (64, 32, 2, 8), 256: (64, 32, 1, 4)},
    ("gfx942", "dkv", 2): {
        32: (32, 64, 2, 4), 64: (32, 64, 2, 4), 128: (32, 64, 1, 4), 256: (32, 32, 1, 4)
    },
    ("gfx942", "dq", 4): {256: (16, 16, 1, 4)},
    ("gfx942", "dkv", 4): {64: (16, 32, 1, 8), 128: (16, 16, 1, 4), 256: (16, 16, 1, 4)},
}  # fmt: skip
# Where a head that doesn't fill its block needs more registers.
PADDED = {
    ("sm_90", "forward", 2): {64: (64, 128, 2, 4)},
    ("sm_90", "dq", 2): {256: (128, 32, 2, 8)},
    ("sm_90", "dkv", 2): {128: (128, 64, 1, 8)},
    ("sm_90", "forward", 4): {256: (16, 16, 1, 4)},
}
# Where the bits of a packed mask do.
PACKED = {
    ("sm_90", "forward", 2): {64: (64, 128, 2, 4)},
    ("sm_90", "dq", 2): {128: (128, 64, 2, 8)},
}
# Where addresses do: rows that don't begin at multiples of 16 bytes have no descriptors.
UNALIGNED = {
    ("sm_90", "forward", 2): {64: (128, 64, 2, 4), 128: (128, 64, 2, 8), 256: (128, 32, 1, 8)},
    ("sm_90", "dq", 2): {64: (64, 64, 2, 4), 128: (64, 64, 2, 8), 256: (64, 32, 1, 8)},
    ("sm_90", "dkv", 2): {64: (64, 64, 2, 8), 128: (64, 64, 1, 8), 256: (32, 64, 1, 8)},
}
# Where Triton 3.6 does.
TRITON_3_6 = {
    ("sm_80", "dkv", 2): {64: (32, 64, 2, 8), 128: (64, 64, 1, 8)},
    ("sm_90", "dkv", 2): {128: (128, 64, 1, 8)},
    ("sm_90", "dkv", 4): {32: (32, 16, 1, 8)},
}
_OLDER = tuple(map(int, triton.__version__.split(".")[:2])) < (3, 7)


def configuration(
    kernel: str,
    itemsize: int,
    head: int,
    target: str = "sm_90",
    shared: int | None = None,
    *,
    packed: bool = False,
) -> tuple[int, int, int, int, int]:
    """(BLOCK_Q, BLOCK_K, stages, warps, BLOCK_D) for heads of this size, 1 … 256.

    target: whose table is used. shared: bytes of shared memory that a block may have on the card at
    hand; where that is less than the target's, blocks are made smaller until they fit. packed:
    whether the mask is.
    """
    block_d = max(16, triton.next_power_of_2(head))
    key = target, kernel, itemsize
    known = CONFIGURATIONS[kernel, itemsize] | OTHER_TARGETS.get(key, {})
    known |= PADDED.get(key, {}) if head < block_d else {}
    known |= PACKED.get(key, {}) if packed else {}
    known |= UNALIGNED.get(key, {}) if head * itemsize % 16 else {}
    known |= TRITON_3_6.get(key, {}) if _OLDER else {}
    blocks = known.get(block_d, known[max(64, block_d)])
    if shared is not None and shared < SHARED[target]:
        while shared_memory(kernel, blocks, itemsize, block_d) > shared:
            blocks = _smaller(blocks)
    return (*blocks, block_d)


def shared_memory(
    kernel: str, blocks: tuple[int, int, int, int], itemsize: int, block_d: int
) -> int:
    """Bytes of it that a kernel takes at most on an NVIDIA card.

    Its own rows, two streams of them in stages, and scores on their way to another layout.
    """
    block_q, block_k, stages, _ = blocks
    own, stream = (block_k, block_q) if kernel == "dkv" else (block_q, block_k)
    rows = own * (1 if kernel in ("forward", "decode") else 2) + max(2 * stages, 3) * stream
    return itemsize * rows * block_d + 4 * block_q * block_k + 2048


def _smaller(blocks: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """Two stages, then half the larger side again and again, and one stage for 16 × 16."""
    block_q, block_k, stages, warps = blocks
    if stages > 2:
        return block_q, block_k, stages - 1, warps
    if block_q > block_k:
        return block_q // 2, block_k, stages, min(warps, 4)
    if block_k > 16:
        return block_q, block_k // 2, stages, min(warps, 4)
    if stages > 1:
        return block_q, block_k, 1, warps
    raise InputError("q has heads too large for this device's shared memory")
