"""Philox 4×32-10 on the CPU: the stream of `core.random`, word for word (row K6).

Counters are numbered along (sample, quad of elements) and made a block at a time: one plane for
each of the four words, so that a round is a SIMD loop over the block. Words are kept in 64 bits
with a zero upper half, for which the compiler has one instruction that multiplies 32 × 32 → 64.

Integers and uniforms are equal to the definition's bit for bit. Normals take logarithm, sine and
cosine from polynomials in float64, whose relative error is below 2⁻³⁰: after the one rounding to
float32 they are within 1 ulp of the exact value, as the definition is, so within 2 of each other.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
from numba import njit, prange

from core.checks import float_dtype, whole
from core.errors import InputError
from core.random import checked_layout, checked_seed, checked_step, checked_stream

BLOCK = 256  # counters at a time
_BITS, _UNIFORM, _NORMAL = 0, 1, 2
_how: dict[str, Any] = {"error_model": "numpy", "nogil": True, "cache": True}

_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_LOW, _32 = np.uint64(0xFFFFFFFF), np.uint64(32)
_SCALE, _LEAST = np.float32(4.6566127342e-10), np.float32(1e-7)
_TAU = np.float32(math.tau)
_LN2 = math.log(2)
_TWO_OVER_PI, _HALF_PI_HIGH, _HALF_PI_LOW = 2 / math.pi, math.pi / 2, 6.123233995736766e-17
_HALF = np.int64(0x3FE6A09E667F3BCD)  # bits of √½
_MANTISSA = np.int64((1 << 52) - 1)


@njit(**_how)
def rounds(seed: Any, w: Any, n: int) -> None:
    """Ten rounds on the counters in w (4, ≥ n) uint64, whose upper halves are 0; in place."""
    k0, k1 = np.uint64(seed) & _LOW, np.uint64(seed) >> _32
    for _ in range(10):
        for i in range(n):
            p0, p1 = (w[0, i] & _LOW) * _M0, (w[2, i] & _LOW) * _M1
            w[0, i], w[1, i] = (p1 >> _32) ^ w[1, i] ^ k0, p1 & _LOW
            w[2, i], w[3, i] = (p0 >> _32) ^ w[3, i] ^ k1, p0 & _LOW
        k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW


@njit(inline="always", **_how)
def _fold(word: Any) -> Any:
    """uint32 → float32 in [0, 1)."""
    x = np.int32(word)
    return np.float32(np.int32(x ^ (x >> np.int32(31)))) * _SCALE


@njit(**_how)
def _log(x: float) -> float:
    """ln x for normal x > 0: x = 2^e m, √½ ≤ m < √2, ln m = 2 artanh s; relative error < 2⁻³³."""
    b = np.float64(x).view(np.int64) - _HALF
    e = b >> np.int64(52)
    m = np.int64((b & _MANTISSA) + _HALF).view(np.float64)
    s = (m - 1.0) / (m + 1.0)
    t = s * s
    series = 1 / 3 + t * (1 / 5 + t * (1 / 7 + t * (1 / 9 + t * (1 / 11))))
    return np.float64(e) * _LN2 + 2.0 * (s + s * t * series)


@njit(**_how)
def _cos_sin(angle: float) -> tuple[float, float]:
    """Cosine and sine of an angle in [0, 2π], reduced to [−π/4, π/4]; relative error < 2⁻³⁰."""
    q = np.rint(angle * _TWO_OVER_PI)
    r = (angle - q * _HALF_PI_HIGH) - q * _HALF_PI_LOW
    t = r * r
    s = r + r * t * (-1 / 6 + t * (1 / 120 + t * (-1 / 5040 + t * (1 / 362880 - t / 39916800))))
    c = 1.0 + t * (-1 / 2 + t * (1 / 24 + t * (-1 / 720 + t * (1 / 40320 - t / 3628800))))
    odd = (q == 1.0) | (q == 3.0)
    a, b = (s if odd else c), (c if odd else s)
    return (-a if (q == 1.0) | (q == 2.0) else a), (-b if (q == 2.0) | (q == 3.0) else b)


@njit(**_how)
def _normals(w: Any, lane: int, n: int, z: Any) -> None:
    """Lanes `lane` and `lane` + 1 of n counters, by Box and Muller."""
    for i in range(n):
        u1, u2 = _fold(w[lane, i]), _fold(w[lane + 1, i])
        r = math.sqrt(-2.0 * _log(np.float64(max(u1, _LEAST))))
        c, s = _cos_sin(np.float64(np.float32(_TAU * u2)))
        z[4 * i + lane], z[4 * i + lane + 1] = np.float32(r * c), np.float32(r * s)


@njit(**_how)
def draw(
    kind: int, seed: Any, where: Any, elements: int, start: int, n: int, w: Any, z: Any
) -> tuple[int, int]:
    """Numbers of counters start … start + n − 1 to z; (flat index of the first, how many).

    where: (step, stream, first sample). w (4, BLOCK) uint64 and z (4 · BLOCK,) are scratch.
    Counters are numbered sample after sample; the lanes that a sample has no use for are left out.
    """
    quads = (elements + 3) // 4
    sample, quad = start // quads, start % quads
    at = sample * elements + 4 * quad
    first_quad = quad
    for i in range(n):
        w[0, i], w[1, i] = np.uint64(quad), np.uint64(where[2] + sample)
        w[2, i], w[3, i] = np.uint64(where[0]), np.uint64(where[1])
        quad += 1
        if quad == quads:
            quad, sample = 0, sample + 1
    rounds(seed, w, n)
    if kind == _NORMAL:
        _normals(w, 0, n, z)
        _normals(w, 2, n, z)
    else:
        for i in range(n):
            for lane in range(4):
                z[4 * i + lane] = _fold(w[lane, i]) if kind == _UNIFORM else w[lane, i]
    return at, _close_up(z, 4 * n, 4 * first_quad, elements)


@njit(**_how)
def _close_up(z: Any, n: int, element: int, elements: int) -> int:
    """Remove from z, whose first is `element` of its sample, what lies beyond the last element."""
    if elements % 4 == 0:
        return n
    wide, kept = elements + 4 - elements % 4, 0
    for i in range(n):
        z[kept] = z[i]
        kept += element < elements
        element = element + 1 if element + 1 < wide else 0
    return kept


@njit(**_how)
def _fill(
    kind: int, seed: Any, where: Any, elements: int, start: int, stop: int, z: Any, out: Any
) -> None:
    """Draw counters start … stop − 1 into the flat array out."""
    w = np.empty((4, BLOCK), np.uint64)
    for i in range(start, stop, BLOCK):
        at, m = draw(kind, seed, where, elements, i, min(BLOCK, stop - i), w, z)
        for j in range(m):
            out[at + j] = z[j]


@njit(parallel=True, **_how)
def _fill_parallel(
    kind: int, seed: Any, where: Any, elements: int, total: int, z: Any, out: Any
) -> None:
    size = (total + len(z) - 1) // len(z)
    for task in prange(len(z)):
        start, stop = min(task * size, total), min((task + 1) * size, total)
        _fill(kind, seed, where, elements, start, stop, z[task], out)


def tasks(counters: int) -> int:
    """One for few counters (a parallel region costs 50 µs), else one per thread."""
    return 1 if counters < 1 << 15 else int(numba.get_num_threads())


def _draws(kind: int, seed: Any, shape: Any, at: tuple[Any, ...], dtype: Any) -> Any:
    step, stream, first = at
    shape, samples, elements = checked_layout(shape, first)
    where = (checked_step(step), checked_stream(stream), int(first))
    out = np.empty(samples * elements, dtype)
    total = samples * -(-elements // 4)
    z = np.empty((tasks(total), 4 * BLOCK), np.uint32 if kind == _BITS else np.float32)
    seed = np.uint64(checked_seed(seed))
    if len(z) == 1:
        _fill(kind, seed, where, elements, 0, total, z[0], out)
    else:
        _fill_parallel(kind, seed, where, elements, total, z, out)
    return out.reshape(shape)


def bits(
    seed: int, shape: Any, *, step: int = 0, stream: str | int = "sample", first: int = 0
) -> Any:
    """Twin of `core.random.bits`; raises what it raises."""
    return _draws(_BITS, seed, shape, (step, stream, first), np.uint32)


def uniform(
    seed: int,
    shape: Any,
    *,
    step: int = 0,
    stream: str | int = "sample",
    first: int = 0,
    dtype: Any = np.float32,
) -> Any:
    """Twin of `core.random.uniform`, equal bit for bit; raises what it raises."""
    return _draws(_UNIFORM, seed, shape, (step, stream, first), float_dtype(dtype))


def normal(
    seed: int,
    shape: Any,
    *,
    step: int = 0,
    stream: str | int = "sample",
    first: int = 0,
    dtype: Any = np.float32,
) -> Any:
    """Twin of `core.random.normal`, within 2 ulp of it; raises what it raises."""
    return _draws(_NORMAL, seed, shape, (step, stream, first), float_dtype(dtype))


def philox(c0: Any, c1: Any, c2: Any, c3: Any, seed: int) -> tuple[Any, Any, Any, Any]:
    """Twin of `core.random.philox`. Raises InputError for counters that are no uint32."""
    key = np.uint64(whole("seed", seed, 0, 2**64 - 1))
    counters = np.broadcast_arrays(*(np.asarray(c) for c in (c0, c1, c2, c3)))
    for name, c in zip(("c0", "c1", "c2", "c3"), counters, strict=True):
        if c.dtype.kind not in "iu" or (c.size and not 0 <= int(c.min()) <= int(c.max()) < 2**32):
            raise InputError(f"{name} must hold integers in [0, 2**32)")
    w = np.stack([c.ravel() for c in counters]).astype(np.uint64)
    rounds(key, w, w.shape[1])
    x0, x1, x2, x3 = w.astype(np.uint32).reshape(4, *counters[0].shape)
    return x0, x1, x2, x3
