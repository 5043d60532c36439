"""One launch of each Triton kernel on small tensors of odd sizes, in Triton's interpreter.

A driver takes `place`, which puts each tensor where the caller wants it, and returns what the
kernel wrote. No two blocks have the same size, so that a symbolic checker can tell them apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import triton
import triton.language as tl

from core.random import STREAMS
from kernels.attention import torch_function as attention
from kernels.attention import twin_triton as attention_triton
from kernels.attention.twin_triton import delta_kernel, merge_kernel
from kernels.diffusion.twin_triton import pack, step_kernel
from kernels.philox.twin_triton import draw_kernel

Place = Callable[[Any], Any]
B, H, GROUP, Q, K, D = 2, 2, 2, 45, 83, 9
BLOCKS = (32, 64, 1, 4, 16)  # of queries and keys, stages, warps, of a head


def _some(*shape: int) -> Any:
    return torch.from_numpy(np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32))


def _mask(place: Place, packed: bool, queries: int) -> Any:
    """(start, stop, bits): the first head sees all, others little, and some queries nothing."""
    rng = np.random.default_rng(7)
    start, stop = np.sort(rng.integers(0, K + 1, (2, B, H, queries)).astype(np.int32), axis=0)
    start[..., ::5] = stop[..., ::5]
    start[0, 0], stop[0, 0] = 0, K
    none = torch.empty(0, dtype=torch.int32)
    if not packed:
        both = [place(torch.from_numpy(x)) for x in (start, stop)]
        return *both, none.to(torch.uint8)
    keys = np.arange(K)
    seen = (start[..., None] <= keys) & (keys < stop[..., None]) & (keys % 7 > 0)
    seen[0, 0] = True
    return none, none, place(torch.from_numpy(np.packbits(seen, -1, bitorder="little")))


def _qkv(place: Place, queries: int = Q) -> list[Any]:
    heads = H // GROUP
    return [place(_some(B, h, n, D)) for h, n in ((H, queries), (heads, K), (heads, K))]


def forward(place: Place, packed: bool) -> list[Any]:
    out, lse = place(_some(1, B, H, Q, D)), place(_some(1, B, H, Q))
    attention.launch_forward(*_qkv(place), _mask(place, packed, Q), 0.3, out, lse, BLOCKS)
    return [out, lse]


def decode(place: Place, packed: bool) -> list[Any]:
    """Three queries, two splits of the keys."""
    out, lse = place(_some(2, B, H, 3, D)), place(_some(2, B, H, 3))
    attention.launch_forward(*_qkv(place, 3), _mask(place, packed, 3), 0.3, out, lse, BLOCKS)
    return [out, lse]


def backward(place: Place, packed: bool, name: str) -> list[Any]:
    q, k, v = _qkv(place)
    others = place(_some(B, H, Q, D)), place(_some(B, H, Q)), place(_some(B, H, Q))
    outputs = [place(torch.zeros_like(x)) for x in ((q,) if name == "dq" else (k, v))]
    mask = _mask(place, packed, Q)
    attention.launch_backward(name, (q, k, v, *others), mask, 0.3, outputs, BLOCKS)
    return outputs


def delta(place: Place) -> list[Any]:
    n = B * H * Q
    arguments = place(_some(n, D)), place(_some(n, D)), place(_some(n)), place(_some(n))
    delta_kernel[(-(-n // 32),)](*arguments, n, D=D, BLOCK_D=16, BLOCK_Q=32)
    return [arguments[-1]]


def merge(place: Place) -> list[Any]:
    parts, lse = place(_some(3, B * H, D)), place(_some(3, B * H))
    out, whole = place(_some(B * H, D)), place(_some(B * H))
    merge_kernel[(B * H,)](parts, lse, out, whole, B * H, 3, D=D, BLOCK_D=16, BLOCK_S=4)
    return [out, whole]


def step(place: Place, guided: bool, elements: int) -> list[Any]:
    x, output, conditional, out = (place(_some(5, elements)) for _ in range(4))
    c = place(pack((0.9, 0.1, 0.8, 0.2, 0.3), guidance=2.0, clip=1.0, device="cpu"))
    at = place(torch.tensor([3, 7]))
    quads = -(-elements // 4)
    step_kernel[(-(-5 * quads // 16),)](
        x, output, conditional, out, c, at, 5 * quads, quads, elements, 4,
        GUIDED=guided, EVEN=elements % 4 == 0, STREAM=STREAMS["noise"], BLOCK=16,
    )  # fmt: skip
    return [out]


def draw(place: Place, kind: int, elements: int) -> list[Any]:
    out = place(torch.zeros(5, elements, dtype=torch.float32 if kind else torch.int32))
    quads = -(-elements // 4)
    draw_kernel[(-(-5 * quads // 16),)](
        out, place(torch.tensor([3, 7])), 5 * quads, quads, elements, 4, STREAMS["noise"],
        KIND=kind, EVEN=elements % 4 == 0, BLOCK=16,
    )  # fmt: skip
    return [out]


_MASKS = {"intervals": False, "packed": True}
DRIVERS: dict[str, Callable[[Place], list[Any]]] = {
    **{f"forward {n}": lambda place, p=p: forward(place, p) for n, p in _MASKS.items()},
    **{f"decode {n}": lambda place, p=p: decode(place, p) for n, p in _MASKS.items()},
    **{f"dq {n}": lambda place, p=p: backward(place, p, "dq") for n, p in _MASKS.items()},
    **{f"dkv {n}": lambda place, p=p: backward(place, p, "dkv") for n, p in _MASKS.items()},
    "delta": delta,
    "merge": merge,
    **{
        f"step {g} {e}": lambda place, g=g, e=e: step(place, g == "guided", e)
        for g in ("plain", "guided")
        for e in (23, 24)
    },
    **{
        f"draw {k} {e}": lambda place, k=k, e=e: draw(place, k, e)
        for k in range(3)
        for e in (23, 24)
    },
}
"""By name: the kernel, then what makes it another kernel."""


# Planted: pieces of the attention kernels with their masks left off


@triton.jit
def any_row(base, rows, low, high, D: tl.constexpr, BLOCK_D: tl.constexpr, MASKED: tl.constexpr):
    d = tl.arange(0, BLOCK_D)
    return tl.load(base + rows[:, None] * D + d[None, :], mask=(d < D)[None, :], other=0.0)


@triton.jit
def any_column(base, x, rows, length, D: tl.constexpr, BLOCK_D: tl.constexpr):
    d = tl.arange(0, BLOCK_D)
    inside = (rows < length)[:, None] & (d <= D)[None, :]
    tl.store(base + rows[:, None] * D + d[None, :], x.to(base.dtype.element_ty), mask=inside)


@triton.jit
def any_key(start, stop, k_len, PACKED: tl.constexpr):
    return 0, k_len + 1


FAULTS = {
    "load without its mask": ("_tile", any_row),
    "store without its mask": ("_store_tile", any_column),
    "one key too many": ("_hull", any_key),
}


@contextmanager
def faulty(case: str) -> Iterator[None]:
    """Meanwhile the kernels have this fault."""
    name, piece = FAULTS[case]
    kept = getattr(attention_triton, name)
    setattr(attention_triton, name, piece)
    try:
        yield
    finally:
        setattr(attention_triton, name, kept)
