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
from numbers import Real
from typing import Any

import numpy as np

from core import Array, Tensor, grad, value
from core.errors import InputError
from core.operation import operation
from reference.operations.masks import Mask, as_mask


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
    seen = fitted(mask.dense(Q, K), (B, H, Q, K)).reshape(B, H_kv, H // H_kv, Q, K)
    some = seen.any(-1)  # (B, H_kv, G, Q)
    used = seen.any((2, 3))[..., None]  # (B, H_kv, K, 1)
    k = np.where(used, k, 0.0)[:, :, None]  # (B, H_kv, 1, K, D)
    v = np.where(used, v, 0.0)[:, :, None]
    q = np.where(some[..., None], np.reshape(q, (B, H_kv, H // H_kv, Q, D)), 0.0)
    s = np.where(seen, (q @ np.swapaxes(k, -1, -2)) * scale, -math.inf)  # (B, H_kv, G, Q, K)
    m = np.fmax.reduce(value(s), axis=-1, initial=-math.inf)  # past a NaN, as that is one key's
    m = np.where(m > -math.inf, m, 0.0)
    e = np.exp(s - m[..., None])
    Z = np.where(some, np.sum(e, axis=-1), 1.0)  # (B, H_kv, G, Q)
    p = np.where(seen, e / Z[..., None], 0.0)
    out = np.where(some[..., None], p @ v, 0.0)  # Eq. 1
    out = np.reshape(out, (B, H, Q, D))
    if not return_lse:
        return out
    return out, np.reshape(np.where(some, m + np.log(Z), -math.inf), (B, H, Q))


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
