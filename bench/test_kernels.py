"""Every operation of the table: the definition, its twins and other libraries, checked then timed.

When timing is off (`make test`) sizes are cut, so that a benchmark can't rot unseen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from kernels import OPS, Op, check

CALLS = [(op, label) for op in OPS.values() for label in op.bench]
_SMALL = 64


def contestants(op: Op) -> dict[str, Callable[..., Any]]:
    """Name → implementation; ours is "genzoo", the CPU twin."""
    numba = {"genzoo": op.load("numba")} if "numba" in op.twins and op.installed("numba") else {}
    return {**numba, "definition": op.load(), **op.peers}


@pytest.mark.parametrize(("op", "label"), CALLS, ids=[f"{op.name}-{label}" for op, label in CALLS])
@pytest.mark.parametrize("who", ["genzoo", "definition"])
def test_operation(benchmark: Any, request: Any, op: Op, label: str, who: str) -> None:
    if who not in contestants(op):
        pytest.skip(f"{op.name} has no {who} to compare with")
    dims, dtype = op.bench[label]
    if request.config.getoption("benchmark_disable"):
        dims = {k: min(n, _SMALL) for k, n in dims.items()}
    arguments = op.make(np.random.default_rng(0), dims, dtype)
    run = contestants(op)[who]
    if who in ("genzoo", "definition"):
        check(op, run, arguments, dtype)
    benchmark.group = f"{op.name}: {label}"
    benchmark.extra_info["who"] = who
    benchmark.pedantic(run, kwargs=arguments, rounds=7, warmup_rounds=1)
