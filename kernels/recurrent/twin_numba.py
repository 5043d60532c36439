"""The gates of recurrent networks in one pass over them, both ways (row K1).

Without `out` any arrays are taken, and checked. With it they come from a row that walks through a
sequence, step by step, and are contiguous.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from core.checks import shaped
from kernels.numerics_numba import fused, sigmoid, tanh
from kernels.sharing import floating

Out = tuple[Any, ...] | None


# LSTM


@njit(**fused)
def lstm_units(gates: Any, m: Any, c: Any, new: Any, tanh_c: Any, h: Any) -> None:
    """gates hold a, and are written over: more arrays than these and LLVM gives up on SIMD."""
    N = c.size
    gates, m = gates.reshape(4, N), m.reshape(4, N)
    c, new, tanh_c, h = c.reshape(N), new.reshape(N), tanh_c.reshape(N), h.reshape(N)
    i, f, g, o = gates[0], gates[1], gates[2], gates[3]
    for k in range(N):
        s_i, s_f = sigmoid(i[k] + m[0, k]), sigmoid(f[k] + m[1, k])
        t_g, s_o = tanh(g[k] + m[2, k]), sigmoid(o[k] + m[3, k])
        memory = s_f * c[k] + s_i * t_g
        t = tanh(memory)
        i[k], f[k], g[k], o[k] = s_i, s_f, t_g, s_o
        new[k], tanh_c[k], h[k] = memory, t, s_o * t


def lstm_gates(a: Any, m: Any, c: Any, *, out: Out = None) -> tuple[Any, ...]:
    """Twin of `lstm_gates`. Raises InputError for shapes and dtypes that don't fit."""
    if out is None:
        a, m, c = _checked(4, a=a, m=m, c=c)
        out = (np.empty_like(a), *(np.empty_like(c) for _ in range(3)))
    if out[0] is not a:
        np.copyto(out[0], a)
    lstm_units(out[0], m, c, *out[1:])
    return out


@njit(**fused)
def _lstm_backward(gates: Any, c: Any, tanh_c: Any, dh: Any, dc: Any, da: Any, old: Any) -> None:
    N, one = c.size, c.dtype.type(1)
    gates, da = gates.reshape(4, N), da.reshape(4, N)
    c, tanh_c, dh = c.reshape(N), tanh_c.reshape(N), dh.reshape(N)
    dc, old = dc.reshape(N), old.reshape(N)
    d_i, d_f, d_g, d_o = da[0], da[1], da[2], da[3]
    for k in range(N):
        i, f, g, o = gates[0, k], gates[1, k], gates[2, k], gates[3, k]
        t, slope = tanh_c[k], dh[k]
        d = dc[k] + slope * o * (one - t * t)
        d_i[k], d_f[k] = d * g * i * (one - i), d * c[k] * f * (one - f)
        d_g[k], d_o[k] = d * i * (one - g * g), slope * t * o * (one - o)
        old[k] = d * f


def lstm_gates_backward(
    gates: Any, c: Any, tanh_c: Any, dh: Any, dc: Any, *, out: Out = None
) -> tuple[Any, ...]:
    """Its derivatives."""
    if out is None:
        gates, c, tanh_c, dh, dc = _checked(4, gates=gates, c=c, tanh_c=tanh_c, dh=dh, dc=dc)
        out = np.empty_like(gates), np.empty_like(c)
    _lstm_backward(gates, c, tanh_c, dh, dc, *out)
    return out


# GRU


@njit(**fused)
def gru_units(gates: Any, m: Any, h: Any, new: Any) -> None:
    """gates hold a, and are written over."""
    N = h.size
    gates, m, h, new = gates.reshape(3, N), m.reshape(3, N), h.reshape(N), new.reshape(N)
    for k in range(N):
        r, z = sigmoid(gates[0, k] + m[0, k]), sigmoid(gates[1, k] + m[1, k])
        n = tanh(gates[2, k] + r * m[2, k])
        gates[0, k], gates[1, k], gates[2, k] = r, z, n
        new[k] = n + z * (h[k] - n)


def gru_gates(a: Any, m: Any, h: Any, *, out: Out = None) -> tuple[Any, ...]:
    """Twin of `gru_gates`. Raises InputError for shapes and dtypes that don't fit."""
    if out is None:
        a, m, h = _checked(3, a=a, m=m, h=h)
        out = np.empty_like(a), np.empty_like(h)
    if out[0] is not a:
        np.copyto(out[0], a)
    gru_units(out[0], m, h, out[1])
    return out


@njit(**fused)
def _gru_backward(gates: Any, m_n: Any, h: Any, dh: Any, da: Any, dm: Any, direct: Any) -> None:
    N, one = h.size, h.dtype.type(1)
    gates, da, dm = gates.reshape(3, N), da.reshape(3, N), dm.reshape(3, N)
    m_n, h, dh, direct = m_n.reshape(N), h.reshape(N), dh.reshape(N), direct.reshape(N)
    for k in range(N):
        r, z, n, slope = gates[0, k], gates[1, k], gates[2, k], dh[k]
        d_n = slope * (one - z) * (one - n * n)
        d_r = d_n * m_n[k] * r * (one - r)
        d_z = slope * (h[k] - n) * z * (one - z)
        da[0, k], da[1, k], da[2, k] = d_r, d_z, d_n
        dm[0, k], dm[1, k], dm[2, k] = d_r, d_z, d_n * r
        direct[k] = slope * z


def gru_gates_backward(
    gates: Any, m_n: Any, h: Any, dh: Any, *, out: Out = None
) -> tuple[Any, ...]:
    """Its derivatives."""
    if out is None:
        gates, m_n, h, dh = _checked(3, gates=gates, m_n=m_n, h=h, dh=dh)
        out = np.empty_like(gates), np.empty_like(gates), np.empty_like(h)
    _gru_backward(gates, m_n, h, dh, *out)
    return out


def _checked(n: int, **arrays: Any) -> list[Any]:
    """Contiguous arrays of one dtype: the first, and those called m, (n, …), the others (…)."""
    found = dict(zip(arrays, floating(**arrays), strict=True))
    first = next(iter(arrays))
    shape, dtype = found[first].shape[1:], found[first].dtype
    for name, x in found.items():
        shaped(name, x, (n, *shape) if name in (first, "m") else shape, dtype)
    return [np.ascontiguousarray(x) for x in found.values()]
