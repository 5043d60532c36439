"""Texts and sounds from WaveNets on the CPU, all of the loop compiled (row K3).

Every layer keeps what it was given in a ring as long as its dilation, so a token costs one step of
each layer. A few texts go through the loop together, and threads share them out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit

from core.checks import shaped, whole
from core.checks import tokens as checked_tokens
from core.errors import InputError
from kernels.decoding.decode_numba import controls_of, draw_tokens, drawn
from kernels.decoding.products_numba import copy_row
from kernels.numerics_numba import fused, how, sigmoid, tanh
from kernels.sampling.convolution_numba import add_product
from kernels.sharing import floating, share_rows
from reference.operations.decoding import checked_uniforms

_TEXTS = 16
"""That go through the loop together, at most."""


@njit(**fused)
def _gate(a: Any, z: Any) -> None:
    """z (p,) = tanh(a_1) σ(a_2) of a (2p,)."""
    p = z.size
    for k in range(p):
        z[k] = tanh(a[k]) * sigmoid(a[p + k])


@njit(**fused)
def _share(r: Any, total: Any, h: Any) -> None:
    """r (2p,) is what goes to the skips, and what to the next layer."""
    p = h.size
    for k in range(p):
        total[k] += r[k]
        h[k] += r[p + k]


@njit(**fused)
def _relu(a: Any) -> None:
    zero = a.dtype.type(0)
    for k in range(a.size):
        a[k] = max(a[k], zero)


@njit(**how)
def _step(
    t: int,
    h: Any,
    total: Any,
    rings: Any,
    dilations: Any,
    W: Any,
    b: Any,
    V: Any,
    c: Any,
    room: Any,
) -> None:
    """One token's h (R, p) through all layers; total (R, p) is what they say of it."""
    p, begin, a, z = h.shape[1], 0, room[0], room[1, : h.shape[1]]
    total[:] = 0
    for i in range(len(dilations)):
        ring = rings[begin + t % dilations[i]]  # (R, p), what was given d tokens ago
        for s in range(len(h)):
            copy_row(b[i], a)
            add_product(ring[s], W[i, :p], a)
            add_product(h[s], W[i, p:], a)
            copy_row(h[s], ring[s])
            _gate(a, z)
            copy_row(c[i], a)
            add_product(z, V[i], a)
            _share(a, total[s], h[s])
        begin += dilations[i]


@njit(**how)
def _logits(total: Any, W_1: Any, b_1: Any, W_2: Any, b_2: Any, hidden: Any, z: Any) -> None:
    """z (V,) of what all layers say of a token, (p,), which is written over."""
    _relu(total)
    copy_row(b_1, hidden)
    add_product(total, W_1, hidden)
    _relu(hidden)
    copy_row(b_2, z)
    add_product(hidden, W_2, z)


@njit(**how)
def _move(state: Any, start: int, rings: Any, dilations: Any, t: int, into: bool) -> None:
    """Rows of the state (n, p, Σ d), from `start` on, into the rings at time t, or back."""
    begin = 0
    for d in dilations:
        for j in range(d):
            ring = rings[begin + (t + j) % d]
            for s in range(len(ring)):
                for k in range(ring.shape[1]):
                    if into:
                        ring[s, k] = state[start + s, k, begin + j]
                    else:
                        state[start + s, k, begin + j] = ring[s, k]
        begin += d


@njit(**how)
def _texts(
    rows: Any, u: Any, x: Any, state: Any, tokens: Any, E: Any, dilations: Any,
    W: Any, b: Any, V: Any, c: Any, W_1: Any, b_1: Any, W_2: Any, b_2: Any, controls: Any,
) -> None:  # fmt: skip
    """Some rows of tokens and state."""
    R, start, known, p = rows.size, rows[0], x.shape[1], E.shape[1]
    last, here = known + u.shape[1] - 1, slice(rows[0], rows[0] + R)
    rings = np.empty((state.shape[2], R, p), E.dtype)
    h, total = np.empty((R, p), E.dtype), np.empty((R, p), E.dtype)
    room, hidden = np.empty((2, 2 * p), E.dtype), np.empty(b_1.size, E.dtype)
    logits, w = np.empty((R, b_2.size), E.dtype), np.empty(b_2.size)
    _move(state, start, rings, dilations, 0, True)
    for t in range(last):
        for s in range(R):
            k = x[start + s, t] if t < known else tokens[start + s, t - known]
            copy_row(E[k], h[s])
        _step(t, h, total, rings, dilations, W, b, V, c, room)
        if t + 1 >= known:
            i = t + 1 - known
            for s in range(R):
                _logits(total[s], W_1, b_1, W_2, b_2, hidden, logits[s])
            if not draw_tokens(logits, u[here, i], controls, w, tokens[here, i]):
                return
    _move(state, start, rings, dilations, last, False)


def wavenet_sample(
    u: Any,
    x: Any,
    state: Any,
    E: Any,
    dilations: Sequence[int],
    dilated: Any,
    skip: Any,
    residual: Any,
    leave: Any,
    **controls: Any,
) -> tuple[Any, Any]:
    """Twin of `wavenet_sample`. Raises InputError as it does, and for what does not fit."""
    chosen, u = controls_of(**controls), checked_uniforms(u, "n", "T")
    E, state = floating(E=E, state=state)
    x = checked_tokens(x, len(shaped("E", E, ("K", "p"), E.dtype)))
    reach = np.array([whole("dilations", d, 1) for d in dilations])
    (n, T), p = u.shape, E.shape[1]
    state = np.array(shaped("state", state, (n, p, reach.sum()), E.dtype), order="C")
    inner = _inner(dilated, skip, residual, len(reach), E)
    (W_1, b_1), (W_2, b_2) = _leave(leave, E)
    tokens = np.zeros((n, T), np.int64)
    if T:
        weights = *inner, W_1, b_1, W_2, b_2
        E = np.ascontiguousarray(E)
        share_rows(_texts, n, _TEXTS, u, x, state, tokens, E, reach, *weights, chosen)
    return drawn(tokens), state


def _inner(dilated: Any, skip: Any, residual: Any, layers: int, E: Any) -> list[Any]:
    """W (layers, 2p, 2p), b (layers, 2p) of the gates, first what is of the past; V, c of what they
    share out: skips first, then residuals, 0 for the last layer.
    """
    lengths = len(dilated), len(skip), len(residual) + 1
    if lengths != (layers, layers, layers) or not layers:
        raise InputError(
            "dilations, dilated and skip must be as many, and residual one fewer, got "
            f"{layers}, {lengths[0]}, {lengths[1]} and {len(residual)}"
        )
    p, dtype = E.shape[1], E.dtype
    W, b = np.empty((layers, 2, p, 2 * p), dtype), np.empty((layers, 2 * p), dtype)
    V, c = np.zeros((layers, p, 2, p), dtype), np.zeros((layers, 2, p), dtype)
    for i, layer in enumerate(dilated):
        taps, b[i] = _checked(f"dilated {i}", layer, (2 * p, p, 2), dtype)
        W[i] = taps.transpose(2, 1, 0)
    for which, (name, convs) in enumerate((("skip", skip), ("residual", residual))):
        for i, layer in enumerate(convs):
            kernel, c[i, which] = _checked(f"{name} {i}", layer, (p, p, 1), dtype)
            V[i, :, which] = kernel[:, :, 0].T
    return [W.reshape(layers, 2 * p, 2 * p), b, V.reshape(layers, p, 2 * p), c.reshape(layers, -1)]


def _leave(leave: Any, E: Any) -> list[tuple[Any, Any]]:
    """W (n_in, n_out) and b of the layers after the skips."""
    found, n_in = list[tuple[Any, Any]](), E.shape[1]
    if len(leave) != 2:
        raise InputError(f"leave must be two layers, got {len(leave)}")
    for i, layer in enumerate(leave):
        W, b = _checked(f"leave {i}", layer, ("n", n_in, 1), E.dtype)
        found.append((np.ascontiguousarray(W[:, :, 0].T), np.ascontiguousarray(b)))
        n_in = len(b)
    if not 0 < n_in <= len(E):
        raise InputError(f"E must have a vector for each of {n_in} tokens, got {len(E)}")
    return found


def _checked(name: str, layer: Any, shape: tuple[Any, ...], dtype: Any) -> tuple[Any, Any]:
    """W and b of a layer; InputError unless they have these shapes."""
    W = shaped(f"W of {name}", layer[0], shape, dtype)
    return W, shaped(f"b of {name}", layer[1], (len(W),), dtype)
