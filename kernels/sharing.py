"""Rows shared out to threads, in runs whose lengths don't depend on how many threads there are.

Compiled functions let go of the interpreter's lock, so Python's own threads do: a run of rows costs
a few µs to hand over, a parallel region of Numba's about 50 and twice the compiling. One thread and
two give the same bits.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any

import numba
import numpy as np

from core.errors import InputError

CHUNK = 1 << 15
"""Numbers in a run: with what is made of them they stay in the cache."""
_WORTH = 1 << 17


def chunks(rows: int, width: int) -> list[slice]:
    """Runs of rows of `width` numbers."""
    step = max(1, CHUNK // max(width, 1))
    return [slice(i, min(i + step, rows)) for i in range(0, rows, step)]


def share(
    kernel: Callable[..., None],
    by_row: Sequence[Any],
    rest: Sequence[Any] = (),
    parts: Any = (),
    slices: Sequence[slice] = (),
    worth: int = _WORTH,
) -> None:
    """kernel(*rows of each array of by_row, *entry k of each array of parts, *rest) on each run k.

    The arrays of by_row have one length; the first says how wide a row is. slices: the runs, if
    they are not to be `chunks`. worth: numbers from which on a second thread pays.
    """
    rows, size = len(by_row[0]), by_row[0].size
    runs = list(enumerate(slices or chunks(rows, size // max(rows, 1))))

    def work(share: Sequence[tuple[int, slice]]) -> None:
        for k, run in share:
            kernel(*(a[run] for a in by_row), *(a[k] for a in parts), *rest)

    threads = min(numba.get_num_threads(), len(runs)) if size >= worth else 1
    if threads <= 1:
        work(runs)
        return
    cuts = [len(runs) * i // threads for i in range(threads + 1)]
    pool = _pool(os.getpid())
    others = [pool.submit(work, runs[a:b]) for a, b in pairwise(cuts[1:])]
    work(runs[: cuts[1]])
    for other in others:
        other.result()


def share_rows(kernel: Callable[..., None], n: int, most: int, *rest: Any) -> None:
    """kernel(rows, *rest) on runs of at most `most` of the rows 0 … n − 1, all threads at work.

    What comes of a row must not depend on those beside it.
    """
    step = max(1, min(most, -(-n // numba.get_num_threads())))
    runs = [slice(i, min(i + step, n)) for i in range(0, n, step)]
    if runs:
        share(kernel, [np.arange(n)], rest, slices=runs, worth=0)


@cache
def _pool(process: int) -> ThreadPoolExecutor:
    """The other threads of this process; a fork has none of its parent's."""
    return ThreadPoolExecutor(os.cpu_count(), "genzoo")


def floating(**arrays: Any) -> list[Any]:
    """Plain arrays of one dtype, float32 or float64; InputError for others."""
    found = [np.asarray(a) for a in arrays.values()]
    dtype = found[0].dtype
    for name, a in zip(arrays, found, strict=True):
        if a.dtype not in (np.float32, np.float64) or a.dtype != dtype:
            wanted = "float32 or float64" if a is found[0] else str(dtype)
            raise InputError(f"{name} must be {wanted}, got {a.dtype}")
    return found


def flat(x: Any, like: Any) -> Any:
    """x as one axis in the order of like's memory: of an array made like it, a view."""
    if x.flags.c_contiguous and like.flags.c_contiguous:
        return x.reshape(-1)
    axes = sorted(range(x.ndim), key=lambda i: -abs(like.strides[i]))
    return np.ascontiguousarray(x.transpose(axes)).reshape(-1)
