"""Normalisation to mean 0 and variance 1, over different axes.

    x̂ = (x − μ) r,   r = 1/√(σ² + ε),   y = γ x̂ + β

with μ, σ² over the axes named; ∂L/∂x = r (ĝ − mean ĝ − x̂ mean ĝx̂), where ĝ = ∂L/∂x̂.
σ² is the mean square about μ (divided by n, not n − 1).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from core.checks import number, whole
from core.errors import InputError
from core.rows import differentiable
from core.tensor import Array, value

Axes = tuple[int, ...]


def layer_norm(x: Array, gamma: Array, beta: Array, eps: float = 1e-5) -> Array:
    """Over the last axis: x (…, n), γ (n,), β (n,) → (…, n) (Ba, Kiros & Hinton 2016).

    >>> layer_norm(np.array([[1.0, 3.0]]), np.ones(2), np.zeros(2), eps=0)
    array([[-1.,  1.]])
    """
    _features(x, gamma, beta, x.shape[-1])
    return standardised(x, (-1,), eps) * gamma + beta


def rms_norm(x: Array, gamma: Array, eps: float = 1e-5) -> Array:
    """γ x / √(mean x² + ε) over the last axis, no mean taken (Zhang & Sennrich 2019).

    >>> rms_norm(np.array([[3.0, -3.0]]), np.ones(2), eps=0)
    array([[ 1., -1.]])
    """
    _features(x, gamma, gamma, x.shape[-1])
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + _eps(eps)) * gamma


def group_norm(x: Array, gamma: Array, beta: Array, groups: int, eps: float = 1e-5) -> Array:
    """Over each group of channels and all pixels: x (B, C, …), γ (C,), β (C,) (Wu & He 2018).

    groups = C normalises every channel of every sample alone (instance norm, Ulyanov et al. 2016).

    >>> group_norm(np.array([[[1.0], [3.0]]]), np.ones(2), np.zeros(2), groups=1, eps=0)
    array([[[-1.],
            [ 1.]]])
    """
    b, c, *_ = x.shape
    _features(x, gamma, beta, c)
    if c % whole("groups", groups, 1):
        raise InputError(f"x must have a multiple of {groups} channels, got {c}")
    flat = np.reshape(x, (b, groups, math.prod(x.shape[1:]) // groups))
    each = np.reshape(standardised(flat, (-1,), eps), x.shape)
    return each * _per_channel(gamma, x) + _per_channel(beta, x)


def batch_norm(
    x: Array, gamma: Array, beta: Array, eps: float = 1e-5
) -> tuple[Array, np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Over the batch and all pixels: x (B, C, …) → (y, μ, σ²), moments (C,) as plain arrays.

    What becomes of the moments is the caller's: kept as a running mean they serve
    `batch_norm_by`. Raises InputError for an empty batch (Ioffe & Szegedy 2015, Algorithm 1).

    >>> y, mean, variance = batch_norm(np.array([[1.0], [3.0]]), np.ones(1), np.zeros(1))
    >>> mean, variance
    (array([2.]), array([1.]))
    """
    _features(x, gamma, beta, x.shape[1])
    if x.size == 0:
        raise InputError(f"x must have at least one sample and pixel, got shape {x.shape}")
    axes = (0, *range(2, x.ndim))
    y = standardised(x, axes, eps) * _per_channel(gamma, x) + _per_channel(beta, x)
    return y, np.mean(value(x), axis=axes), np.var(value(x), axis=axes)


def batch_norm_by(
    x: Array, gamma: Array, beta: Array, mean: Array, variance: Array, eps: float = 1e-5
) -> Array:
    """batch_norm with moments that are given, (C,) each: x (B, C, …) → (B, C, …).

    >>> batch_norm_by(np.ones((1, 1)), np.ones(1), np.ones(1), np.ones(1), np.ones(1))
    array([[1.]])
    """
    _features(x, gamma, beta, x.shape[1])
    scale = gamma / np.sqrt(variance + _eps(eps))
    return x * _per_channel(scale, x) + _per_channel(beta - mean * scale, x)


def _standardised_x(g: Array, z: Array, x: Array, axes: Axes, eps: float) -> Array:
    if x.size == 0:
        return g
    r = _moments(x, axes, eps)[1]
    along = np.mean(g * z, axis=axes, keepdims=True)
    return (g - np.mean(g, axis=axes, keepdims=True) - z * along) * r


@differentiable(_standardised_x, options=("axes", "eps"))
def standardised(x: Any, axes: Axes, eps: float) -> Any:
    """x̂ = (x − μ) / √(σ² + ε), moments over the axes."""
    if x.size == 0:  # which has no mean
        return np.zeros_like(x)
    mean, r = _moments(x, axes, eps)
    z = x - mean
    z *= r
    return z


def _moments(x: Array, axes: Axes, eps: float) -> tuple[Array, Array]:
    """μ and r, axes kept."""
    mean = np.mean(x, axis=axes, keepdims=True)
    centred = x - mean
    return mean, 1 / np.sqrt(np.mean(centred * centred, axis=axes, keepdims=True) + _eps(eps))


def _per_channel(v: Array, x: Array) -> Array:
    """(C,) → (C, 1, …), to go with x (B, C, …)."""
    return np.reshape(v, (-1, *[1] * (x.ndim - 2)))


def _eps(eps: float) -> float:
    return number("eps", eps, least=0)


def _features(x: Array, gamma: Array, beta: Array, n: int) -> None:
    for name, v in (("gamma", gamma), ("beta", beta)):
        if np.shape(v) != (n,):
            raise InputError(f"{name} must have shape ({n},), got {np.shape(v)}")
