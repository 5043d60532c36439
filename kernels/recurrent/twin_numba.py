"""An LSTM's step from its gates' sums in one pass, both ways (row K1)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from core.checks import shaped
from kernels.numerics_numba import fused, sigmoid, tanh
from kernels.sharing import floating, share


@njit(**fused)
def _step(a: Any, c: Any, h_new: Any, c_new: Any) -> None:
    n = c.shape[1]
    for b in range(len(c)):
        i, f, g, o = a[b, :n], a[b, n : 2 * n], a[b, 2 * n : 3 * n], a[b, 3 * n :]
        for k in range(n):
            new = sigmoid(f[k]) * c[b, k] + sigmoid(i[k]) * tanh(g[k])
            c_new[b, k] = new
            h_new[b, k] = sigmoid(o[k]) * tanh(new)


@njit(**fused)
def _step_backward(a: Any, c: Any, dh: Any, dc: Any, da: Any, dc_old: Any) -> None:
    n, one = c.shape[1], c.dtype.type(1)
    for b in range(len(c)):
        i, f, g, o = a[b, :n], a[b, n : 2 * n], a[b, 2 * n : 3 * n], a[b, 3 * n :]
        di, df = da[b, :n], da[b, n : 2 * n]
        dg, do = da[b, 2 * n : 3 * n], da[b, 3 * n :]
        for k in range(n):
            s_i, s_f, t_g, s_o = sigmoid(i[k]), sigmoid(f[k]), tanh(g[k]), sigmoid(o[k])
            t = tanh(s_f * c[b, k] + s_i * t_g)
            d = dc[b, k] + dh[b, k] * s_o * (one - t * t)
            di[k] = d * t_g * s_i * (one - s_i)
            df[k] = d * c[b, k] * s_f * (one - s_f)
            dg[k] = d * s_i * (one - t_g * t_g)
            do[k] = dh[b, k] * t * s_o * (one - s_o)
            dc_old[b, k] = d * s_f


def lstm_gates(a: Any, c: Any) -> Any:
    """Twin of `lstm_gates`. Raises InputError as it does, and for mixed dtypes."""
    a, c = _checked(a, c)
    z = np.empty((2, *c.shape), c.dtype)
    share(_step, [_rows(x) for x in (a, c, *z)])
    return z


def lstm_gates_backward(a: Any, c: Any, g: Any) -> tuple[Any, Any]:
    """Its derivatives; g (2, B, n)."""
    a, c = _checked(a, c)
    g = np.ascontiguousarray(shaped("g", g, (2, *c.shape), c.dtype))
    da, dc = np.empty_like(a), np.empty_like(c)
    share(_step_backward, [_rows(x) for x in (a, c, *g, da, dc)])
    return da, dc


def _rows(x: Any) -> Any:
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def _checked(a: Any, c: Any) -> tuple[Any, Any]:
    a, c = floating(a=a, c=c)
    a = shaped("a", a, (*c.shape[:-1], 4 * c.shape[-1]), c.dtype)
    return np.ascontiguousarray(a), np.ascontiguousarray(c)
