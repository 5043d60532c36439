"""One step of a diffusion sampler on the GPU: one kernel, its noise drawn inside (row K5).

Read x and the network's output, write x: nothing else touches memory. Seed, time and coefficients
are read from the device, so that launching needs neither a copy nor a recompilation and a whole
sampling loop can be captured as one CUDA graph. The noise of an element is named by (seed, t,
sample, element), as in the definition: the batch's layout has no part in it.

torch sees `genzoo::diffusion_step`, and `genzoo::diffusion_step_`, which works in place.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import triton
import triton.language as tl

from core.errors import InputError
from core.random import STREAMS, checked_layout, checked_seed, checked_step
from kernels.device import check_device, on_device
from kernels.philox.twin_triton import UNSPECIALISED, layout, locate, normals
from reference.operations.diffusion_step import check_step

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
SCHEMA = (
    "(Tensor{} x, Tensor output, Tensor? conditional, Tensor coefficients, Tensor at, int first)"
)


@triton.jit(do_not_specialize=UNSPECIALISED)
def step_kernel(
    x_ptr,
    output_ptr,
    conditional_ptr,
    out_ptr,  # may be x_ptr
    c_ptr,  # float32 (7,): p, q, a, b, σ, guidance, clip
    at_ptr,  # int64 (2,): seed, t
    total,
    quads,
    elements,
    first,
    GUIDED: tl.constexpr,
    STREAM: tl.constexpr,
    WIDTH: tl.constexpr,
    SMALL: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """x_s of every element, in float32 arithmetic; arrays are contiguous, (samples, elements)."""
    c0, sample, at, mask = locate(total, quads, elements, WIDTH, SMALL, BLOCK)
    p, q, a, b = tl.load(c_ptr), tl.load(c_ptr + 1), tl.load(c_ptr + 2), tl.load(c_ptr + 3)
    sigma, clip = tl.load(c_ptr + 4), tl.load(c_ptr + 6)
    x = tl.load(x_ptr + at, mask).to(tl.float32)
    output = tl.load(output_ptr + at, mask).to(tl.float32)
    if GUIDED:
        s = tl.load(c_ptr + 5)
        conditional = tl.load(conditional_ptr + at, mask).to(tl.float32)
        output = tl.where(s == 0, output, output + s * (conditional - output))
    x_0 = p * x + q * output
    x_0 = tl.where(x_0 < -clip, -clip, x_0)  # a NaN stays one
    x_0 = tl.where(x_0 > clip, clip, x_0)
    x_s = a * x + b * x_0
    if sigma != 0:
        z = normals(tl.load(at_ptr), c0, sample + first, tl.load(at_ptr + 1), STREAM)
        x_s += sigma * z
    tl.store(out_ptr + at, x_s, mask)


def pack(
    coefficients: Any, *, guidance: float = 0.0, clip: float | None = None, device: Any = "cuda"
) -> Any:
    """What the kernel reads, float32 (7,): p, q, a, b, σ, guidance, clip; no clip is infinity.

    Raises InputError as `reference.operations.diffusion_step.check_step` does.
    """
    check_step(coefficients, guidance, clip)
    limit = math.inf if clip is None else clip
    return torch.tensor([*coefficients, guidance, limit], dtype=torch.float32, device=device)


def _launch(
    x: Any, output: Any, conditional: Any, coefficients: Any, at: Any, first: int, out: Any
) -> None:
    _, samples, elements = checked_layout(tuple(x.shape), first)
    programs, sizes, constants = layout(samples, elements)
    if not programs:
        return
    with torch.cuda.device_of(x):
        step_kernel[(programs,)](
            x,
            output,
            output if conditional is None else conditional,
            out,
            coefficients,
            at,
            *sizes,
            first,
            GUIDED=conditional is not None,
            STREAM=STREAMS["noise"],
            **constants,
        )


def _check(x: Any, output: Any, conditional: Any, coefficients: Any, at: Any) -> None:
    if x.dtype not in DTYPES:
        raise InputError(f"x_t must be float32, float16 or bfloat16, got {x.dtype}")
    check_device("x_t", x.device)
    others = (("output", output), ("conditional", x if conditional is None else conditional))
    for name, v in others:
        if v.shape != x.shape or v.dtype != x.dtype or v.device != x.device:
            raise InputError(
                f"{name} must be {x.dtype} {tuple(x.shape)} on {x.device}, as x_t, "
                f"got {v.dtype} {tuple(v.shape)} on {v.device}"
            )
    small = (
        ("coefficients", coefficients, (7,), torch.float32),
        ("seed and t", at, (2,), torch.int64),
    )
    for name, v, shape, dtype in small:
        if v.shape != shape or v.dtype != dtype or v.device != x.device:
            raise InputError(f"{name} must be one {dtype} tensor of shape {shape} on {x.device}")


@torch.library.custom_op(
    "genzoo::diffusion_step", mutates_args=(), schema=SCHEMA.format("") + " -> Tensor"
)
def diffusion_step(
    x: Any, output: Any, conditional: Any, coefficients: Any, at: Any, first: int
) -> Any:
    """x_s, contiguous, of tensors of one shape and dtype. coefficients: of `pack`; at: seed, t.

    Raises InputError for mismatched shapes, dtypes and devices.
    """
    _check(x, output, conditional, coefficients, at)
    x, output = x.contiguous(), output.contiguous()
    conditional = None if conditional is None else conditional.contiguous()
    out = torch.empty_like(x)
    _launch(x, output, conditional, coefficients, at, first, out)
    return out


@diffusion_step.register_fake
def _fake(x: Any, output: Any, conditional: Any, coefficients: Any, at: Any, first: int) -> Any:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


@torch.library.custom_op(
    "genzoo::diffusion_step_", mutates_args=("x",), schema=SCHEMA.format("(a!)") + " -> ()"
)
def diffusion_step_(
    x: Any, output: Any, conditional: Any, coefficients: Any, at: Any, first: int
) -> None:
    """The same, written over x, which must be contiguous."""
    _check(x, output, conditional, coefficients, at)
    if not x.is_contiguous():
        raise InputError("x_t must be contiguous to be written in place")
    conditional = None if conditional is None else conditional.contiguous()
    _launch(x, output.contiguous(), conditional, coefficients, at, first, x)


@diffusion_step_.register_fake
def _fake_(x: Any, output: Any, conditional: Any, coefficients: Any, at: Any, first: int) -> None:
    return None


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
) -> Any:
    """Twin of `step` for tensors, or for NumPy arrays, which go there and back.

    float32, float16 or bfloat16, the dtype of the result; arithmetic and noise are float32. For a
    loop in a CUDA graph call `diffusion_step` with what `pack` made beforehand.
    Raises InputError for mismatched shapes, dtypes or devices, and without a GPU.
    """
    tensors: list[Any] = [x_t, output, conditional]
    if isinstance(x_t, np.ndarray):
        names = ("x_t", "output", "conditional")
        tensors = [
            None if v is None else on_device(n, v) for n, v in zip(names, tensors, strict=True)
        ]
    device = tensors[0].device
    at = torch.tensor([checked_seed(seed), checked_step(t)], dtype=torch.int64, device=device)
    c = pack(coefficients, guidance=guidance, clip=clip, device=device)
    checked_layout(tuple(tensors[0].shape), first)
    x_s = diffusion_step(*tensors, c, at, first)
    return x_s.cpu().numpy() if isinstance(x_t, np.ndarray) else x_s
