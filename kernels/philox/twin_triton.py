"""Philox 4×32-10 on the GPU: the stream of `core.random`, word for word (row K6).

A program makes a block of counters, numbered along (sample, quad of elements), and uses all four
words of each. Counters are cast to uint32: an int64 counter would silently ask for Philox 4×64.
Integers and uniforms are equal to the definition's bit for bit, normals within 4 ulp. Sine and
cosine are our own: the library's share no work and keep a stack for arguments that never come.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import triton
import triton.language as tl

from core.checks import float_dtype
from core.errors import InputError
from core.random import checked_layout, checked_seed, checked_step, checked_stream
from kernels.device import device_for

BLOCK = 256  # counters of a program: 1024 elements
_BITS, _UNIFORM, _NORMAL = 0, 1, 2
PART0, PART1 = tl.constexpr(1.5703125), tl.constexpr(4.837512969970703e-4)  # of π/2
PART2, PART3 = tl.constexpr(7.549533620476723e-8), tl.constexpr(2.5633440682570896e-12)
UNSPECIALISED = ["total", "quads", "elements", "first"]


@triton.jit
def locate(total, quads, elements, WIDTH: tl.constexpr, SMALL: tl.constexpr, BLOCK: tl.constexpr):
    """This program's counters (c0, sample) and, for each lane of each, the flat offset and a mask.

    total: counters in all, quads of them a sample. WIDTH: 8, 4 or 1, which divides elements; so
    many neighbours have one mask, and are read at once. SMALL: quads < BLOCK; else a program keeps
    to one sample, and nothing but its own number is divided.
    """
    lane = tl.arange(0, 4 * BLOCK)
    if SMALL:
        return _across_samples(total, quads, elements, lane, WIDTH, BLOCK)
    parts = tl.cdiv(quads, BLOCK)
    sample = (tl.program_id(0) // parts).to(tl.int64)
    first = (tl.program_id(0) % parts).to(tl.int64) * BLOCK
    c0 = (first + tl.arange(0, BLOCK)).to(tl.uint32)
    length = tl.cast(elements, tl.int64) // WIDTH * WIDTH
    at = 4 * first + lane
    return c0, sample + tl.zeros([BLOCK], tl.int64), sample * length + at, at < length


@triton.jit
def _across_samples(total, quads, elements, lane, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    """The same, counting on from sample to sample."""
    start = tl.program_id(0).to(tl.int64) * BLOCK
    quads64 = tl.cast(quads, tl.int64)
    row, quad = start // quads64, (start % quads64).to(tl.uint32)
    q = quad + tl.arange(0, BLOCK).to(tl.uint32)
    per = tl.cast(quads, tl.uint32)
    if WIDTH > 1:
        at = 4 * start + lane
        mask = at < 4 * tl.cast(total, tl.int64) // WIDTH * WIDTH
    else:
        each = quad + (lane // 4).to(tl.uint32)
        element = 4 * (each % per).to(tl.int64) + lane % 4
        at = (row + (each // per).to(tl.int64)) * elements + element
        mask = (start + lane // 4 < total) & (element < elements)
    return q % per, row + (q // per).to(tl.int64), at, mask


def layout(samples: int, elements: int) -> tuple[int, tuple[int, int, int], dict[str, Any]]:
    """(programs, (total, quads, elements), constants) of a launch that uses `locate`.

    InputError beyond 2³³ elements a sample.
    """
    total, quads = counters(samples, elements)
    width = next(n for n in (8, 4, 1) if elements % n == 0)
    small = quads < BLOCK
    programs = -(-total // BLOCK) if small else samples * -(-quads // BLOCK)
    return programs, (total, quads, elements), {"WIDTH": width, "SMALL": small, "BLOCK": BLOCK}


@triton.jit
def four_words(seed, c0, sample, step, stream):
    """The four uint32 words of each counter; c0 uint32 and sample int64 are blocks."""
    c1 = sample.to(tl.uint32)
    c2 = c1 * 0 + tl.cast(step, tl.uint32)
    c3 = c1 * 0 + tl.cast(stream, tl.uint32)
    return tl.philox(seed, c0, c1, c2, c3)


@triton.jit
def in_a_row(x0, x1, x2, x3):
    """Four blocks (N,), a lane each, as one (4 N,) in the order of the elements."""
    return tl.interleave(tl.interleave(x0, x2), tl.interleave(x1, x3))


@triton.jit
def cos_sin(angle):
    """Cosine and sine of a float32 angle in [0, 2π], reduced by an exact multiple of π/2.

    The parts of π/2 have 12 bits each, so their multiples are exact; polynomials: Cephes, sinf.
    """
    q = tl.floor(angle * 0.6366197723675814 + 0.5)
    r = ((angle - q * PART0) - q * PART1) - q * PART2 - q * PART3
    t = r * r
    s = r + r * t * (-1.6666654611e-1 + t * (8.3321608736e-3 - t * 1.9515295891e-4))
    c = 4.166664568298827e-2 + t * (-1.388731625493765e-3 + t * 2.443315711809948e-5)
    c = 1.0 - 0.5 * t + t * t * c
    odd = (q == 1) | (q == 3)
    cosine, sine = tl.where(odd, s, c), tl.where(odd, c, s)
    cosine = tl.where((q == 1) | (q == 2), -cosine, cosine)
    return cosine, tl.where((q == 2) | (q == 3), -sine, sine)


@triton.jit
def box_muller(x1, x2):
    """Two normals, float32, from two words; u₁ ≥ 10⁻⁷."""
    u1, u2 = tl.uint_to_uniform_float(x1), tl.uint_to_uniform_float(x2)
    r = tl.sqrt(-2.0 * tl.log(tl.maximum(u1, 1.0e-7)))
    c, s = cos_sin(6.283185307179586 * u2)
    return r * c, r * s


@triton.jit
def normals(seed, c0, sample, step, stream):
    """The normals of all lanes, (4 N,) float32, two of Box and Muller's pairs a counter."""
    x0, x1, x2, x3 = four_words(seed, c0, sample, step, stream)
    z0, z1 = box_muller(x0, x1)
    z2, z3 = box_muller(x2, x3)
    return in_a_row(z0, z1, z2, z3)


@triton.jit(do_not_specialize=[*UNSPECIALISED, "stream"])
def draw_kernel(
    out_ptr,  # (samples · elements,) int32 for words, else a float
    at_ptr,  # int64 (2,): seed, step
    total,
    quads,
    elements,
    first,
    stream,
    KIND: tl.constexpr,
    WIDTH: tl.constexpr,
    SMALL: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Words (KIND 0), uniforms (1) or normals (2) of `total` counters."""
    c0, sample, at, mask = locate(total, quads, elements, WIDTH, SMALL, BLOCK)
    seed, step, sample = tl.load(at_ptr), tl.load(at_ptr + 1), sample + first
    if KIND == 2:
        value = normals(seed, c0, sample, step, stream)
    else:
        x0, x1, x2, x3 = four_words(seed, c0, sample, step, stream)
        value = in_a_row(x0, x1, x2, x3)
        if KIND == 1:
            value = tl.uint_to_uniform_float(value)
        else:
            value = value.to(tl.int32, bitcast=True)
    tl.store(out_ptr + at, value, mask)


def counters(samples: int, elements: int) -> tuple[int, int]:
    """(in all, in a sample). InputError beyond 2³³ elements a sample."""
    if elements > 2**33:
        raise InputError(f"shape must have at most 2**33 elements a sample here, got {elements}")
    return samples * -(-elements // 4), -(-elements // 4)


def _draws(
    kind: int, seed: Any, shape: Any, at: tuple[Any, ...], dtype: Any, device: str | None
) -> Any:
    step, stream, first = at
    shape, samples, elements = checked_layout(shape, first)
    where = device_for(device)
    out = torch.empty(shape, dtype=dtype, device=where)
    name = torch.tensor([checked_seed(seed), checked_step(step)], dtype=torch.int64, device=where)
    programs, sizes, constants = layout(samples, elements)
    if programs:
        with torch.cuda.device_of(out):
            draw_kernel[(programs,)](
                out, name, *sizes, int(first), checked_stream(stream), KIND=kind, **constants
            )
    return out.cpu().numpy() if device is None else out


def bits(
    seed: int,
    shape: Any,
    *,
    step: int = 0,
    stream: str | int = "sample",
    first: int = 0,
    device: str | None = None,
) -> Any:
    """Twin of `core.random.bits`; with a device, an int32 tensor there with the words' bits."""
    words = _draws(_BITS, seed, shape, (step, stream, first), torch.int32, device)
    return words.view(np.uint32) if device is None else words


def uniform(
    seed: int,
    shape: Any,
    *,
    step: int = 0,
    stream: str | int = "sample",
    first: int = 0,
    dtype: Any = np.float32,
    device: str | None = None,
) -> Any:
    """Twin of `core.random.uniform`, equal bit for bit; with a device, a tensor there."""
    return _draws(_UNIFORM, seed, shape, (step, stream, first), _torch(dtype), device)


def normal(
    seed: int,
    shape: Any,
    *,
    step: int = 0,
    stream: str | int = "sample",
    first: int = 0,
    dtype: Any = np.float32,
    device: str | None = None,
) -> Any:
    """Twin of `core.random.normal`, within 4 ulp of it; with a device, a tensor there."""
    return _draws(_NORMAL, seed, shape, (step, stream, first), _torch(dtype), device)


def _torch(dtype: Any) -> Any:
    return torch.float32 if float_dtype(dtype) == np.float32 else torch.float64
