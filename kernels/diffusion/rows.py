"""The row of `OPS` that takes one step of a diffusion sampler (MISSION row K5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np

from core.random import normal
from kernels.calls import Arguments
from kernels.table import Op
from reference.diffusion.coefficients import ddim_coefficients, ddpm_coefficients
from reference.diffusion.schedule import Schedule, make_schedule
from reference.operations.diffusion_step import StepCoefficients, step

Dims = Mapping[str, int]
definition = getattr(step, "definition", step)


@cache
def _schedule() -> Schedule:
    return make_schedule("linear", 50)


def _coefficients(rng: np.random.Generator, t: int, ddpm: int) -> StepCoefficients:
    """From t to t − 1 or a little further, by any sampler and for any prediction.

    ddpm 1 is what benchmarks take: DDPM's own step from t to t − 1, with σ² = β̃.
    """
    alpha_bar = _schedule().alpha_bar
    if ddpm:
        return ddpm_coefficients(float(alpha_bar[t]), float(alpha_bar[t - 1]), "beta_tilde")
    now, then = float(alpha_bar[t]), float(alpha_bar[max(t - int(rng.choice([1, 1, 5])), 0)])
    prediction = str(rng.choice(["eps", "x0", "v"]))
    if rng.random() < 0.5:
        return ddpm_coefficients(now, then, str(rng.choice(["beta", "beta_tilde"])), prediction)
    return ddim_coefficients(now, then, float(rng.choice([0.0, 0.5, 1.0])), prediction)


def _make(rng: np.random.Generator, dims: Dims, dtype: str) -> Arguments:
    """At s = 0 the condition's output is junk, NaN included: it must not matter."""
    shape = (dims["B"], dims["E"]) if dims["axes"] == 2 else (dims["B"], 2, dims["E"])

    def array() -> Any:
        x = rng.normal(size=shape).astype(dtype)
        return np.asfortranarray(x) if dims["E"] < 100 and rng.random() < 0.3 else x

    t = dims["t"]
    arguments: Arguments = {"x_t": array(), "output": array()}
    arguments |= {
        "coefficients": _coefficients(rng, t, dims["ddpm"]),
        "seed": int(rng.integers(2**63)),
        "t": t,
    }
    arguments["first"] = int(rng.choice([0, 7, 2**31]))
    arguments["clip"] = 1.0 if dims["clip"] else None
    if dims["guided"]:
        s = float(rng.choice([0.0, 1.0, 7.5])) if dims["guided"] == 1 else 0.0
        junk = np.where(rng.random(shape) < 0.5, np.nan, 1e9).astype(dtype)
        arguments |= {"conditional": array() if s else junk, "guidance": s}
    return arguments


# Twins with a planted fault


def _noise(draw: Callable[..., Any]) -> Callable[..., Any]:
    """The step with its noise drawn in another way: draw(shape, seed, t, first)."""

    def wrong(
        x_t: Any, output: Any, coefficients: Any, *, seed: int, t: int, first: int = 0, **rest: Any
    ) -> Any:
        still = coefficients._replace(sigma=0.0)
        x_s = definition(x_t, output, still, seed=seed, t=t, first=first, **rest)
        z = draw(x_t.shape, seed, t, first).astype(x_t.dtype)
        return x_s + coefficients.sigma * z

    return wrong


def _by_layout(shape: Any, seed: int, t: int, first: int) -> Any:
    flat = (1, int(np.prod(shape)))
    return normal(seed, flat, step=t, stream="noise", first=first).reshape(shape)


def _every_step_the_same(shape: Any, seed: int, t: int, first: int) -> Any:
    return normal(seed, shape, step=0, stream="noise", first=first)


def _forgets_first(shape: Any, seed: int, t: int, first: int) -> Any:
    return normal(seed, shape, step=t, stream="noise")


def no_noise(x_t: Any, output: Any, coefficients: Any, **rest: Any) -> Any:
    """The mean of the step."""
    return definition(x_t, output, coefficients._replace(sigma=0.0), **rest)


def noise_at_the_end(x_t: Any, output: Any, coefficients: Any, **rest: Any) -> Any:
    """√β_1 of noise in the last step as well."""
    sigma = coefficients.sigma or float(np.sqrt(_schedule().beta[1]))
    return definition(x_t, output, coefficients._replace(sigma=sigma), **rest)


def mixes_at_zero(
    x_t: Any,
    output: Any,
    coefficients: Any,
    conditional: Any = None,
    guidance: float = 0.0,
    **rest: Any,
) -> Any:
    """(1 − s) ε∅ + s ε_y whatever s: a NaN in ε_y leaks at s = 0."""
    if conditional is not None:
        output = (1 - guidance) * output + guidance * conditional
    return definition(x_t, output, coefficients, **rest)


def never_clips(x_t: Any, output: Any, coefficients: Any, clip: Any = None, **rest: Any) -> Any:
    """Leaves x̂_0 where it is."""
    return definition(x_t, output, coefficients, **rest)


def clips_the_result(
    x_t: Any, output: Any, coefficients: Any, clip: Any = None, **rest: Any
) -> Any:
    """Clips x_s, not x̂_0."""
    x_s = definition(x_t, output, coefficients, **rest)
    return x_s if clip is None else np.clip(x_s, -clip, clip)


# Peers


def torch_step(
    x_t: Any, output: Any, coefficients: Any, *, clip: float | None = None, **rest: Any
) -> Any:
    """The formula in torch, operation by operation, with torch's own noise."""
    import torch

    x, o = torch.from_numpy(x_t), torch.from_numpy(output)
    still = coefficients._replace(sigma=0.0)
    with torch.inference_mode():
        x_0 = still.p * x + still.q * o
        x_0 = x_0 if clip is None else x_0.clamp(-clip, clip)
        x_s = still.a * x + still.b * x_0
        z = coefficients.sigma * torch.randn_like(x) if coefficients.sigma else 0.0
        return (x_s + z).numpy()


@cache
def _scheduler() -> Any:
    from diffusers import DDPMScheduler

    betas = _schedule().beta[1:]
    settings = {"variance_type": "fixed_small", "clip_sample": True, "clip_sample_range": 1.0}
    return DDPMScheduler(num_train_timesteps=len(betas), trained_betas=betas, **settings)


def diffusers_step(x_t: Any, output: Any, *, t: int, **rest: Any) -> Any:
    """DDPMScheduler.step with its own noise; it counts the steps from 0."""
    import torch

    with torch.inference_mode():
        x_s = _scheduler().step(torch.from_numpy(output), t - 1, torch.from_numpy(x_t))
    return x_s.prev_sample.numpy()


_BENCH = {"B": 64, "E": 3 * 64 * 64, "axes": 2, "clip": 1, "guided": 0, "ddpm": 1}

ROWS = [
    Op(
        name="step",
        mission=("K5",),
        definition="reference.operations.diffusion_step:step",
        twins={
            "numba": "kernels.diffusion.twin_numba:step",
            "triton": "kernels.diffusion.twin_triton:step",
        },
        make=_make,
        dims={
            "B": (0, 6),
            "E": (0, 40),
            "axes": (2, 3),
            "t": (1, 50),
            "clip": (0, 1),
            "guided": (0, 2),
            "ddpm": (0, 0),
        },
        without={"guidance": {"guided": 0}, "clip": {"clip": 0}},
        floor={"float32": 2e-6, "float64": 2e-6},  # 4 ulp of a normal
        cap={"float32": 1e-3, "float64": 2e-6},
        wrong={
            "noise depends on the batch's layout": _noise(_by_layout),
            "noise reused across steps": _noise(_every_step_the_same),
            "noise forgets the first sample": _noise(_forgets_first),
            "no noise at t > 1": no_noise,
            "noise at t = 1": noise_at_the_end,
            "mixes at s = 0": mixes_at_zero,
            "never clips": never_clips,
            "clips the result": clips_the_result,
        },
        bench={
            "DDPM, 64 × 3 × 64 × 64": ({**_BENCH, "t": 20}, "float32"),
            "last step, 64 × 3 × 64 × 64": ({**_BENCH, "t": 1}, "float32"),
            "last step, 64 × 3 × 256 × 256": ({**_BENCH, "E": 3 * 256 * 256, "t": 1}, "float32"),
        },
        peers={"torch": torch_step, "diffusers": diffusers_step},
    ),
]
