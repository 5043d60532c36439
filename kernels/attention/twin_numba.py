"""Masked attention on the CPU, a block of queries and keys at a time (row K4).

Online softmax (Milakov & Gimelshein, 2018; Dao, FlashAttention-2, 2023): for each block of queries
the largest score m, the sum Z and the output acc are kept and rescaled when a later block of keys
raises m, so no (Q, K) array exists. Whole heads go to a thread each. Scores are held transposed,
(keys, queries): every loop over them then runs along the queries and becomes SIMD code without
reordering a sum. Blocks that no query sees are skipped, blocks that all see need no mask.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit, prange

from core.errors import InputError
from kernels.blas import one_blas_thread, small_product
from kernels.gemm_numba import add_product_T, set_product
from kernels.masks.twin_numba import block_ranges, lower
from kernels.numerics_numba import exp2
from reference.operations.attention import checked, fitted
from reference.operations.lowering import Intervals, Packed

BLOCK = 128
FEW = 16  # keys whose weights are summed before they are added to the rest, in float64
_TOGETHER = 4  # blocks of keys go into one product
_how: dict[str, Any] = {"error_model": "numpy", "nogil": True, "cache": True}
LN2 = math.log(2)


@njit(**_how)
def exp2_row(s: Any, m: Any) -> None:
    """s[i] = 2^(s[i] − m[i]) for s ≤ m; 0 where that is no normal number."""
    for i in range(s.size):
        s[i] = exp2(s[i] - m[i])


@njit(**_how)
def hide_outside(s: Any, start: Any, stop: Any, j0: int, seen: Any) -> None:
    """Scores s (keys, queries) outside the queries' intervals become −inf."""
    hidden = s.dtype.type(-np.inf)
    for j in range(s.shape[0]):
        key, some = np.int32(j0 + j), 0
        for i in range(s.shape[1]):
            visible = (start[i] <= key) & (key < stop[i])
            some += visible
            s[j, i] = s[j, i] if visible else hidden
        seen[j] = some


@njit(**_how)
def hide_unset(s: Any, packed: Any, j0: int, seen: Any) -> None:
    """Scores s (keys, queries) whose bit is not set become −inf. packed: (queries, ⌈K/8⌉)."""
    hidden = s.dtype.type(-np.inf)
    for j in range(s.shape[0]):
        byte, bit, some = (j0 + j) >> 3, (j0 + j) & 7, 0
        for i in range(s.shape[1]):
            visible = (packed[i, byte] >> bit) & 1
            some += visible
            s[j, i] = s[j, i] if visible else hidden
        seen[j] = some


@njit(**_how)
def _hide(s: Any, b0: int, b1: int, ranges: Any, mask: Any, seen: Any) -> bool:
    """Hide what the mask hides in the blocks b0 … b1 − 1 of keys; whether some weren't full."""
    start, stop, packed = mask
    partial = False
    seen[:] = 1
    for b in range(b0, b1):
        if b < ranges[1] or b >= ranges[2]:
            own = slice((b - b0) * BLOCK, (b - b0 + 1) * BLOCK)
            if packed.size:
                hide_unset(s[own], packed, b * BLOCK, seen[own])
            else:
                hide_outside(s[own], start, stop, b * BLOCK, seen[own])
            partial = True
    return partial


@njit(**_how)
def _softmax_block(s: Any, m: Any, Z: Any, acc: Any, rows: Any) -> None:
    """Raise m to the block's largest scores, rescale Z and acc by α, turn s into weights.

    rows: scratch for m before −∞ is 0, α, and sums of a few keys.
    """
    real = s.dtype.type
    base, alpha, some = rows[0, : m.size], rows[1, : m.size], rows[2, : m.size]
    for i in range(m.size):
        alpha[i] = m[i]
    for j in range(s.shape[0]):
        for i in range(m.size):
            m[i] = s[j, i] if s[j, i] > m[i] else m[i]
    for i in range(m.size):  # a query that has seen nothing yet: m = −inf, but −inf − m is NaN
        base[i] = m[i] if m[i] > real(-np.inf) else real(0)
    exp2_row(alpha, base)
    for i in range(m.size):
        Z[i] *= alpha[i]
        if alpha[i] != real(1):
            for d in range(acc.shape[1]):
                acc[i, d] *= alpha[i]
    for j0 in range(0, s.shape[0], FEW):
        some[:] = real(0)
        for j in range(j0, min(j0 + FEW, s.shape[0])):
            for i in range(m.size):
                e = exp2(s[j, i] - base[i])
                s[j, i] = e
                some[i] += e
        for i in range(m.size):
            Z[i] += some[i]


@njit(**_how)
def _read_seen(v: Any, seen: Any, copy: Any) -> None:
    """copy = v, with 0 for the keys that no query of the block sees: those may hold NaN."""
    for j in range(v.shape[0]):
        for d in range(v.shape[1]):
            copy[j, d] = v[j, d] if seen[j] else v.dtype.type(0)


@njit(**_how)
def _finish(out: Any, m: Any, Z: Any) -> None:
    """Divide by the sum; m becomes the logarithm of Σ exp in nats, −inf where nothing was seen."""
    real = out.dtype.type
    for i in range(m.size):
        weight = real(1.0 / Z[i]) if Z[i] != 0.0 else real(0)
        m[i] = (m[i] + real(np.log2(Z[i]))) * real(LN2)
        for d in range(out.shape[1]):
            out[i, d] *= weight


@njit(**_how)
def _attend_block(
    q: Any, k: Any, v: Any, ranges: Any, mask: Any, work: Any, factor: Any, most: int,
    acc: Any, m: Any,
) -> None:  # fmt: skip
    """One block of queries q (n, D) → acc (n, D), m = lse (n,).

    The factor scale·log2 e multiplies scores, not q: rounding q first would cost the small heads.
    """
    n, D = q.shape
    square, copy, q_T, rows, sums = work
    Z, q_T = sums[:n], q_T[: n * D].reshape((D, n))
    seen = np.empty(_TOGETHER * BLOCK, np.int64)
    one, none = q.dtype.type(1), q.dtype.type(0)
    scaled, added = np.array([factor, none]), np.array([one, one])
    q_T[:] = q.T
    acc[:] = none
    Z[:] = 0.0  # float64: float32 would lose more than pairwise sums do
    m[:] = q.dtype.type(-np.inf)
    for b in range(ranges[0], ranges[3], _TOGETHER):
        b1 = min(b + _TOGETHER, ranges[3])
        j0, j1 = b * BLOCK, min(b1 * BLOCK, k.shape[0])
        s = square[: (j1 - j0) * n].reshape((j1 - j0, n))
        block_v = v[j0:j1]
        set_product(k[j0:j1], q_T, s, scaled, most)
        if _hide(s, b, b1, ranges, mask, seen):
            _read_seen(v[j0:j1], seen, copy)
            block_v = copy[: j1 - j0]
        _softmax_block(s, m, Z, acc, rows)
        add_product_T(s, block_v, acc, added, most)
    _finish(acc, m, Z)


@njit(parallel=True, **_how)
def _attend(
    q: Any,
    k: Any,
    v: Any,
    ranges: Any,
    masks: Any,
    factor: Any,
    most: int,
    out: Any,
    lse: Any,
) -> None:
    """Every head of q (B, H, Q, D) against its head of k, v (B, H_kv, K, D)."""
    B, H, Q, D = q.shape
    start, stop, packed = masks
    group = H // k.shape[1]
    rows_at_once, keys = min(BLOCK, Q), min(_TOGETHER * BLOCK, k.shape[2])
    for head in prange(B * H):
        b, h = head // H, head % H
        square, copy = np.empty(rows_at_once * keys, q.dtype), np.empty((keys, D), q.dtype)
        rows, q_T = np.empty((3, BLOCK), q.dtype), np.empty(rows_at_once * D, q.dtype)
        sums = np.empty(BLOCK, np.float64)
        for block in range(ranges.shape[2]):
            i0, i1 = block * BLOCK, min((block + 1) * BLOCK, Q)
            _attend_block(
                q[b, h, i0:i1],
                k[b, h // group],
                v[b, h // group],
                ranges[b % ranges.shape[0], h % ranges.shape[1], block],
                (
                    start[b % start.shape[0], h % start.shape[1], i0:i1],
                    stop[b % stop.shape[0], h % stop.shape[1], i0:i1],
                    packed[b % packed.shape[0], h % packed.shape[1], i0:i1],
                ),
                (square, copy, q_T, rows, sums),
                factor,
                most,
                out[b, h, i0:i1],
                lse[b, h, i0:i1],
            )


def masked_attention(
    q: Any,
    k: Any,
    v: Any,
    mask: Any = None,
    *,
    scale: float | None = None,
    return_lse: bool = False,
) -> Any:
    """`masked_attention` for native float32 or float64 arrays, in O(S) memory.

    Raises InputError as the definition does, and for arguments that aren't such arrays.
    """
    for name, x in (("q", q), ("k", k), ("v", v)):
        if not isinstance(x, np.ndarray) or x.dtype not in (np.float32, np.float64):
            kind = getattr(x, "dtype", type(x).__name__)
            raise InputError(f"{name} must be a float32 or float64 array, got {kind}")
    mask, scale = checked(q, k, v, mask, scale)
    B, H, Q, _ = q.shape
    ranges, masks = lowered_blocks(lower(mask, Q, k.shape[2]), (B, H, Q))
    out, lse = np.empty(q.shape, q.dtype), np.empty((B, H, Q), q.dtype)
    factor = q.dtype.type(scale / LN2)
    q, k, v = (in_rows(x) for x in (q, k, v))
    with one_blas_thread():
        _attend(q, k, v, ranges, masks, factor, small_product(), out, lse)
    return (out, lse) if return_lse else out


def in_rows(x: Any) -> Any:
    """x (B, H, S, D) with contiguous rows, which is all that products need."""
    fits = x.strides[3] == x.itemsize and x.strides[2] >= x.shape[3] * x.itemsize
    return x if fits else np.ascontiguousarray(x)


def lowered_blocks(mask: Intervals | Packed, shape: tuple[int, int, int]) -> tuple[Any, Any]:
    """Block ranges (B', H', blocks, 4) and (start, stop, bits), B' and H' being 1 or B and H.

    Either the intervals or the bits are empty.
    """
    q_len = shape[2]
    if isinstance(mask, Intervals):
        fitted(mask.start, shape)
        ranges = block_ranges(mask, BLOCK, BLOCK)
        found = (mask.start, mask.stop, np.empty((q_len, 0), np.uint8))
    else:
        fitted(mask.bits[..., :1], (*shape, 1))
        every = np.array([0, 0, 0, -(-mask.k_len // BLOCK)], np.int32)
        ranges = np.tile(every, (-(-q_len // BLOCK), 1))
        found = (np.zeros(q_len, np.int32), np.zeros(q_len, np.int32), mask.bits)
    return _batched(ranges, 2), (*(_batched(x, 1) for x in found[:2]), _batched(found[2], 2))


def _batched(x: Any, ndim: int) -> Any:
    """x with two leading axes, contiguous and writable: one type, one compiled version."""
    return np.array(x if x.ndim > ndim else x[None, None], order="C")
