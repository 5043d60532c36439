"""Texts from recurrent networks on the CPU, all of the loop compiled (row K3).

A few texts go through it together, and threads share them out. The first layer's x W + b is one of
as many vectors as there are tokens: each is worked out when its token first comes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from core import value
from core.checks import shaped
from core.checks import tokens as checked_tokens
from core.errors import InputError
from kernels.decoding.decode_numba import controls_of, draw_tokens, drawn
from kernels.decoding.products_numba import (
    add_product,
    addresses,
    copy_row,
    fill_rows,
    matrix_at,
    set_dots,
    vector_at,
)
from kernels.numerics_numba import fused, how, tanh
from kernels.recurrent.twin_numba import gru_units, lstm_units
from kernels.sharing import floating, share_rows
from reference.layers import GRUCell, LSTMCell, RNNCell
from reference.operations.decoding import checked_uniforms

_TEXTS = 16
"""That go through the loop together, at most."""
_GATES = {RNNCell: 1, GRUCell: 3, LSTMCell: 4}


@njit(**fused)
def _units(a: Any, m: Any, h: Any, c: Any, room: Any) -> None:
    """One text's h and c (H,) after a step, from its sums a and m (G · H,). room: (3, H)."""
    H = h.size
    new, memory = room[0], room[1]
    if a.size == H:
        for k in range(H):
            h[k] = tanh(a[k] + m[k])
        return
    if a.size == 3 * H:
        gru_units(a, m, h, new)
    else:
        lstm_units(a, m, c, memory, room[2], new)
        for k in range(H):
            c[k] = memory[k]
    for k in range(H):
        h[k] = new[k]


@njit(**how)
def _of_token(k: int, E: Any, layers: Any, table: Any, seen: Any) -> Any:
    """The first layer's x W + b for token k."""
    row = table[k : k + 1]
    if not seen[k]:
        fill_rows(row, vector_at(layers[0, 2], row.size, E))
        add_product(E[k : k + 1], matrix_at(layers[0, 0], E.shape[1], row.size, E), row)
        seen[k] = True
    return row[0]


@njit(**how)
def _step(a: Any, m: Any, h: Any, c: Any, layers: Any, room: Any) -> None:
    """One token through all cells: a (R, G · H) are the first one's sums, h and c (L, R, H)."""
    L, R, H = h.shape
    wide = a.shape[1]
    for layer in range(L):
        if layer > 0:
            fill_rows(a, vector_at(layers[layer, 2], wide, a))
            add_product(h[layer - 1], matrix_at(layers[layer, 0], H, wide, a), a)
        for s in range(R):
            for k in range(wide):
                m[s, k] = 0
            if wide == 3 * H:
                copy_row(vector_at(layers[layer, 3], H, a), m[s, 2 * H :])
        add_product(h[layer], matrix_at(layers[layer, 1], H, wide, a), m)
        for s in range(R):
            _units(a[s], m[s], h[layer, s], c[layer, s], room)


@njit(**how)
def _move(state: Any, start: int, h: Any, c: Any, into: bool) -> None:
    """Rows of the state (L, S, n, H), from `start` on, into h and c (L, R, H), or back."""
    S = state.shape[1]
    for layer in range(len(h)):
        for s in range(h.shape[1]):
            if into:
                copy_row(state[layer, S - 1, start + s], c[layer, s])
                copy_row(state[layer, 0, start + s], h[layer, s])
            else:
                copy_row(c[layer, s], state[layer, S - 1, start + s])
                copy_row(h[layer, s], state[layer, 0, start + s])


@njit(**how)
def _texts(
    rows: Any, u: Any, x: Any, state: Any, tokens: Any,
    E: Any, layers: Any, V: Any, b: Any, gates: int, controls: Any,
) -> None:  # fmt: skip
    """Some rows of tokens and state. layers (L, 4): where each cell's W, U, b and c_n begin.

    V: (K, H).
    """
    L, _, _, H = state.shape
    R, start, known, wide = rows.size, rows[0], x.shape[1], gates * H
    h, c = np.empty((L, R, H), E.dtype), np.empty((L, R, H), E.dtype)
    _move(state, start, h, c, True)
    table, seen = np.empty((len(E), wide), E.dtype), np.zeros(len(E), np.bool_)
    a, m = np.empty((R, wide), E.dtype), np.empty((R, wide), E.dtype)
    room, logits, w = np.empty((3, H), E.dtype), np.empty((R, b.size), E.dtype), np.empty(b.size)
    for t in range(known + u.shape[1] - 1):
        for s in range(R):
            k = x[start + s, t] if t < known else tokens[start + s, t - known]
            copy_row(_of_token(k, E, layers, table, seen), a[s])
        _step(a, m, h, c, layers, room)
        if t + 1 >= known:
            set_dots(h[L - 1], V, b, logits)
            i, here = t + 1 - known, slice(start, start + R)
            if not draw_tokens(logits, u[here, i], controls, w, tokens[here, i]):
                return
    _move(state, start, h, c, False)


def rnn_sample(
    u: Any, x: Any, state: Any, E: Any, cells: list[Any], V: Any, c: Any, **controls: Any
) -> tuple[Any, Any]:
    """Twin of `rnn_sample`. Raises InputError as it does, and for what does not fit."""
    chosen, u = controls_of(**controls), checked_uniforms(u, "n", "T")
    E, V, c, state = floating(E=E, V=V, c=c, state=state)
    (n, T), dtype = u.shape, E.dtype
    x = checked_tokens(x, len(shaped("E", E, ("K", "n_in"), dtype)))
    gates, weights = _cells(cells, E.shape[1], dtype)
    H = weights[1].shape[0]
    S = 2 if gates == 4 else 1
    state = np.array(shaped("state", state, (len(cells), S, n, H), dtype), order="C")
    V = np.ascontiguousarray(shaped("V", V, (H, "K"), dtype).T)
    c = np.ascontiguousarray(shaped("c", c, (len(V),), dtype))
    tokens, layers = np.zeros((n, T), np.int64), addresses(*weights).reshape(-1, 4)
    if T:
        arguments = u, x, state, tokens, np.ascontiguousarray(E), layers, V, c, gates, chosen
        share_rows(_texts, n, _TEXTS, *arguments)
    return drawn(tokens), state


def _cells(cells: list[Any], n_in: int, dtype: Any) -> tuple[int, list[Any]]:
    """How many gates a cell has, and W, U, b and c_n of each; InputError unless they fit."""
    kind = type(cells[0]) if cells else None
    if kind not in _GATES or any(type(cell) is not kind for cell in cells):
        raise InputError("cells must be RNNCells, GRUCells or LSTMCells, all of one kind")
    gates, H, weights = _GATES[kind], cells[0].n_out, []
    for cell in cells:
        parts = {"W": (n_in, gates * H), "U": (H, gates * H), "b": (gates * H,), "c_n": (H,)}
        for name, shape in parts.items():
            array = value(getattr(cell, name, cell.b[:H]))
            weights.append(np.ascontiguousarray(shaped(name, array, shape, dtype)))
        n_in = H
    return gates, weights
