"""Exponentials that share: softmax, its logarithm, its normaliser, and cross-entropy with a label.

Infinite entries have their limits: one entry at +∞ takes all, k of them 1/k each; entries at −∞
get nothing. Where every entry is −∞ nobody gets anything: softmax is 0 throughout, log_softmax and
logsumexp are −∞ (a query that may see no key). No such entry makes a NaN, here or in a derivative.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from core.errors import InputError
from core.operation import operation
from core.rows import differentiable
from core.tensor import Array, value

Axis = int | tuple[int, ...] | None


def _softmax_vjp(g: Array, z: Array, x: Array, axis: Axis = -1) -> Array:
    dx = g - np.sum(g * z, axis=axis, keepdims=True)
    dx *= z
    return dx


@differentiable(_softmax_vjp, options=("axis",))
def softmax(x: Any, axis: Axis = -1) -> Any:
    """e^x / Σ e^x along an axis, several, or all (None).

    >>> softmax(np.array([0.0, 0.0, -np.inf]))
    array([0.5, 0.5, 0. ])
    """
    e, total, _ = _exponentials(x, axis)
    e /= total
    return e


def _log_softmax_vjp(g: Array, z: Array, x: Array, axis: Axis = -1) -> Array:
    return g - np.exp(z) * np.sum(g, axis=axis, keepdims=True)


@differentiable(_log_softmax_vjp, options=("axis",))
def log_softmax(x: Any, axis: Axis = -1) -> Any:
    """x − log Σ e^x along an axis, several, or all (None).

    >>> log_softmax(np.array([0.0, 1000.0]))
    array([-1000.,     0.])
    """
    z, _ = _below_top(x, axis)
    z -= np.log(_total(np.exp(z), axis))
    return z


def _logsumexp_vjp(g: Array, z: Array, x: Array, axis: Axis = None, keepdims: bool = False) -> Any:
    return np.reshape(g, _kept(x.shape, axis)) * softmax(x, axis=axis)


@differentiable(_logsumexp_vjp, options=("axis", "keepdims"))
def logsumexp(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """log Σ e^x over an axis, several, or all (None); −∞ for an empty or all −∞ sum.

    >>> logsumexp(np.array([1000.0, 1000.0])).round(3)
    np.float64(1000.693)
    """
    _, total, top = _exponentials(x, axis)
    z = np.log(total) + top
    return z if keepdims else np.squeeze(z, axis=axis)[()]


def _cross_entropy_vjp(g: Array, z: Array, logits: Array, labels: Any) -> Array:
    dx = excess(logits, labels)
    dx *= g[..., None]
    return dx


@operation(arrays=1)
@differentiable(_cross_entropy_vjp, options=("labels",))
def cross_entropy(logits: Any, labels: Any) -> Any:
    """−log softmax(logits)[label], in nats: logits (…, K), integer labels (…) → (…).

    Raises InputError for labels of another shape or out of 0 … K − 1.

    >>> cross_entropy(np.zeros((1, 4)), np.array([2])).round(3)
    array([1.386])
    """
    labels = _labels(labels, logits)
    x, _ = _below_top(logits, -1)
    own = np.take_along_axis(x, labels, axis=-1)
    z = np.log(_total(np.exp(x, out=x), -1))
    z -= own
    return z[..., 0]


@differentiable(
    lambda g, z, logits, labels: _softmax_vjp(g, softmax(logits), logits), options=("labels",)
)
def excess(logits: Any, labels: Any) -> Any:
    """softmax(logits), less 1 at the label: the derivative of cross_entropy."""
    p = softmax.forward(logits)
    at = _labels(labels, logits)
    np.put_along_axis(p, at, np.take_along_axis(p, at, axis=-1) - 1, axis=-1)
    return p


def _labels(labels: Any, logits: Any) -> Any:
    """Labels as an index along the last axis, or InputError."""
    labels = np.asarray(value(labels))
    if labels.dtype.kind not in "iu":
        raise InputError(f"labels must be integers, got {labels.dtype}")
    if labels.shape != logits.shape[:-1]:
        raise InputError(f"labels must have shape {logits.shape[:-1]}, got {labels.shape}")
    inside(labels, logits.shape[-1])
    return labels[..., None]


def inside(labels: Any, n: int, name: str = "labels") -> None:
    """InputError unless every label is one of 0 … n − 1."""
    if labels.size and not (labels.min() >= 0 and labels.max() < n):
        raise InputError(f"{name} must lie in 0 … {n - 1}, got {labels.min()} … {labels.max()}")


def _below_top(x: Any, axis: Axis) -> tuple[Any, Any]:
    """x less its maximum, and the maximum, axes kept."""
    top = np.max(x, axis=axis, keepdims=True, initial=-np.inf)
    infinite = np.isinf(top)
    with np.errstate(over="ignore", invalid="ignore"):  # far below the top is −∞; ∞ − ∞ is mended
        z = np.asarray(x - top)
    if infinite.any():
        np.copyto(z, np.where(x == np.inf, 0.0, -np.inf), where=infinite)
    return z, top


def _total(e: Any, axis: Axis) -> Any:
    """Σ e, axes kept; 1 where it is 0, since only −∞ stands there."""
    total = np.asarray(np.sum(e, axis=axis, keepdims=True))
    total[total == 0] = 1
    return total


def _exponentials(x: Any, axis: Axis) -> tuple[Any, Any, Any]:
    """e^(x − top), its sum, and the top."""
    e, top = _below_top(x, axis)
    np.exp(e, out=e)
    return e, _total(e, axis), top


def _kept(shape: tuple[int, ...], axis: Axis) -> tuple[int, ...]:
    """The shape of a reduction that keeps its axes."""
    if axis is None or not shape:  # a single number has an axis 0 to reduce, too
        return (1,) * len(shape)
    gone = normalize_axis_tuple(axis, len(shape))
    return tuple(1 if i in gone else n for i, n in enumerate(shape))
