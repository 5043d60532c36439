"""The rows of `OPS` of norms, both ways (MISSION row K1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from kernels.calls import Arguments
from kernels.layouts import normal
from kernels.table import Op

Dims = Mapping[str, int]


def _make_layer(rng: np.random.Generator, dims: Dims, dtype: str) -> Arguments:
    """Rows of any mean."""
    n, m = dims["n"], dims["m"]
    x = normal(rng, dtype, n, m) + rng.normal(size=(n, 1)).astype(dtype)
    return {**_learned(rng, dtype, x, m), "eps": _eps(rng, m)}


def _make_group(rng: np.random.Generator, dims: Dims, dtype: str) -> Arguments:
    groups, channels = dims["groups"], dims["groups"] * dims["width"]
    pixels = (dims["p"],) * dims["axes"]
    x = normal(rng, dtype, dims["n"], channels, *pixels)
    found = _learned(rng, dtype, x, channels)
    return {**found, "groups": groups, "eps": _eps(rng, x[:1, : dims["width"]].size)}


def _eps(rng: np.random.Generator, n: int) -> float:
    """Small, and of the numbers' own size; few numbers may nearly agree, and 1/σ is anything."""
    return float(rng.choice([1e-5, 0.3])) if n > 8 else 0.3


def _learned(rng: np.random.Generator, dtype: str, x: Any, n: int) -> Arguments:
    return {"x": x, "gamma": normal(rng, dtype, n), "beta": normal(rng, dtype, n)}


def _with_g(make: Callable[..., Arguments]) -> Callable[..., Arguments]:
    def run(rng: np.random.Generator, dims: Dims, dtype: str) -> Arguments:
        arguments = make(rng, dims, dtype)
        return {**arguments, "g": normal(rng, dtype, *arguments["x"].shape)}

    return run


# Twins with a planted fault: the formulas on (N, groups, numbers that share a moment)


def forward_by_hand(fault: str = "") -> Callable[..., Any]:
    """The norm written out; right, but for the fault named."""

    def run(x: Any, gamma: Any, beta: Any, groups: int = 0, eps: float = 1e-5) -> Any:
        unit, _ = _unit(x, groups, eps, fault)
        gamma, beta = (_beside(v, x, groups) for v in (gamma, beta))
        return (unit * (1 if fault == "without γ" else gamma) + beta).astype(x.dtype)

    return run


def backward_by_hand(fault: str = "") -> Callable[..., Any]:
    """Its derivatives; right, but for the fault named."""

    def run(x: Any, gamma: Any, beta: Any, g: Any, groups: int = 0, eps: float = 1e-5) -> Any:
        unit, r = _unit(x, groups, eps, fault)
        scaled = g if fault == "without γ" else g * _beside(gamma, x, groups)
        dx = scaled.copy()
        if fault != "forgets the mean's part":
            dx -= _mean(scaled, x, groups)
        if fault != "forgets the variance's part":
            dx -= unit * _mean(scaled * unit, x, groups)
        others = tuple(i for i in range(x.ndim) if i != (1 if groups else x.ndim - 1))
        dgamma, dbeta = (g * unit).sum(others), g.sum(others)
        if fault == "γ's without 1/σ":
            dgamma = (g * unit / r).sum(others)
        dx = dx if fault == "without 1/σ" else dx * r
        return tuple(d.astype(x.dtype) for d in (dx, dgamma, dbeta))

    return run


def _unit(x: Any, groups: int, eps: float, fault: str) -> tuple[Any, Any]:
    """x̂ and 1/√(σ² + ε)."""
    centred = x if fault == "without the mean" else x - _mean(x, x, groups)
    count = max(_together(x, groups).shape[-1], 1)
    square = _mean(centred * centred, x, groups)
    if fault == "n − 1":
        square = square * (count / max(count - 1, 1))
    if fault == "ε outside the root":
        r = 1 / (np.sqrt(square) + eps)
    else:
        r = 1 / np.sqrt(square + eps)
    return centred * r, r


def _together(x: Any, groups: int) -> Any:
    return x.reshape(len(x), groups, x[0].size // groups if len(x) else 0) if groups else x


def _mean(v: Any, x: Any, groups: int) -> Any:
    """Over what shares a moment, in v's own shape."""
    together = _together(v, groups)
    mean = together.sum(-1, keepdims=True) / max(together.shape[-1], 1)
    return np.broadcast_to(mean, together.shape).reshape(x.shape)


def _beside(v: Any, x: Any, groups: int) -> Any:
    return v.reshape(-1, *[1] * (x.ndim - 2)) if groups else v


_FORWARD = ("without γ", "without the mean", "n − 1", "ε outside the root")
_BACKWARD = (
    "without γ",
    "forgets the mean's part",
    "forgets the variance's part",
    "γ's without 1/σ",
    "without 1/σ",
    "n − 1",
)


# Peers


def torch_layer(x: Any, gamma: Any, beta: Any, eps: float) -> Any:
    """torch.nn.functional.layer_norm."""
    import torch

    x, gamma, beta = map(torch.from_numpy, (x, gamma, beta))
    return torch.nn.functional.layer_norm(x, gamma.shape, gamma, beta, eps).numpy()


def torch_layer_backward(x: Any, gamma: Any, beta: Any, g: Any, eps: float) -> Any:
    """Forward and backward."""
    return _torch_gradients("layer_norm", x, gamma, beta, g, lambda n: (gamma.shape,), eps)


def torch_group(x: Any, gamma: Any, beta: Any, groups: int, eps: float) -> Any:
    """torch.nn.functional.group_norm."""
    import torch

    x, gamma, beta = map(torch.from_numpy, (x, gamma, beta))
    return torch.nn.functional.group_norm(x, groups, gamma, beta, eps).numpy()


def torch_group_backward(x: Any, gamma: Any, beta: Any, g: Any, groups: int, eps: float) -> Any:
    """Forward and backward."""
    return _torch_gradients("group_norm", x, gamma, beta, g, lambda n: (groups,), eps)


def _torch_gradients(name: str, x: Any, gamma: Any, beta: Any, g: Any, over: Any, eps: Any) -> Any:
    import torch

    leaves = [torch.from_numpy(v).requires_grad_() for v in (x, gamma, beta)]
    first, *others = leaves
    y = getattr(torch.nn.functional, name)(first, *over(name), *others, eps)
    return tuple(d.numpy() for d in torch.autograd.grad(y, leaves, torch.from_numpy(g)))


_HERE = "kernels.normalisation.twin_numba"
_LAYER: dict[str, Any] = {
    "mission": ("K1",),
    "dims": {"n": (0, 40), "m": (1, 70)},
    "bench": {"768 × 128, float32": ({"n": 768, "m": 128}, "float32")},
}
_GROUP: dict[str, Any] = {
    "mission": ("K1",),
    "dims": {"n": (0, 5), "groups": (1, 4), "width": (1, 6), "p": (1, 9), "axes": (0, 3)},
    "bench": {
        "32 × 64 × 14 × 14, 8 groups, float32": (
            {"n": 32, "groups": 8, "width": 8, "p": 14, "axes": 2},
            "float32",
        )
    },
}

ROWS = [
    Op(
        name="layer_norm",
        definition="core.normalisation:layer_norm",
        twins={"numba": f"{_HERE}:layer_norm"},
        make=_make_layer,
        floor={"float32": 5e-07, "float64": 1e-15},
        cap={"float32": 1e-06, "float64": 4e-15},
        wrong={fault: forward_by_hand(fault) for fault in _FORWARD},
        peers={"torch": torch_layer},
        **_LAYER,
    ),
    Op(
        name="layer_norm_backward",
        definition="core.normalisation:layer_norm.backward",
        twins={"numba": f"{_HERE}:layer_norm_backward"},
        make=_with_g(_make_layer),
        floor={"float32": 5e-07, "float64": 1e-15},
        cap={"float32": 3e-06, "float64": 5e-15},
        wrong={fault: backward_by_hand(fault) for fault in _BACKWARD},
        peers={"torch, both ways": torch_layer_backward},
        **_LAYER,
    ),
    Op(
        name="group_norm",
        definition="core.normalisation:group_norm",
        twins={"numba": f"{_HERE}:group_norm"},
        make=_make_group,
        floor={"float32": 5e-07, "float64": 1e-15},
        cap={"float32": 1e-06, "float64": 4e-15},
        wrong={fault: forward_by_hand(fault) for fault in _FORWARD},
        peers={"torch": torch_group},
        **_GROUP,
    ),
    Op(
        name="group_norm_backward",
        definition="core.normalisation:group_norm.backward",
        twins={"numba": f"{_HERE}:group_norm_backward"},
        make=_with_g(_make_group),
        floor={"float32": 2e-06, "float64": 2e-14},
        cap={"float32": 4e-06, "float64": 3e-14},
        wrong={fault: backward_by_hand(fault) for fault in _BACKWARD},
        peers={"torch, both ways": torch_group_backward},
        **_GROUP,
    ),
]
