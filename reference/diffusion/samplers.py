"""How samplers get from x_t to x_s at an earlier time s. Any denoising model will do.

    Ancestral    x_s ~ q(x_s | x_t, x̂_0) with σ² = β or β̃           Ho et al. 2020, Algorithm 2
    DDIM         x_s = √ᾱ_s x̂_0 + √(1−ᾱ_s−σ²) ε̂ + σ z               Song et al. 2021, Eq. 12
    Heun         second order on the ODE that DDIM takes one step of

The first two are one line, x_s = a·x_t + b·x̂_0 + σ·z, with numbers of their own: it has a fast
twin, and stands in `reference.operations.diffusion_step`. MISSION row D3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np

from core import Array
from core.checks import number, one_of
from core.random import normal
from reference.diffusion.heads import VARIANCES
from reference.diffusion.parametrisation import x0_coefficients
from reference.diffusion.schedule import Schedule, posterior_coefficients
from reference.operations.diffusion_step import StepCoefficients, step

FIXED = ("beta", "beta_tilde")


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


def ddpm_coefficients(
    alpha_bar_t: float, alpha_bar_s: float, variance: str = "beta", prediction: str = "eps"
) -> StepCoefficients:
    """Of Ancestral: the mean of q(x_s | x_t, x̂_0), and σ² = β or β̃ (Ho et al., section 3.2).

    At s = 0 no noise is added (Algorithm 2, line 3). InputError for another `variance`.
    """
    one_of("variance", variance, FIXED)
    a, b, beta_tilde = posterior_coefficients(alpha_bar_t, alpha_bar_s)
    beta = 1 - alpha_bar_t / alpha_bar_s
    var = 0.0 if alpha_bar_s == 1 else beta if variance == "beta" else beta_tilde
    return StepCoefficients(*_p_and_q(prediction, alpha_bar_t), a, b, math.sqrt(var))


def ddim_coefficients(
    alpha_bar_t: float, alpha_bar_s: float, eta: float = 0.0, prediction: str = "eps"
) -> StepCoefficients:
    """Of DDIM: Song et al. 2021, Eq. 12, with σ² = η² β̃, Eq. 16.

    ε̂ is the noise that x̂_0 implies: (x_t − √ᾱ_t x̂_0) / √(1−ᾱ_t). InputError unless 0 ≤ η ≤ 1.
    """
    _, _, beta_tilde = posterior_coefficients(alpha_bar_t, alpha_bar_s)
    var = number("eta", eta, least=0, most=1) ** 2 * beta_tilde
    a = math.sqrt((1 - alpha_bar_s - var) / (1 - alpha_bar_t))
    b = math.sqrt(alpha_bar_s) - a * math.sqrt(alpha_bar_t)
    return StepCoefficients(*_p_and_q(prediction, alpha_bar_t), a, b, math.sqrt(var))


def _p_and_q(prediction: str, alpha_bar_t: float) -> tuple[float, float]:
    return x0_coefficients(prediction, math.sqrt(alpha_bar_t), math.sqrt(1 - alpha_bar_t))


def named(name: str, *, variance: str, eta: float) -> Any:
    """A sampler by its name; InputError for another.

    >>> named("ddim", variance="beta", eta=0.5)
    DDIM(eta=0.5)
    """
    samplers = {"ddpm": Ancestral(variance), "ddim": DDIM(eta), "heun": Heun()}
    return samplers[one_of("sampler", name, samplers)]
