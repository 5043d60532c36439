"""DDPM: learn to undo a chain that turns data into noise (Ho, Jain & Abbeel 2020). Rows D1–D3.

Noise is added in T small steps (`schedule`), x_t = √ᾱ_t x_0 + √(1−ᾱ_t) ε; each is undone by a
Gaussian, in which the network's guess x̂_0 at the data (`parametrisation`) stands for x_0:

    p_θ(x_{t−1} | x_t) = N(μ_θ(x_t, t), σ_t² I),    x_T ~ N(0, I)          (Eq. 1, and section 3.2)
    μ_θ(x_t, t) = μ̃_t(x_t, x̂_0) = 1/√α_t · (x_t − β_t/√(1−ᾱ_t) · ε_θ(x_t, t))            (Eq. 11)

where ε_θ is the noise that x̂_0 leaves in x_t. Samples are drawn step by step (`samplers`),

    x_{t−1} = μ_θ(x_t, t) + σ_t z,    z ~ N(0, I)                                    (Algorithm 2).

The chain is a latent-variable model with a fixed encoder q, and has its evidence lower bound
(Eq. 5), in nats:

    −log p(x_0) ≤ E_q[L_T + Σ_{t>1} L_{t−1} + L_0],    L_T = KL(q(x_T|x_0) ‖ p(x_T)),
    L_{t−1} = KL(q(x_{t−1}|x_t, x_0) ‖ p_θ(x_{t−1}|x_t)),    L_0 = −log p_θ(x_0|x_1).

Training drops the terms' weights and is plain regression on the noise (Algorithm 1, Eq. 14).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from core import Array
from core.checks import float_dtype, one_of, real, some, whole
from core.distributions import Normal, kl_divergence
from core.model import Described, draws
from core.random import Generator, checked_generator, normal
from reference.diffusion.decoder import discretised_log_prob
from reference.diffusion.denoiser import Denoiser
from reference.diffusion.parametrisation import PREDICTIONS, x0_coefficients
from reference.diffusion.samplers import DDIM, VARIANCES, Ancestral, Heun
from reference.diffusion.schedule import make_schedule


class DDPM(Described):
    """A diffusion model of x (B, dim).

    levels: the data take so many evenly spaced values in [−1, 1]. Then x̂_0 is kept in that range,
    and `elbo` bounds the log-probability of such values instead of a density.
    hidden, blocks: size of the denoiser. steps: T. schedule: "linear" or "cosine".
    prediction: what the network is asked for, "eps", "x0" or "v".
    variance: σ_t² is "beta" (β_t), best for x_0 ~ N(0, I), or "beta_tilde" (β̃_t), best for x_0 in
    one point (section 3.2); here the first also serves all data that have a density.

    Raises InputError for another schedule, prediction or variance, steps < 2 or levels < 2.

    >>> model = DDPM(2, hidden=8, blocks=1, steps=10)
    >>> model
    DDPM(dim=2, levels=None, hidden=8, blocks=1, steps=10, prediction='v', variance='beta'), \
450 parameters
    >>> model.loss(np.zeros((5, 2)), rng=Generator(0)).shape
    ()
    >>> model.sample(3, seed=1, sampler="ddim", steps=5).shape
    (3, 2)
    """

    def __init__(
        self,
        dim: int,
        *,
        levels: int | None = None,
        hidden: int = 256,
        blocks: int = 2,
        steps: int = 200,
        schedule: str = "cosine",
        prediction: str = "v",
        variance: str = "beta",
        seed: int = 0,
        dtype: Any = np.float32,
    ) -> None:
        self.dim, self.dtype = whole("dim", dim, 1), float_dtype(dtype)
        self.levels = None if levels is None else whole("levels", levels, 2)
        self.hidden, self.blocks = whole("hidden", hidden, 1), whole("blocks", blocks)
        self.schedule, self.steps = make_schedule(schedule, steps), whole("steps", steps, 2)
        self.prediction = one_of("prediction", prediction, PREDICTIONS)
        self.variance = one_of("variance", variance, VARIANCES)
        size, rng = {"hidden": self.hidden, "blocks": self.blocks}, Generator(seed, stream="init")
        self.denoiser = Denoiser(dim, **size, rng=rng, dtype=dtype)

    @property
    def alphas_cumprod(self) -> Any:
        """ᾱ_1 … ᾱ_T, (T,)."""
        return self.schedule.alphas_cumprod

    @property
    def clip(self) -> float | None:
        """x̂_0 is kept within [−clip, clip]; None: anywhere."""
        return None if self.levels is None else 1.0

    def output(self, x_t: Array, t: Any) -> Array:
        """What the network says, (B, dim), at times t in 1 … T, (B,) or one for all."""
        t = np.reshape(self.schedule.times(t, 1), (-1, 1))
        return self.denoiser(x_t, 1000 * t / self.schedule.T)

    def x_0(self, x_t: Array, t: Any) -> Array:
        """x̂_0, (B, dim): the data that the network sees in x_t."""
        p, q = x0_coefficients(self.prediction, *self.schedule.signal_and_noise(t, x_t))
        x_0 = p * x_t + q * self.output(x_t, t)
        return x_0 if self.clip is None else np.clip(x_0, -self.clip, self.clip)

    def epsilon(self, x_t: Array, t: Any) -> Array:
        """ε_θ(x_t, t), (B, dim): the noise that x̂_0 leaves in x_t."""
        signal, noise = self.schedule.signal_and_noise(t, x_t)
        return (x_t - signal * self.x_0(x_t, t)) / noise  # Eq. 4, solved for ε

    def loss(self, x: Any, y: Any = None, rng: Generator | None = None) -> Array:
        """Algorithm 1: E‖ε − ε_θ(√ᾱ_t x_0 + √(1−ᾱ_t) ε, t)‖² at one random t per row; no labels."""
        x, rng = real(some(x), self.dim, self.dtype), checked_generator(rng)
        t = rng.integers(1, self.schedule.T + 1, (len(x),))
        eps = rng.normal(x.shape, dtype=self.dtype)
        x_t = self.schedule.add_noise(x, eps, t)
        return np.mean(np.sum(np.square(eps - self.epsilon(x_t, t)), axis=1))

    def elbo(self, x: Any, y: Any = None, rng: Generator | None = None) -> Array:
        """A lower bound on log p(x) in nats, (B,): Eq. 5, each term at one draw of its noise."""
        x, rng = real(x, self.dim, self.dtype), checked_generator(rng)
        bound = self.log_decoder(x, rng) - self.prior_kl(x)
        for t in range(2, self.schedule.T + 1):
            bound = bound - self.step_kl(x, t, rng)
        return bound

    def prior_kl(self, x: Any) -> Array:
        """L_T, (B,)."""
        alpha_bar = float(self.schedule.alpha_bar[-1])
        q = Normal(math.sqrt(alpha_bar) * x, math.sqrt(1 - alpha_bar))  # Eq. 4
        return np.sum(kl_divergence(q, Normal(0.0, 1.0)), axis=1)

    def step_kl(self, x: Any, t: int, rng: Generator) -> Array:
        """L_{t−1} for t ≥ 2, (B,), at one draw of x_t."""
        x_t = self.schedule.add_noise(x, rng.normal(x.shape, dtype=self.dtype), t)
        mu_tilde, beta_tilde = self.schedule.posterior(x, x_t, t)  # Eq. 6
        mu, _ = self.schedule.posterior(self.x_0(x_t, t), x_t, t)  # Eq. 11
        variance = float(self.schedule.beta[t]) if self.variance == "beta" else beta_tilde
        q, p = Normal(mu_tilde, math.sqrt(beta_tilde)), Normal(mu, math.sqrt(variance))
        return np.sum(kl_divergence(q, p), axis=1)

    def log_decoder(self, x: Any, rng: Generator) -> Array:
        """−L_0 = log p_θ(x_0 | x_1), (B,), at one draw of x_1; Eq. 13 if the data have levels.

        β̃_1 = 0 would put all density on one point, so here σ_1² = β_1 for both choices.
        """
        x_1 = self.schedule.add_noise(x, rng.normal(x.shape, dtype=self.dtype), 1)
        mu, _ = self.schedule.posterior(self.x_0(x_1, 1), x_1, 1)
        sigma = math.sqrt(self.schedule.beta[1])
        if self.levels is None:
            return np.sum(Normal(mu, sigma).log_prob(x), axis=1)
        return np.sum(discretised_log_prob(x, mu, sigma, self.levels), axis=1)

    @draws
    def sample(
        self,
        n: int,
        *,
        seed: int = 0,
        sampler: str = "ddpm",
        steps: int | None = None,
        eta: float = 0.0,
    ) -> Any:
        """n samples (n, dim). Row i depends on seed and i only, up to rounding in the network.

        sampler: "ddpm" (Algorithm 2), "ddim" with η = `eta`, or "heun", a second-order ODE solver.
        steps: how many (default T), evenly spaced over the chain; "heun" asks the network twice.
        """
        samplers: dict[str, Callable[..., Array]]
        samplers = {"ddpm": Ancestral(self.variance), "ddim": DDIM(eta), "heun": Heun()}
        take_step = samplers[one_of("sampler", sampler, samplers)]
        x = normal(seed, (n, self.dim), stream="latent", dtype=self.dtype)  # x_T
        for t, s in pairwise(self.schedule.timesteps(steps)):
            x = take_step(self, x, t, s, seed=seed)
        return x
