"""Attention over the keys that a mask lets each query see: the definition (MISSION row K4).

    o_i = Σ_j softmax_j(scale · q_i · k_j) v_j,   j over the keys that query i sees

Vaswani et al., Attention Is All You Need (2017), Eq. 1; grouped-query heads: Ainslie et al. (2023).
Two cases the formula leaves open: a query that sees no key gives 0 and has gradient 0, and
a key or query that takes part nowhere is read as 0, so a NaN in unused memory can't leak; neither
can one in the gradient of such a query's output. A NaN in a key that a query sees makes that
query's output, lse and gradient NaN, and the gradients of the keys it sees. The backward is core's
gradient of the formula.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from numbers import Real
from typing import Any

import numpy as np

from core import Array, Tensor, grad, value
from core.errors import InputError
from core.functional import logsumexp, softmax
from core.operation import operation
from core.tensor import JointRow
from reference.operations.masks import Mask, as_mask

_PIECE = 1 << 17  # scores at a time


@operation
def masked_attention_backward(
    q: Array,
    k: Array,
    v: Array,
    dout: Array,
    mask: Mask | Any = None,
    *,
    scale: float | None = None,
) -> tuple[Any, Any, Any]:
    """(dq, dk, dv) = ∂(Σ dout·out)/∂(q, k, v), shapes and dtype of q, k and v.

    dout: of the shape and dtype of q, an array; the rest as in `masked_attention`, as arrays.

    Raises InputError as `masked_attention` does, and for a dout that doesn't fit.

    >>> q = k = v = np.ones((1, 1, 2, 3))
    >>> dq, dk, dv = masked_attention_backward(q, k, v, np.ones_like(q))
    >>> dv[0, 0]
    array([[1., 1., 1.],
           [1., 1., 1.]])
    """
    mask, scale = checked_backward(q, k, v, dout, mask, scale)
    inputs = [Tensor(x) for x in (q, k, v)]
    definition = masked_attention.definition
    dq, dk, dv = grad(definition(*inputs, mask, scale=scale), inputs, dout)
    return dq, dk, dv


@operation(backward=masked_attention_backward)
def masked_attention(
    q: Array,
    k: Array,
    v: Array,
    mask: Mask | Any = None,
    *,
    scale: float | None = None,
    return_lse: bool = False,
) -> Any:
    """Scaled dot-product attention (B, H, Q, D), in the arguments' dtype.

    q: (B, H, Q, D); k, v: (B, H_kv, K, D) with H a multiple of H_kv, each key head serving
    H / H_kv query heads in a row; float32 or float64, arrays or Tensors.
    mask: a Mask, a bool array (Q, K) or (B or 1, H or 1, Q, K), or None for all keys.
    scale: 1/√D unless given. return_lse: return also the log of the softmax's denominator in
    nats (B, H, Q), −inf where a query sees nothing.

    Raises InputError for shapes or dtypes that don't fit, and for a mask for other lengths.

    >>> from reference.operations.masks import causal
    >>> q = k = np.zeros((1, 1, 3, 2))
    >>> v = np.array([1.0, 3.0, 8.0]).reshape(1, 1, 3, 1) * np.ones(2)
    >>> masked_attention(q, k, v, causal())[0, 0, :, 0]
    array([1., 2., 4.])
    """
    B, H, Q, D = q.shape if q.ndim == 4 else (0, 0, 0, 0)
    mask, scale = checked(q, k, v, mask, scale)
    H_kv, K = k.shape[1:3]
    G, seen = H // H_kv, mask.dense(Q, K)
    fitted(seen, (B, H, Q, K))
    seen = _by_group(seen, H_kv)  # (1 or B, 1 or H_kv, 1 or G, Q, K)
    used, some = seen.any((2, 3), keepdims=True), seen.any(-1, keepdims=True)
    hidden = np.invert(np.swapaxes(seen, -1, -2), order="C")
    hidden = np.broadcast_to(hidden, (B, H_kv, G, K, Q))
    q = _only(some, np.reshape(q, (B, H_kv, G, Q, D)))
    k, v = (_only(np.swapaxes(used, -1, -2), x[:, :, None]) for x in (k, v))
    out = _only(some, _attention(hidden, scale)(q, k, v))
    out = np.reshape(out, (B, H, Q, D))
    if not return_lse:
        return out
    return out, np.reshape(logsumexp(_scores(q, k, hidden, scale), axis=-2), (B, H, Q))


def _attention(hidden: Any, scale: float) -> JointRow:
    """softmax(scale · q kᵀ) v: q (B, H_kv, G, Q, D), k and v (B, H_kv, 1, K, D) → like q.

    Scores are worked out again for the gradient, a piece at a time: none of (Q, K) is kept.
    """

    def forward(q: Any, k: Any, v: Any) -> Any:
        out = _like(q)
        for b, i in _pieces(hidden.shape):
            p = softmax(_scores(q[b, ..., i, :], k[b], hidden[b, ..., i], scale), axis=-2)
            np.matmul(np.swapaxes(p, -1, -2), v[b], out=out[b, ..., i, :])  # Eq. 1
        return out

    def backward(g: Array, out: Array, q: Array, k: Array, v: Array) -> tuple[Array, ...]:
        if isinstance(g, Tensor):
            return _gradients(g, q, k, v, hidden, scale)
        dq, dk, dv = _like(q), np.zeros_like(k), np.zeros_like(v)
        for b, i in _pieces(hidden.shape):
            own, at = (b, ..., i, slice(None)), hidden[b, ..., i]
            dq[own], dk_i, dv_i = _gradients(g[own], q[own], k[b], v[b], at, scale)
            dk[b] += dk_i
            dv[b] += dv_i
        return dq, dk, dv

    return JointRow("masked_attention", forward, backward)


def _gradients(
    g: Array, q: Array, k: Array, v: Array, hidden: Any, scale: float
) -> tuple[Array, ...]:
    """(dq, dk, dv) from the weights P: dS = P (dP − Σ_j P dP), dP = v gᵀ."""
    p = softmax(_scores(q, k, hidden, scale), axis=-2)  # (B, H_kv, G, K, Q)
    ds = v @ np.swapaxes(g, -1, -2)
    delta = np.einsum("bhgkq,bhgkq->bhgq", p, ds)
    ds -= delta[..., None, :]
    ds *= p
    ds *= scale
    if np.isnan(value(delta)).any():  # it goes no further than the keys that its query sees
        p, ds = (_filled(x, hidden, 0.0) for x in (p, ds))
    dk, dv = (np.sum(x, axis=2, keepdims=True) for x in (ds @ q, p @ g))
    return np.swapaxes(ds, -1, -2) @ k, dk, dv


def _scores(q: Array, k: Array, hidden: Any, scale: float) -> Array:
    """scale · k qᵀ, −∞ where hidden, (…, K, Q): what runs over keys then runs along memory."""
    s = k @ np.swapaxes(q, -1, -2)
    s *= scale
    return _filled(s, hidden, -math.inf)


def _filled(x: Array, where: Any, constant: float) -> Array:
    """x with a constant there; an array is written over."""
    if isinstance(x, Tensor):
        return np.where(where, constant, x)
    np.copyto(x, constant, where=where)
    return x


def _pieces(shape: tuple[int, ...]) -> Iterator[tuple[slice, slice]]:
    """Of scores (B, H_kv, G, K, Q): runs of the batch, or of one sample's queries, that the
    cache holds.
    """
    B, Q, own = shape[0], shape[-1], math.prod(shape[1:-1])
    samples = max(1, min(B, _PIECE // max(own * Q, 1)))
    queries = max(1, Q if samples > 1 else min(Q, _PIECE // max(own, 1)))
    for b in range(0, B, samples):
        for i in range(0, Q, queries):
            yield slice(b, b + samples), slice(i, i + queries)


def _like(q: Any) -> Any:
    """An array like q (B, H_kv, G, Q, D) over memory (B, Q, H_kv, G, D), as layers join heads."""
    B, H_kv, G, Q, D = q.shape
    return np.empty((B, Q, H_kv, G, D), q.dtype).transpose(0, 2, 3, 1, 4)


def _only(takes_part: Any, x: Array) -> Array:
    """x, 0 where it takes no part: it may be NaN there."""
    return x if takes_part.all() else np.where(takes_part, x, 0.0)


def _by_group(seen: Any, key_heads: int) -> Any:
    """seen (Q, K) or (1 or B, 1 or H, Q, K) with axes for key heads and the queries of each."""
    B, H, *rest = seen.shape if seen.ndim == 4 else (1, 1, *seen.shape)
    shared = (1, 1) if H == 1 else (key_heads, H // key_heads)
    return seen.reshape(B, *shared, *rest)


def checked(q: Any, k: Any, v: Any, mask: Any, scale: float | None) -> tuple[Mask, float]:
    """The mask as a Mask and the scale as a number, once all arguments fit; else InputError."""
    _check_shapes(q, k, v)
    for name, x in (("k", k), ("v", v)):
        if x.dtype != q.dtype:
            raise InputError(f"{name} must be {q.dtype} as q, got {x.dtype}")
    mask = as_mask(mask)
    if scale is None:
        scale = 1.0 / math.sqrt(q.shape[3])
    if not isinstance(scale, Real) or not math.isfinite(scale):
        raise InputError(f"scale must be a finite number, got {scale!r}")
    return mask, float(scale)


def checked_backward(
    q: Any, k: Any, v: Any, dout: Any, mask: Any, scale: float | None
) -> tuple[Mask, float]:
    """`checked` for arrays of float32 or float64, and a dout like q; else InputError."""
    for name, x in (("q", q), ("k", k), ("v", v), ("dout", dout)):
        if not isinstance(x, np.ndarray) or x.dtype not in (np.float32, np.float64):
            kind = getattr(x, "dtype", type(x).__name__)
            raise InputError(f"{name} must be a float32 or float64 array, got {kind}")
    mask, scale = checked(q, k, v, mask, scale)
    check_dout(q, dout)
    return mask, scale


def check_dout(q: Any, dout: Any) -> None:
    """InputError unless dout has the shape and dtype of q."""
    if dout.shape != q.shape or dout.dtype != q.dtype:
        raise InputError(f"dout must be {q.dtype} {q.shape}, got {dout.dtype} {dout.shape}")


def fitted(x: Any, shape: tuple[int, ...]) -> Any:
    """What a mask gave, broadcast to `shape`; InputError if it was made for another batch."""
    if x.ndim == len(shape) and any(a not in (1, b) for a, b in zip(x.shape, shape, strict=True)):
        raise InputError(f"mask must be for (batch, heads) {shape[:2]}, got one for {x.shape[:2]}")
    return np.broadcast_to(x, shape)


def _check_shapes(q: Any, k: Any, v: Any) -> None:
    for name, x, heads in (("q", q, "H"), ("k", k, "H_kv"), ("v", v, "H_kv")):
        if x.ndim != 4:
            raise InputError(f"{name} must be (B, {heads}, length, D), got {tuple(x.shape)}")
    if tuple(k.shape) != tuple(v.shape):
        raise InputError(f"v must have k's shape {tuple(k.shape)}, got {tuple(v.shape)}")
    if k.shape[0] != q.shape[0] or k.shape[3] != q.shape[3] or q.shape[3] < 1:
        raise InputError(f"k must have the batch and D of q {tuple(q.shape)}, got {tuple(k.shape)}")
    if k.shape[1] < 1 or q.shape[1] % k.shape[1]:
        raise InputError(f"q must have a multiple of k's {k.shape[1]} heads, got {q.shape[1]}")
