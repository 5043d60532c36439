"""Norms over rows and groups of channels, a row or a sample in the cache at a time (row K1).

The backward takes the moments anew and gives all three derivatives at once; those of γ and β are
summed by runs of rows, then over the runs. Channels may be first or last in memory.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from core.checks import number, shaped, whole
from core.errors import InputError
from kernels.numerics_numba import fused, sums
from kernels.sharing import chunks, floating, share

_TOGETHER = 32  # pixels summed before they are added to the rest


# Layer norm: rows (N, n)


@njit(**sums)
def _moments(x: Any, eps: Any) -> tuple[Any, Any]:
    """μ and 1/√(σ² + ε) of a row."""
    real = x.dtype.type
    n, total, square = real(max(x.size, 1)), real(0), real(0)
    for j in range(x.size):
        total += x[j]
    mean = total / n
    for j in range(x.size):
        square += (x[j] - mean) * (x[j] - mean)
    return mean, real(1) / np.sqrt(square / n + eps)


@njit(**fused)
def layer_rows(x: Any, y: Any, gamma: Any, beta: Any, eps: Any) -> None:
    """Y (N, n) = layer norm of x (N, n)."""
    for i in range(len(x)):
        mean, r = _moments(x[i], eps)
        for j in range(gamma.size):
            y[i, j] = (x[i, j] - mean) * r * gamma[j] + beta[j]


@njit(**sums)
def _along(x: Any, g: Any, gamma: Any, mean: Any, r: Any) -> Any:
    """The mean of ĝx̂ over a row, ĝ = γ g."""
    along = x.dtype.type(0)
    for j in range(x.size):
        along += g[j] * gamma[j] * ((x[j] - mean) * r)
    return along / x.dtype.type(max(x.size, 1))


@njit(**sums)
def _rest(x: Any, g: Any, gamma: Any, mean: Any, r: Any, along: Any, dx: Any) -> Any:
    """dx = ĝ less its part along x̂; its mean over the row."""
    total = x.dtype.type(0)
    for j in range(x.size):
        rest = g[j] * gamma[j] - ((x[j] - mean) * r) * along
        dx[j] = rest
        total += rest
    return total / x.dtype.type(max(x.size, 1))


@njit(**fused)
def _layer_backward(x: Any, g: Any, dx: Any, dgamma: Any, dbeta: Any, gamma: Any, eps: Any) -> None:
    for i in range(len(x)):
        mean, r = _moments(x[i], eps)
        along = _along(x[i], g[i], gamma, mean, r)
        shift = _rest(x[i], g[i], gamma, mean, r, along, dx[i])
        for j in range(gamma.size):
            dx[i, j] = (dx[i, j] - shift) * r
            dgamma[j] += g[i, j] * ((x[i, j] - mean) * r)
            dbeta[j] += g[i, j]


def layer_norm(x: Any, gamma: Any, beta: Any, eps: float = 1e-5) -> Any:
    """Twin of `layer_norm`. Raises InputError as it does, and for mixed dtypes."""
    x, gamma, beta = floating(x=x, gamma=gamma, beta=beta)
    gamma, beta, eps = _checked(gamma, beta, x.shape[-1], eps, x.dtype)
    rows = _rows(x)
    y = np.empty_like(rows)
    share(layer_rows, (rows, y), (gamma, beta, eps))
    return y.reshape(x.shape)


def layer_norm_backward(
    x: Any, gamma: Any, beta: Any, g: Any, eps: float = 1e-5
) -> tuple[Any, Any, Any]:
    """Its derivatives."""
    x, gamma, beta, g = floating(x=x, gamma=gamma, beta=beta, g=g)
    gamma, beta, eps = _checked(gamma, beta, x.shape[-1], eps, x.dtype)
    rows, g = _rows(x), _rows(shaped("g", g, x.shape, x.dtype))
    dx = np.empty_like(rows)
    parts = np.zeros((2, len(chunks(*rows.shape)), gamma.size), x.dtype)
    share(_layer_backward, (rows, g, dx), (gamma, eps), parts)
    return dx.reshape(x.shape), *parts.sum(axis=1)


def _rows(x: Any) -> Any:
    n = x.shape[-1]
    return np.ascontiguousarray(x).reshape((-1, n) if x.size else (0, n))


def _checked(gamma: Any, beta: Any, n: int, eps: Any, dtype: Any) -> tuple[Any, Any, Any]:
    eps = dtype.type(number("eps", eps, least=0))
    found = (shaped(k, v, (n,), dtype) for k, v in (("gamma", gamma), ("beta", beta)))
    return *map(np.ascontiguousarray, found), eps


# Group norm: sums over the pixels of each channel, then tables of channels


@njit(**fused)
def _add_pixels(x: Any, total: Any, some: Any) -> None:
    """total (C,) += Σ_p x (P, C)."""
    for start in range(0, len(x), _TOGETHER):
        some[:] = x.dtype.type(0)
        for p in range(start, min(start + _TOGETHER, len(x))):
            for c in range(total.size):
                some[c] += x[p, c]
        for c in range(total.size):
            total[c] += some[c]


@njit(**fused)
def _add_squares(x: Any, mean: Any, total: Any, some: Any) -> None:
    """total (C,) += Σ_p (x − μ)²."""
    for start in range(0, len(x), _TOGETHER):
        some[:] = x.dtype.type(0)
        for p in range(start, min(start + _TOGETHER, len(x))):
            for c in range(total.size):
                some[c] += (x[p, c] - mean[c]) * (x[p, c] - mean[c])
        for c in range(total.size):
            total[c] += some[c]


@njit(**fused)
def _add_products(x: Any, g: Any, mean: Any, r: Any, dgamma: Any, dbeta: Any, some: Any) -> None:
    """dgamma += Σ_p g x̂, dbeta += Σ_p g."""
    for start in range(0, len(x), _TOGETHER):
        some[:] = x.dtype.type(0)
        for p in range(start, min(start + _TOGETHER, len(x))):
            for c in range(mean.size):
                some[0, c] += g[p, c]
                some[1, c] += g[p, c] * (x[p, c] - mean[c])
        for c in range(mean.size):
            dbeta[c] += some[0, c]
            dgamma[c] += some[1, c] * r[c]


@njit(**fused)
def _shared(table: Any, groups: int, count: Any) -> None:
    """Each entry becomes the sum of its group's, over count."""
    width = table.size // groups
    for group in range(groups):
        total = table.dtype.type(0)
        for c in range(group * width, (group + 1) * width):
            total += table[c]
        for c in range(group * width, (group + 1) * width):
            table[c] = total / count


@njit(**fused)
def _group_moments(x: Any, groups: int, eps: Any, mean: Any, r: Any, some: Any) -> Any:
    """mean (C,) and r (C,) of a sample (P, C); how many numbers share them."""
    real = x.dtype.type
    count = real(max(len(x) * (mean.size // groups), 1))
    mean[:], r[:] = real(0), real(0)
    _add_pixels(x, mean, some)
    _shared(mean, groups, count)
    _add_squares(x, mean, r, some)
    _shared(r, groups, count)
    for c in range(r.size):
        r[c] = real(1) / np.sqrt(r[c] + eps)
    return count


@njit(**fused)
def _group(x: Any, y: Any, gamma: Any, beta: Any, groups: int, eps: Any) -> None:
    """x, y: (B, P, C), of any strides."""
    mean, r, some = np.empty((3, gamma.size), x.dtype)
    for b in range(len(x)):
        _group_moments(x[b], groups, eps, mean, r, some)
        for c in range(r.size):
            r[c] *= gamma[c]
        for p in range(x.shape[1]):
            for c in range(r.size):
                y[b, p, c] = (x[b, p, c] - mean[c]) * r[c] + beta[c]


@njit(**fused)
def _group_backward(
    x: Any, g: Any, dx: Any, along: Any, total: Any, gamma: Any, groups: int, eps: Any
) -> None:
    """x, g, dx: (B, P, C). along, total (B, C): Σ_p g x̂ and Σ_p g."""
    mean, r, shift, slope = np.empty((4, gamma.size), x.dtype)
    some = np.empty((2, gamma.size), x.dtype)
    for b in range(len(x)):
        count = _group_moments(x[b], groups, eps, mean, r, some[0])
        _add_products(x[b], g[b], mean, r, along[b], total[b], some)
        for c in range(r.size):
            shift[c], slope[c] = total[b, c] * gamma[c], along[b, c] * gamma[c]
        _shared(shift, groups, count)
        _shared(slope, groups, count)
        for c in range(r.size):
            shift[c], slope[c] = shift[c] * r[c], slope[c] * r[c] * r[c]
            r[c] *= gamma[c]
        for p in range(x.shape[1]):
            for c in range(r.size):
                dx[b, p, c] = g[b, p, c] * r[c] - (x[b, p, c] - mean[c]) * slope[c] - shift[c]


def group_norm(x: Any, gamma: Any, beta: Any, groups: int, eps: float = 1e-5) -> Any:
    """Twin of `group_norm`; channels come last in the memory of the result.

    Raises InputError as it does, and for mixed dtypes.
    """
    x, gamma, beta = floating(x=x, gamma=gamma, beta=beta)
    gamma, beta, eps = _checked(gamma, beta, x.shape[1], eps, x.dtype)
    _check_groups(x, groups)
    pixels = _pixels(x)
    y = np.empty_like(pixels)
    share(_group, (pixels, y), (gamma, beta, int(groups), eps))
    return _channels(y, x.shape)


def group_norm_backward(
    x: Any, gamma: Any, beta: Any, g: Any, groups: int, eps: float = 1e-5
) -> tuple[Any, Any, Any]:
    """Its derivatives."""
    x, gamma, beta, g = floating(x=x, gamma=gamma, beta=beta, g=g)
    gamma, beta, eps = _checked(gamma, beta, x.shape[1], eps, x.dtype)
    _check_groups(x, groups)
    pixels, g = _pixels(x), _pixels(shaped("g", g, x.shape, x.dtype))
    dx, (along, total) = np.empty_like(pixels), np.zeros((2, *x.shape[:2]), x.dtype)
    share(_group_backward, (pixels, g, dx, along, total), (gamma, int(groups), eps))
    return _channels(dx, x.shape), along.sum(axis=0), total.sum(axis=0)


def _check_groups(x: Any, groups: Any) -> None:
    if x.shape[1] % whole("groups", groups, 1):
        raise InputError(f"x must have a multiple of {groups} channels, got {x.shape[1]}")


def _pixels(x: Any) -> Any:
    """(B, C, …) → (B, P, C), contiguous: a view where channels come last in memory."""
    last = np.ascontiguousarray(np.moveaxis(x, 1, -1))
    return last.reshape(len(x), math.prod(x.shape[2:]), x.shape[1])


def _channels(x: Any, shape: Any) -> Any:
    """The way back."""
    return np.moveaxis(x.reshape(shape[0], *shape[2:], shape[1]), -1, 1)
