"""The threads a measurement is allowed, and the proof that it has no more and no fewer.

Imports nothing of ours: `pin_threads` must be called before NumPy is imported.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def pin_threads(n: int) -> None:
    """Allow every library n threads. Call before NumPy is imported: BLAS reads it once."""
    for name in (*THREAD_VARIABLES, "NUMBA_NUM_THREADS"):
        os.environ[name] = str(n)


def threads() -> int:
    """How many threads were pinned; 1 if none were."""
    return int(os.environ.get("OMP_NUM_THREADS", 1))


def threads_in_use() -> dict[str, int]:
    """Library → the threads it runs on; those that aren't installed are absent."""
    import scipy.linalg  # noqa: F401  # NumPy and SciPy bring a BLAS each; Numba calls SciPy's
    from threadpoolctl import threadpool_info

    found = {
        name: int(__import__(name).get_num_threads())
        for name in ("numba", "torch")
        if find_spec(name)
    }
    pools = {f"{Path(p['filepath']).parent.name}/{p['prefix']}": p for p in threadpool_info()}
    return found | {name: pool["num_threads"] for name, pool in pools.items()}


def pinned(n: int) -> dict[str, Any]:
    """`threads_in_use`; RuntimeError unless every library runs on n threads."""
    found = threads_in_use()
    if set(found.values()) != {n}:
        raise RuntimeError(f"threads are pinned to {n}, but in use are {found}")
    return found
