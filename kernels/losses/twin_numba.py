"""Losses that are one pass over their logits, both ways (row K1).

Cross-entropy: −log softmax(l)_y, and softmax(l) less 1 at y. An entry at +∞ takes all, several
share; where every entry is −∞ nobody gets anything, as in the definition.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from core.checks import shaped
from core.errors import InputError
from core.softmax import inside
from core.tensor import unbroadcast
from kernels.numerics_numba import exp, fused, sigmoid, softplus, sums
from kernels.sharing import flat, floating, share


@njit(**fused)
def _largest(x: Any) -> Any:
    """The largest entry; NaN if there is one."""
    top = x.dtype.type(-np.inf)
    for k in range(x.size):
        top = x[k] if not x[k] <= top else top
        if x[k] != x[k]:
            return x[k]
    return top


@njit(**sums)
def _sum(e: Any) -> Any:
    total = e.dtype.type(0)
    for k in range(e.size):
        total += e[k]
    return total


@njit(**fused)
def _exponentials(x: Any, e: Any) -> tuple[Any, Any]:
    """e = e^(x − top), top and the sum, 1 where nothing is above −∞."""
    real = x.dtype.type
    top = _largest(x)
    if np.isinf(top):
        for k in range(x.size):
            e[k] = real(1) if x[k] == real(np.inf) else real(0)
    else:
        for k in range(x.size):
            e[k] = exp(x[k] - top)
    total = _sum(e)
    return top, (real(1) if total == real(0) else total)


@njit(**fused)
def _cross_entropy(x: Any, labels: Any, z: Any) -> None:
    e = np.empty(x.shape[1], x.dtype)
    hidden = x.dtype.type(-np.inf)
    for i in range(len(x)):
        top, total = _exponentials(x[i], e)
        own = x[i, labels[i]]
        if np.isinf(top):
            below = x.dtype.type(0) if own == x.dtype.type(np.inf) else hidden
        else:
            below = own - top
        z[i] = np.log(total) - below


@njit(**fused)
def _cross_entropy_backward(x: Any, labels: Any, g: Any, dx: Any) -> None:
    one = x.dtype.type(1)
    for i in range(len(x)):
        _, total = _exponentials(x[i], dx[i])
        weight = one / total
        for k in range(x.shape[1]):
            dx[i, k] *= weight
        dx[i, labels[i]] -= one
        for k in range(x.shape[1]):
            dx[i, k] *= g[i]


def cross_entropy(logits: Any, labels: Any) -> Any:
    """Twin of `cross_entropy`. Raises InputError as it does."""
    (x,) = floating(logits=logits)
    rows, labels = _rows(x), _labels(labels, x)
    z = np.empty(len(rows), x.dtype)
    share(_cross_entropy, (rows, labels, z))
    return z.reshape(x.shape[:-1])


def cross_entropy_backward(logits: Any, g: Any, labels: Any) -> tuple[Any]:
    """Its derivative."""
    x, g = floating(logits=logits, g=g)
    rows, labels = _rows(x), _labels(labels, x)
    dx = np.empty_like(rows)
    share(_cross_entropy_backward, (rows, labels, np.ascontiguousarray(g).reshape(-1), dx))
    return (dx.reshape(x.shape),)


def _rows(x: Any) -> Any:
    n = x.shape[-1]
    return np.ascontiguousarray(x).reshape((-1, n) if n else (x.size, 0))


def _labels(labels: Any, logits: Any) -> Any:
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iu":
        raise InputError(f"labels must be integers, got {labels.dtype}")
    if labels.shape != logits.shape[:-1]:
        raise InputError(f"labels must have shape {logits.shape[:-1]}, got {labels.shape}")
    inside(labels, logits.shape[-1])
    return np.ascontiguousarray(labels, np.int64).reshape(-1)


# Bernoulli


@njit(**fused)
def _bernoulli(x: Any, logits: Any, z: Any) -> None:
    for i in range(z.size):
        z[i] = x[i] * logits[i] - softplus(logits[i])


@njit(**fused)
def _bernoulli_backward(x: Any, logits: Any, g: Any, dx: Any, dlogits: Any) -> None:
    for i in range(g.size):
        dx[i] = g[i] * logits[i]
        dlogits[i] = g[i] * (x[i] - sigmoid(logits[i]))


def _broadcast(x: Any, logits: Any) -> tuple[Any, Any]:
    dtype = np.result_type(x, logits)
    found = np.broadcast_arrays(*(np.asarray(a, dtype) for a in (x, logits)))
    return found[0], found[1]


def bernoulli_log_prob(x: Any, logits: Any) -> Any:
    """Twin of `bernoulli_log_prob`. Raises InputError for what is no float32 or float64."""
    x, logits = _broadcast(x, logits)
    (logits,) = floating(logits=logits)
    z = np.empty_like(logits)
    share(_bernoulli, [flat(a, z) for a in (x, logits, z)])
    return z


def bernoulli_log_prob_backward(x: Any, logits: Any, g: Any) -> tuple[Any, Any]:
    """Its derivatives."""
    shapes = np.shape(x), np.shape(logits)
    x, logits = _broadcast(x, logits)
    logits, g = floating(logits=logits, g=g)
    g = shaped("g", g, logits.shape, logits.dtype)
    dx, dlogits = np.empty_like(logits), np.empty_like(logits)
    share(_bernoulli_backward, [flat(a, dx) for a in (x, logits, g, dx, dlogits)])
    return tuple(
        d if d.shape == shape else unbroadcast(d, shape)
        for d, shape in zip((dx, dlogits), shapes, strict=True)
    )
