"""The rows of `OPS` of an LSTM's step, both ways (MISSION row K1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from core.functional import sigmoid
from kernels.calls import Arguments
from kernels.layouts import normal
from kernels.table import Op

Dims = Mapping[str, int]


def _make(rng: np.random.Generator, dims: Dims, dtype: str) -> Arguments:
    B, n = dims["B"], dims["n"]
    a = normal(rng, dtype, B, 4 * n, scale=2.0 ** dims["size"])
    return {"a": a, "c": normal(rng, dtype, B, n)}


def _make_backward(rng: np.random.Generator, dims: Dims, dtype: str) -> Arguments:
    g = normal(rng, dtype, 2, dims["B"], dims["n"])
    return {**_make(rng, dims, dtype), "g": g}


# Twins with a planted fault


def forward_by_hand(fault: str) -> Callable[..., Any]:
    """The step written out; right, but for the fault named."""

    def run(a: Any, c: Any) -> Any:
        i, f, g, o = np.split(a, 4, axis=-1)
        if fault == "i, f, o, g":
            g, o = o, g
        if fault == "peeps at c":
            o = o + c
        g = sigmoid(g) if fault == "sigmoid for tanh" else np.tanh(g)
        new = sigmoid(f) * c + sigmoid(i) * g
        shown = c if fault == "shows the old memory" else new
        return np.stack([sigmoid(o) * np.tanh(shown), new])

    return run


def backward_by_hand(fault: str) -> Callable[..., Any]:
    """Its derivatives; right, but for the fault named."""

    def run(a: Any, c: Any, g: Any) -> tuple[Any, Any]:
        s_i, s_f, _, s_o = map(sigmoid, np.split(a, 4, axis=-1))
        t_g = np.tanh(np.split(a, 4, axis=-1)[2])
        t, (dh, dc) = np.tanh(s_f * c + s_i * t_g), g
        d = dc + (0 if fault == "nothing of h' in c'" else dh * s_o * (1 - t * t))
        d = d - dc if fault == "forgets dc'" else d
        da_f = d * c * (s_f if fault == "half of f's slope" else s_f * (1 - s_f))
        da_g = d * s_i * (1 if fault == "no slope of tanh" else 1 - t_g * t_g)
        da = [d * t_g * s_i * (1 - s_i), da_f, da_g, dh * t * s_o * (1 - s_o)]
        return np.concatenate(da, axis=-1), d * s_f

    return run


def torch_backward(a: Any, c: Any, g: Any) -> tuple[Any, Any]:
    """Autograd of the same formula, forward and backward."""
    import torch

    leaves = [torch.from_numpy(v).requires_grad_() for v in (a, c)]
    i, f, x, o = leaves[0].chunk(4, -1)
    new = f.sigmoid() * leaves[1] + i.sigmoid() * x.tanh()
    z = torch.stack([o.sigmoid() * new.tanh(), new])
    da, dc = torch.autograd.grad(z, leaves, torch.from_numpy(g))
    return da.numpy(), dc.numpy()


def torch_forward(a: Any, c: Any) -> Any:
    """The same formula."""
    import torch

    i, f, x, o = torch.from_numpy(a).chunk(4, -1)
    new = f.sigmoid() * torch.from_numpy(c) + i.sigmoid() * x.tanh()
    return torch.stack([o.sigmoid() * new.tanh(), new]).numpy()


_FORWARD = ("i, f, o, g", "peeps at c", "sigmoid for tanh", "shows the old memory")
_BACKWARD = ("nothing of h' in c'", "forgets dc'", "half of f's slope", "no slope of tanh")
_HERE = "kernels.recurrent.twin_numba"
_ALL: dict[str, Any] = {
    "mission": ("K1",),
    "dims": {"B": (0, 9), "n": (0, 40), "size": (0, 6)},
    "bench": {"32 × 128, float32": ({"B": 32, "n": 128, "size": 0}, "float32")},
}

ROWS = [
    Op(
        name="lstm_gates",
        definition="core.recurrent:lstm_gates",
        twins={"numba": f"{_HERE}:lstm_gates"},
        make=_make,
        floor={"float32": 3e-07, "float64": 5e-16},
        cap={"float32": 3e-07, "float64": 5e-16},
        wrong={fault: forward_by_hand(fault) for fault in _FORWARD},
        peers={"torch": torch_forward},
        **_ALL,
    ),
    Op(
        name="lstm_gates_backward",
        definition="core.recurrent:lstm_gates.backward",
        twins={"numba": f"{_HERE}:lstm_gates_backward"},
        make=_make_backward,
        floor={"float32": 3e-07, "float64": 9e-16},
        cap={"float32": 6e-07, "float64": 3e-15},
        wrong={fault: backward_by_hand(fault) for fault in _BACKWARD},
        peers={"torch, both ways": torch_backward},
        **_ALL,
    ),
]
