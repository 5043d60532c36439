"""Variational autoencoder: a latent-variable model and its approximate posterior, learned at once.

    p(x) = ∫ p(z) p(x|z) dz,      p(z) = N(0, I),      p(x|z) given by a network

The integral has no closed form. A second network proposes q(z|x) = N(μ(x), diag σ²(x)), and with it
the likelihood is bounded from below, whatever q is:

    log p(x) ≥ E_q[log p(x|z)] − KL(q(z|x) ‖ p(z)) = ELBO(x)                       Kingma, Eqs. 2, 3

The gap is KL(q(z|x) ‖ p(z|x)). Averaging k importance weights inside the logarithm closes it:

    log p(x) ≥ E log 1/k Σ_i w_i,   w_i = p(x, z_i) / q(z_i|x),   z_i ~ q(z|x)       Burda, Eq. 8

This is the ELBO for k = 1, rises with k, and tends to log p(x). There is no exact `log_prob`.

Kingma & Welling 2013 (arXiv:1312.6114); Burda, Grosse & Salakhutdinov 2015 (arXiv:1509.00519);
β: Higgins et al. 2017, Eq. 4. MISSION row L5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from core import Array, no_grad
from core.checks import binary, float_dtype, number, some, whole
from core.checks import sizes as widths
from core.distributions import Normal
from core.errors import InputError
from core.functional import bernoulli_log_prob, logsumexp, relu, sigmoid
from core.model import Described, draws
from core.random import Generator, checked_generator, normal, uniform
from reference.layers import MLP


class VAE(Described):
    """Binary x (B, dim), Bernoulli decoder: p(x|z) = Π_j sigmoid(l_j)^x_j · sigmoid(−l_j)^(1−x_j).

    The decoder network gives the logits l (Appendix C.1), the encoder μ and log σ² (C.2).

    latent: dimensions of z. hidden: widths of the encoder's ReLU layers; the decoder mirrors them.
    beta: weight of the KL term in the training loss; only with 1 is the loss a bound. importance: k
    of the bound that is trained on; more than 1 is Burda's autoencoder, which leaves β at 1.

    >>> model = VAE(4, latent=2, hidden=[8])
    >>> model
    VAE(dim=4, latent=2, hidden=(8,), beta=1.0, importance=1), 136 parameters
    >>> x = model.sample(5, seed=1)  # (5, 4) of 0 and 1
    >>> model.elbo(x, rng=Generator(0)).shape
    (5,)
    """

    def __init__(
        self,
        dim: int,
        *,
        latent: int = 12,
        hidden: Sequence[int] = (128, 128),
        beta: float = 1.0,
        importance: int = 1,
        seed: int = 0,
        dtype: Any = np.float32,
    ) -> None:
        self.dim, self.latent = whole("dim", dim, 1), whole("latent", latent, 1)
        self.hidden, self.beta = widths("hidden", hidden), number("beta", beta, least=0)
        self.importance = whole("importance", importance, 1)
        if self.importance > 1 and self.beta != 1:
            raise InputError(f"beta must be 1 with importance = {importance}, got {beta}")
        self.dtype, rng = float_dtype(dtype), Generator(seed, stream="init")
        how: dict[str, Any] = {"activation": relu, "gain": math.sqrt(2), "dtype": dtype}
        self.encoder = MLP((dim, *self.hidden, 2 * latent), rng, **how)
        self.decoder = MLP((latent, *reversed(self.hidden), dim), rng, **how)

    def encode(self, x: Array) -> tuple[Array, Array]:
        """μ and log σ² of q(z|x), each (B, latent), of x (B, dim)."""
        mu, log_var = np.split(self.encoder(self._read(x)), 2, axis=-1)
        return mu, log_var

    def decode(self, z: Array) -> Array:
        """Logits of p(x_j = 1 | z), (…, dim), of z (…, latent)."""
        return self.decoder(z)

    def log_likelihood(self, x: Array, z: Array) -> Array:
        """log p(x|z) in nats, (…,), of x (…, dim) and z (…, latent)."""
        return np.sum(bernoulli_log_prob(x, self.decode(z)), axis=-1)

    def elbo(self, x: Array, y: Any = None, rng: Generator | None = None) -> Array:
        """The bound in nats, (B,), estimated with one z for each x (B, dim): Eq. 10 with L = 1."""
        reconstruction, kl = self._terms(x, rng)
        return reconstruction - kl

    def loss(self, x: Array, y: Any = None, rng: Generator | None = None) -> Array:
        """Mean of −log p(x|z) + β KL in nats: the negative ELBO for β = 1. Labels are not used.

        With `importance` k > 1, minus the mean of the bound that k weights give, Burda Eq. 8.
        """
        if self.importance > 1:
            return -np.mean(self.importance_log_prob(some(x), y, rng, k=self.importance))
        reconstruction, kl = self._terms(some(x), rng)
        return np.mean(self.beta * kl - reconstruction)

    def _terms(self, x: Array, rng: Generator | None) -> tuple[Array, Array]:
        """log p(x|z) at one z ~ q(z|x), and KL(q(z|x) ‖ p(z)): both (B,)."""
        x = self._read(x)
        mu, log_var = self.encode(x)  # (B, latent)
        z = reparametrise(mu, log_var, checked_generator(rng).normal(mu.shape, dtype=self.dtype))
        return self.log_likelihood(x, z), kl_to_prior(mu, log_var)

    def importance_log_prob(
        self, x: Array, y: Any = None, rng: Generator | None = None, *, k: int = 100
    ) -> Array:
        """Burda's bound on log p(x) in nats, (B,), from k ≥ 1 samples for each x (B, dim)."""
        log_w = self.log_weights(x, checked_generator(rng), whole("k", k, 1))  # (k, B)
        return logsumexp(log_w, axis=0) - math.log(k)  # Eq. 8

    def log_weights(self, x: Array, rng: Generator, k: int) -> Array:
        """log w, (k, B): log p(x|z) + log p(z) − log q(z|x) at k samples z for each x (B, dim)."""
        x, shape = self._read(x), (k, self.latent)
        mu, log_var = self.encode(x)  # (B, latent)
        # One call for each x, so that its noise is the same in whatever batch it comes.
        drawn = [rng.normal(shape, dtype=self.dtype) for _ in range(len(x))]
        epsilon = np.array(drawn, self.dtype).reshape(len(x), *shape).swapaxes(0, 1)
        z = reparametrise(mu, log_var, epsilon)  # (k, B, latent)
        p_z, q_z = Normal(0.0, 1.0), Normal(mu, np.exp(0.5 * log_var))
        log_p_z, log_q_z = (np.sum(d.log_prob(z), axis=-1) for d in (p_z, q_z))  # (k, B)
        return self.log_likelihood(x, z) + log_p_z - log_q_z

    def validation_loss(self, x: Array, y: Any = None, rng: Generator | None = None) -> Array:
        """Mean negative bound with k = 16: nearer to what counts, and less noisy, than the loss."""
        return -np.mean(self.importance_log_prob(some(x), y, rng, k=16))

    @draws
    def sample(self, n: int, *, seed: int = 0) -> Any:
        """n draws (n, dim): z from the prior, x from p(x|z)."""
        z = normal(seed, (n, self.latent), stream="latent", dtype=self.dtype)
        return self._draw(self.decode(z), seed)

    @no_grad()
    def interpolate(self, x0: Array, x1: Array, steps: int = 8) -> Any:
        """Decoded points (steps, B, dim) of the line from the mean code of x0 (B, dim) to x1's."""
        z0, z1 = self.encode(x0)[0], self.encode(x1)[0]
        line = np.linspace(0, 1, whole("steps", steps, 1)).tolist()
        return np.stack([self.decode((1 - t) * z0 + t * z1) for t in line])

    @no_grad()
    def traverse(self, x: Array, j: int, values: Sequence[float]) -> Any:
        """Decoded codes (V, B, dim): the mean code of x (B, dim), with z_j set to each value."""
        z = self.encode(x)[0]
        chosen = np.arange(self.latent) == whole("j", j, 0, self.latent - 1)
        whole("the length of values", len(values), 1)
        line = [number("values", v) for v in values]
        return np.stack([self.decode(np.where(chosen, v, z)) for v in line])

    def _read(self, x: Array) -> Array:
        return binary(x, self.dim, self.dtype)

    def _draw(self, logits: Any, seed: int) -> Any:
        u = uniform(seed, logits.shape, dtype=self.dtype)
        return (u < sigmoid(logits)).astype(self.dtype)


def reparametrise(mu: Array, log_var: Array, epsilon: Any) -> Array:
    """z = μ + σ⊙ε: of ε ~ N(0, I) a sample of N(μ, diag σ²), differentiable in them (§ 2.4)."""
    return mu + np.exp(0.5 * log_var) * epsilon


def kl_to_prior(mu: Array, log_var: Array) -> Array:
    """KL(N(μ, diag σ²) ‖ N(0, I)) in nats, summed over the last axis (Appendix B)."""
    return -0.5 * np.sum(1 + log_var - mu * mu - np.exp(log_var), axis=-1)
