"""Langevin dynamics: a walk up the score with noise beside it, whose rest is the density itself.

    x ← x + η ∇ log p(x) + √(2η) z,    z ~ N(0, I)

Of an energy, p ∝ e^{−E}, the score is −∇E, and no constant is needed; of a denoiser it is
∇ log p(x_t) = −E[ε | x_t] / √(1−ᾱ_t), so who can tell the noise knows the score. Steps of finite η
rest beside the density: on N(0, 1) at variance 1/(1 − η/2). MISSION row D5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from core import Array
from core.checks import number, whole
from core.random import normal
from reference.diffusion.samplers import DDIM, Denoises


@dataclass(frozen=True)
class Langevin:
    """A predictor and a corrector: DDIM to s, and there `corrections` steps of Langevin dynamics,

        x ← x + η (1−ᾱ_s) ∇ log p(x) + √(2 η (1−ᾱ_s)) z,    ∇ log p(x) = −ε̂ / √(1−ᾱ_s)

    which leave p(x_s) as it is but for their finite η, and pull towards it what is not (Song et al.
    2021b, appendix G). eta: η, of the scale of the noise.
    """

    corrections: int = 1
    eta: float = 0.1

    def __post_init__(self) -> None:
        whole("corrections", self.corrections)
        number("eta", self.eta, above=0, most=1)

    def __call__(self, model: Denoises, x_t: Array, t: int, s: int, *, seed: int) -> Array:
        """x_s (B, …), with noise named by seed, s and the correction."""
        x = DDIM()(model, x_t, t, s, seed=seed)
        if s == 0:
            return x  # where there is no noise, the score is not known
        signal, noise = model.schedule.signal_and_noise(s, x)
        for k in range(self.corrections):
            eps = (x - signal * model.x_0(x, s)) / noise
            moment = s * self.corrections + k
            z = normal(seed, x.shape, step=moment, stream="noise", dtype=x.dtype)
            x = langevin_step(x, -eps / noise, self.eta * np.square(noise), z)
        return x


def langevin_step(x: Array, score: Array, eta: Any, z: Array) -> Array:
    """x + η ∇ log p(x) + √(2η) z: a step of η towards where p is large, and noise beside it.

    >>> langevin_step(2.0, score=-2.0, eta=0.5, z=1.0)
    2.0
    """
    return x + eta * score + (2 * eta) ** 0.5 * z
