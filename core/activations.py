"""Nonlinearities, elementwise: shape in = shape out, dtype in = dtype out."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.polynomial import Chebyshev, Polynomial

from core import special
from core.checks import number
from core.operation import operation
from core.rows import differentiable
from core.tensor import Array, value

_BLOCK = 1 << 15  # numbers at a time
_FAR = 40.0  # Φ and φ are 0 below −_FAR
_FAR_LOGISTIC = 1e3  # and the sigmoid here


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


def _relu_vjp(g: Array, z: Array, x: Array) -> Array:
    return g * (value(x) > 0)


@operation(arrays=1)
@differentiable(_relu_vjp)
def relu(x: Any) -> Any:
    """max(x, 0); derivative 0 at 0.

    >>> relu(np.array([-1.0, 2.0]))
    array([0., 2.])
    """
    return np.maximum(x, 0)


def _leaky_relu_vjp(g: Array, z: Array, x: Array, slope: float = 0.01) -> Array:
    above = (value(x) > 0).astype(x.dtype)
    return g * np.maximum(above, slope, out=np.asarray(above))


@differentiable(_leaky_relu_vjp, options=("slope",))
def leaky_relu(x: Any, slope: float = 0.01) -> Any:
    """x where x > 0, else slope · x (Maas, Hannun & Ng 2013); derivative `slope` at 0.

    Raises InputError unless 0 < slope <= 1.

    >>> leaky_relu(np.array([-1.0, 2.0]), 0.2)
    array([-0.2,  2. ])
    """
    return np.maximum(x, x * number("slope", slope, above=0, most=1))


def _silu_vjp(g: Array, z: Array, x: Array) -> Array:
    dx = silu_slope(x)
    dx *= g
    return dx


@operation(arrays=1)
@differentiable(_silu_vjp)
def silu(x: Any) -> Any:
    """x · sigmoid(x) (Hendrycks & Gimpel 2016, section 2).

    >>> silu(np.array([0.0, 100.0]))
    array([  0., 100.])
    """

    def block(x: Any, z: Any) -> None:
        _sigmoid(x, z)
        z *= np.maximum(x, -_FAR_LOGISTIC)  # 0 · ∞ would be NaN

    return _blockwise(block, x)


def _silu_slope_vjp(g: Array, z: Array, x: Array) -> Array:
    s = special.expit(x)
    return g * (s * (1 - s) * (2 + x * (1 - 2 * s)))


@differentiable(_silu_slope_vjp)
def silu_slope(x: Any) -> Any:
    """The derivative of silu: s + x s (1 − s), s = sigmoid(x)."""

    def block(x: Any, z: Any) -> None:
        s = _sigmoid(x, np.empty_like(x))
        np.subtract(1, s, out=z)
        z *= np.clip(x, -_FAR_LOGISTIC, _FAR_LOGISTIC)
        z += 1
        z *= s

    return _blockwise(block, x)


def _sigmoid(x: Any, s: Any) -> Any:
    """1 / (1 + e^(−x)) into s, by NumPy's exponential; 0 where that overflows."""
    np.negative(x, out=s)
    with np.errstate(over="ignore"):
        np.exp(s, out=s)
    s += 1
    return np.divide(1, s, out=s)


def _gelu_vjp(g: Array, z: Array, x: Array) -> Array:
    dx = gelu_slope(x, value(z))
    dx *= g
    return dx


@operation(arrays=1)
@differentiable(_gelu_vjp)
def gelu(x: Any) -> Any:
    """x · Φ(x), with the exact normal cdf (Hendrycks & Gimpel 2016, section 2).

    >>> gelu(np.array([0.0, 100.0]))
    array([  0., 100.])
    """

    def block(x: Any, z: Any) -> None:  # max(x, 0) − |x| Φ(−|x|): no digit cancels
        a = np.abs(x)
        np.minimum(a, _FAR, out=a)
        below = _lower_tail(a)
        below *= a
        np.maximum(x, 0, out=z)
        z -= below

    return _blockwise(block, x)


def _gelu_slope_vjp(g: Array, z: Array, x: Array, gelu: Any) -> Array:
    return g * (np.exp(-0.5 * x * x) * (2 - x * x) * (1 / math.sqrt(2 * math.pi)))


@differentiable(_gelu_slope_vjp, options=("gelu",))
def gelu_slope(x: Any, gelu: Any) -> Any:
    """The derivative of gelu, Φ(x) + x φ(x), from x and gelu(x)."""

    def block(x: Any, y: Any, z: Any) -> None:
        x = np.clip(x, -_FAR, _FAR)
        np.multiply(x, _bell(x), out=z)
        at_zero = np.abs(x) < 1e-30
        x[at_zero] = 1
        y = np.minimum(y, _FAR)
        y /= x  # Φ(x) again
        y[at_zero] = 0.5
        z += y

    return _blockwise(block, x, gelu)


def _bell(a: Any) -> Any:
    """φ(a) = e^(−a²/2) / √2π."""
    e = a * a
    e *= -0.5
    np.exp(e, out=e)
    e *= 1 / math.sqrt(2 * math.pi)
    return e


def _lower_tail(a: Any) -> Any:
    """Φ(−a) for a ≥ 0; in float32 q(t) φ(a) with a polynomial in t = 1 / (1 + 0.3 a)."""
    if a.dtype != np.float32:
        return special.ndtr(-a)
    t = a * 0.3
    t += 1
    np.divide(1, t, out=t)
    leading, *others = tail_coefficients()
    tail = np.full_like(a, leading)
    for c in others:
        tail *= t
        tail += c
    tail *= _bell(a)
    return tail


@cache
def tail_coefficients() -> list[float]:
    """Of q(t) = Φ(−a) / φ(a), highest power first; within 10⁻⁷ of it for a in 0 … 14."""

    def q(t: Any) -> Any:
        return math.sqrt(math.pi / 2) * special.erfcx((1 / t - 1) / (0.3 * math.sqrt(2)))

    fit = Chebyshev.interpolate(q, 8, domain=[1 / (1 + 0.3 * 14), 1])
    return fit.convert(kind=Polynomial).coef[::-1].tolist()  # type: ignore[no-any-return]


def _blockwise(block: Callable[..., None], *arrays: Any) -> Any:
    """z with block(*arrays, z) filled in on pieces that stay in the cache."""
    z = np.empty_like(arrays[0])
    flat = [_in_order(a, z) for a in (*arrays, z)]
    for start in range(0, z.size, _BLOCK):
        block(*[a[start : start + _BLOCK] for a in flat])
    return z


def _in_order(a: Any, z: Any) -> Any:
    """a as one line, in the order of z's memory."""
    if a.strides != z.strides:
        a, copied = np.empty_like(z), a
        a[...] = copied
    return a.ravel(order="K")
