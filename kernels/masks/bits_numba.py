"""Boolean masks as bits on the CPU, in one pass over what is given (row K4).

Eight bools are one 64-bit word of 0s and 1s: a multiplication moves them next to each other, and
another adds them up.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from reference.operations.intervals import Interval

_how: dict[str, Any] = {"error_model": "numpy", "nogil": True, "cache": True}


@njit(**_how)
def _pack(words: Any, bits: Any) -> None:
    """Words (n,) of eight bools each, as bits (n,)."""
    to_bits, top = np.uint64(0x0102040810204080), np.uint64(56)
    for i in range(words.size):
        bits[i] = np.uint8((words[i] * to_bits) >> top)


@njit(**_how)
def _fill(start: Any, stop: Any, bits: Any) -> None:
    """Ones at start … stop−1 of rows of zeros."""
    ones = np.uint32(255)
    for i in range(len(bits)):
        a, b = start[i], stop[i]
        if a >= b:
            continue
        bits[i, a >> 3 : (b + 7) >> 3] = np.uint8(255)
        bits[i, a >> 3] &= np.uint8(ones << np.uint32(a & 7))
        if b & 7:
            bits[i, b >> 3] &= np.uint8(ones >> np.uint32(8 - (b & 7)))


@njit(**_how)
def _ends(bits: Any, start: Any, stop: Any) -> None:
    """Of each row: its first 1, and what follows its last; both 0 where there is none."""
    for i in range(len(bits)):
        a, b = 0, bits.shape[1]
        while a < b and bits[i, a] == 0:
            a += 1
        while b > a and bits[i, b - 1] == 0:
            b -= 1
        start[i], stop[i] = 8 * a, 8 * b
        if a == b:
            start[i], stop[i] = 0, 0
            continue
        while not (bits[i, a] >> (start[i] & 7)) & 1:
            start[i] += 1
        while not (bits[i, b - 1] >> ((stop[i] - 1) & 7)) & 1:
            stop[i] -= 1


def pack(seen: Any) -> Any:
    """uint8 (…, ⌈K/8⌉) of bool (…, K), as np.packbits(seen, -1, bitorder="little")."""
    if extra := -seen.shape[-1] % 8:
        seen = np.pad(seen, [(0, 0)] * (seen.ndim - 1) + [(0, extra)])
    bits = np.empty((*seen.shape[:-1], seen.shape[-1] // 8), np.uint8)
    _pack(np.ascontiguousarray(seen).reshape(-1).view(np.uint64), bits.reshape(-1))
    return bits


def filled(interval: Interval, k_len: int) -> Any:
    """uint8 (…, Q, ⌈k_len/8⌉) of (start, stop) (…, Q)."""
    start, stop = (np.ascontiguousarray(x) for x in np.broadcast_arrays(*interval))
    bits = np.zeros((start.size, -(-k_len // 8)), np.uint8)
    _fill(start.reshape(-1), stop.reshape(-1), bits)
    return bits.reshape(*start.shape, bits.shape[1])


def runs(bits: Any, k_len: int) -> Interval | None:
    """(start, stop), int32 (…, Q), of bits (…, Q, ⌈k_len/8⌉), if every row has one run of ones."""
    lead = bits.shape[:-1]
    start, stop = (np.empty(math.prod(lead), np.int32) for _ in range(2))
    _ends(bits.reshape(start.size, bits.shape[-1]), start, stop)
    found = start.reshape(lead), stop.reshape(lead)
    return found if np.array_equal(filled(found, k_len), bits) else None
