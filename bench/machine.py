"""The threads a measurement is allowed; what it was made on, `reference.zoo.machine` says."""

from __future__ import annotations

import os

THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def pin_threads(n: int) -> None:
    """Allow every library n threads. Call before NumPy is imported: BLAS reads it once."""
    for name in (*THREAD_VARIABLES, "NUMBA_NUM_THREADS"):
        os.environ[name] = str(n)
