"""One launch of each Triton kernel on small tensors of odd sizes, in Triton's interpreter.

A driver takes `place`, which puts each tensor where the caller wants it, and returns what the
kernel wrote. No two blocks have the same size, so that a symbolic checker can tell them apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
import triton
import triton.language as tl

from core.random import STREAMS
from kernels.attention import backward_triton, tiles_triton, twin_triton
from kernels.attention import launches as attention
from kernels.attention.lists_triton import columns_kernel, list_kernel, ranges_kernel
from kernels.attention.twin_triton import merge_kernel
from kernels.diffusion.twin_triton import pack, step_kernel
from kernels.philox import twin_triton as philox_triton
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
    """Heads and rows apart, as in a (B, length, H, D) that was transposed."""
    q, k, v = (_apart(place, x) for x in _qkv(lambda x: x))
    out, lse = _apart(place, _some(B, H, Q, D)), place(_some(1, B, H, Q))
    attention.launch_forward(q, k, v, _mask(place, packed, Q), 0.3, out[None], lse, BLOCKS)
    return [out, lse]


def _apart(place: Place, x: Any) -> Any:
    return place(x.transpose(1, 2).contiguous()).transpose(1, 2)


def decode(place: Place, packed: bool) -> list[Any]:
    """Three queries, two splits of the keys; heads share a block where their mask is the same."""
    start, stop, bits = _mask(lambda x: x, packed, 3)
    mask = [place(x[:, :1].clone()) if x.ndim > 1 else x for x in (start, stop, bits)]
    out, lse = place(_some(2, B, H, 3, D)), place(_some(2, B, H, 3))
    attention.launch_forward(*_qkv(place, 3), mask, 0.3, out, lse, BLOCKS, GROUP)
    return [out, lse]


def backward(place: Place, packed: bool, name: str) -> list[Any]:
    q, k, v = _qkv(place)
    out, dout = place(_some(B, H, Q, D)), place(_some(B, H, Q, D))
    arguments = {"q": q, "k": k, "v": v, "out": out, "dout": dout}
    rows = [place(_some(B, H, Q)) for _ in range(3)]
    outputs = [place(torch.zeros_like(x)) for x in ((q,) if name == "dq" else (k, v))]
    launch = attention.launch_dq if name == "dq" else attention.launch_dkv
    launch(arguments, rows, _mask(place, packed, Q), 0.3, *outputs, BLOCKS)
    return [*outputs, rows[-1]]


def columns(place: Place) -> list[Any]:
    """Six blocks of keys, from the ranges of three blocks of queries in chunks of two."""
    start, stop, _ = _mask(place, False, Q)
    ranges, found = (place(torch.zeros(B * H, n, 4, dtype=torch.int32)) for n in (3, 6))
    ranges_kernel[(3, B * H)](start, stop, ranges, Q, K, BLOCK_Q=16, BLOCK_K=16)
    columns_kernel[(6, B * H)](ranges, found, 3, CHUNK=2)
    return [ranges, found]


def lists(place: Place, transposed: bool) -> list[Any]:
    bits = _mask(place, True, Q)[2]
    n, m = (6, 3) if transposed else (3, 6)
    blocks = place(torch.zeros(B, H, n, m, dtype=torch.int32))
    counts = place(torch.zeros(B, H, n, dtype=torch.int32))
    list_kernel[(n, B * H)](
        bits, blocks, counts, Q, K, BLOCK_Q=16, BLOCK_K=16, TRANSPOSED=transposed
    )
    return [blocks, counts]


def merge(place: Place) -> list[Any]:
    parts, lse = place(_some(3, B * H, D)), place(_some(3, B * H))
    out, whole = place(_some(B * H, D)), place(_some(B * H))
    merge_kernel[(B * H,)](parts, lse, out, whole, B * H, 3, D=D, BLOCK_D=16, BLOCK_S=4)
    return [out, whole]


def step(place: Place, guided: bool, elements: int) -> list[Any]:
    x, output, conditional, out = (place(_some(5, elements)) for _ in range(4))
    c = place(pack((0.9, 0.1, 0.8, 0.2, 0.3), guidance=2.0, clip=1.0, device="cpu"))
    at = place(torch.tensor([3, 7]))
    programs, sizes, constants = _in_sixteens(elements)
    step_kernel[(programs,)](
        x, output, conditional, out, c, at, *sizes, 4,
        GUIDED=guided, STREAM=STREAMS["noise"], **constants,
    )  # fmt: skip
    return [out]


def draw(place: Place, kind: int, elements: int) -> list[Any]:
    out = place(torch.zeros(5, elements, dtype=torch.float32 if kind else torch.int32))
    programs, sizes, constants = _in_sixteens(elements)
    draw_kernel[(programs,)](
        out, place(torch.tensor([3, 7])), *sizes, 4, STREAMS["noise"], KIND=kind, **constants
    )
    return [out]


def _in_sixteens(elements: int) -> Any:
    """Five samples in blocks of 16 counters: several samples a program, or several of these."""
    kept, philox_triton.BLOCK = philox_triton.BLOCK, 16
    found = philox_triton.layout(5, elements)
    philox_triton.BLOCK = kept
    return found


_MASKS = {"intervals": False, "packed": True}
DRIVERS: dict[str, Callable[[Place], list[Any]]] = {
    **{f"forward {n}": lambda place, p=p: forward(place, p) for n, p in _MASKS.items()},
    **{f"decode {n}": lambda place, p=p: decode(place, p) for n, p in _MASKS.items()},
    **{f"dq {n}": lambda place, p=p: backward(place, p, "dq") for n, p in _MASKS.items()},
    **{f"dkv {n}": lambda place, p=p: backward(place, p, "dkv") for n, p in _MASKS.items()},
    "columns": columns,
    "lists": lambda place: lists(place, False),
    "lists transposed": lambda place: lists(place, True),
    "merge": merge,
    **{
        f"step {g} {e}": lambda place, g=g, e=e: step(place, g == "guided", e)
        for g in ("plain", "guided")
        for e in (23, 24, 71, 72)
    },
    **{
        f"draw {k} {e}": lambda place, k=k, e=e: draw(place, k, e)
        for k in range(3)
        for e in (23, 24, 71, 72)
    },
}
"""By name: the kernel, then what makes it another kernel."""


# Planted: pieces of the attention kernels with their masks left off


@triton.jit
def any_row(
    base, first, low, high, ROW: tl.constexpr, D: tl.constexpr, ROWS: tl.constexpr,
    BLOCK_D: tl.constexpr,
):  # fmt: skip
    n, d = tl.arange(0, ROWS), tl.arange(0, BLOCK_D)
    at = base + first * ROW + (n[:, None] * ROW + d[None, :])
    return tl.load(at, mask=(d < D)[None, :], other=0.0)


@triton.jit
def any_column(base, offsets, x, inside, D: tl.constexpr, BLOCK_D: tl.constexpr):
    d = tl.arange(0, BLOCK_D)
    whole = inside[:, None] & (d <= D)[None, :]
    tl.store(base + offsets[:, None] + d[None, :], x.to(base.dtype.element_ty), mask=whole)


@triton.jit
def any_key(start, stop, k_len, PACKED: tl.constexpr):
    return 0, k_len + 1


FAULTS = {
    "load without its mask": ("tile", any_row),
    "store without its mask": ("store_tile", any_column),
    "one key too many": ("hull", any_key),
}


@contextmanager
def faulty(case: str) -> Iterator[None]:
    """Meanwhile the kernels have this fault."""
    name, piece = FAULTS[case]
    with pytest.MonkeyPatch.context() as patch:
        for module in (tiles_triton, twin_triton, backward_triton):
            patch.setattr(module, name, piece, raising=module is tiles_triton)
        yield
