"""Masked attention on a GPU beside PyTorch's: SDPA (flash, cuDNN), FlexAttention, torch.compile.

Rates count the arithmetic of visible pairs only, 4·D a pair forward and 10·D backward. A
contestant is timed after its result was found right; a peer that can't do a case, or fails, is
skipped by name. "With the mask" times what a user waits for: building the mask, lowering it, and
attention, by the host's clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
import torch._functorch.config

from bench.gpu.clock import Clock, Row, Run
from bench.gpu.masks import KINDS, Case
from kernels import masked_attention
from kernels.attention import launches
from kernels.attention.device_masks import prepare
from reference.operations.lowering import Intervals, block_ranges
from reference.operations.masks import boolean

TOKENS, HIDDEN = 16384, 2048
Skip = Callable[[str, str, BaseException | str], None]
GOALS = {
    ("forward", 128, "full"): 520, ("forward", 128, "causal"): 460,
    ("forward", 64, "full"): 400, ("forward", 64, "causal"): 350,
    ("backward", 128, "full"): 400, ("backward", 128, "causal"): 400,
}  # fmt: skip
"""TFLOP/s in bfloat16 on an H200, from 4096 keys on."""
FLASH, CUDNN = "SDPA flash (FlashAttention 2)", "SDPA cuDNN (like FlashAttention 3)"
"""PyTorch's own attention, by what is behind it."""
TOLERANCE = {torch.bfloat16: 4e-2, torch.float16: 1e-2, torch.float32: 1e-4}


class Cell(NamedTuple):
    """One setting: head size, length, mask, and whether FlexAttention is compiled for it."""

    D: int
    S: int
    kind: str
    flex: bool

    def name(self, what: str) -> str:
        """As rows are labelled."""
        return f"attention {what} bfloat16 {self.kind} {self.S}×{self.D}"


SMOKE = Cell(128, 4096, "causal", True)
"""What is timed for a first look."""


def cells(quick: bool = False) -> list[Cell]:
    """The first ones matter most: a run that is cut keeps them."""
    some = ("full", "causal", "documents")
    found = [Cell(128, 4096, kind, True) for kind in (some if quick else KINDS)]
    if quick:
        return found
    found += [Cell(128, 16384, kind, True) for kind in KINDS if kind != "raster"]
    found += [Cell(64, S, kind, kind != "full") for S in (4096, 16384) for kind in some]
    return found + [Cell(D, 1024, kind, False) for D in (128, 64) for kind in some[:2]]


class Bench:
    """One cell's tensors and contestants. Small on the CPU, where it is only seen to run."""

    def __init__(self, cell: Cell, device: str, skip: Skip, *, small: bool = False) -> None:
        """skip: told of every contestant that can't take part."""
        self.cell, self.device, self.skip = cell, device, skip
        B, H = (1, 1) if small else (max(TOKENS // cell.S, 1), HIDDEN // cell.D)
        dtype = torch.float32 if device == "cpu" else torch.bfloat16
        shape = (B, H, cell.S, cell.D)
        self.q, self.k, self.v, self.g = (
            torch.randn(shape, device=device).to(dtype) for _ in range(4)
        )
        self.case: Case = KINDS[cell.kind](np.random.default_rng(cell.S), cell.S)
        self.compile: Any = (lambda f, **_: f) if small else torch.compile
        # A backward is timed many times over one forward; donated buffers would be gone after one.
        torch._functorch.config.donated_buffer = False

    def mask(self) -> Any:
        """What is given to `masked_attention`: a Mask, or a bool tensor on the device."""
        if isinstance(self.case.mask, np.ndarray):
            return torch.from_numpy(self.case.mask).to(self.device)
        return self.case.mask

    def contestants(self) -> dict[str, Callable[[Any, Any, Any], Any]]:
        """Who → attention of (q, k, v), its mask built beforehand."""
        ready = prepare(self.mask(), self.q, self.k)
        found = {"genzoo": lambda q, k, v: masked_attention(q, k, v, ready)}
        peers = {**self._sdpa(), **self._flex(), **self._plain()}
        return found | {who: f for who, f in peers.items() if self._is_able(who, f)}

    def _is_able(self, who: str, f: Any) -> bool:
        try:
            f(self.q, self.k, self.v)
        except Exception as error:  # whatever it raises, it can't take part
            self.skip(self.cell.name("forward"), who, error)
            return False
        return True

    def _sdpa(self) -> dict[str, Any]:
        from torch.nn.attention import SDPBackend, sdpa_kernel
        from torch.nn.functional import scaled_dot_product_attention as sdpa

        if self.cell.kind == "arbitrary":
            return {"SDPA, dense mask": partial(sdpa, attn_mask=self.mask())}
        if self.cell.kind not in ("full", "causal"):
            return {}
        causal = self.cell.kind == "causal"

        def run(backend: Any, q: Any, k: Any, v: Any) -> Any:
            with sdpa_kernel(backend):
                return sdpa(q, k, v, is_causal=causal)

        flash, cudnn = SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION
        return {FLASH: partial(run, flash), CUDNN: partial(run, cudnn)}

    def _flex(self) -> dict[str, Any]:
        if not self.cell.flex:
            return {}
        from torch.nn.attention.flex_attention import flex_attention

        self.flex = self.compile(flex_attention, dynamic=False)
        try:
            block_mask = self.block_mask()
        except Exception as error:
            self.skip(self.cell.name("forward"), "FlexAttention", error)
            return {}
        return {"FlexAttention": lambda q, k, v: self.flex(q, k, v, block_mask=block_mask)}

    def block_mask(self) -> Any:
        """FlexAttention's mask, built anew; None for all keys."""
        from torch.nn.attention.flex_attention import create_block_mask

        if self.cell.kind == "full":
            return None
        if not hasattr(self, "_build"):
            self._build = self.compile(create_block_mask, dynamic=False)
            self._rule = self.case.rule(self.device)
        S = self.cell.S
        return self._build(self._rule, None, None, S, S, device=self.device)

    def _plain(self) -> dict[str, Any]:
        """The formula, compiled: where S² scores fit."""
        if self.cell.S > 1024:
            return {}
        seen = torch.from_numpy(dense(self.case, self.cell.S)).to(self.device)

        def formula(q: Any, k: Any, v: Any) -> Any:
            s = (q @ k.mT) * (1 / math.sqrt(q.shape[-1]))
            return torch.softmax(s.masked_fill(~seen, -math.inf), -1) @ v

        return {"torch.compile of the formula": self.compile(formula)}

    # What is right, by sampled queries in float32

    def check(self, who: str, f: Any) -> str:
        """Why the contestant's result is wrong, or "". Its dq is judged as well as its output."""
        rows = torch.arange(0, self.cell.S, max(self.cell.S // 40, 1), device=self.device)
        leaves = [x.detach().requires_grad_() for x in (self.q, self.k, self.v)]
        out = f(*leaves)
        (dq,) = torch.autograd.grad(out, leaves[:1], self.g)
        truth = self._sampled(rows)
        for name, x, t in zip(("out", "dq"), (out, dq), truth, strict=True):
            error = float((x.detach()[:, :, rows].float() - t).abs().max())
            scale = max(1.0, float(t.abs().max()))
            if not error <= TOLERANCE[x.dtype] * scale:
                return f"{who}: {name} is {error:.3g} off"
        return ""

    def _sampled(self, rows: Any) -> tuple[Any, Any]:
        at = dense(self.case, self.cell.S, rows.cpu().numpy())
        q = self.q[:, :, rows].float().requires_grad_()
        s = (q @ self.k.float().mT) / math.sqrt(self.cell.D)
        seen = torch.from_numpy(at).to(self.device)
        some = seen.any(-1, keepdim=True)
        s = torch.where(some, s.masked_fill(~seen, -math.inf), 0.0)
        out = torch.where(some, torch.softmax(s, -1) @ self.v.float(), 0.0)
        return out.detach(), torch.autograd.grad(out, q, self.g[:, :, rows].float())[0]

    # What is timed

    def right(self) -> dict[str, Any]:
        """The contestants whose results are right; `skip` is told of the others."""
        found = {}
        for who, f in self.contestants().items():
            try:
                fault: BaseException | str = self.check(who, f)
            except Exception as error:  # a peer's backward may be missing
                fault = error
            if fault:
                self.skip(self.cell.name("forward"), who, fault)
            else:
                found[who] = f
        return found

    def forward(self, who: str, f: Any) -> Run:
        """A call without a graph of derivatives."""

        def run() -> Any:
            with torch.no_grad():
                return f(self.q, self.k, self.v)

        return run

    def backward(self, who: str, f: Any) -> Run:
        """One more backward through one forward."""
        leaves = [x.detach().requires_grad_() for x in (self.q, self.k, self.v)]
        out = f(*leaves)
        return lambda: torch.autograd.grad(out, leaves, self.g, retain_graph=True)

    def with_the_mask(self, backward: bool) -> dict[str, Run]:
        """Mask, forward, and backward if wanted: ours and FlexAttention's."""
        leaves = [x.detach().requires_grad_(backward) for x in (self.q, self.k, self.v)]
        mask = self.mask()

        def run(attend: Callable[[], Any]) -> Any:
            out = attend()
            return torch.autograd.grad(out, leaves, self.g) if backward else out

        runs = {"genzoo": partial(run, lambda: masked_attention(*leaves, mask))}
        if hasattr(self, "flex"):
            made = lambda: self.flex(*leaves, block_mask=self.block_mask())  # noqa: E731
            runs["FlexAttention"] = partial(run, made)
        return runs


def dense(case: Case, S: int, rows: Any = None) -> Any:
    """bool (rows, S); all rows unless given."""
    at = np.arange(S) if rows is None else rows
    if isinstance(case.mask, np.ndarray):
        return case.mask[at]
    found = case.mask.interval(S, S)
    if found is None:
        return case.mask.dense(S, S)[at]
    start, stop = (np.broadcast_to(x, S)[at][:, None] for x in found)
    return (start <= np.arange(S)) & (np.arange(S) < stop)


def pairs(case: Case, S: int) -> int:
    """Pairs of a query and a key that it sees, in one head."""
    mask = boolean(case.mask) if isinstance(case.mask, np.ndarray) else case.mask
    found = mask.interval(S, S)
    if found is None:
        return int(mask.dense(S, S).sum())
    start, stop = found
    return int(np.broadcast_to(stop - start, S).sum(dtype=np.int64))


def visited(bench: Bench, kernel: str = "forward") -> int:
    """Pairs in the blocks that our kernel visits, in one head."""
    m, S = prepare(bench.mask(), bench.q, bench.k), bench.cell.S
    block_q, block_k, *_ = launches.blocks_for(kernel, bench.q, m[:3])
    if m.bits.numel():
        _, counts = launches.packed_blocks(m.bits, block_q, block_k, S, S)
        return int(counts.sum()) * block_q * block_k
    start, stop = (x[0, 0].cpu().numpy() for x in (m.start, m.stop))
    ranges = block_ranges(Intervals(start, stop, S), block_q, block_k)
    return int((ranges[:, 3] - ranges[:, 0]).sum()) * block_q * block_k


def rows(cell: Cell, bench: Bench, clock: Clock, skip: Skip) -> Iterator[Row]:
    """Forward, backward, and both with the mask's building, as rows of the results."""
    heads, seen = math.prod(bench.q.shape[:2]), pairs(bench.case, cell.S)
    able = bench.right()
    if "genzoo" not in able:
        return
    for what, flops in (("forward", 4), ("backward", 10)):
        runs = usable(cell.name(what), _makers(bench, what, able), skip)
        if "genzoo" not in runs:
            continue
        times = clock.race(runs)
        row = judged(cell.name(what), times, flops * cell.D * seen * heads)
        rate = visited(bench) / seen * row["tflop_per_s"]["genzoo"] if seen else 0.0
        row |= {"share_seen": seen / cell.S**2, "tflop_per_s_on_visited_blocks": rate}
        yield with_goals(row, cell, what)
    for what in ("forward", "forward and backward"):
        name, ready = f"{cell.name(what)}, mask included", bench.with_the_mask(what != "forward")
        made = {who: partial(_itself, run) for who, run in ready.items() if who in able}
        runs = usable(name, made, skip)
        if "genzoo" not in runs:
            continue
        times = clock.by_the_wall(runs)
        row = judged(name, times)
        if "FlexAttention" in times:
            row["goals"] = [goal("× FlexAttention", row["speed_against"]["FlexAttention"], 1.0)]
        yield row
    yield judged(cell.name("mask alone"), clock.by_the_wall(_builders(bench, able)))


def _makers(bench: Bench, what: str, able: dict[str, Any]) -> dict[str, Callable[[], Run]]:
    return {who: partial(getattr(bench, what), who, f) for who, f in able.items()}


def _itself(run: Run) -> Run:
    return run


def usable(work: str, makers: dict[str, Callable[[], Run]], skip: Skip) -> dict[str, Run]:
    """Who → the run that each makes, for those whose run works twice; `skip` is told of others."""
    runs = {}
    for who, make in makers.items():
        try:
            run = make()
            for _ in range(2):
                run()
        except Exception as error:  # whatever it raises, the others are still worth timing
            skip(work, who, error)
        else:
            runs[who] = run
    return runs


def _builders(bench: Bench, able: dict[str, Any]) -> dict[str, Run]:
    mask = bench.mask()
    built: dict[str, Run] = {"genzoo": lambda: prepare(mask, bench.q, bench.k)}
    if "FlexAttention" in able and bench.cell.kind != "full":
        built["FlexAttention"] = bench.block_mask
    return built


def judged(work: str, times: dict[str, Row], flops: float = 0.0) -> Row:
    """A row: times by contestant, our speed against each, and everyone's TFLOP/s."""
    ours = times["genzoo"]["median_us"]
    row: Row = {"work": work, "times": times}
    row["speed_against"] = {w: t["median_us"] / ours for w, t in times.items() if w != "genzoo"}
    if flops:
        row["tflop_per_s"] = {w: flops / t["median_us"] / 1e6 for w, t in times.items()}
    return row


def with_goals(row: Row, cell: Cell, what: str) -> Row:
    """The row with the goals that are set for it."""
    wanted = GOALS.get((what, cell.D, cell.kind))
    found = []
    if wanted and cell.S >= 4096:
        found.append(goal("TFLOP/s", row["tflop_per_s"]["genzoo"], wanted))
    if cell.S >= 4096 and "FlexAttention" in row["speed_against"]:
        found.append(goal("× FlexAttention", row["speed_against"]["FlexAttention"], 1.0))
    return {**row, "goals": found} if found else row


def goal(unit: str, found: float, wanted: float) -> Row:
    """A figure beside what was wanted."""
    return {"unit": unit, "found": found, "wanted": wanted, "reached": bool(found >= wanted)}


def against_dense(rows: list[Row]) -> list[Row]:
    """Each mask's speed on the blocks it visits beside our own without a mask: ≥ 0.85."""
    key, made = "tflop_per_s_on_visited_blocks", []
    dense = {row["work"]: row[key] for row in rows if key in row and " full " in row["work"]}
    for row in rows:
        kind = row["work"].split()[3] if key in row else "full"
        if kind != "full" and (same := row["work"].replace(f" {kind} ", " full ")) in dense:
            found = goal("× dense, on visited blocks", row[key] / dense[same], 0.85)
            made.append({"work": f"{row['work']}, on visited blocks", "goals": [found]})
    return made


def decode(clock: Clock, device: str, copy: float, small: bool = False) -> Iterator[Row]:
    """One query against 65 536 keys: bound by reading k and v. Goal-less, beside a copy."""
    from reference.operations.masks import causal

    K, D, dtype = (256, 16, torch.float32) if small else (65536, 128, torch.bfloat16)
    for H, H_kv in ((1, 1),) if small else ((32, 32), (32, 8)):
        q = torch.randn(1, H, 1, D, device=device).to(dtype)
        k, v = (torch.randn(1, H_kv, K, D, device=device).to(dtype) for _ in "kv")
        mask = prepare(causal(), q, k)
        peer = partial(
            torch.nn.functional.scaled_dot_product_attention, q, k, v, enable_gqa=H_kv != H
        )
        runs = {"genzoo": partial(masked_attention, q, k, v, mask), "SDPA": peer}
        torch.testing.assert_close(runs["genzoo"](), peer(), rtol=2e-2, atol=2e-2)
        times = clock.race(runs)
        row = judged(f"attention decode {K} keys, {H} heads, {H_kv} key heads", times)
        nbytes = 2 * k.numel() * k.element_size()
        row["gb_per_s"] = {who: nbytes / t["median_us"] / 1e3 for who, t in times.items()}
        yield {**row, "share_of_copy": row["gb_per_s"]["genzoo"] / copy}
