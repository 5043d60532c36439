"""What this machine can do at most, on the threads of the run: shares of it are in every row."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from bench.contest import contest
from bench.threads import threads


def test_copy(benchmark: Any) -> None:
    """Bytes read and written by a copy that no cache holds; one thread for each part."""
    n = 2**16 if benchmark.disabled else 2**28
    parts = np.array_split(np.ones(n, np.uint8), threads())
    copies = [np.zeros_like(part) for part in parts]
    benchmark.extra_info |= {"ceiling": "copy", "bytes": 2 * n}
    with ThreadPoolExecutor(threads()) as pool:
        contest(benchmark, {"copy": lambda: list(pool.map(np.copyto, copies, parts))}, _nothing)
    assert all((copy == 1).all() for copy in copies)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_matmul(benchmark: Any, dtype: str) -> None:
    n = 64 if benchmark.disabled else 2048
    a, b = np.random.default_rng(0).normal(size=(2, n, n)).astype(dtype)
    benchmark.extra_info |= {"ceiling": "matmul", "dtype": dtype, "flops": 2 * n**3}
    contest(benchmark, {"matmul": lambda: a @ b}, _nothing)


def _nothing(seed: int) -> dict[str, Any]:
    return {}
