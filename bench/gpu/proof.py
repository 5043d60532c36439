"""What is proven on a GPU before anything is timed there; on the CPU, in Triton's interpreter.

Attention: `bench.gpu.proof_attention`. Here the diffusion step, by the same rule against the
float64 definition; Philox, bit for bit; and every Triton twin by the table's own check.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch

from bench.gpu import proof_attention as gpu_proof_attention
from bench.gpu.rule import Guarded, Proof, Where, complaint, name_of, same_bits, wide, within
from core.random import normal
from kernels import OPS, Op, check
from kernels.diffusion.twin_triton import diffusion_step, diffusion_step_, pack
from kernels.philox.rows import ulps
from kernels.table import arrays
from reference.diffusion.coefficients import ddpm_coefficients
from reference.operations.diffusion_step import guide, step, step_mean


def steps(where: Where) -> Iterator[Proof]:
    """Each dtype with and without guidance and clipping; in place; in a recorded graph; huge."""
    for dtype in where.dtypes:
        for guided in (False, True):
            for clip in (None, 1.0):
                name = f"step {name_of(dtype)} guided {guided} clip {clip}"
                yield name, partial(check_step, diffusion_step, dtype, guided, clip, where)
        yield f"step in place {name_of(dtype)}", partial(_check_in_place, dtype, where)
        shape, n = ((64, 40), 2) if where.small else ((256, 3, 64, 64), 50)
        yield f"{n} runs of the step {name_of(dtype)}", partial(_same_steps, shape, dtype, where, n)
    yield "rejected: a step without noise", partial(reject_step, where)
    if where.device == "cuda":
        yield "the step in a recorded graph", _check_recorded_step
        yield "the step beyond 2³¹ elements", _check_huge_step
        if torch.cuda.device_count() > 1:
            there = where._replace(device="cuda:1")
            second = partial(check_step, diffusion_step, torch.float32, False, 1.0, there)
            yield "the step on cuda:1", second


def check_step(run: Any, dtype: Any, guided: bool, clip: float | None, where: Where) -> None:
    """AssertionError unless within FlashAttention's rule of the float64 definition."""
    shape = (3, 41) if where.small else (70, 3, 33, 31)
    rng = np.random.default_rng(7)
    x, eps, other = (torch.tensor(rng.normal(size=shape)).to(dtype) for _ in range(3))
    c, rest = ddpm_coefficients(0.3, 0.5), {"seed": 3, "t": 7, "first": 11}
    if guided:
        rest |= {"guidance": 2.0, "conditional": wide(other)}
    truth = step.definition(wide(x), wide(eps), c, clip=clip, **rest)
    z = torch.tensor(normal(3, shape, step=7, stream="noise", first=11)).to(dtype)
    own = step_mean(x, guide(eps, other, 2.0) if guided else eps, c, clip) + c.sigma * z
    packed = pack(c, guidance=2.0, clip=clip, device=where.device)
    tensors = [t.to(where.device) for t in (x, eps, other)]
    at = torch.tensor([3, 7], device=where.device)
    found = run(*tensors[:2], tensors[2] if guided else None, packed, at, 11)
    assert found.dtype == dtype
    within("x_s", found, own, truth, dtype)


def reject_step(where: Where) -> None:
    """AssertionError unless the check reports a step without noise."""

    def silent(x: Any, eps: Any, other: Any, c: Any, at: Any, first: int) -> Any:
        return diffusion_step(x, eps, other, c * (torch.arange(7, device=c.device) != 4), at, first)

    call = (torch.float32, False, None, where)
    check_step(diffusion_step, *call)
    said = complaint(partial(check_step, silent, *call))
    assert said.startswith("x_s: error"), f"a step without noise: {said or 'passes'}"


def _check_in_place(dtype: Any, where: Where) -> None:
    x, eps = (torch.randn(9, 137, device=where.device).to(dtype) for _ in range(2))
    c = pack(ddpm_coefficients(0.3, 0.5), clip=1.0, device=where.device)
    at = torch.tensor([3, 7], device=where.device)
    apart = diffusion_step(x, eps, None, c, at, 2)
    inside = Guarded(x.shape, dtype, where.device)
    inside.inside.copy_(x)
    diffusion_step_(inside.inside, eps, None, c, at, 2)
    assert inside.inside.equal(apart), "in place differs"
    inside.check()


def _same_steps(shape: Any, dtype: Any, where: Where, n: int) -> None:
    x, eps = (torch.randn(shape, device=where.device).to(dtype) for _ in range(2))
    c = pack(ddpm_coefficients(0.3, 0.5), device=where.device)
    at = torch.tensor([5, 9], device=where.device)
    same_bits(lambda: [diffusion_step(x, eps, None, c, at, 0)], n)


def _check_recorded_step() -> None:
    """Seed, time and coefficients change on the device between replays."""
    x, eps = (torch.randn(16, 3, 32, 32, device="cuda") for _ in range(2))
    c, at = pack(ddpm_coefficients(0.3, 0.5)), torch.tensor([3, 7], device="cuda")
    diffusion_step(x, eps, None, c, at, 0)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = diffusion_step(x, eps, None, c, at, 0)
    for seed, t, before in ((3, 7, 0.5), (4, 7, 0.6), (4, 8, 0.6)):
        at.copy_(torch.tensor([seed, t]))
        c.copy_(pack(ddpm_coefficients(0.3, before), device="cpu"))
        graph.replay()
        assert out.equal(diffusion_step(x, eps, None, c, at, 0)), f"seed {seed}, t {t}"


def _check_huge_step() -> None:
    """The last samples of 2³¹ + 8192 elements are what they are alone."""
    n = 2**19 + 2
    x, eps = (torch.randn(n, 4096, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    c, at = pack(ddpm_coefficients(0.3, 0.5)), torch.tensor([3, 7], device="cuda")
    alone = diffusion_step(x[-2:], eps[-2:], None, c, at, n - 2)
    diffusion_step_(x, eps, None, c, at, 0)
    assert x[-2:].equal(alone), "the last samples differ"


def philox(where: Where) -> Iterator[Proof]:
    """Millions of numbers: integers and uniforms bit for bit, normals to 4 ulp."""
    shape = (4, 101) if where.small else (9, 2**18 + 3)
    for kind in ("bits", "uniform", "normal"):
        yield f"{kind} of {shape}", partial(_check_numbers, kind, shape)


def _check_numbers(kind: str, shape: tuple[int, int]) -> None:
    op = OPS[kind]
    for seed, first in ((0, 0), (2**63 - 1, 2**32 - shape[0])):
        at = {"step": 2**32 - 1, "stream": "noise", "first": first}
        found, expected = op.load("triton")(seed, shape, **at), op.load()(seed, shape, **at)
        if kind == "normal":
            assert ulps(found, expected) <= 4, f"{ulps(found, expected)} ulp"
        else:
            assert np.array_equal(found, expected), f"{np.sum(found != expected)} numbers differ"


def table(where: Where) -> Iterator[Proof]:
    """Every Triton twin by the table's own check."""
    for op in (op for op in OPS.values() if "triton" in op.twins):
        examples = 3 if where.small else (16 if op.name.startswith("masked") else 50)
        yield f"table: {op.name}, {examples} examples", partial(_check_row, op, examples)


def _check_row(op: Op, examples: int) -> None:
    usable = tuple(d for d in op.dtypes if d != "float64")  # the kernels' arithmetic is float32
    calls = [op.draw(seed, usable) for seed in range(examples)]
    for call in calls:
        check(op.load("triton"), call, where="triton")
    twice = [arrays(op.load("triton")(**calls[-1].arguments)) for _ in range(2)]
    for x, y in zip(*twice, strict=True):
        assert np.array_equal(x, y, equal_nan=x.dtype.kind == "f"), "two runs differ"


GROUPS = (*gpu_proof_attention.GROUPS, steps, philox, table)


def proofs(where: Where, *, quick: bool = False) -> list[Proof]:
    """All of them, or every fourth of each group; a proof raises AssertionError when it fails."""
    return [proof for group in GROUPS for proof in [*group(where)][:: 4 if quick else 1]]
