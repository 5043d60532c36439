"""Recurrent networks over a whole sequence: each is one operation with a backward through time.

    h_t = f(x_t W + b, h_{t−1} U, …),    t = 1 … T

Each is written twice: as equations, a step of differentiable NumPy (`lstm_step`, …), and as a row
that keeps what its backward needs. The row lays time first and the batch last, so that every gate's
numbers lie together, and a step is the product of a weight with a few columns. Where derivatives
are differentiated in turn, the equations are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from core.activations import sigmoid
from core.checks import shaped
from core.gates import gru_gates, gru_gates_backward, lstm_gates, lstm_gates_backward
from core.operation import chosen
from core.tensor import Array, JointRow, Tensor, grad

_SMALL = 10**6  # multiplications up to which OpenBLAS packs nothing: 1.5 times as fast


# The equations


def rnn_step(x: Array, W: Array, U: Array, b: Array, h: Array) -> Array:
    """h' = tanh(x W + h U + b): x (B, n_in), h (B, n) → (B, n) (Elman 1990)."""
    return np.tanh(x @ W + b + h @ U)


def gru_step(x: Array, W: Array, U: Array, b: Array, c_n: Array, h: Array) -> Array:
    """x (B, n_in), h (B, n) → h' (B, n) (Cho et al. 2014, section 2.3).

    r, z = sigmoid(x W + h U + b)             reset, update
    n = tanh(x W_n + b_n + r (h U_n + c_n))   the candidate
    h' = (1 − z) n + z h
    """
    x_r, x_z, x_n = np.split(x @ W + b, 3, axis=-1)  # (B, n) each
    h_r, h_z, h_n = np.split(h @ U, 3, axis=-1)
    r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
    n = np.tanh(x_n + r * (h_n + c_n))
    return (1 - z) * n + z * h


def lstm_step(x: Array, W: Array, U: Array, b: Array, h: Array, c: Array) -> tuple[Array, Array]:
    """x (B, n_in), h and c (B, n) → (h', c') (Hochreiter & Schmidhuber 1997; Gers et al. 2000).

    i, f, o = sigmoid(x W + h U + b)          input, forget, output
    c' = f c + i tanh(x W_g + h U_g + b_g)
    h' = o tanh(c')
    """
    i, f, g, o = np.split(x @ W + b + h @ U, 4, axis=-1)  # (B, n) each
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


# Over a sequence


def rnn(x: Array, W: Array, U: Array, b: Array, h: Array) -> Array:
    """h_1 … h_T of `rnn_step` from h = h_0: x (B, T, n_in) → (B, T, n). Raises InputError.

    >>> rnn(np.zeros((1, 2, 3)), np.ones((3, 1)), np.ones((1, 1)), np.ones(1), np.zeros((1, 1)))
    array([[[0.76159416],
            [0.94268079]]])
    """
    _check(x, W, U, b, h, 1)
    kept: list[Any] = []

    def forward(x: Any, W: Any, U: Any, b: Any, h: Any) -> Any:
        hs = _states(h, x.shape[1])

        def step(t: int, a: Any, m: Any) -> None:
            np.add(a[0], m[0], out=hs[t + 1])
            np.tanh(hs[t + 1], out=hs[t + 1])

        _walk(x, W, U, b, hs, step)
        kept[:] = [hs]
        return hs[1:].transpose(2, 0, 1)

    def backward(g: Array, z: Array, *arrays: Array) -> Any:
        if isinstance(g, Tensor):
            return _by_steps(_rnn_steps, g, arrays)
        (hs,), (x, W, U, *_) = kept, arrays

        def step(t: int, dh: Any, da: Any, dm: Any) -> None:
            np.multiply(hs[t + 1], hs[t + 1], out=da[0])
            np.subtract(1, da[0], out=da[0])
            da *= dh

        return _walk_back(g, x, W, U, hs, step)

    return JointRow("rnn", forward, backward)(x, W, U, b, h)


def gru(x: Array, W: Array, U: Array, b: Array, c_n: Array, h: Array) -> Array:
    """h_1 … h_T of `gru_step` from h = h_0: x (B, T, n_in) → (B, T, n). Raises InputError.

    >>> gru(np.zeros((1, 2, 3)), np.ones((3, 3)), np.ones((1, 3)), np.zeros(3), np.zeros(1),
    ...     np.ones((1, 1))).round(3)
    array([[[0.899],
            [0.802]]])
    """
    _check(x, W, U, b, h, 3)
    kept: list[Any] = []
    gates, gates_backward = chosen(gru_gates), chosen(gru_gates_backward)

    def forward(x: Any, W: Any, U: Any, b: Any, c_n: Any, h: Any) -> Any:
        hs = _states(h, x.shape[1])
        m_n = np.empty_like(hs[1:])

        def step(t: int, a: Any, m: Any) -> None:
            m[2] += c_n[:, None]
            m_n[t] = m[2]
            gates(a, m, hs[t], out=(a, hs[t + 1]))

        kept[:] = [_walk(x, W, U, b, hs, step), m_n, hs]
        return hs[1:].transpose(2, 0, 1)

    def backward(g: Array, z: Array, *arrays: Array) -> Any:
        if isinstance(g, Tensor):
            return _by_steps(_gru_steps, g, arrays)
        (a, m_n, hs), (x, W, U, *_) = kept, arrays
        direct, dm_n = np.empty_like(hs[0]), np.zeros_like(hs[0])

        def step(t: int, dh: Any, da: Any, dm: Any) -> Any:
            gates_backward(a[t], m_n[t], hs[t], dh, out=(da, dm, direct))
            dm_n[...] += dm[2]
            return direct

        dx, dW, dU, db, dh = _walk_back(g, x, W, U, hs, step, apart=True)
        return dx, dW, dU, db, np.sum(dm_n, axis=1), dh

    return JointRow("gru", forward, backward)(x, W, U, b, c_n, h)


def lstm(x: Array, W: Array, U: Array, b: Array, h: Array, c: Array) -> Array:
    """h_1 … h_T of `lstm_step` from h_0 and c_0, and after them c_T: → (B, T + 1, n).

    x (B, T, n_in), W (n_in, 4n) and U (n, 4n), b (4n,) with the gates in the order i, f, g, o;
    h and c (B, n). Raises InputError.

    >>> lstm(np.zeros((1, 1, 3)), np.ones((3, 8)), np.ones((2, 8)), np.zeros(8),
    ...      np.zeros((1, 2)), np.ones((1, 2))).round(3)
    array([[[0.231, 0.231],
            [0.5  , 0.5  ]]])
    """
    _check(x, W, U, b, h, 4)
    shaped("c", c, h.shape, h.dtype)
    kept: list[Any] = []
    gates, gates_backward = chosen(lstm_gates), chosen(lstm_gates_backward)

    def forward(x: Any, W: Any, U: Any, b: Any, h: Any, c: Any) -> Any:
        hs, cs = _states(h, x.shape[1] + 1), _states(c, x.shape[1])
        tanh_c = np.empty_like(cs[1:])

        def step(t: int, a: Any, m: Any) -> None:
            gates(a, m, cs[t], out=(a, cs[t + 1], tanh_c[t], hs[t + 1]))

        kept[:] = [_walk(x, W, U, b, hs, step), cs, tanh_c, hs[:-1]]
        hs[-1] = cs[-1]
        return hs[1:].transpose(2, 0, 1)

    def backward(g: Array, z: Array, *arrays: Array) -> Any:
        if isinstance(g, Tensor):
            return _by_steps(_lstm_steps, g, arrays)
        (a, cs, tanh_c, hs), (x, W, U, *_) = kept, arrays
        dc = np.array(g[:, -1].T, order="C")

        def step(t: int, dh: Any, da: Any, dm: Any) -> None:
            gates_backward(a[t], cs[t], tanh_c[t], dh, dc, out=(da, dc))

        return *_walk_back(g[:, :-1], x, W, U, hs, step), dc.T

    return JointRow("lstm", forward, backward)(x, W, U, b, h, c)


# Through time


def _walk(x: Any, W: Any, U: Any, b: Any, h: Any, step: Callable[..., Any]) -> Any:
    """What step(t, a, m) makes of a = x_t W + b and m = h_t U, gates (G, n, B), for all t.

    h (T + 1, n, B) holds h_0; the step writes into a, (T, G, n, B) in all, and h_{t+1}.
    """
    x = np.ascontiguousarray(np.transpose(x, (1, 2, 0)))  # (T, n_in, B)
    T, (n, B) = len(x), h.shape[1:]
    a, m = np.empty((T, len(b) // n, n, B), h.dtype), np.empty((len(b) // n, n, B), h.dtype)
    W, U, b = _in_blocks(W.T, B), _in_blocks(U.T, B), b.reshape(-1, n, 1)
    a_rows, m_rows = a.reshape(T, *W.shape[:2], B), m.reshape(*U.shape[:2], B)
    for t in range(T):
        np.matmul(W, x[t], out=a_rows[t])
        a[t] += b
        np.matmul(U, h[t], out=m_rows)
        step(t, a[t], m)
    return a


def _walk_back(
    g: Any, x: Any, W: Any, U: Any, h: Any, step: Callable[..., Any], apart: bool = False
) -> tuple[Any, ...]:
    """Derivatives in x, W, U, b and h_0 of what `_walk` made, g (B, T, n) being those in h_1 … h_T.

    step(t, dh, da, dm) fills in those in a and m, (G, n, B), and returns what goes to h_t beside
    the product with U, or None. Only with `apart` are da and dm two arrays.
    """
    g = np.ascontiguousarray(np.transpose(g, (1, 2, 0)))  # (T, n, B)
    (T, n, B), width = g.shape, U.shape[1]
    da = np.empty((T, width // n, n, B), g.dtype)
    dm = np.empty_like(da) if apart else da
    dh, U = np.zeros((n, B), g.dtype), _in_blocks(U, B)
    dh_rows, dm_rows = dh.reshape(*U.shape[:2], B), dm.reshape(T, width, B)
    for t in reversed(range(T)):
        dh += g[t]
        direct = step(t, dh, da[t], dm[t])
        np.matmul(U, dm_rows[t], out=dh_rows)
        if direct is not None:
            dh += direct
    by_gate = _by_feature(da)  # (G n, T B)
    dx = (W @ by_gate).reshape(len(W), T, B)
    dW = _sums(np.swapaxes(x, 0, 1), by_gate)
    dU = _sums(np.swapaxes(h[:T], 1, 2), _by_feature(dm) if apart else by_gate)
    return dx.transpose(2, 1, 0), dW, dU, np.einsum("ij->i", by_gate), dh.T


def _states(first: Any, T: int) -> Any:
    """Room for (T + 1, n, B), the first (B, n) given."""
    states = np.empty((T + 1, *first.shape[::-1]), first.dtype)
    states[0] = first.T
    return states


def _in_blocks(V: Any, B: int) -> Any:
    """V (m, k) as (blocks, rows, k), for products with (k, B): of 32 rows, if those are small."""
    small = len(V) % 32 == 0 and 32 * V.shape[1] * B <= _SMALL
    rows = 32 if small else len(V)
    return np.ascontiguousarray(V).reshape(len(V) // rows, rows, V.shape[1])


def _by_feature(a: Any) -> Any:
    """(T, G, n, B) → (G n, T B)."""
    T, G, n, B = a.shape
    return a.reshape(T, G * n, B).swapaxes(0, 1).reshape(G * n, T * B)


def _sums(v: Any, by_gate: Any) -> Any:
    """Σ v a over time and batch: v (T, B, n), a (m, T B) → (n, m)."""
    T, B, n = v.shape
    return (by_gate @ v.reshape(T * B, n)).T


# By the equations, for derivatives of derivatives


def _by_steps(steps: Callable[..., Array], g: Tensor, arrays: Sequence[Array]) -> list[Any]:
    """∂(Σ g·steps(*arrays))/∂a for each a of arrays, as Tensors."""
    inputs = [a * 1 if isinstance(a, Tensor) else Tensor(a) for a in arrays]
    return grad(steps(*inputs), inputs, g, create_graph=True)


def _rnn_steps(x: Array, W: Array, U: Array, b: Array, h: Array) -> Array:
    hs = []
    for t in range(x.shape[1]):
        h = rnn_step(x[:, t], W, U, b, h)
        hs.append(h)
    return np.stack(hs, axis=1)


def _gru_steps(x: Array, W: Array, U: Array, b: Array, c_n: Array, h: Array) -> Array:
    hs = []
    for t in range(x.shape[1]):
        h = gru_step(x[:, t], W, U, b, c_n, h)
        hs.append(h)
    return np.stack(hs, axis=1)


def _lstm_steps(x: Array, W: Array, U: Array, b: Array, h: Array, c: Array) -> Array:
    hs = []
    for t in range(x.shape[1]):
        h, c = lstm_step(x[:, t], W, U, b, h, c)
        hs.append(h)
    return np.stack([*hs, c], axis=1)


def _check(x: Array, W: Array, U: Array, b: Array, h: Array, gates: int) -> None:
    h = shaped("h", h, ("B", "n"), None)
    (B, n), dtype = h.shape, h.dtype
    x = shaped("x", x, (B, "T", "n_in"), dtype)
    shaped("W", W, (x.shape[2], gates * n), dtype)
    shaped("U", U, (n, gates * n), dtype)
    shaped("b", b, (gates * n,), dtype)
