"""How samplers get from x_t to x_s at an earlier time s. Any denoising model will do.

    Ancestral    x_s ~ q(x_s | x_t, x̂_0) with σ² = β or β̃           Ho et al. 2020, Algorithm 2
    DDIM         x_s = √ᾱ_s x̂_0 + √(1−ᾱ_s−σ²) ε̂ + σ z               Song et al. 2021, Eq. 12
and, in files of their own,

    Heun, Multistep    second order on the ODE that DDIM takes one step of (`solvers`)
    Langevin           DDIM, and steps along the score at each noise level (`langevin`)

The first two are one line, x_s = a·x_t + b·x̂_0 + σ·z, with numbers of their own (`coefficients`).
MISSION row D3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np

from core import Array
from core.checks import number, one_of
from core.random import normal
from reference.diffusion.coefficients import ddim_coefficients, ddpm_coefficients
from reference.diffusion.heads import VARIANCES
from reference.diffusion.schedule import Schedule
from reference.operations.diffusion_step import step


class Denoises(Protocol):
    """What a sampler asks of a model."""

    @property
    def schedule(self) -> Schedule:
        """The chain."""

    @property
    def prediction(self) -> str:
        """One of PREDICTIONS: what the network's output is."""

    @property
    def clip(self) -> float | None:
        """x̂_0 is kept within [−clip, clip]; None: anywhere."""

    def says(self, x_t: Array, t: Any) -> dict[str, Any]:
        """What the network says, (B, …), as arguments of `step`: output, and what guides it."""

    def x_0(self, x_t: Array, t: Any) -> Array:
        """x̂_0, (B, …): the data that the model sees in x_t."""


class Reverses(Denoises, Protocol):
    """What Ancestral asks of a model besides, where the variance is learned."""

    def reverse(self, x_t: Array, t: int, s: int) -> tuple[Array, Array]:
        """Mean and variance of p_θ(x_s | x_t), (B, …)."""


@dataclass(frozen=True)
class Ancestral:
    """The model's own step, p_θ(x_s | x_t); variance: σ² is "beta", "beta_tilde", or "learned".

    >>> Ancestral("beta_tilde")
    Ancestral(variance='beta_tilde')
    """

    variance: str = "beta"

    def __post_init__(self) -> None:
        one_of("variance", self.variance, VARIANCES)

    def __call__(self, model: Denoises, x_t: Array, t: int, s: int, *, seed: int) -> Array:
        """x_s (B, …), with noise named by seed and t."""
        if self.variance == "learned":
            mean, variance = cast(Reverses, model).reverse(x_t, t, s)
            z = normal(seed, x_t.shape, step=t, stream="noise", dtype=x_t.dtype)
            return mean + np.sqrt(variance) * z
        alpha_bar_t, alpha_bar_s = model.schedule.alpha_bar[[t, s]]
        c = ddpm_coefficients(alpha_bar_t, alpha_bar_s, self.variance, model.prediction)
        return step(x_t, coefficients=c, seed=seed, t=t, clip=model.clip, **model.says(x_t, t))


@dataclass(frozen=True)
class DDIM:
    """Song's step, with the same marginals for every eta: 0 draws no noise, 1 is Ancestral's β̃.

    >>> DDIM(eta=0.5)
    DDIM(eta=0.5)
    """

    eta: float = 0.0

    def __post_init__(self) -> None:
        number("eta", self.eta, least=0, most=1)

    def __call__(self, model: Denoises, x_t: Array, t: int, s: int, *, seed: int) -> Array:
        """x_s (B, …), with noise, if any, named by seed and t."""
        alpha_bar_t, alpha_bar_s = model.schedule.alpha_bar[[t, s]]
        c = ddim_coefficients(alpha_bar_t, alpha_bar_s, self.eta, model.prediction)
        return step(x_t, coefficients=c, seed=seed, t=t, clip=model.clip, **model.says(x_t, t))
