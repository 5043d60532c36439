"""NADE's conditionals on the CPU, and their derivatives (row K1).

As long as bits are 0 the hidden units stay what they were, so exponentials are taken once for every
bit that is 1, not for every variable: of binarised digits 7 times fewer. A few samples go through
the loop over variables together, so that a row of weights is read once for all of them.

Backwards, with h_k those of the k-th run of variables that share hidden units,

    dh_k = Σ_{i in run k} g_i V_i,    da_k = dh_k h_k (1 − h_k),    A = Σ da of all later runs,

and the bit that begins run k + 1 has dW = A, and c all of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from core.checks import shaped
from kernels.numerics_numba import fused, sigmoid, sums
from kernels.sharing import floating, share

_SAMPLES = 8  # that go through the loop together


@njit(**fused)
def _units(a: Any, h: Any) -> None:
    for k in range(a.size):
        h[k] = sigmoid(a[k])


@njit(**fused)
def _add(a: Any, factor: Any, b: Any) -> None:
    for k in range(a.size):
        a[k] += factor * b[k]


@njit(**sums)
def _dot(a: Any, b: Any, s: Any) -> Any:
    for k in range(a.size):
        s += a[k] * b[k]
    return s


@njit(**fused)
def _logits(x: Any, z: Any, W: Any, V: Any, b: Any, c: Any) -> None:
    D, H = V.shape
    a, h = np.empty((_SAMPLES, H), V.dtype), np.empty((_SAMPLES, H), V.dtype)
    for first in range(0, len(x), _SAMPLES):
        n = min(_SAMPLES, len(x) - first)
        for s in range(n):
            a[s] = c
            _units(a[s], h[s])
        for i in range(D):
            for s in range(n):
                z[first + s, i] = _dot(h[s], V[i], b[i])
                if i + 1 < D and x[first + s, i] != 0:
                    _add(a[s], x[first + s, i], W[i])
                    _units(a[s], h[s])


@njit(**fused)
def _hidden(x: Any, W: Any, c: Any, h: Any) -> int:
    """The hidden units h[k] (H,) of each run of variables of one sample; the last run."""
    a, k = c.copy(), 0
    _units(a, h[0])
    for i in range(x.size - 1):
        if x[i] != 0:
            k += 1
            _add(a, x[i], W[i])
            _units(a, h[k])
    return k


@njit(**fused)
def _most_ones(x: Any) -> int:
    """The most bits that are not 0 in a row."""
    most = 0
    for s in range(len(x)):
        ones = 0
        for i in range(x.shape[1]):
            ones += x[s, i] != 0
        most = max(most, ones)
    return most


@njit(**fused)
def _of_output(g: Any, V: Any, h: Any, dh: Any, dV: Any) -> None:
    """What one logit passes back: to its hidden units and to its weights."""
    for k in range(h.size):
        dh[k] += g * V[k]
        dV[k] += g * h[k]


@njit(**fused)
def _of_run(h: Any, dh: Any, A: Any) -> None:
    """A += da of a run; dh begins anew."""
    one = h.dtype.type(1)
    for k in range(h.size):
        A[k] += dh[k] * h[k] * (one - h[k])
        dh[k] = 0


@njit(**fused)
def _gradients(x: Any, g: Any, W: Any, V: Any, c: Any, dW: Any, dV: Any, dc: Any) -> None:
    D, H = V.shape
    h = np.empty((_SAMPLES, _most_ones(x) + 1, H), V.dtype)
    dh, A = np.empty((_SAMPLES, H), V.dtype), np.empty((_SAMPLES, H), V.dtype)
    k = np.empty(_SAMPLES, np.int64)
    for first in range(0, len(x), _SAMPLES):
        n = min(_SAMPLES, len(x) - first)
        dh[:], A[:] = 0, 0
        for s in range(n):
            k[s] = _hidden(x[first + s], W, c, h[s])
        for i in range(D - 1, -1, -1):
            for s in range(n):
                x_i = x[first + s, i]
                if i + 1 < D and x_i != 0:
                    _of_run(h[s, k[s]], dh[s], A[s])
                    _add(dW[i], x_i, A[s])
                    k[s] -= 1
                _of_output(g[first + s, i], V[i], h[s, k[s]], dh[s], dV[i])
        for s in range(n):
            _of_run(h[s, 0], dh[s], A[s])
            _add(dc, dc.dtype.type(1), A[s])


def nade_logits(W: Any, V: Any, b: Any, c: Any, x: Any) -> Any:
    """Twin of `nade_logits`. Raises InputError for shapes and dtypes that don't fit."""
    W, V, b, c, x = _checked(W, V, b, c, x)
    z = np.empty_like(x)
    share(_logits, [x, z], [W, V, b, c])
    return z


def nade_logits_backward(W: Any, V: Any, b: Any, c: Any, g: Any, x: Any) -> tuple[Any, ...]:
    """Its derivatives by W, V, b and c; g (B, D). Samples are added in their order."""
    W, V, b, c, x = _checked(W, V, b, c, x)
    g = np.ascontiguousarray(shaped("g", g, x.shape, x.dtype))
    dW, dV, dc = np.zeros_like(W), np.zeros_like(V), np.zeros_like(c)
    _gradients(x, g, W, V, c, dW, dV, dc)
    return dW, dV, g.sum(axis=0), dc


def _checked(W: Any, V: Any, b: Any, c: Any, x: Any) -> list[Any]:
    W, V, b, c, x = floating(W=W, V=V, b=b, c=c, x=x)
    D, H = shaped("W", W, ("D", "H"), W.dtype).shape
    shapes = {"V": (V, D, H), "b": (b, D), "c": (c, H), "x": (x, "B", D)}
    for name, (a, *shape) in shapes.items():
        shaped(name, a, tuple(shape), W.dtype)
    return [np.ascontiguousarray(a) for a in (W, V, b, c, x)]
