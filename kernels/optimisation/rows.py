"""The row of `OPS` of Adam's step (MISSION row K1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from kernels.calls import Arguments
from kernels.layouts import normal
from kernels.table import Op

Dims = Mapping[str, int]


def _make(rng: np.random.Generator, dims: Dims, dtype: str) -> Arguments:
    """Gradients of any size, moments as they come of some; the first steps and late ones."""
    n, size = dims["n"], 10.0 ** -dims["size"]
    v = np.square(normal(rng, dtype, n, scale=size))
    first = dims["t"] == 1
    return {
        "g": normal(rng, dtype, n, scale=size),
        "m": np.zeros(n, dtype) if first else normal(rng, dtype, n, scale=size),
        "v": np.zeros(n, dtype) if first else v,
        "lr": float(rng.choice([1.0, 1e-3])),
        "betas": (float(rng.choice([0.0, 0.9])), float(rng.choice([0.9, 0.999]))),
        "eps": float(rng.choice([1e-8, 1e-3])),
        "t": dims["t"],
    }


def by_hand(fault: str = "") -> Callable[..., Any]:
    """The update as the paper's Algorithm 1 writes it; right, but for the fault named."""

    def run(g: Any, m: Any, v: Any, lr: float, betas: Any, eps: float, t: int) -> Any:
        beta1, beta2 = betas[::-1] if fault == "betas swapped" else betas
        old = m
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
        shown = old if fault == "the old m" else m
        if fault == "no bias correction":
            return lr * shown / (np.sqrt(v) + eps), m, v
        m_hat, v_hat = shown / (1 - beta1**t), v / (1 - beta2**t)
        if fault == "ε inside the root":
            return lr * m_hat / np.sqrt(v_hat + eps), m, v
        return lr * m_hat / (np.sqrt(v_hat) + eps), m, v

    return run


_FAULTS = ("no bias correction", "betas swapped", "the old m", "ε inside the root")

ROWS = [
    Op(
        name="adam_step",
        mission=("K1",),
        definition="core.optim:adam_step",
        twins={"numba": "kernels.optimisation.twin_numba:adam_step"},
        make=_make,
        dims={"n": (0, 300), "size": (0, 4), "t": (1, 60)},
        floor={"float32": 5e-07, "float64": 1e-15},
        cap={"float32": 1e-06, "float64": 3e-15},
        wrong={fault: by_hand(fault) for fault in _FAULTS},
        bench={"800 000 parameters, float32": ({"n": 800_000, "size": 2, "t": 10}, "float32")},
    )
]
