"""Normalisation to mean 0 and variance 1, over different axes.

    x̂ = (x − μ) r,   r = 1/√(σ² + ε),   y = γ x̂ + β

with μ, σ² over the axes named (σ² divided by n, not n − 1). With g = ∂L/∂y and ĝ = γ g

    ∂L/∂x = r (ĝ − mean ĝ − x̂ mean ĝx̂)      ∂L/∂γ = Σ g x̂      ∂L/∂β = Σ g

Each is one operation that keeps only its moments and gives all derivatives at once; where these are
Tensors (higher orders) the moments are taken anew, as functions of x.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from core.checks import number, whole
from core.errors import InputError
from core.operation import operation
from core.tensor import Array, JointRow, Tensor


@operation(arrays=3)
def layer_norm(x: Array, gamma: Array, beta: Array, eps: float = 1e-5) -> Array:
    """Over the last axis: x (…, n), γ (n,), β (n,) → (…, n) (Ba, Kiros & Hinton 2016).

    >>> layer_norm(np.array([[1.0, 3.0]]), np.ones(2), np.zeros(2), eps=0)
    array([[-1.,  1.]])
    """
    _features(x, gamma, beta, x.shape[-1])
    eps, kept = _eps(eps), dict[str, Any]()

    def forward(x: Any, gamma: Any, beta: Any) -> Any:
        z, kept["mean"] = _centred(_rows(x))
        kept["r"] = _row_scale(z, eps)
        z *= kept["r"]
        z *= gamma
        z += beta
        return z.reshape(x.shape)

    def backward(g: Array, z: Array, x: Array, gamma: Array, beta: Array) -> tuple[Array, ...]:
        if isinstance(g, Tensor):
            unit, _ = _centred(_rows(x))
            r = _row_scale(unit, eps)
        else:
            unit, r = _rows(x) - kept["mean"], kept["r"]
        unit *= r
        g = _rows(g)  # (N, n)
        dx = _across(g * gamma, unit)
        dx -= _mean(dx)
        dx *= r
        return np.reshape(dx, x.shape), np.einsum("in,in->n", g, unit), np.einsum("in->n", g)

    return JointRow("layer_norm", forward, backward)(x, gamma, beta)


def rms_norm(x: Array, gamma: Array, eps: float = 1e-5) -> Array:
    """γ x / √(mean x² + ε) over the last axis, no mean taken (Zhang & Sennrich 2019).

    >>> rms_norm(np.array([[3.0, -3.0]]), np.ones(2), eps=0)
    array([[ 1., -1.]])
    """
    _features(x, gamma, gamma, x.shape[-1])
    eps, kept = _eps(eps), dict[str, Any]()

    def forward(x: Any, gamma: Any) -> Any:
        kept["r"] = _row_scale(_rows(x), eps)
        z = _rows(x) * kept["r"]
        z *= gamma
        return z.reshape(x.shape)

    def backward(g: Array, z: Array, x: Array, gamma: Array) -> tuple[Array, ...]:
        r = _row_scale(_rows(x), eps) if isinstance(g, Tensor) else kept["r"]
        g, unit = _rows(g), _rows(x) * r  # (N, n)
        dx = _across(g * gamma, unit)
        dx *= r
        return np.reshape(dx, x.shape), np.einsum("in,in->n", g, unit)

    return JointRow("rms_norm", forward, backward)(x, gamma)


@operation(arrays=3)
def group_norm(x: Array, gamma: Array, beta: Array, groups: int, eps: float = 1e-5) -> Array:
    """Over each group of channels and all pixels: x (B, C, …), γ (C,), β (C,) (Wu & He 2018).

    >>> group_norm(np.array([[[1.0], [3.0]]]), np.ones(2), np.zeros(2), groups=1, eps=0)
    array([[[-1.],
            [ 1.]]])
    """
    _features(x, gamma, beta, x.shape[1])
    if x.shape[1] % whole("groups", groups, 1):
        raise InputError(f"x must have a multiple of {groups} channels, got {x.shape[1]}")
    return _channel_norm("group_norm", (groups, 2), x, gamma, beta, _eps(eps))[0]


def instance_norm(x: Array, gamma: Array, beta: Array, eps: float = 1e-5) -> Array:
    """Over the pixels of each channel of each sample: x (B, C, …) (Ulyanov et al. 2016).

    γ and β are (C,), or (B, C): a style of its own for each sample (Huang & Belongie 2017).

    >>> instance_norm(np.array([[[1.0, 3.0]]]), np.array([[2.0]]), np.array([[5.0]]), eps=0)
    array([[[3., 7.]]])
    """
    for name, v in (("gamma", gamma), ("beta", beta)):
        if np.shape(v) not in (x.shape[1:2], x.shape[:2]):
            shapes = f"{x.shape[1:2]} or {x.shape[:2]}"
            raise InputError(f"{name} must have shape {shapes}, got {np.shape(v)}")
    return _channel_norm("instance_norm", (x.shape[1], 2), x, gamma, beta, _eps(eps))[0]


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
    y, moments = _channel_norm("batch_norm", (1, 0), x, gamma, beta, _eps(eps))
    return y, moments["mean"][0], moments["variance"][0]


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


# Over the last axis: rows (N, n)


def _rows(x: Array) -> Array:
    return np.reshape(x, (-1, x.shape[-1])) if x.size else np.reshape(x, (0, x.shape[-1]))


def _mean(x: Array) -> Array:
    return np.einsum("in->i", x)[:, None] * (1 / max(x.shape[1], 1))


def _row_scale(x: Array, eps: float) -> Array:
    """1/√(mean x² + ε), (N, 1)."""
    return 1 / np.sqrt(np.einsum("in,in->i", x, x)[:, None] * (1 / max(x.shape[1], 1)) + eps)


def _centred(x: Array) -> tuple[Array, Array]:
    """x − μ, and μ (N, 1)."""
    mean = _mean(x)
    return x - mean, mean


def _across(g: Array, unit: Array) -> Array:
    """g, written over, less its part along x̂: g − x̂ mean gx̂."""
    g -= unit * (np.einsum("in,in->i", g, unit)[:, None] * (1 / max(g.shape[1], 1)))
    return g


# Over channels and pixels: (B, C, P), and tables (B, C) of sums over pixels


def _channel_norm(
    name: str, over: tuple[int, int], x: Array, gamma: Array, beta: Array, eps: float
) -> tuple[Array, dict[str, Any]]:
    """y, and μ, σ² and r as tables; `over` says how tables are shared (see `_shared`)."""
    kept: dict[str, Any] = {}

    def forward(x: Any, gamma: Any, beta: Any) -> Any:
        z, kept["mean"] = _centred_pixels(_flat(x), over)
        kept["variance"] = _shared(np.einsum("bcp,bcp->bc", z, z), z, over)
        kept["r"] = 1 / np.sqrt(kept["variance"] + eps)
        z *= (kept["r"] * gamma)[:, :, None]
        z += beta[..., None]
        return z.reshape(x.shape)

    def backward(g: Array, z: Array, x: Array, gamma: Array, beta: Array) -> tuple[Array, ...]:
        g = _flat(g)
        if isinstance(g, Tensor):
            centred, _ = _centred_pixels(_flat(x), over)
            square = np.einsum("bcp,bcp->bc", centred, centred)
            r = 1 / np.sqrt(_shared(square, g, over) + eps)
        else:
            centred, r = _flat(x) - kept["mean"][:, :, None], kept["r"]
        total, along = np.einsum("bcp->bc", g), np.einsum("bcp,bcp->bc", g, centred) * r
        shift = _shared(total * gamma, g, over) * r
        slope = _shared(along * gamma, g, over) * r * r
        dx = g * (r * gamma)[:, :, None]
        dx -= centred * slope[:, :, None]
        dx -= shift[:, :, None]
        return np.reshape(dx, x.shape), along, total

    return JointRow(name, forward, backward)(x, gamma, beta), kept


def _flat(x: Array) -> Array:
    """x (B, C, …) as (B, C, P), over the memory it has."""
    b, c, *pixels = x.shape
    if x.ndim < 4 or isinstance(x, Tensor):
        return np.reshape(x, (b, c, math.prod(pixels)))
    last = np.moveaxis(x, 1, -1)  # channel-last memory makes this reshape a view
    flat = last.reshape(b, math.prod(pixels), c) if last.flags.c_contiguous else None
    return x.reshape(b, c, math.prod(pixels)) if flat is None else flat.swapaxes(1, 2)


def _centred_pixels(x: Array, over: tuple[int, int]) -> tuple[Array, Array]:
    """x − μ, and the table of μ."""
    mean = _shared(np.einsum("bcp->bc", x), x, over)
    return x - mean[:, :, None], mean


def _shared(sums: Array, x: Array, over: tuple[int, int]) -> Array:
    """From sums over pixels (B, C), the mean over what shares one moment.

    over: (number of groups, axis of the table (B, groups, C/groups) along which they share).
    """
    groups, axis = over
    (b, c, pixels), width = x.shape, x.shape[1] // groups
    table = np.reshape(sums, (b, groups, width))
    count = pixels * table.shape[axis]
    mean = np.sum(table, axis=axis, keepdims=True) * (1 / max(count, 1))
    return np.reshape(np.broadcast_to(mean, (b, groups, width)), (b, c))


# Arguments


def _per_channel(v: Array, x: Array) -> Array:
    """(C,) → (C, 1, …), to go with x (B, C, …)."""
    return np.reshape(v, (-1, *[1] * (x.ndim - 2)))


def _eps(eps: float) -> float:
    return number("eps", eps, least=0)


def _features(x: Array, gamma: Array, beta: Array, n: int) -> None:
    for name, v in (("gamma", gamma), ("beta", beta)):
        if np.shape(v) != (n,):
            raise InputError(f"{name} must have shape ({n},), got {np.shape(v)}")
