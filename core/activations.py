"""Nonlinearities, elementwise: shape in = shape out, dtype in = dtype out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from core import special
from core.rows import differentiable
from core.tensor import Array, value


def sigmoid(x: Array) -> Array:
    """1 / (1 + e^(−x)).

    >>> sigmoid(np.array([0.0]))
    array([0.5])
    """
    return special.expit(x)


def log_sigmoid(x: Array) -> Array:
    """log sigmoid(x); no overflow at either end.

    >>> log_sigmoid(np.array([-1000.0]))
    array([-1000.])
    """
    return special.log_expit(x)


@differentiable(lambda g, z, x: g * special.expit(x))
def softplus(x: Any) -> Any:
    """log(1 + e^x); no overflow.

    >>> softplus(np.array([1000.0]))
    array([1000.])
    """
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


@differentiable(lambda g, z, x: g * (value(x) > 0))
def relu(x: Any) -> Any:
    """max(x, 0); derivative 0 at 0.

    >>> relu(np.array([-1.0, 2.0]))
    array([0., 2.])
    """
    return np.maximum(x, 0)


def _slopes(x: Array, slope: float) -> Any:
    x = value(x)
    return np.where(x > 0, np.ones((), x.dtype), np.asarray(slope, x.dtype))


@differentiable(lambda g, z, x, slope=0.01: g * _slopes(x, slope), options=("slope",))
def leaky_relu(x: Any, slope: float = 0.01) -> Any:
    """x where x > 0, else slope · x (Maas, Hannun & Ng 2013); derivative `slope` at 0.

    >>> leaky_relu(np.array([-1.0, 2.0]), 0.2)
    array([-0.2,  2. ])
    """
    return x * _slopes(x, slope)


def _silu_vjp(g: Array, z: Array, x: Array) -> Array:
    s = special.expit(x)
    return g * (s + z * (1 - s))


@differentiable(_silu_vjp)
def silu(x: Any) -> Any:
    """x · sigmoid(x) (Hendrycks & Gimpel 2016, section 2).

    >>> silu(np.array([0.0, 100.0]))
    array([  0., 100.])
    """
    return x * special.expit(x)


def _gelu_vjp(g: Array, z: Array, x: Array) -> Array:
    density = np.exp(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi))
    return g * (special.ndtr(x) + x * density)


@differentiable(_gelu_vjp)
def gelu(x: Any) -> Any:
    """x · Φ(x), with the exact normal cdf (Hendrycks & Gimpel 2016, section 2).

    >>> gelu(np.array([0.0, 100.0]))
    array([  0., 100.])
    """
    return x * special.ndtr(x)
