"""The evidence lower bound of a diffusion model, term by term (Ho et al. 2020, Eq. 5), in nats.

    −log p(x_0) ≤ E_q[L_T + Σ_{t>1} L_{t−1} + L_0],    L_T = KL(q(x_T|x_0) ‖ p(x_T)),
    L_{t−1} = KL(q(x_{t−1}|x_t, x_0) ‖ p_θ(x_{t−1}|x_t)),    L_0 = −log p_θ(x_0|x_1).

With σ_t² = r β̃_t and the signal-to-noise ratio SNR = ᾱ/(1−ᾱ), each of D numbers adds to L_{t−1}

    ½ (ln r + (1 + (SNR_{t−1} − SNR_t)(x_0 − x̂_0)²) / r − 1),

for r = 1 as in Kingma et al. 2021, Eq. 14. MISSION row D2.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np

from core import Array
from core.distributions import Normal, kl_divergence
from core.random import Generator
from reference.diffusion.heads import Guess, Head
from reference.diffusion.schedule import Schedule


class Guesses(Protocol):
    """What the bound asks of a model."""

    schedule: Schedule
    head: Head

    def guess(self, x_t: Array, t: Any, y: Any = None) -> Guess:
        """What the model sees in x_t (B, …) at times t, (B,) or one for all, given labels y."""


def terms(model: Guesses, x: Array, y: Any, rng: Generator) -> Array:
    """L_0, L_1, …, L_T, (T + 1, B), of x (B, …), each but the last at one draw of its noise."""
    drawn = []
    for t in range(1, model.schedule.T + 1):
        x_t = model.schedule.add_noise(x, rng.normal(x.shape, dtype=x.dtype), t)
        guess = model.guess(x_t, t, y)
        drawn.append(decoder_term(model, x, guess) if t == 1 else step_term(model, x, t, guess))
    return np.stack([*drawn, prior_term(model.schedule, x)])


def decoder_term(model: Guesses, x: Array, guess: Guess) -> Array:
    """L_0, (B,), of the guess at t = 1."""
    least, most = model.schedule.posterior_variance(2), float(model.schedule.beta[1])
    return -total(model.head.log_decoder(guess, x, least, most))


def step_term(model: Guesses, x: Array, t: Any, guess: Guess) -> Array:
    """L_{t−1}, (B,), of the guess at t ≥ 2, one for all or (B,)."""
    gain, most = model.schedule.gain_and_most(t, x)
    r = model.head.ratio(guess, gain, most)
    error = gain * np.square(x - guess.x_0)
    return 0.5 * total(np.log(r) + (1 + error) / r - 1)


def prior_term(schedule: Schedule, x: Array) -> Array:
    """L_T, (B,)."""
    alpha_bar = float(schedule.alpha_bar[-1])
    q = Normal(math.sqrt(alpha_bar) * x, math.sqrt(1 - alpha_bar))  # Eq. 4
    return total(kl_divergence(q, Normal(0.0, 1.0)))


def total(a: Array) -> Array:
    """Σ over all of a sample's numbers: (B, …) → (B,)."""
    return np.sum(a, axis=tuple(range(1, a.ndim)))
