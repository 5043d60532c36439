"""Seconds that the first call of a twin costs on a machine that never ran it.

Each in a process of its own with an empty Numba cache: loading the twin and its first call, less
the second call. Python, NumPy and Numba are loaded before the clock starts.

python -m bench.compile_time OPERATION LABEL prints the seconds of one.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from time import perf_counter

import numpy as np

from kernels import OPS


def compile_seconds(operation: str, label: str) -> float:
    """Of the twin of `operation` on the arguments of benchmark `label`, in a fresh process."""
    command = [sys.executable, "-m", "bench.compile_time", operation, label]
    with tempfile.TemporaryDirectory() as empty:
        env = {**os.environ, "NUMBA_CACHE_DIR": empty}
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{operation} can't be timed when new:\n{done.stderr}")
    return float(done.stdout)


def _measure(operation: str, label: str) -> float:
    import numba  # noqa: F401  # loaded before the clock starts

    op = OPS[operation]
    dims, dtype = op.bench[label]
    arguments = op.make(np.random.default_rng(0), dims, dtype)
    times = [perf_counter()]
    for _ in range(2):
        op.load("numba")(**arguments)
        times.append(perf_counter())
    first, second = np.diff(times)
    return float(first - second)


if __name__ == "__main__":
    print(_measure(*sys.argv[1:]))
