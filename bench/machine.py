"""What a measurement was made on, and the threads it was allowed."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
WATCHED = (*THREAD_VARIABLES, "OPENBLAS_CORETYPE", "NUMBA_NUM_THREADS", "OMP_WAIT_POLICY")


def pin_threads(n: int) -> None:
    """Allow every library n threads. Call before NumPy is imported: BLAS reads it once."""
    for name in THREAD_VARIABLES:
        os.environ[name] = str(n)


def describe() -> dict[str, Any]:
    """Processor, core count, versions and the environment variables that change speed."""
    import numpy as np

    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "platform": platform.platform(),
        "env": {name: os.environ[name] for name in WATCHED if name in os.environ},
    }


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"
