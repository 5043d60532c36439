"""One step of a diffusion sampler on the CPU, in one pass over memory (row K5).

A block of counters at a time: its noise is made into a scratch array that stays in cache, and the
values it belongs to are stepped. The arithmetic is the definition’s, step by step, so what
is drawn without noise is equal to it bit for bit.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit, prange

from core.errors import InputError
from core.random import STREAMS, checked_layout, checked_seed, checked_step
from kernels.philox.twin_numba import BLOCK, draw, tasks
from reference.operations.diffusion_step import check_step

_NORMAL = 2
_how: dict[str, Any] = {"error_model": "numpy", "nogil": True, "cache": True}


@njit(**_how)
def _stepped(x: Any, output: Any, conditional: Any, c: Any, z: Any, out: Any) -> None:
    """Out = the step of the flat x. c: p, q, a, b, σ, guidance, clip, in x's dtype.

    conditional and z are empty where there is no guidance or no noise.
    """
    p, q, a, b, sigma, s, clip = c[0], c[1], c[2], c[3], c[4], c[5], c[6]
    for j in range(x.size):
        o = output[j]
        if conditional.size:
            o = o + s * (conditional[j] - o)
        x_0 = p * x[j] + q * o
        x_0 = -clip if x_0 < -clip else x_0
        x_0 = clip if x_0 > clip else x_0
        x_s = a * x[j] + b * x_0
        out[j] = x_s + sigma * z[j] if z.size else x_s


@njit(**_how)
def _run(arrays: Any, c: Any, seed: Any, at: Any, start: int, stop: int, out: Any) -> None:
    """Step counters start … stop − 1; at = (t, stream, first sample, elements of a sample)."""
    x, output, conditional = arrays
    where, elements = at[:3], at[3]
    w, noise = np.empty((4, BLOCK), np.uint64), np.empty(4 * BLOCK, np.float32)
    z = np.empty(0 if c[4] == 0 else 4 * BLOCK, x.dtype)
    quads = (elements + 3) // 4
    for k in range(start, stop, BLOCK):
        n = min(BLOCK, stop - k)
        i = k // quads * elements + 4 * (k % quads)
        j = (k + n) // quads * elements + 4 * ((k + n) % quads)
        if z.size:
            draw(_NORMAL, seed, where, elements, k, n, w, noise)
            z[: j - i] = noise[: j - i]
        _stepped(x[i:j], output[i:j], conditional[i:j], c, z[: j - i], out[i:j])


@njit(parallel=True, **_how)
def _run_parallel(
    x: Any, output: Any, conditional: Any, c: Any, seed: Any, at: Any, size: int, out: Any
) -> None:
    total = x.size // at[3] * ((at[3] + 3) // 4)
    for task in prange((total + size - 1) // size):
        start, stop = task * size, min((task + 1) * size, total)
        _run((x, output, conditional), c, seed, at, start, stop, out)


def step(
    x_t: Any,
    output: Any,
    coefficients: Any,
    *,
    seed: int,
    t: int,
    first: int = 0,
    conditional: Any = None,
    guidance: float = 0.0,
    clip: float | None = None,
    out: Any = None,
) -> Any:
    """Twin of `step`; out: an array like x_t for the result, x_t itself if wanted.

    Raises InputError as the definition does, for arrays that are not all of x_t's shape and dtype,
    float32 or float64, for an `out` that can't be written or whose rows are not contiguous, and
    for a seed, t or first out of range.
    """
    check_step(coefficients, guidance, clip)
    x = np.asarray(x_t)
    if x.dtype not in (np.float32, np.float64):
        raise InputError(f"x_t must be float32 or float64, got {x.dtype}")
    shape, samples, elements = checked_layout(x.shape, first)
    guided = conditional is not None and guidance != 0
    if conditional is None:
        conditional = output
    arrays = [_flat(n, v, x) for n, v in (("output", output), ("conditional", conditional))]
    c = np.array([*coefficients, guidance, math.inf if clip is None else clip], x.dtype)
    result = np.empty(shape, x.dtype) if out is None else _writable(out, x)
    at = checked_step(t), STREAMS["noise"], int(first), elements
    arrays = [_flat("x_t", x, x), arrays[0], arrays[1] if guided else arrays[1][:0]]
    _dispatch(arrays, c, np.uint64(checked_seed(seed)), at, samples, result.reshape(-1))
    return result


def _dispatch(arrays: Any, c: Any, seed: Any, at: Any, samples: int, out: Any) -> None:
    total = samples * -(-at[3] // 4)
    n = tasks(total)
    if n == 1:
        _run(tuple(arrays), c, seed, at, 0, total, out)
    else:
        _run_parallel(*arrays, c, seed, at, -(-total // n), out)


def _writable(out: Any, x: Any) -> Any:
    if not isinstance(out, np.ndarray) or not (out.flags.c_contiguous and out.flags.writeable):
        raise InputError(f"out must be a contiguous array that can be written, {x.dtype} {x.shape}")
    if out.shape != x.shape or out.dtype != x.dtype:
        raise InputError(f"out must be {x.dtype} {x.shape}, as x_t, got {out.dtype} {out.shape}")
    return out


def _flat(name: str, array: Any, like: Any) -> Any:
    """The array as one contiguous axis. InputError unless its shape and dtype are like's."""
    array = np.asarray(array)
    if array.shape != like.shape or array.dtype != like.dtype:
        raise InputError(
            f"{name} must be {like.dtype}, {like.shape}, got {array.dtype} of shape {array.shape}"
        )
    return np.ascontiguousarray(array).reshape(-1)
