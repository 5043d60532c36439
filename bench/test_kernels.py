"""Every operation of the table: the definition, its twins and other libraries, checked then timed.

When timing is off (`make test`) sizes are cut, so that a benchmark can't rot unseen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from kernels import OPS, Op, check

CALLS = [
    (op, label, who)
    for op in OPS.values()
    for label in op.bench
    for who in ("genzoo", "definition", *op.peers)
]
_SMALL = 64


def contestant(op: Op, who: str) -> Callable[..., Any]:
    """The implementation called `who`: "genzoo" is the twin on the CPU."""
    if who in op.peers:
        return op.peers[who]
    return op.load("numba") if who == "genzoo" else op.load()


@pytest.mark.parametrize(
    ("op", "label", "who"), CALLS, ids=[f"{op.name}-{label}-{who}" for op, label, who in CALLS]
)
def test_operation(benchmark: Any, request: Any, op: Op, label: str, who: str) -> None:
    if "torch" in who:
        pytest.importorskip("torch").set_num_threads(1)
    dims, dtype = op.bench[label]
    if request.config.getoption("benchmark_disable"):
        dims = {k: min(n, _SMALL) for k, n in dims.items()}
    arguments = op.make(np.random.default_rng(0), dims, dtype)
    run = contestant(op, who)
    if who not in op.peers:
        check(op, run, arguments, dtype)
    benchmark.group = f"{op.name}: {label}"
    benchmark.extra_info["who"] = who
    benchmark.pedantic(run, kwargs=arguments, rounds=7, warmup_rounds=1)
