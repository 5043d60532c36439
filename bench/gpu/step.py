"""The diffusion step on a GPU beside a copy, torch.compile of its formula, and diffusers."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch

from bench.gpu.attention import Skip, goal, judged
from bench.gpu.clock import Clock, Row, Run
from kernels.diffusion.twin_triton import diffusion_step, diffusion_step_, pack
from reference.diffusion.coefficients import ddim_coefficients, ddpm_coefficients
from reference.operations.diffusion_step import StepCoefficients

NOW, THEN = 0.5, 0.6
"""ᾱ before and after the step."""


class Case(NamedTuple):
    """label; dtype; coefficients; whether guided; the share of copy bandwidth that is wanted."""

    label: str
    dtype: Any
    coefficients: StepCoefficients
    guided: bool
    wanted: float


DDPM, DDIM = ddpm_coefficients(NOW, THEN), ddim_coefficients(NOW, THEN)
CASES = (
    Case("DDPM float32", torch.float32, DDPM, False, 0.80),
    Case("DDPM bfloat16", torch.bfloat16, DDPM, False, 0.55),
    Case("DDIM float32", torch.float32, DDIM, False, 0.90),
    Case("DDIM bfloat16", torch.bfloat16, DDIM, False, 0.90),
    Case("DDPM guided float32", torch.float32, DDPM, True, 0.80),
    Case("DDIM guided float32", torch.float32, DDIM, True, 0.90),
)


def formula(x: Any, eps: Any, other: Any, c: StepCoefficients, z: Any = None) -> Any:
    """The step, operation by operation; noise by PyTorch's own generator unless given."""
    output = eps if other is None else eps + 2.0 * (other - eps)
    x_0 = (c.p * x + c.q * output).clamp(-1.0, 1.0)
    x_s = c.a * x + c.b * x_0
    if not c.sigma:
        return x_s
    return x_s + c.sigma * (torch.randn_like(x) if z is None else z)


def large(clock: Clock, device: str, copy: float, skip: Skip, small: bool = False) -> Iterator[Row]:
    """Arrays far larger than any cache: bound by memory. copy: its bandwidth, in GB/s."""
    shape = (2, 3, 8, 8) if small else (256, 3, 256, 256)
    for case in CASES:
        if device == "cpu" and case.dtype == torch.bfloat16:
            continue
        x, eps, other = (torch.randn(shape, device=device).to(case.dtype) for _ in range(3))
        given = other if case.guided else None
        packed = pack(case.coefficients, guidance=2.0, clip=1.0, device=device)
        at = torch.tensor([3, 7], device=device)
        check(case, x, eps, given, packed, at)
        runs = _contestants(case, x, eps, given, packed, at, small)
        runs |= _diffusers(case, x, eps, skip)
        times = clock.race(runs)
        row = judged(f"step {case.label} {'×'.join(map(str, shape))}", times)
        moved = (3 + case.guided) * x.numel() * x.element_size()
        row["gb_per_s"] = {"genzoo": moved / times["genzoo"]["median_us"] / 1e3}
        share = row["gb_per_s"]["genzoo"] / copy
        yield {**row, "goals": [goal("of copy bandwidth", share, case.wanted), *_ratios(row)]}


def _ratios(row: Row) -> list[Row]:
    wanted = {"torch.compile of the formula": 1.0, "diffusers": 5.0}
    against = row["speed_against"]
    return [goal(f"× {who}", against[who], n) for who, n in wanted.items() if who in against]


def check(case: Case, x: Any, eps: Any, other: Any, packed: Any, at: Any) -> None:
    """AssertionError unless the mean is the formula's, and the noise standard normal."""
    c = case.coefficients
    found = diffusion_step(x, eps, other, packed, at, 0).float()
    mean = formula(x.float(), eps.float(), None if other is None else other.float(), c, 0.0)
    if not c.sigma:
        torch.testing.assert_close(found, mean, rtol=1e-2, atol=2e-2)
        return
    z = (found - mean) / c.sigma
    off = abs(float(z.mean())), abs(float(z.var()) - 1)
    limit = 6 / z.numel() ** 0.5 + (1e-3 if case.dtype != torch.float32 else 0)
    assert max(off) < 2 * limit, f"the noise of {case.label} has mean and variance off by {off}"


def _contestants(
    case: Case, x: Any, eps: Any, other: Any, packed: Any, at: Any, small: bool
) -> dict[str, Run]:
    def in_torch() -> Any:
        return formula(x, eps, other, case.coefficients)

    compiled = in_torch if small else torch.compile(in_torch)
    compiled()
    out = torch.empty_like(x)
    return {
        "genzoo": lambda: diffusion_step(x, eps, other, packed, at, 0),
        "genzoo in place": lambda: diffusion_step_(out, eps, other, packed, at, 0),
        "torch.compile of the formula": compiled,
        "torch, operation by operation": in_torch,
        "copy": lambda: out.copy_(x),
    }


def _diffusers(case: Case, x: Any, eps: Any, skip: Skip) -> dict[str, Run]:
    """Its scheduler's step at the middle of a thousand; guidance by the usual formula before it."""
    work = f"step {case.label}"
    if find_spec("diffusers") is None:
        skip(work, "diffusers", "not installed")
        return {}
    try:
        run = _scheduler(case, x, eps)
        run()
    except Exception as error:  # whatever it raises, it can't take part
        skip(work, "diffusers", error)
        return {}
    return {"diffusers": run}


def _scheduler(case: Case, x: Any, eps: Any) -> Run:
    import diffusers

    stochastic = case.coefficients.sigma > 0
    kind = diffusers.DDPMScheduler if stochastic else diffusers.DDIMScheduler
    scheduler = kind(num_train_timesteps=1000, clip_sample=True)
    scheduler.set_timesteps(1000)

    def run() -> Any:
        output = eps + 2.0 * (eps - eps) if case.guided else eps
        return scheduler.step(output, 500, x).prev_sample

    return run


def loops(clock: Clock, device: str, small: bool = False) -> Iterator[Row]:
    """Fifty steps of small images: bound by launches, so recorded as one graph."""
    shape, n = ((2, 3, 4, 4), 3) if small else ((16, 3, 32, 32), 50)
    x, eps = (torch.randn(shape, device=device) for _ in range(2))
    packed = [pack(DDPM, clip=1.0, device=device) for _ in range(n)]
    at = [torch.tensor([3, t], device=device) for t in range(n, 0, -1)]

    def ours() -> None:
        for c, place in zip(packed, at, strict=True):
            diffusion_step_(x, eps, None, c, place, 0)

    def in_torch() -> Any:
        y = x
        for _ in range(n):
            y = formula(y, eps, None, DDPM)
        return y

    graphs = {"torch, also in one graph": in_torch}
    for label, record in (("one graph", True), ("launch by launch", False)):
        times = clock.race({"genzoo": ours, **graphs} if record else {"genzoo": ours}, record)
        times |= clock.race({"torch, operation by operation": in_torch}, record=False)
        row = judged(f"{n} steps DDPM float32 {'×'.join(map(str, shape))}, {label}", times)
        against = row["speed_against"]["torch, operation by operation"]
        yield {**row, "goals": [goal("× operation by operation", against, 20.0)]} if record else row
