"""Block sizes for the attention kernels on the GPU at hand: `python -m bench.gpu --tune`.

Tuning is done once for a device and a Triton version, offline; what it prints is pasted into
CONFIGURATIONS of `kernels.attention.configurations`. A candidate is compiled ahead of time, and
left out before it runs if its blocks don't fit into shared memory, if its loops spill, or if it
misses the tensor cores; and after, if its result is not that of the present blocks.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
import triton

from bench.gpu.attention import TOLERANCE
from bench.gpu.clock import Clock, Run
from kernels.attention import launches
from kernels.attention import torch_function as attention_torch
from kernels.attention.configurations import shared_memory
from kernels.attention.device_masks import prepare
from kernels.binaries import Cell, build, fault
from kernels.device import INTERPRETED
from kernels.device import card as device_card
from reference.operations.masks import causal

Blocks = tuple[int, int, int, int]
HEADS = (64, 128, 256)
SIZES = {2: torch.bfloat16, 4: torch.float32}


class Target(NamedTuple):
    """An entry of CONFIGURATIONS: kernel "forward", "dq" or "dkv", bytes an element, head size."""

    kernel: str
    itemsize: int
    head: int


def targets() -> list[Target]:
    """Bfloat16 before float32, and the common heads first."""
    return [Target(k, n, d) for n in SIZES for d in HEADS for k in ("forward", "dq", "dkv")]


def candidates(target: Target) -> Iterator[Blocks]:
    """(BLOCK_Q, BLOCK_K, stages, warps) worth a try."""
    if target.itemsize == 4:
        yield from itertools.product((16, 32, 64), (16, 32, 64), (1, 2), (4, 8))
        return
    sides = (32, 64, 128)
    for block_q, block_k, stages, warps in itertools.product(sides, sides, (1, 2, 3, 4), (4, 8)):
        if block_q * block_k >= 64 * 64 or target.head == 256:
            yield block_q, block_k, stages, warps


class Problem:
    """A causal call long enough to fill the device."""

    def __init__(self, target: Target, device: str = "cuda", S: int = 4096, heads: int = 16):
        """S: queries and keys; heads: of the batch together."""
        self.target = target
        dtype = SIZES[target.itemsize]
        self.q, self.k, self.v, self.dout = (
            torch.randn(1, heads, S, target.head, device=device).to(dtype) for _ in range(4)
        )
        self.mask = prepare(causal(), self.q, self.k)[:3]
        self.scale = target.head**-0.5
        out, lse = attention_torch.attention_forward(
            self.q, self.k, self.v, *self.mask, self.scale, False
        )
        self.arguments = {"q": self.q, "k": self.k, "v": self.v, "out": out, "dout": self.dout}
        self.rows = lse, torch.zeros_like(lse), torch.empty_like(lse)
        width = max(16, triton.next_power_of_2(target.head))
        self.present = launches.blocks_for(target.kernel, self.q, self.mask)[:4]
        self.width = width
        if target.kernel == "dkv":  # reads the delta that dq writes
            blocks = launches.blocks_for("dq", self.q, self.mask)
            dq = torch.empty_like(self.q)
            launches.launch_dq(self.arguments, self.rows, self.mask, self.scale, dq, blocks)
        self.expected = [x.clone() for x in self.run(self.present)]

    def run(self, blocks: Blocks) -> list[Any]:
        """The kernel with these blocks; its outputs."""
        kernel, all_blocks = self.target.kernel, (*blocks, self.width)
        if kernel == "forward":
            out = torch.empty_like(self.q)
            lse = self.q.new_empty((1, *self.q.shape[:3]), dtype=torch.float32)
            launches.launch_forward(
                self.q, self.k, self.v, self.mask, self.scale, out[None], lse, all_blocks
            )
            return [out, lse]
        outputs = [torch.empty_like(x) for x in ((self.q,) if kernel == "dq" else (self.k, self.v))]
        launch: Any = launches.launch_dq if kernel == "dq" else launches.launch_dkv
        launch(self.arguments, self.rows, self.mask, self.scale, *outputs, all_blocks)
        return outputs

    def fault(self, blocks: Blocks) -> str:
        """Why these blocks can't be used, or ""."""
        if unfit := unfit_binary(self.target, blocks, self.q.device):
            return unfit
        try:
            found = self.run(blocks)
        except Exception as error:  # out of shared memory, or the compiler gave up
            return f"{type(error).__name__}: {error}".split("\n")[0]
        for x, y in zip(found, self.expected, strict=True):
            error = float((x.float() - y.float()).abs().max())
            if not error <= TOLERANCE[self.q.dtype] * max(1.0, float(y.float().abs().max())):
                return f"wrong by {error:.3g}"
        return ""


def unfit_binary(target: Target, blocks: Blocks, device: Any) -> str:
    """What is wrong with the kernel compiled for these blocks, without running it, or ""."""
    width, (card, shared) = max(16, triton.next_power_of_2(target.head)), device_card(device)
    needs = shared_memory(target.kernel, blocks, target.itemsize, width)
    if needs > shared:
        return f"up to {needs} bytes of shared memory, of {shared}"
    if INTERPRETED:  # which compiles nothing
        return ""
    dtype = {2: "bf16", 4: "fp32"}[target.itemsize]
    cell = Cell(target.kernel, card, dtype, target.head, "intervals")
    try:
        return fault(cell, build(cell, (*blocks, width)), (*blocks, width))
    except Exception as error:  # the compiler gave up
        return f"{type(error).__name__}: {error}".split("\n")[0]


def compile_candidates(part: int, parts: int) -> None:
    """Fill Triton's cache on disk with this part of all candidates, on short sequences."""
    problems: dict[Target, Problem] = {}
    everything = [(t, c) for t in targets() for c in candidates(t)]
    for target, blocks in everything[part::parts]:
        if target not in problems:
            problems[target] = Problem(target, S=256, heads=16)
        problems[target].fault(blocks)


def tune(report: Any, device: str = "cuda") -> None:
    """Time every candidate; a row for each target, and the table at the end."""
    clock, found = Clock(device, milliseconds=20), {}
    for target in targets():
        best = fastest(target, clock, device)
        report.add("rows", best)
        found[target] = tuple(best["blocks"])
        print(entry(found), flush=True)


def fastest(target: Target, clock: Clock, device: str, **size: int) -> dict[str, Any]:
    """A row: the best blocks of a target and their speed against the present ones."""
    problem = Problem(target, device, **size)
    able = [c for c in candidates(target) if not problem.fault(c)]
    quick = {c: clock.race({"": partial(problem.run, c)})[""]["median_us"] for c in able}
    finalists = sorted(quick, key=quick.__getitem__)[:4]
    runs: dict[str, Run] = {str(c): partial(problem.run, c) for c in finalists}
    times = clock.race({"present": partial(problem.run, problem.present), **runs})
    best = min(finalists, key=lambda c: times[str(c)]["median_us"])
    ratio = times["present"]["median_us"] / times[str(best)]["median_us"]
    work = f"tune {target.kernel} {8 * target.itemsize} bits, head {target.head}"
    return {"work": work, "blocks": best, "times": times, "speed_against": {"present": ratio}}


def entry(found: dict[Target, Any]) -> str:
    """What goes into CONFIGURATIONS, with the Triton version it was measured with."""
    lines = [f"# triton {triton.__version__}"]
    for key, members in itertools.groupby(sorted(found), key=lambda t: t[:2]):
        sizes = ", ".join(f"{t.head}: {found[t]}" for t in members)
        lines.append(f'    ("{key[0]}", {key[1]}): {{{sizes}}},')
    return "\n".join(lines)
