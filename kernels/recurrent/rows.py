"""The rows of `OPS` of an LSTM's and a GRU's gates, both ways (MISSION row K1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from core.functional import sigmoid
from kernels.calls import Arguments
from kernels.layouts import laid, normal
from kernels.table import Op

Dims = Mapping[str, int]


def _sums(rng: np.random.Generator, dims: Dims, dtype: str, gates: int) -> tuple[Any, Any, Any]:
    """a and m of any size, and a state."""
    (n, B), size = (dims["n"], dims["B"]), 2.0 ** dims["size"]
    a, m = (normal(rng, dtype, gates, n, B, scale=size) for _ in range(2))
    return a, m, normal(rng, dtype, n, B)


def _lstm(rng: np.random.Generator, dims: Dims, dtype: str) -> Arguments:
    a, m, c = _sums(rng, dims, dtype, 4)
    return {"a": a, "m": m, "c": c}


def _lstm_backward(rng: np.random.Generator, dims: Dims, dtype: str) -> Arguments:
    """What a forward pass leaves, and slopes."""
    a, m, c = _sums(rng, dims, dtype, 4)
    gates = sigmoid(a + m)
    gates[2] = np.tanh((a + m)[2])
    tanh_c = np.tanh(gates[1] * c + gates[0] * gates[2])
    dh, dc = normal(rng, dtype, *c.shape), normal(rng, dtype, *c.shape)
    return {"gates": laid(rng, gates), "c": c, "tanh_c": laid(rng, tanh_c), "dh": dh, "dc": dc}


def _gru(rng: np.random.Generator, dims: Dims, dtype: str) -> Arguments:
    a, m, h = _sums(rng, dims, dtype, 3)
    return {"a": a, "m": m, "h": h}


def _gru_backward(rng: np.random.Generator, dims: Dims, dtype: str) -> Arguments:
    a, m, h = _sums(rng, dims, dtype, 3)
    gates = sigmoid(a + m)
    gates[2] = np.tanh(a[2] + gates[0] * m[2])
    return {"gates": laid(rng, gates), "m_n": laid(rng, m[2]), "h": h,
            "dh": normal(rng, dtype, *h.shape)}  # fmt: skip


# Twins with a planted fault


def lstm_by_hand(fault: str) -> Callable[..., Any]:
    """The gates written out; right, but for the fault named."""

    def run(a: Any, m: Any, c: Any) -> Any:
        i, f, g, o = a if fault == "nothing of the state" else a + m
        if fault == "i, f, o, g":
            g, o = o, g
        if fault == "peeps at c":
            o = o + c
        g = sigmoid(g) if fault == "sigmoid for tanh" else np.tanh(g)
        i, f, o = map(sigmoid, (i, f, o))
        new = f * c + i * g
        t = np.tanh(c if fault == "shows the old memory" else new)
        return np.stack([i, f, g, o]), new, t, o * t

    return run


def lstm_backward_by_hand(fault: str) -> Callable[..., Any]:
    """Its derivatives; right, but for the fault named."""

    def run(gates: Any, c: Any, tanh_c: Any, dh: Any, dc: Any) -> Any:
        i, f, g, o = gates
        d = dc + (0 if fault == "nothing of h' in c'" else dh * o * (1 - tanh_c * tanh_c))
        d = d - dc if fault == "forgets dc'" else d
        da_f = d * c * (f if fault == "half of f's slope" else f * (1 - f))
        da_g = d * i * (1 if fault == "no slope of tanh" else 1 - g * g)
        return np.stack([d * g * i * (1 - i), da_f, da_g, dh * tanh_c * o * (1 - o)]), d * f

    return run


def gru_by_hand(fault: str) -> Callable[..., Any]:
    """The gates written out; right, but for the fault named."""

    def run(a: Any, m: Any, h: Any) -> Any:
        r, z = sigmoid(a[:2] + m[:2])
        n = np.tanh(r * (a[2] + m[2]) if fault == "resets all" else a[2] + r * m[2])
        if fault == "no reset":
            n = np.tanh(a[2] + m[2])
        kept = 1 - z if fault == "z for 1 − z" else z
        return np.stack([r, z, n]), (1 - kept) * n + kept * h

    return run


def gru_backward_by_hand(fault: str) -> Callable[..., Any]:
    """Its derivatives; right, but for the fault named."""

    def run(gates: Any, m_n: Any, h: Any, dh: Any) -> Any:
        r, z, n = gates
        d_n = dh * (1 - z) * (1 if fault == "no slope of tanh" else 1 - n * n)
        d_r = (dh * (1 - z) if fault == "past tanh to r" else d_n) * m_n * r * (1 - r)
        d_z = dh * (h if fault == "nothing of n in z" else h - n) * z * (1 - z)
        dm_n = d_n if fault == "m's as a's" else d_n * r
        return np.stack([d_r, d_z, d_n]), np.stack([d_r, d_z, dm_n]), dh * z

    return run


_LSTM = ("nothing of the state", "i, f, o, g", "peeps at c", "sigmoid for tanh",
         "shows the old memory")  # fmt: skip
_LSTM_BACK = ("nothing of h' in c'", "forgets dc'", "half of f's slope", "no slope of tanh")
_GRU = ("resets all", "no reset", "z for 1 − z")
_GRU_BACK = ("no slope of tanh", "past tanh to r", "nothing of n in z", "m's as a's")


def _row(name: str, make: Any, wrong: Any, **bounds: Any) -> Op:
    return Op(
        name=name,
        mission=("K1",),
        definition=f"core.gates:{name}",
        twins={"numba": f"kernels.recurrent.twin_numba:{name}"},
        make=make,
        dims={"B": (0, 9), "n": (0, 40), "size": (0, 6)},
        wrong=wrong,
        bench={"128 × 32, float32": ({"B": 32, "n": 128, "size": 0}, "float32")},
        **bounds,
    )


ROWS = [
    _row(
        "lstm_gates",
        _lstm,
        {fault: lstm_by_hand(fault) for fault in _LSTM},
        floor={"float32": 3e-07, "float64": 5e-16},
        cap={"float32": 4e-07, "float64": 1e-15},
    ),
    _row(
        "lstm_gates_backward",
        _lstm_backward,
        {fault: lstm_backward_by_hand(fault) for fault in _LSTM_BACK},
        floor={"float32": 3e-07, "float64": 5e-16},
        cap={"float32": 3e-07, "float64": 7e-16},
    ),
    _row(
        "gru_gates",
        _gru,
        {fault: gru_by_hand(fault) for fault in _GRU},
        floor={"float32": 2e-06, "float64": 1e-14},
        cap={"float32": 5e-06, "float64": 2e-14},
    ),
    _row(
        "gru_gates_backward",
        _gru_backward,
        {fault: gru_backward_by_hand(fault) for fault in _GRU_BACK},
        floor={"float32": 3e-07, "float64": 7e-16},
        cap={"float32": 4e-07, "float64": 8e-16},
    ),
]
