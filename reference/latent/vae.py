"""Variational autoencoder: a latent-variable model and its approximate posterior, learned at once.

    p(x) = ∫ p(z) p(x|z) dz,      p(z) = N(0, I),      p(x|z) a network's Bernoulli or Gaussian

The integral has no closed form. A second network proposes q(z|x) = N(μ(x), diag σ²(x)), and with it
the likelihood is bounded from below, whatever q is:

    log p(x) ≥ E_q[log p(x|z)] − KL(q(z|x) ‖ p(z)) = ELBO(x)                       Kingma, Eqs. 2, 3

The gap is KL(q(z|x) ‖ p(z|x)). Averaging k importance weights inside the logarithm closes it:

    log p(x) ≥ E log 1/k Σ_i w_i,   w_i = p(x, z_i) / q(z_i|x),   z_i ~ q(z|x)       Burda, Eq. 8

This is the ELBO for k = 1, rises with k, and tends to log p(x). There is no exact `log_prob`.

Kingma & Welling 2013 (arXiv:1312.6114); Burda, Grosse & Salakhutdinov 2016 (arXiv:1509.00519);
β: Higgins et al. 2017, Eq. 4. MISSION row L5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from core import Array, Tensor, no_grad
from core.checks import binary, real, whole
from core.errors import InputError
from core.functional import bernoulli_log_prob, logsumexp, normal_log_prob, relu, sigmoid
from core.random import Generator, normal, uniform
from reference.layers.mlp import MLP


def reparametrise(mu: Array, log_var: Array, epsilon: Any) -> Array:
    """z = μ + σ⊙ε: of ε ~ N(0, I) a sample of N(μ, diag σ²), differentiable in them (§ 2.4)."""
    return mu + np.exp(0.5 * log_var) * epsilon


def kl_to_prior(mu: Array, log_var: Array) -> Array:
    """KL(N(μ, diag σ²) ‖ N(0, I)) in nats, summed over the last axis (Appendix B)."""
    return -0.5 * np.sum(1 + log_var - mu * mu - np.exp(log_var), axis=-1)


class VAE:
    """Binary x (B, dim), Bernoulli decoder: p(x|z) = Π_j sigmoid(l_j)^x_j · sigmoid(−l_j)^(1−x_j).

    The decoder network gives the logits l (Appendix C.1), the encoder μ and log σ² (C.2).

    latent: dimensions of z. hidden: widths of the encoder's ReLU layers; the decoder mirrors them.
    beta: weight of the KL term in the training loss; only with 1 is the loss a bound.
    """

    def __init__(
        self,
        dim: int,
        latent: int = 12,
        hidden: Sequence[int] = (128, 128),
        beta: float = 1.0,
        *,
        seed: int = 0,
        dtype: Any = np.float32,
    ) -> None:
        self.dim, self.latent = whole("dim", dim, 1), whole("latent", latent, 1)
        self.beta, self.dtype = beta, np.dtype(dtype)
        rng = Generator(seed, stream="init")
        how: dict[str, Any] = {"activation": relu, "gain": math.sqrt(2), "dtype": dtype}
        self.encoder = MLP((dim, *hidden, 2 * latent), rng, **how)
        self.decoder = MLP((latent, *reversed(hidden), dim), rng, **how)

    def encode(self, x: Array) -> tuple[Array, Array]:
        """μ and log σ² of q(z|x), each (B, latent), of x (B, dim)."""
        mu, log_var = np.split(self.encoder(self._checked(x)), 2, axis=-1)
        return mu, log_var

    def decode(self, z: Array) -> Array:
        """Logits of p(x_j = 1 | z), (…, dim), of z (…, latent)."""
        return self.decoder(z)

    def log_likelihood(self, x: Array, z: Array) -> Array:
        """log p(x|z) in nats, (…,), of x (…, dim) and z (…, latent)."""
        return np.sum(bernoulli_log_prob(x, self.decode(z)), axis=-1)

    def elbo(self, x: Array, rng: Generator) -> Array:
        """The bound in nats, (B,), estimated with one z for each x (B, dim): Eq. 10 with L = 1."""
        reconstruction, kl = self._terms(x, rng)
        return reconstruction - kl

    def loss(self, x: Array, y: Any, rng: Generator) -> Array:
        """Mean of −log p(x|z) + β KL in nats: the negative ELBO for β = 1. Labels are not used."""
        reconstruction, kl = self._terms(x, rng)
        return np.mean(self.beta * kl - reconstruction)

    def importance_log_prob(self, x: Array, k: int, rng: Generator) -> Array:
        """Burda's bound on log p(x) in nats, (B,), from k ≥ 1 samples for each x (B, dim)."""
        whole("k", k, 1)
        mu, log_var = self.encode(x)
        rows = zip(x, mu, log_var, strict=True)  # one x at a time: k may be large
        log_w = np.stack([self._log_weights(*row, k, rng) for row in rows])  # (B, k)
        return logsumexp(log_w, axis=-1) - math.log(k)

    def validation_loss(self, x: Array, y: Any, rng: Generator) -> Array:
        """Mean negative bound with k = 16: nearer to what counts, and less noisy, than the loss."""
        with no_grad():
            return -np.mean(self.importance_log_prob(x, 16, rng))

    def sample(self, n: int, *, seed: int = 0) -> Any:
        """n draws (n, dim): z from the prior, x from p(x|z)."""
        z = normal(seed, (n, self.latent), stream="latent", dtype=self.dtype)
        with no_grad():
            return self._draw(self.decode(z), seed)

    def interpolate(self, x0: Array, x1: Array, steps: int = 8) -> Any:
        """Decoded points (steps, B, dim) of the line from the mean code of x0 (B, dim) to x1's."""
        with no_grad():
            z0, z1 = self.encode(x0)[0], self.encode(x1)[0]
            line = np.linspace(0, 1, steps).tolist()
            return np.stack([self.decode((1 - t) * z0 + t * z1) for t in line])

    def traverse(self, x: Array, j: int, values: Sequence[float]) -> Any:
        """Decoded codes (V, B, dim): the mean code of x (B, dim), with z_j set to each value."""
        if not 0 <= j < self.latent:
            raise InputError(f"j must be an int in 0 … {self.latent - 1}, got {j}")
        with no_grad():
            z = self.encode(x)[0]
            chosen = np.arange(self.latent) == j
            return np.stack([self.decode(np.where(chosen, float(v), z)) for v in values])

    def _terms(self, x: Array, rng: Generator) -> tuple[Array, Array]:
        """log p(x|z) at one z ~ q(z|x), and KL(q(z|x) ‖ p(z)): both (B,)."""
        mu, log_var = self.encode(x)
        z = reparametrise(mu, log_var, rng.normal(mu.shape, dtype=self.dtype))  # (B, latent)
        return self.log_likelihood(x, z), kl_to_prior(mu, log_var)

    def _log_weights(self, x: Array, mu: Array, log_var: Array, k: int, rng: Generator) -> Array:
        """log p(x|z) + log p(z) − log q(z|x), (k,), of one x (dim,) at k samples z ~ q(z|x)."""
        epsilon = rng.normal((k, self.latent), dtype=self.dtype)
        z = reparametrise(mu, log_var, epsilon)  # (k, latent)
        # Two normals: ε² and z² are their exponents, log σ² the ratio of norms, (2π)^½ cancels.
        log_ratio = 0.5 * np.sum(epsilon * epsilon + log_var - z * z, axis=-1)
        return self.log_likelihood(x, z) + log_ratio

    def _checked(self, x: Array) -> Array:
        return binary(x, self.dim)

    def _draw(self, logits: Any, seed: int) -> Any:
        u = uniform(seed, logits.shape, dtype=self.dtype)
        return (u < sigmoid(logits)).astype(self.dtype)


class GaussianVAE(VAE):
    """Real x (B, dim), Gaussian decoder: p(x|z) = N(x; decode(z), σ² I) with one learned σ.

    Of Appendix C.2 it keeps the mean network, and shares σ, which keeps the likelihood finite when
    a pixel is constant. With no hidden layers p(x) is probabilistic PCA (MISSION row L2).
    """

    def __init__(
        self,
        dim: int,
        latent: int = 12,
        hidden: Sequence[int] = (128, 128),
        beta: float = 1.0,
        *,
        seed: int = 0,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(dim, latent, hidden, beta, seed=seed, dtype=dtype)
        self.log_sigma = Tensor(np.zeros(1, dtype))

    def log_likelihood(self, x: Array, z: Array) -> Array:
        """log p(x|z) in nats, (…,), of x (…, dim) and z (…, latent)."""
        return np.sum(normal_log_prob(x, self.decode(z), self.log_sigma), axis=-1)

    def _checked(self, x: Array) -> Array:
        return real(x, self.dim)

    def _draw(self, mean: Any, seed: int) -> Any:
        return mean + np.exp(self.log_sigma) * normal(seed, mean.shape, dtype=self.dtype)
