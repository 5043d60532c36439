"""MADE's sampler once the units are sorted: a model is planned once, and then drawn from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bench.contest import contest
from kernels import OPS
from kernels.sampling.twin_numba import made_draw, made_plan


@pytest.mark.parametrize(("label", "n"), [("one stream", 1), ("64 at once", 64)])
def test_draw(benchmark: Any, label: str, n: int) -> None:
    op, rng = OPS["made_sample"], np.random.default_rng(0)
    dims = {"n": n, "D": 784, "H": 500, "L": 2}
    dims = {k: min(size, 30) for k, size in dims.items()} if benchmark.disabled else dims
    call = op.make(rng, dims, "float32")
    plan, definition = made_plan(call["layers"], call["order"]), op.load()

    def draw(seed: int) -> dict[str, Any]:
        return {"u": np.random.default_rng(seed).random((n, dims["D"]), np.float32)}

    for law in op.laws:
        law(call, made_draw(call["u"], plan)[0])
    benchmark.extra_info |= {"operation": "made_draw", "dtype": "float32"}
    benchmark.extra_info["label"] = f"784-500-500, {label}, plan ready"
    contestants = {
        "genzoo": lambda u: made_draw(u, plan)[0],
        "definition": lambda u: definition(u, call["layers"], call["order"]),
    }
    contest(benchmark, contestants, draw)
