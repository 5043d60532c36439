"""BLAS held to one thread while compiled threads call it: theirs and its own would fight (row K4).

The number of threads belongs to the process, so whoever comes first takes it down and whoever
leaves last puts it back, however their times overlap.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import Any

from threadpoolctl import ThreadpoolController

_lock = Lock()
_limits: list[Any] = []
"""Of each user inside: what restores the threads for the first, None for the others."""


@cache
def libraries() -> ThreadpoolController:
    """Every BLAS library that is loaded."""
    return ThreadpoolController().select(user_api="blas")


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Hold every BLAS library to one thread meanwhile, in all threads of the process."""
    with _lock:
        _limits.append(None if _limits else libraries().limit(limits=1))
    try:
        yield
    finally:
        with _lock:
            if len(_limits) == 1:
                _limits[0].restore_original_limits()
                _limits.clear()
            else:
                _limits.remove(None)


@cache
def small_product() -> int:
    """How many multiplications a product of matrices should have at most.

    OpenBLAS multiplies matrices up to 10⁶ without copying them first where it uses AVX-512: on a
    Xeon at 150–175 GFLOP/s instead of 100–125. Elsewhere, as a copy pays only in a large product,
    there is no bound.
    """
    wide = ("SkylakeX", "Cooperlake", "SapphireRapids")
    found = libraries().info()
    return 10**6 if found and all(i.get("architecture") in wide for i in found) else 1 << 62
