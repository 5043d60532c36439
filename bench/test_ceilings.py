"""What this machine can do at most, on the threads of the run: shares of it are in every result."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from bench.cases import Case, Contest, Notes, by_id
from bench.entries import entries
from bench.threads import threads


def _copy(small: bool) -> Contest:
    """Bytes read and written by a copy that no cache holds; one thread for each part."""
    n = 2**16 if small else 2**28
    parts = np.array_split(np.ones(n, np.uint8), threads())
    copies, pool = [np.zeros_like(part) for part in parts], ThreadPoolExecutor(threads())

    def run() -> None:
        list(pool.map(np.copyto, copies, parts))

    def judge(who: str) -> Notes:
        run()
        assert all((copy == 1).all() for copy in copies)
        return {}

    return Contest({"numpy": run}, _nothing, judge, {"ceiling": "copy", "bytes": 2 * n})


def _matmul(dtype: str, small: bool) -> Contest:
    n = 64 if small else 2048
    a, b = np.random.default_rng(0).normal(size=(2, n, n)).astype(dtype)
    note = {"ceiling": "matmul", "dtype": dtype, "flops": 2 * n**3}
    return Contest({"numpy": lambda: a @ b}, _nothing, lambda who: {}, note)


def _nothing(seed: int) -> dict[str, Any]:
    return {}


CASES = by_id(
    [
        Case("ceiling", "copy", ("numpy",), _copy),
        Case("ceiling", "matmul float32", ("numpy",), partial(_matmul, "float32")),
        Case("ceiling", "matmul float64", ("numpy",), partial(_matmul, "float64")),
    ]
)


@entries(CASES)
def test_ceiling(enter: Any, operation: str, case: str, contestant: str) -> None:
    enter(CASES[operation, case], contestant)
