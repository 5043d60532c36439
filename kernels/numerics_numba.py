"""Functions of one number in Numba that SIMD can evaluate, for float32 and float64 alike.

There is no vector exponential in Numba's packages, so these are polynomials: e^x and log x by
Taylor's, the others by Chebyshev's, fitted when this is imported. `overload` picks the precision by
the argument's dtype. Only what is compiled with `sums` may add in another order than it is written;
nothing assumes that there is no NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba import njit
from numba.extending import overload
from numpy.polynomial import Chebyshev, Polynomial

from core.activations import tail_coefficients

how: dict[str, Any] = {"error_model": "numpy", "nogil": True, "cache": True}
fused: dict[str, Any] = {**how, "fastmath": {"contract"}}
sums: dict[str, Any] = {**how, "fastmath": {"reassoc", "nsz", "contract"}}
_LOG2_E = 1 / math.log(2)
_F = [np.float32(1 / math.factorial(k)) for k in range(8)]
_F0, _F1, _F2, _F3, _F4, _F5, _F6, _F7 = _F
_D = [1 / math.factorial(k) for k in range(14)]
_D2, _D3, _D4, _D5, _D6, _D7, _D8, _D9, _D10, _D11, _D12, _D13 = _D[2:]
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
_LN2_HIGH32, _LN2_LOW32 = np.float32(0.693359375), np.float32(-2.12194440e-4)
_A = [1 / (2 * k + 1) for k in range(11)]
_A1, _A2, _A3, _A4, _A5, _A6, _A7, _A8, _A9, _A10 = _A[1:]
_ROOT_HALF = np.float64(math.sqrt(0.5)).view(np.int64)
_LOG2_E32, _MOST32, _MOST64 = np.float32(_LOG2_E), np.float32(87), 708.0


# e^x and log x


@njit(**fused)
def exp32(x: Any) -> Any:
    """e^x for float32; relative error < 2 eps on [−87, 87], constant beyond."""
    y = min(max(x, -_MOST32), _MOST32)
    k = np.rint(y * _LOG2_E32)
    r = (y - k * _LN2_HIGH32) - k * _LN2_LOW32
    e = _F0 + r * (_F1 + r * (_F2 + r * (_F3 + r * (_F4 + r * (_F5 + r * (_F6 + r * _F7))))))
    two_to_k = np.int32((np.int32(k) + np.int32(127)) << np.int32(23)).view(np.float32)
    return e * two_to_k


@njit(**fused)
def exp64(x: Any) -> Any:
    """e^x for float64; relative error < 2 eps on [−708, 708], constant beyond."""
    y = min(max(x, -_MOST64), _MOST64)
    k = np.rint(y * _LOG2_E)
    r = (y - k * _LN2_HIGH) - k * _LN2_LOW
    e = _D8 + r * (_D9 + r * (_D10 + r * (_D11 + r * (_D12 + r * _D13))))
    e = _D2 + r * (_D3 + r * (_D4 + r * (_D5 + r * (_D6 + r * (_D7 + r * e)))))
    two_to_k = np.int64((np.int64(k) + 1023) << 52).view(np.float64)
    return (1.0 + r * (1.0 + r * e)) * two_to_k


@njit(**fused)
def log64(x: Any) -> Any:
    """log x for finite, normal float64 x > 0, from m = x / 2^k in [√½, √2); error < 2 ulp.

    log m = 2 artanh z, z = (m − 1) / (m + 1).
    """
    bits = np.float64(x).view(np.int64)
    k = (bits - _ROOT_HALF) >> 52
    m = np.int64(bits - (k << 52)).view(np.float64)
    z = (m - 1.0) / (m + 1.0)
    w, exponent = z * z, np.float64(k)
    a = _A6 + w * (_A7 + w * (_A8 + w * (_A9 + w * _A10)))
    a = _A1 + w * (_A2 + w * (_A3 + w * (_A4 + w * (_A5 + w * a))))
    return exponent * _LN2_HIGH + (2.0 * z + (2.0 * z * w * a + exponent * _LN2_LOW))


@njit(**fused)
def _exps32(a: Any, e: Any) -> None:
    for k in range(a.size):
        e[k] = exp32(-a[k])


@njit(**fused)
def _exps64(a: Any, e: Any) -> None:
    for k in range(a.size):
        e[k] = exp64(-a[k])


def exps(a: Any, e: Any) -> None:
    """e = exp(−a), elementwise, from inside compiled code."""
    raise NotImplementedError


@overload(exps)
def _exps(a: Any, e: Any) -> Any:
    which = _exps32 if a.dtype == numba.float32 else _exps64

    def run(a: Any, e: Any) -> None:
        which(a, e)

    return run


# Functions of one number


def _by_dtype(of_float32: Any, of_float64: Any) -> Any:
    """A function for compiled code that is one of these two."""

    def stub(x: Any) -> Any:
        raise NotImplementedError

    def choose(x: Any) -> Any:
        which = of_float32 if x == numba.float32 else of_float64

        def run(x: Any) -> Any:
            return which(x)

        return run

    overload(stub)(choose)
    return stub


def _fit(f: Callable[[Any], Any], low: float, high: float, degree: int, dtype: Any) -> Any:
    """Coefficients of a polynomial close to f on [low, high], highest power first."""
    c = Chebyshev.interpolate(f, degree, domain=[low, high]).convert(kind=Polynomial).coef
    return tuple(dtype(v) for v in c[::-1])


@njit(**fused)
def _polynomial(c: Any, x: Any) -> Any:
    p = c[0]
    for k in range(1, len(c)):
        p = p * x + c[k]
    return p


@njit(**fused)
def _small32(x: Any) -> Any:
    e = np.float32(0) if x < -_MOST32 else exp32(x)
    return x if x != x else e


@njit(**fused)
def _small64(x: Any) -> Any:
    e = 0.0 if x < -_MOST64 else exp64(x)
    return x if x != x else e


exp = _by_dtype(_small32, _small64)
"""e^x for x ≤ 87, 0 below −87 (in float64 708), NaN for NaN."""


_LN2 = math.log(2)
_EXP2_32 = _fit(np.exp2, -0.5, 0.5, 6, np.float32)
_EXP2_64 = tuple(_LN2**n / math.factorial(n) for n in range(13, -1, -1))
_LEAST32, _LEAST64 = np.float32(-126), -1022.0


@njit(**fused)
def _exp2_32(t: Any) -> Any:
    y = _LEAST32 if t < _LEAST32 else t
    k = np.rint(y)
    two_to_k = np.int32((np.int32(k) + np.int32(127)) << np.int32(23)).view(np.float32)
    return np.float32(0) if t <= _LEAST32 else _polynomial(_EXP2_32, y - k) * two_to_k


@njit(**fused)
def _exp2_64(t: Any) -> Any:
    y = _LEAST64 if t < _LEAST64 else t
    k = np.rint(y)
    two_to_k = np.int64((np.int64(k) + 1023) << 52).view(np.float64)
    return 0.0 if t <= _LEAST64 else _polynomial(_EXP2_64, y - k) * two_to_k


exp2 = _by_dtype(_exp2_32, _exp2_64)
"""2^t for t ≤ 0, 0 where that is no normal number, NaN for NaN."""


def _tanh_excess(w: Any) -> Any:
    """(tanh √w / √w − 1) / w."""
    x = np.sqrt(np.maximum(w, 1e-4))
    series = -1 / 3 + w * (2 / 15 + w * (-17 / 315 + w * (62 / 2835 - w * 1382 / 155925)))
    return np.where(w > 1e-2, (np.tanh(x) / x - 1) / (x * x), series)


_NEAR = 0.5
_TANH32 = _fit(_tanh_excess, 0, _NEAR**2, 4, np.float32)
_TANH64 = _fit(_tanh_excess, 0, _NEAR**2, 10, np.float64)


@njit(**fused)
def _tanh32(x: Any) -> Any:
    one, a = np.float32(1), abs(x)
    e = exp32(np.float32(-2) * a)
    far, w = math.copysign((one - e) / (one + e), x), x * x
    near = x + x * w * _polynomial(_TANH32, w)
    z = near if a < np.float32(_NEAR) else far
    return x if x != x else z


@njit(**fused)
def _tanh64(x: Any) -> Any:
    a = abs(x)
    e = exp64(-2.0 * a)
    far, w = math.copysign((1.0 - e) / (1.0 + e), x), x * x
    near = x + x * w * _polynomial(_TANH64, w)
    z = near if a < _NEAR else far
    return x if x != x else z


tanh = _by_dtype(_tanh32, _tanh64)
"""The hyperbolic tangent; NaN for NaN."""


@njit(**fused)
def _sigmoid32(x: Any) -> Any:
    s = np.float32(1) / (np.float32(1) + exp32(-x))
    return x if x != x else s


@njit(**fused)
def _sigmoid64(x: Any) -> Any:
    s = 1.0 / (1.0 + exp64(-x))
    return x if x != x else s


sigmoid = _by_dtype(_sigmoid32, _sigmoid64)
"""1 / (1 + e^(−x)); e^(−87) below −87 (in float64 708), NaN for NaN."""


def _artanh_excess(w: Any) -> Any:
    """(artanh √w / √w − 1) / w."""
    x = np.sqrt(np.maximum(w, 1e-4))
    series = sum(w**k / (2 * k + 3) for k in range(12))
    return np.where(w > 1e-2, (np.arctanh(x) / x - 1) / (x * x), series)


_ARTANH32 = _fit(_artanh_excess, 0, 1 / 9, 3, np.float32)
_ARTANH64 = _fit(_artanh_excess, 0, 1 / 9, 9, np.float64)


@njit(**fused)
def _softplus32(x: Any) -> Any:
    e = exp32(-abs(x))
    z = e / (np.float32(2) + e)
    w = z * z
    y = max(x, np.float32(0)) + np.float32(2) * (z + z * w * _polynomial(_ARTANH32, w))
    return x if x != x else y


@njit(**fused)
def _softplus64(x: Any) -> Any:
    e = exp64(-abs(x))
    z = e / (2.0 + e)
    w = z * z
    y = max(x, 0.0) + 2.0 * (z + z * w * _polynomial(_ARTANH64, w))
    return x if x != x else y


softplus = _by_dtype(_softplus32, _softplus64)
"""log(1 + e^x) = max(x, 0) + 2 artanh(e/(2 + e)), e = e^(−|x|); NaN for NaN."""

_TAIL = tuple(np.float32(c) for c in tail_coefficients())
_ROOT_2PI, _ROOT_HALF_64 = math.sqrt(2 * math.pi), math.sqrt(0.5)
_BELL32 = np.float32(1 / _ROOT_2PI)


@njit(**fused)
def _normal32(x: Any) -> Any:
    a = min(abs(x), np.float32(13))
    bell = exp32(np.float32(-0.5) * a * a) * _BELL32
    below = bell * _polynomial(_TAIL, np.float32(1) / (np.float32(1) + np.float32(0.3) * a))
    return (np.float32(1) - below if x > np.float32(0) else below), below, bell


@njit(**fused)
def _normal64(x: Any) -> Any:
    a = min(abs(x), 37.0)
    below = 0.5 * math.erfc(a * _ROOT_HALF_64)
    bell = exp64(-0.5 * a * a) / _ROOT_2PI
    return (1.0 - below if x > 0.0 else below), below, bell


normal = _by_dtype(_normal32, _normal64)
"""Φ(x), Φ(−|x|) and φ(x)."""
