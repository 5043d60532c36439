"""The gradient of masked attention on the CPU, a block of queries at a time (row K4).

Dao, FlashAttention-2 (2023), Algorithm 2: Eq. 1 of Vaswani et al. (2017) differentiated, with
`scale` in the place of their 1/√d. With the weights P,

    dv_j = Σ_i P_ij dout_i          dS_ij = P_ij (dout_i · v_j − δ_i),   δ_i = Σ_j P_ij dout_i · v_j
    dq_i = scale Σ_j dS_ij k_j      dk_j = scale Σ_i dS_ij q_i

A block of queries meets all keys from the first to the last that it sees at once, so memory grows
with the number of keys, not with its square. δ comes from the same products as dS, not from
out · dout, and weights from the largest score and the sum, not from their rounded logarithm: a
query that sees one key gets exactly 0. A thread takes a key head with all its query heads, so sums
run in one order. Blocks are held transposed, (keys, queries), as in the forward.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange

from kernels.attention.twin_numba import (
    BLOCK,
    LN2,
    exp2_row,
    hide_outside,
    hide_unset,
    in_rows,
    lowered_blocks,
)
from kernels.blas import one_blas_thread, small_product
from kernels.gemm_numba import add_product_T, set_product
from kernels.masks.twin_numba import lower
from reference.operations.attention import checked_backward
from reference.operations.lowering import takes_part

_KEYS = 16  # that are summed before they are added to the rest
_how: dict[str, Any] = {"error_model": "numpy", "nogil": True, "cache": True}


@njit(**_how)
def _hide(s: Any, ranges: Any, mask: Any, seen: Any) -> None:
    """Scores s (keys, queries) that the mask hides become −inf, in blocks not all see."""
    start, stop, packed = mask
    first, full_first, full_last, last = ranges
    for b in range(first, last):
        if b < full_first or b >= full_last:
            block = s[(b - first) * BLOCK : (b - first + 1) * BLOCK]
            if packed.size:
                hide_unset(block, packed, b * BLOCK, seen)
            else:
                hide_outside(block, start, stop, b * BLOCK, seen)


@njit(**_how)
def _largest(s: Any, m: Any) -> None:
    """m = the largest score of each query; 0 where none is seen, as −inf − m would be NaN."""
    hidden = s.dtype.type(-np.inf)
    m[:] = hidden
    for j in range(s.shape[0]):
        for i in range(m.size):
            m[i] = s[j, i] if s[j, i] > m[i] else m[i]
    for i in range(m.size):
        m[i] = m[i] if m[i] > hidden else s.dtype.type(0)


@njit(**_how)
def _weigh(s: Any, dp: Any, m: Any, sums: Any) -> None:
    """s = e = 2^(s − m); sums[:2] = (Σ e, Σ e·dp) over the keys, in float64; sums[2:]: scratch.

    A few keys at a time: in one long sum of float64 the roundings would add up.
    """
    sums[:] = 0.0
    for j in range(s.shape[0]):
        exp2_row(s[j], m)
        for i in range(m.size):
            sums[2, i] += s[j, i]
            sums[3, i] += np.float64(s[j, i]) * np.float64(dp[j, i])
        if j % _KEYS == _KEYS - 1 or j == s.shape[0] - 1:
            for i in range(m.size):
                sums[0, i] += sums[2, i]
                sums[1, i] += sums[3, i]
                sums[2, i] = sums[3, i] = 0.0


@njit(**_how)
def _differentiate(p: Any, dp: Any, sums: Any, weight: Any, delta: Any) -> None:
    """p = e / Σ e = P and dp = P (dp − δ) = dS; both 0 where nothing was seen, Σ e NaN or not."""
    none = p.dtype.type(0)
    for i in range(weight.size):
        some = sums[0, i] != 0.0
        weight[i] = 1.0 / sums[0, i] if some else 0.0
        delta[i] = sums[1, i] / sums[0, i] if some else 0.0
    for j in range(p.shape[0]):
        for i in range(weight.size):
            seen = p[j, i] != none
            p[j, i] = p[j, i] * weight[i] if seen else none
            dp[j, i] = p[j, i] * (dp[j, i] - delta[i]) if seen else none


@njit(**_how)
def _pull_back_block(
    q: Any, k: Any, v: Any, dout: Any, ranges: Any, mask: Any, work: Any, factor: Any,
    most: int, dq: Any, dk: Any, dv: Any,
) -> None:  # fmt: skip
    """One block of queries q (n, D): adds to dq (n, D), dk and dv (K, D), all without scale.

    factor = scale·log₂e.
    """
    squares, seen, turned, rows, sums = work
    n, m, sums = q.shape[0], rows[0, : q.shape[0]], sums[:, : q.shape[0]]
    j0, j1 = ranges[0] * BLOCK, min(ranges[3] * BLOCK, k.shape[0])
    p = squares[0, : (j1 - j0) * n].reshape((j1 - j0, n))
    dp = squares[1, : (j1 - j0) * n].reshape((j1 - j0, n))
    q_T = turned[0, : q.size].reshape((q.shape[1], n))
    dout_T = turned[1, : q.size].reshape((q.shape[1], n))
    one, none = q.dtype.type(1), q.dtype.type(0)
    scaled, plain = np.array([factor, none]), np.array([one, none])
    added = np.array([one, one])
    q_T[:], dout_T[:] = q.T, dout.T
    set_product(k[j0:j1], q_T, p, scaled, most)
    set_product(v[j0:j1], dout_T, dp, plain, most)
    _hide(p, ranges, mask, seen)
    _largest(p, m)
    _weigh(p, dp, m, sums)
    _differentiate(p, dp, sums, rows[1, :n], rows[2, :n])
    set_product(p, dout, dv[j0:j1], added, most)
    set_product(dp, q, dk[j0:j1], added, most)
    add_product_T(dp, k[j0:j1], dq, added, most)


@njit(parallel=True, **_how)
def _pull_back(
    q: Any, k: Any, v: Any, dout: Any, ranges: Any, masks: Any, factor: Any,
    most: int, dq: Any, dk: Any, dv: Any,
) -> None:  # fmt: skip
    """Every key head of k, v (B, H_kv, K, D) against its heads of q, dout (B, H, Q, D)."""
    H, Q, D = q.shape[1:]
    H_kv = k.shape[1]
    start, stop, packed = masks
    group = H // H_kv
    keys = (ranges[..., 3] - ranges[..., 0]).max() * BLOCK if ranges.size else 0
    keys = min(keys, k.shape[2])
    for head in prange(k.shape[0] * H_kv):
        b, h_kv = head // H_kv, head % H_kv
        squares = np.empty((2, keys * min(BLOCK, Q)), q.dtype)
        turned = np.empty((2, min(BLOCK, Q) * D), q.dtype)
        rows, sums = np.empty((3, BLOCK), q.dtype), np.empty((4, BLOCK), np.float64)
        seen = np.empty(BLOCK, np.int64)
        for h in range(h_kv * group, (h_kv + 1) * group):
            for block in range(ranges.shape[2]):
                i0, i1 = block * BLOCK, min((block + 1) * BLOCK, Q)
                own = ranges[b % ranges.shape[0], h % ranges.shape[1], block]
                if own[0] < own[3]:
                    _pull_back_block(
                        q[b, h, i0:i1],
                        k[b, h_kv],
                        v[b, h_kv],
                        dout[b, h, i0:i1],
                        own,
                        (
                            start[b % start.shape[0], h % start.shape[1], i0:i1],
                            stop[b % stop.shape[0], h % stop.shape[1], i0:i1],
                            packed[b % packed.shape[0], h % packed.shape[1], i0:i1],
                        ),
                        (squares, seen, turned, rows, sums),
                        factor,
                        most,
                        dq[b, h, i0:i1],
                        dk[b, h_kv],
                        dv[b, h_kv],
                    )


def masked_attention_backward(
    q: Any, k: Any, v: Any, dout: Any, mask: Any = None, *, scale: float | None = None
) -> tuple[Any, Any, Any]:
    """`reference.operations.attention.masked_attention_backward` in O(S) memory.

    Raises InputError as the definition does.
    """
    mask, scale = checked_backward(q, k, v, dout, mask, scale)
    lowered = lower(mask, q.shape[2], k.shape[2])
    ranges, masks = lowered_blocks(lowered, q.shape[:3])
    used, sees = takes_part(lowered, q.shape[1] // k.shape[1])
    q, dout = _where(sees, q), _where(sees, dout)
    k, v = _where(used, k), _where(used, v)
    dq, dk, dv = (np.zeros(x.shape, x.dtype) for x in (q, k, v))
    factor = q.dtype.type(scale / LN2)
    with one_blas_thread():
        _pull_back(q, k, v, dout, ranges, masks, factor, small_product(), dq, dk, dv)
    dq *= scale
    dk *= scale
    return dq, dk, dv


def _where(takes_part: Any, x: Any) -> Any:
    """x (B, H, S, D), rows contiguous; what takes no part is 0, as it may be NaN."""
    if takes_part.all():
        return in_rows(x)
    return np.where(takes_part[..., None], x, x.dtype.type(0))
