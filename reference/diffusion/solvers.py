"""Solvers of the ODE that carries noise to data without noise; DDIM is the one of first order.

    dx/dφ = v,    √ᾱ = cos φ,   v = (cos φ x − x̂_0) / sin φ     (Salimans & Ho 2022, appendix D)

Run backwards, DDIM tells which noise a sample came from (`invert`). MISSION row D3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from core import Array
from core.errors import InputError
from reference.diffusion.coefficients import ddim_coefficients
from reference.diffusion.samplers import Denoises
from reference.operations.diffusion_step import step


@dataclass(frozen=True)
class Heun:
    """Heun's method on the probability-flow ODE dx/dφ = v, where √ᾱ = cos φ; no noise.

    The ODE is that of Salimans & Ho 2022, appendix D. The network is asked twice in every step but
    the last, which ends at x̂_0.
    """

    def __call__(self, model: Denoises, x_t: Array, t: int, s: int, *, seed: int) -> Array:
        """x_s (B, …)."""
        x_0 = model.x_0(x_t, t)
        if s == 0:
            return x_0
        delta = model.schedule.phi(t) - model.schedule.phi(s)
        v_t = self._velocity(model, x_t, x_0, t)
        x_s = math.cos(delta) * x_t - math.sin(delta) * v_t  # DDIM's step, η = 0
        v_s = self._velocity(model, x_s, model.x_0(x_s, s), s)
        return x_t - delta * (v_t + v_s) / 2

    @staticmethod
    def _velocity(model: Denoises, x_t: Array, x_0: Array, t: int) -> Array:
        """v, from x̂_0 = x_t cos φ − v sin φ."""
        phi = model.schedule.phi(t)
        return (math.cos(phi) * x_t - x_0) / math.sin(phi)


class Multistep:
    """DPM-Solver++(2M) (Lu et al. 2022, Algorithm 2): DDIM's step at a better x̂_0,

        x̂_0 + (x̂_0 − x̂_0 before) h / 2h',    h = λ_s − λ_t,   h' that of the step before,

    in λ = ln √(ᾱ/(1−ᾱ)). The first step and the last are DDIM's: they have no h' or no h. It
    remembers the step before, so it goes through one chain, from its beginning.
    """

    def __init__(self) -> None:
        self._before: tuple[Array, float] | None = None  # x̂_0 and its λ

    def __call__(self, model: Denoises, x_t: Array, t: int, s: int, *, seed: int) -> Array:
        """x_s (B, …)."""
        alpha_bar_t, alpha_bar_s = model.schedule.alpha_bar[[t, s]]
        here, there = half_log_snr(alpha_bar_t), half_log_snr(alpha_bar_s)
        x_0 = seen = model.x_0(x_t, t)
        if self._before is not None and s > 0:
            last, then = self._before
            x_0 = seen + (seen - last) * ((there - here) / (2 * (here - then)))
        self._before = seen, here
        c = ddim_coefficients(alpha_bar_t, alpha_bar_s, prediction="x0")
        return step(x_t, x_0, c, seed=seed, t=t)

    def __repr__(self) -> str:
        return "Multistep()"


def half_log_snr(alpha_bar: float) -> float:
    """λ = ln √(ᾱ/(1−ᾱ)); infinite where there is no noise, or nothing else."""
    if alpha_bar in (0, 1):
        return math.inf if alpha_bar == 1 else -math.inf
    return 0.5 * math.log(alpha_bar / (1 - alpha_bar))


def invert(model: Denoises, x_0: Array, times: list[int], *, within: float | None = None) -> Array:
    """The x_T (B, …) from which DDIM, η = 0, comes to x_0 (B, …) by way of `times`, T … 0.

    Each step x_s = a x_t + b x̂_0(x_t) is solved for x_t by repetition, x_t ← (x_s − b x̂_0(x_t))/a,
    until it moves by no more than `within`, of the largest number; 1e-12 in float64, 1e-6 in
    float32. The step to s = 0 has a = 0 and keeps nothing: x_0 counts as x_s at the last of the
    times before 0, which DDIM reaches from x_T as exactly as the solution is.

    InputError where it doesn't come to rest: the steps are too large.
    """
    x = x_0
    within = within or (1e-12 if x.dtype == np.float64 else 1e-6)
    for s, t in pairwise([s for s in reversed(times) if s > 0]):
        x = _solved(model, x, t, s, within)
    return x


def _solved(model: Denoises, x_s: Array, t: int, s: int, within: float) -> Array:
    """x_t of which DDIM makes x_s."""
    alpha_bar_t, alpha_bar_s = model.schedule.alpha_bar[[t, s]]
    *_, a, b, _ = ddim_coefficients(alpha_bar_t, alpha_bar_s, prediction="x0")
    x = x_s
    for _ in range(1000):
        x, before = (x_s - b * model.x_0(x, t)) / a, x
        if not np.isfinite(x).all():
            break
        if np.abs(x - before).max(initial=0) <= within * max(1.0, float(np.abs(x).max(initial=0))):
            return x
    raise InputError(f"times must lie closer together to be inverted, got {s} and then {t}")
