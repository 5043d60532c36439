"""Whole numbers from a Markov MLP, one after another, all of the loop compiled (row K3).

A variable's network sees `window` numbers, so nothing can be kept from one to the next: each costs
one pass of a small network. Rows are drawn on their own, and threads share them out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from core.checks import shaped, whole
from core.errors import InputError
from kernels.numerics_numba import how
from kernels.sampling.convolution_numba import add_product
from kernels.sampling.heads_numba import draw_value
from kernels.sharing import floating, share_rows
from reference.autoregressive.heads import Softmax
from reference.operations.decoding import checked_uniforms

_ROWS = 16
"""That are handed to a thread together, at most."""


@njit(**how)
def _network(c: Any, sizes: Any, weights: Any, h: Any) -> Any:
    """The parameters that one network makes of a context c; h (2, widest): room."""
    x, begin, last = c, 0, len(sizes) - 2
    for i in range(last + 1):
        n, m, y = sizes[i], sizes[i + 1], h[i % 2, : sizes[i + 1]]
        end = begin + n * m
        y[:] = weights[end : end + m]
        add_product(x, weights[begin:end].reshape(n, m), y)
        if i < last:
            for k in range(m):
                y[k] = max(y[k], y.dtype.type(0))
        x, begin = y, end + m
    return x


@njit(**how)
def _draw(
    rows: Any, u: Any, sizes: Any, weights: Any, window: int, levels: int, scale: Any, x: Any
) -> None:
    """Rows of x (n, D): each number from the `window` before it, the latest first."""
    widest = sizes[0]
    for n in sizes:
        widest = max(widest, n)
    h, c, w = np.empty((2, widest), u.dtype), np.zeros(sizes[0], u.dtype), np.empty(levels)
    for s in rows:
        c[:] = 0
        for j in range(u.shape[1]):
            for i in range(min(j, window)):
                c[2 * i], c[2 * i + 1] = x[s, j - 1 - i] * scale - 1.0, 1
            theta = _network(c, sizes, weights[j % len(weights)], h)
            x[s, j] = draw_value(theta, levels, 0, u[s, j], w)


def markov_mlp_sample(u: Any, layers: Any, window: int, levels: int) -> Any:
    """Twin of `markov_mlp_sample`. Raises InputError for shapes and dtypes that don't fit."""
    window, levels = whole("window", window, 1), whole("levels", levels, 2)
    u = checked_uniforms(u, "n", "D")
    sizes, weights = _packed(u, layers, 2 * window, Softmax(levels).size)
    x = np.zeros(u.shape, np.int64)
    share_rows(_draw, len(u), _ROWS, u, sizes, weights, window, levels, 2 / (levels - 1), x)
    return x


def _packed(u: Any, layers: Any, n_in: int, n_out: int) -> tuple[Any, Any]:
    """The layers' sizes, and each network's weights in one row: W and b of the first layer, …"""
    if not len(layers):
        raise InputError("layers must be one at least, got none")
    given = [floating(u=u, W=W, b=b)[1:] for W, b in layers]
    N, sizes, parts = len(given[0][0]), [n_in], []
    if N not in (1, u.shape[1]):
        raise InputError(f"W must have a network for all or for each of {u.shape[1]}, got {N}")
    for i, (W, b) in enumerate(given):
        W = shaped(f"W of layer {i}", W, (N, sizes[-1], "m"), u.dtype)
        b = shaped(f"b of layer {i}", b, (N, 1, W.shape[2]), u.dtype)
        sizes.append(W.shape[2])
        parts += [W.reshape(N, -1), b.reshape(N, -1)]
    if sizes[-1] != n_out:
        raise InputError(f"the last layer must make {n_out} parameters, got {sizes[-1]}")
    return np.array(sizes), np.concatenate(parts, axis=1)
