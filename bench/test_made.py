"""MADE's sampler once the units are sorted: a model is planned once, and then drawn from."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from bench.cases import SMALL, Case, Contest, Notes, by_id
from bench.entries import entries
from kernels import OPS
from kernels.sampling.twin_numba import made_draw, made_plan


def _contest(n: int, small: bool) -> Contest:
    op = OPS["made_sample"]
    dims = {"n": n, "D": 784, "H": 500, "L": 2}
    dims = {k: min(size, SMALL) for k, size in dims.items()} if small else dims
    call = op.make(np.random.default_rng(0), dims, "float32")
    plan, definition = made_plan(call["layers"], call["order"]), op.load()

    def draw(seed: int) -> dict[str, Any]:
        return {"u": np.random.default_rng(seed).random((n, dims["D"]), np.float32)}

    runs = {
        "genzoo": lambda u: made_draw(u, plan)[0],
        "definition": lambda u: definition(u, call["layers"], call["order"]),
    }

    def judge(who: str) -> Notes:
        for law in op.laws:
            law(call, runs[who](call["u"]))
        return {}

    return Contest(runs, draw, judge, {"dtype": "float32"})


CASES = by_id(
    Case(
        "made_draw",
        f"784-500-500, {label}, plan ready",
        ("genzoo", "definition"),
        partial(_contest, n),
    )
    for label, n in (("one stream", 1), ("64 at once", 64))
)


@entries(CASES)
def test_draw(enter: Any, operation: str, case: str, contestant: str) -> None:
    enter(CASES[operation, case], contestant)
