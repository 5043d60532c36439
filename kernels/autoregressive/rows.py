"""The rows of `OPS` of NADE's conditionals, both ways (MISSION row K1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from core.functional import sigmoid
from kernels.calls import Arguments
from kernels.layouts import laid, normal
from kernels.table import Op

Dims = Mapping[str, int]


def _make(rng: np.random.Generator, dims: Dims, dtype: str) -> Arguments:
    """Bits, from hardly any 1 to hardly any 0; activations from 1 to beyond what σ tells apart."""
    B, D, H, scale = dims["B"], dims["D"], dims["H"], 2.0 ** dims["size"] / dims["D"] ** 0.5
    W, V = normal(rng, dtype, D, H, scale=scale), normal(rng, dtype, D, H, scale=H**-0.5)
    x = (rng.random((B, D)) < rng.random()).astype(dtype)
    b, c = normal(rng, dtype, D), normal(rng, dtype, H)
    return {"W": W, "V": V, "b": b, "c": c, "x": laid(rng, x)}


def _make_backward(rng: np.random.Generator, dims: Dims, dtype: str) -> Arguments:
    return {**_make(rng, dims, dtype), "g": normal(rng, dtype, dims["B"], dims["D"])}


# Twins with a planted fault


def forward_by_hand(fault: str) -> Callable[..., Any]:
    """Algorithm 1 written out; right, but for the fault named."""

    def run(W: Any, V: Any, b: Any, c: Any, x: Any) -> Any:
        z, a = np.empty_like(x), np.tile(c, (len(x), 1))
        for i in range(len(W)):
            now = a + x[:, i : i + 1] * W[i]
            h = sigmoid(now if fault == "sees its own bit" else a)
            z[:, i] = (0 if fault == "no b" else b[i]) + h @ V[i]
            a = c + x[:, i : i + 1] * W[i] if fault == "the last bit only" else now
        return z

    return run


def backward_by_hand(fault: str) -> Callable[..., Any]:
    """Its derivatives; right, but for the fault named."""

    def run(W: Any, V: Any, b: Any, c: Any, g: Any, x: Any) -> tuple[Any, ...]:
        before = np.concatenate([c[None], W[:-1]])
        seen = np.concatenate([np.ones_like(x[:, :1]), x[:, :-1]], axis=1)
        h = sigmoid(np.cumsum(seen[..., None] * before, axis=1))  # (B, D, H)
        slope = 1 if fault == "no slope of σ" else h * (1 - h)
        da = g[..., None] * V * slope
        later = np.cumsum(da[:, ::-1], axis=1)[:, ::-1]
        later = da if fault == "the next variable only" else later
        by_input = (seen[..., None] * later).sum(axis=0)
        dW = np.concatenate([by_input[1:], np.zeros_like(W[:1])])
        if fault == "W of the last bit":
            dW[-1] = (x[:, -1:] * da[:, -1]).sum(axis=0)
        dV = (g[..., None] * (h[:, :1] if fault == "h of the first" else h)).sum(axis=0)
        return dW, dV, g.sum(axis=0), by_input[0]

    return run


# Peers


def torch_logits(W: Any, V: Any, b: Any, c: Any, x: Any) -> Any:
    """The same cumulative sum."""
    import torch

    return _torch_logits([torch.from_numpy(v) for v in (W, V, b, c)], torch.from_numpy(x)).numpy()


def torch_backward(W: Any, V: Any, b: Any, c: Any, g: Any, x: Any) -> tuple[Any, ...]:
    """Autograd of the same, forward and backward."""
    import torch

    leaves = [torch.from_numpy(v).requires_grad_() for v in (W, V, b, c)]
    z = _torch_logits(leaves, torch.from_numpy(x))
    return tuple(d.numpy() for d in torch.autograd.grad(z, leaves, torch.from_numpy(g)))


def _torch_logits(weights: Any, x: Any) -> Any:
    import torch

    W, V, b, c = weights
    seen = torch.cat([torch.ones_like(x[:, :1]), x[:, :-1]], dim=1)
    a = torch.cumsum(seen[..., None] * torch.cat([c[None], W[:-1]]), dim=1)
    return b + (V * torch.sigmoid(a)).sum(-1)


_FORWARD = ("sees its own bit", "no b", "the last bit only")
_BACKWARD = ("no slope of σ", "the next variable only", "W of the last bit", "h of the first")
_HERE = "kernels.autoregressive.twin_numba"
_ALL: dict[str, Any] = {
    "mission": ("K1", "A2"),
    "dims": {"B": (0, 20), "D": (1, 40), "H": (1, 40), "size": (0, 4)},
    "bench": {
        "784/500, 20 samples, float32": ({"B": 20, "D": 784, "H": 500, "size": 0}, "float32")
    },
}

ROWS = [
    Op(
        name="nade_logits",
        definition="reference.autoregressive.nade:nade_logits",
        twins={"numba": f"{_HERE}:nade_logits"},
        make=_make,
        floor={"float32": 3e-07, "float64": 5e-16},
        cap={"float32": 5e-07, "float64": 2e-15},
        wrong={fault: forward_by_hand(fault) for fault in _FORWARD},
        peers={"torch": torch_logits},
        **_ALL,
    ),
    Op(
        name="nade_logits_backward",
        definition="reference.autoregressive.nade:nade_logits.backward",
        twins={"numba": f"{_HERE}:nade_logits_backward"},
        make=_make_backward,
        floor={"float32": 9e-07, "float64": 2e-15},
        cap={"float32": 2e-06, "float64": 5e-15},
        wrong={fault: backward_by_hand(fault) for fault in _BACKWARD},
        peers={"torch, both ways": torch_backward},
        **_ALL,
    ),
]
