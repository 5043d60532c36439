"""A mixture of Bernoulli products, fitted by expectation–maximisation.

First a component z ~ Categorical(π), then independent pixels x_j ~ Bernoulli(μ_zj):

    p(x) = Σ_k π_k Π_j μ_kj^{x_j} (1 − μ_kj)^{1 − x_j}

It is naive Bayes with classes that nobody told us. EM alternates between guessing and counting:

    E    r_ik = p(z = k | x_i)                              by Bayes' rule
    M    π_k = Σ_i r_ik / n,     μ_kj = (Σ_i r_ik x_ij + α) / (Σ_i r_ik + 2α)

and with α = 0 the likelihood never falls. With α > 0 what never falls is the likelihood times the
priors Beta(μ_kj; 1 + α, 1 + α): Σ_i log p(x_i) + α Σ_kj log μ_kj (1 − μ_kj).

Dempster, Laird & Rubin 1977; Bishop 2006, section 9.3.3. MISSION row L1.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from core import Array
from core.checks import categories, float_dtype, number, some, whole
from core.errors import InputError
from core.functional import logsumexp
from core.model import Described, draws
from core.random import permutation, uniform
from reference.counting.frequencies import draw, fitted, log_posterior

EPSILON = 1e-10
"""μ stays within [ε, 1 − ε], so that its logarithms are finite; the M step is the best μ there."""


class BernoulliMixture(Described):
    """Binary x (B, dim) with `components` values of z.

    alpha: pseudo-count of both values of each pixel in each component. seed: names the examples
    that EM starts from. dtype: the samples'. Parameters and log-probabilities are float64.

    >>> x = np.array([[0, 0, 1], [1, 1, 0]] * 20)
    >>> model = BernoulliMixture(3, components=2)
    >>> for _ in range(20):
    ...     nats = model.em_step(x)
    >>> model.pi.round(3)
    array([0.5, 0.5])
    """

    def __init__(
        self,
        dim: int,
        *,
        components: int = 10,
        alpha: float = 0.0,
        seed: int = 0,
        dtype: Any = np.float32,
    ) -> None:
        self.dim, self.components = whole("dim", dim, 1), whole("components", components, 1)
        self.alpha, self.dtype = number("alpha", alpha, least=0), float_dtype(dtype)
        self.seed = whole("seed", seed, 0, 2**63 - 1)
        self.pi = np.zeros(self.components)  # (K,), 0 until EM has seen data
        self.mu = np.zeros((self.components, self.dim))  # (K, D)

    @property
    def num_parameters(self) -> int:
        """Free parameters: K − 1 for π, K·D for μ."""
        return self.components - 1 + self.components * self.dim

    def em_step(self, x: Array) -> float:
        """One E and one M step on x (B, dim); returns the mean log-likelihood before, in nats.

        The first step starts from `components` rows of x, no two of them equal as far as x has so
        many, half way to their mean.
        """
        x = self._read(some(x))
        if not self.pi.any():
            self._start(x)
        log_joint = self.log_joint(x)
        self._maximise(x, np.exp(log_posterior(log_joint)))
        return float(logsumexp(log_joint, axis=1).mean())

    def log_joint(self, x: Array) -> Array:
        """log p(x, z) in nats (B, components), of x (B, dim)."""
        fitted(self.pi.sum(), self)
        x = self._read(x)
        with np.errstate(divide="ignore"):
            log_pi = np.log(self.pi)  # a component can die out
        # ln of the summand of Bishop Eq. 9.54, whose factor p(x|μ_k) is Eq. 9.48
        return log_pi + x @ np.log(self.mu).T + (1 - x) @ np.log1p(-self.mu).T

    def log_prob(self, x: Array) -> Array:
        """log p(x) in nats (B,), of x (B, dim)."""
        return logsumexp(self.log_joint(x), axis=1)

    def posterior(self, x: Array) -> Array:
        """p(z | x) (B, components), of x (B, dim): the responsibilities r, Bishop Eq. 9.56."""
        return np.exp(log_posterior(self.log_joint(x)))

    @draws
    def sample(self, n: int, *, seed: int = 0) -> Array:
        """n images (n, dim): z from the stream "latent", then the pixels, u < μ_z."""
        fitted(self.pi.sum(), self)
        z = draw(self.pi, uniform(seed, (n,), stream="latent", dtype=np.float64))
        u = uniform(seed, (n, self.dim), dtype=np.float64)
        return (u < self.mu[z]).astype(self.dtype)

    def _maximise(self, x: Array, r: Array) -> None:
        """M step from responsibilities r (B, K), Bishop Eqs. 9.57–9.60."""
        N = r.sum(axis=0)  # (K,)
        self.pi[...] = N / N.sum()
        mass = np.maximum(N + 2 * self.alpha, np.finfo(np.float64).tiny)[:, None]
        self.mu[...] = np.clip((r.T @ x + self.alpha) / mass, EPSILON, 1 - EPSILON)

    def _start(self, x: Array) -> None:
        if len(x) < self.components:
            raise InputError(f"x must have at least components = {len(self.pi)} rows, got {len(x)}")
        chosen = _unlike(x[permutation(self.seed, len(x), stream="init")])[: self.components]
        self.mu[...] = np.clip((chosen + x.mean(axis=0)) / 2, 0.05, 0.95)
        self.pi[...] = 1 / self.components

    def _read(self, x: Array) -> Array:
        return categories(x, self.dim, 2).astype(np.float64)


def _unlike(x: Array) -> Array:
    """The rows of x (B, D), those first that equal none before them: equal starts stay equal."""
    _, first = np.unique(np.packbits(x > 0, axis=1), axis=0, return_index=True)
    again = np.delete(np.arange(len(x)), first)
    return x[np.concatenate([np.sort(first), again])]
