"""DDPM: learn to undo a chain that turns data into noise (Ho, Jain & Abbeel 2020). Rows D1–D3.

Noise is added in T small steps (`reference.diffusion.schedule`); each is undone by a Gaussian

    p_θ(x_{t−1} | x_t) = N(μ_θ(x_t, t), σ_t² I),    x_T ~ N(0, I)                        (Eq. 1)
    μ_θ(x_t, t) = 1/√α_t · (x_t − β_t/√(1−ᾱ_t) · ε_θ(x_t, t))                           (Eq. 11)

whose network ε_θ looks at x_t and tells which noise ε it holds. The chain is a latent-variable
model with a fixed encoder q, and has its evidence lower bound (Eq. 5), in nats:

    −log p(x_0) ≤ E_q[L_T + Σ_{t>1} L_{t−1} + L_0],    L_T = KL(q(x_T|x_0) ‖ p(x_T)),
    L_{t−1} = KL(q(x_{t−1}|x_t, x_0) ‖ p_θ(x_{t−1}|x_t)),    L_0 = −log p_θ(x_0|x_1).

Training drops the terms' weights and is plain regression on the noise (Algorithm 1, Eq. 14).
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np

from core import Array, no_grad
from core.checks import real
from core.errors import InputError
from core.functional import normal_log_prob, silu
from core.random import Generator, normal
from reference.diffusion.schedule import discretised_log_prob, make_schedule, normal_kl
from reference.layers import Linear
from reference.operations.diffusion_step import (
    StepCoefficients,
    ddim_coefficients,
    ddpm_coefficients,
    step,
    step_mean,
)

FREQUENCIES = 16


class Denoiser:
    """A residual multilayer perceptron that is told the time in every block:

    h ← h + W' silu(W h + U e(t)),    e(t) = (sin ω_i τ, cos ω_i τ)_i,    τ = 1000 t/T,

    with ω_i = 10000^(−i/16), the position embedding of Vaswani et al. 2017, section 3.5.
    """

    def __init__(self, dim: int, hidden: int, blocks: int, rng: Generator, dtype: Any) -> None:
        def layer(n_in: int, n_out: int, gain: float = 1.0) -> Linear:
            return Linear(n_in, n_out, rng, gain=gain, dtype=dtype)

        self.first = layer(dim, hidden)
        self.inner = [layer(hidden, hidden) for _ in range(blocks)]
        self.time = [layer(2 * FREQUENCIES, hidden) for _ in range(blocks)]
        self.outer = [layer(hidden, hidden, gain=0.5) for _ in range(blocks)]
        self.last = layer(hidden, dim, gain=0.0)  # starts as the zero function

    def __call__(self, x: Array, tau: Any) -> Array:
        """x (B, dim), tau (B, 1) or (1, 1) → (B, dim)."""
        angle = tau * 10000.0 ** (-np.arange(FREQUENCIES) / FREQUENCIES)
        e = np.concatenate([np.sin(angle), np.cos(angle)], axis=1).astype(x.dtype)  # (B, 2·16)
        h = self.first(x)  # (B, hidden)
        for inner, time, outer in zip(self.inner, self.time, self.outer, strict=True):
            h = h + outer(silu(inner(h) + time(e)))
        return self.last(silu(h))


class DDPM:
    """A diffusion model of x (B, dim).

    The network's output is v of Salimans & Ho 2022, a guess x̂_0 = √ᾱ_t x_t − √(1−ᾱ_t) v at the data
    that starts out right where there is little noise; ε_θ is the noise that x̂_0 leaves in x_t.

    hidden, blocks: size of the denoiser. steps: T. schedule: "linear" or "cosine".
    variance: σ_t² is "beta" (β_t) or "beta_tilde" (β̃_t): right for data with a density, and for
    data on single points (section 3.2).
    levels: the data take so many evenly spaced values in [−1, 1]. Then x̂_0 is kept in that range,
    and `elbo` bounds the log-probability of such values instead of a density.

    Raises InputError for an unknown schedule or variance, steps < 2 or levels < 2.
    """

    def __init__(
        self,
        dim: int,
        hidden: int = 256,
        blocks: int = 2,
        steps: int = 200,
        schedule: str = "cosine",
        variance: str = "beta",
        levels: int | None = None,
        *,
        seed: int = 0,
        dtype: Any = np.float32,
    ) -> None:
        if levels is not None and levels < 2:
            raise InputError(f"levels must be at least 2, got {levels}")
        self.dim, self.dtype, self.levels, self.variance = dim, dtype, levels, variance
        self.schedule = make_schedule(schedule, steps)
        ddpm_coefficients(0.1, 0.2, variance)  # refuses an unknown variance now, not when sampling
        self.denoiser = Denoiser(dim, hidden, blocks, Generator(seed, stream="init"), dtype)

    @property
    def alphas_cumprod(self) -> Any:
        """ᾱ_1 … ᾱ_T, (T,)."""
        return self.schedule.alphas_cumprod

    def epsilon(self, x_t: Array, t: Any) -> Array:
        """ε_θ(x_t, t), (B, dim), for times t in 1 … T, (B,) or one for all."""
        t = np.reshape(t, (-1, 1))
        alpha_bar = self.schedule.alpha_bar[t]  # (B, 1)
        signal, noise = (np.sqrt(a).astype(x_t.dtype) for a in (alpha_bar, 1 - alpha_bar))
        v = self.denoiser(x_t, 1000 * t / self.schedule.T)
        x_0 = signal * x_t - noise * v
        if self.levels is not None:
            x_0 = np.clip(x_0, -1.0, 1.0)
        return (x_t - signal * x_0) / noise  # Eq. 4, solved for ε

    def loss(self, x: Any, y: Any, rng: Generator) -> Array:
        """Algorithm 1: E‖ε − ε_θ(√ᾱ_t x_0 + √(1−ᾱ_t) ε, t)‖² at one random t per row; no labels."""
        real(x, self.dim)
        t = rng.integers(1, self.schedule.T + 1, (len(x),))
        eps = rng.normal(x.shape, dtype=x.dtype)
        x_t = self.schedule.add_noise(x, eps, t)
        return np.mean(np.sum(np.square(eps - self.epsilon(x_t, t)), axis=1))

    def elbo(self, x: Any, rng: Generator) -> Array:
        """A lower bound on log p(x) in nats, (B,): Eq. 5, each term at one draw of its noise."""
        real(x, self.dim)
        bound = self.log_decoder(x, rng) - self.prior_kl(x)
        for t in range(2, self.schedule.T + 1):
            bound = bound - self.step_kl(x, t, rng)
        return bound

    def prior_kl(self, x: Any) -> Array:
        """L_T, (B,)."""
        alpha_bar = float(self.schedule.alpha_bar[-1])
        return normal_kl(math.sqrt(alpha_bar) * x, 1 - alpha_bar, 0.0, 1.0)

    def step_kl(self, x: Any, t: int, rng: Generator) -> Array:
        """L_{t−1} for t ≥ 2, (B,), at one draw of x_t."""
        x_t = self.schedule.add_noise(x, rng.normal(x.shape, dtype=x.dtype), t)
        mu_tilde, beta_tilde = self.schedule.posterior(x, x_t, t)
        mu, sigma = self._reverse(x_t, t)
        return normal_kl(mu_tilde, beta_tilde, mu, sigma**2)

    def log_decoder(self, x: Any, rng: Generator) -> Array:
        """−L_0 = log p_θ(x_0 | x_1), (B,), at one draw of x_1; Eq. 13 if the data have levels.

        β̃_1 = 0 would put all density on one point, so here σ_1² = β_1 for both choices.
        """
        x_1 = self.schedule.add_noise(x, rng.normal(x.shape, dtype=x.dtype), 1)
        mu, _ = self._reverse(x_1, 1)
        sigma = math.sqrt(self.schedule.beta[1])
        if self.levels is None:
            return np.sum(normal_log_prob(x, mu, math.log(sigma)), axis=1)
        return np.sum(discretised_log_prob(x, mu, sigma, self.levels), axis=1)

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
        steps: how many (default T), evenly spaced over the chain; "heun" asks ε_θ twice in each.
        """
        if sampler not in ("ddpm", "ddim", "heun"):
            raise InputError(f"sampler must be 'ddpm', 'ddim' or 'heun', got {sampler!r}")
        x = normal(seed, (n, self.dim), stream="latent", dtype=self.dtype)  # x_T
        with no_grad():
            for t, s in pairwise(self.schedule.timesteps(steps)):
                if sampler == "heun" and s > 0:
                    x = self._heun(x, t, s)
                else:
                    c = self._coefficients(t, s, None if sampler == "ddpm" else eta)
                    x = step(x, self.epsilon(x, t), c, seed=seed, t=t)
        return x

    def _heun(self, x_t: Array, t: int, s: int) -> Array:
        """Heun's method on the probability-flow ODE dx/dφ = v, where √ᾱ = cos φ.

        The ODE is that of Salimans & Ho 2022, appendix D; their step to x_s is DDIM with η = 0.
        """
        delta, v_t = self.schedule.phi(t) - self.schedule.phi(s), self._velocity(x_t, t)
        x_s = math.cos(delta) * x_t - math.sin(delta) * v_t
        return x_t - delta * (v_t + self._velocity(x_s, s)) / 2

    def _velocity(self, x_t: Array, t: int) -> Array:
        """v = √ᾱ ε − √(1−ᾱ) x̂_0, from x_t and ε alone."""
        phi = self.schedule.phi(t)
        return (self.epsilon(x_t, t) - math.sin(phi) * x_t) / math.cos(phi)

    def _coefficients(self, t: int, s: int, eta: float | None = None) -> StepCoefficients:
        """Of DDIM's step from t to s with this η, or of the model's own, p_θ(x_s | x_t)."""
        alpha_bar_t, alpha_bar_s = self.schedule.alpha_bar[[t, s]]
        if eta is None:
            return ddpm_coefficients(alpha_bar_t, alpha_bar_s, self.variance)
        return ddim_coefficients(alpha_bar_t, alpha_bar_s, eta)

    def _reverse(self, x_t: Array, t: int) -> tuple[Array, float]:
        """μ_θ and σ_t of p_θ(x_{t−1} | x_t)."""
        c = self._coefficients(t, t - 1)
        return step_mean(x_t, self.epsilon(x_t, t), c), c.sigma
