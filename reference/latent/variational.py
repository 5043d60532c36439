"""Variational inference: a latent-variable model and its approximate posterior, learned at once.

    p(x) = ∫ p(z) p(x|z) dz,      p(x|z) given by a network

The integral has no closed form. A second network proposes q(z|x) = N(μ(x), diag σ²(x)), and with it
the likelihood is bounded from below, whatever q is:

    log p(x) ≥ E_q[log p(x|z)] − KL(q(z|x) ‖ p(z)) = ELBO(x)                       Kingma, Eqs. 2, 3

The gap is KL(q(z|x) ‖ p(z|x)). Averaging k importance weights inside the logarithm closes it:

    log p(x) ≥ E log 1/k Σ_i w_i,   w_i = p(x, z_i) / q(z_i|x),   z_i ~ q(z|x)       Burda, Eq. 8

This is the ELBO for k = 1, rises with k, and tends to log p(x). There is no exact `log_prob`.

Four parts make such a model, and here is all that does not depend on which: encoder and decoder
(`layers.MLP`, `convolutional`), what the decoder's numbers mean (`likelihoods`) and p(z)
(`priors`). The pages of the models say which parts they take: `vae` first.

Kingma & Welling 2013 (arXiv:1312.6114); Burda, Grosse & Salakhutdinov 2015 (arXiv:1509.00519);
β: Higgins et al. 2017, Eq. 4. MISSION rows L3, L5.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from core import Array, no_grad
from core.checks import float_dtype, number, rows, shaped, some, whole
from core.distributions import Normal
from core.functional import logsumexp
from core.model import Described, draws
from core.random import Generator, checked_generator


class Variational(Described):
    """x (B, *shape) in four parts. Rows of x (B, D) are x read flat.

    encoder: (B, D) ↦ μ and log σ² of q(z|x), (B, 2·latent). decoder: z (…, latent) ↦ θ
    (…, likelihood.size · D). beta: weight of the KL in the training loss, a bound only with 1.
    importance: k of the bound that is trained on, if more than 1.

    >>> from reference.latent.likelihoods import Bernoulli
    >>> from reference.latent.priors import StandardNormal
    >>> from reference.layers import Linear
    >>> encoder, decoder = Linear(3, 4, Generator(0)), Linear(2, 3, Generator(1))
    >>> model = Variational((3,), 2, encoder, decoder, Bernoulli(), StandardNormal(2))
    >>> model.elbo(model.sample(5, seed=1), rng=Generator(0)).shape
    (5,)
    """

    beta, importance = 1.0, 1

    def __init__(
        self,
        shape: tuple[int, ...],
        latent: int,
        encoder: Callable[[Array], Array],
        decoder: Callable[[Array], Array],
        likelihood: Any,
        prior: Any,
        *,
        dtype: Any = np.float32,
    ) -> None:
        self.shape, self.latent = shape, whole("latent", latent, 1)
        self.dim, self.dtype = math.prod(shape), float_dtype(dtype)
        self.encoder, self.decoder = encoder, decoder
        self.likelihood, self.prior = likelihood, prior

    def encode(self, x: Array, y: Any = None) -> tuple[Array, Array]:
        """μ and log σ² of q(z|x), each (B, latent), of x (B, *shape). Labels are not used."""
        return self._code(self._read(x), y)

    def decode(self, z: Array, y: Any = None) -> Array:
        """θ, (…, size·D), of z (…, latent): what p(x|z) is. Labels are not used."""
        return self.decoder(self._checked_code(z))

    def log_likelihood(self, x: Array, z: Array, y: Any = None) -> Array:
        """log p(x|z) in nats, (…,), of rows x (…, D) and z (…, latent)."""
        return self.likelihood.log_prob(x, self.decode(z, y))

    def elbo(self, x: Array, y: Any = None, rng: Generator | None = None) -> Array:
        """The bound in nats, (B,), estimated with one z for each x (B, *shape): Eq. 10, L = 1."""
        x = self._read(x)
        reconstruction, kl = self._terms(x, *self._code(x, y), rng, y)
        return reconstruction - kl

    def bound(
        self, x: Array, mu: Array, log_var: Array, rng: Generator | None, y: Any = None
    ) -> Array:
        """The same of any q = N(μ, diag σ²), each (B, latent), and not the encoder's own."""
        reconstruction, kl = self._terms(self._read(x), mu, log_var, rng, y)
        return reconstruction - kl

    def loss(self, x: Array, y: Any = None, rng: Generator | None = None) -> Array:
        """Mean of −log p(x|z) + β KL in nats: the negative ELBO for β = 1.

        With `importance` k > 1, minus the mean of the bound that k weights give, Burda Eq. 8.
        """
        if self.importance > 1:
            return -np.mean(self.importance_log_prob(some(x), y, rng, k=self.importance))
        x = self._read(some(x))
        reconstruction, kl = self._terms(x, *self._code(x, y), rng, y)
        return np.mean(self.beta * kl - reconstruction)

    def _terms(
        self, x: Array, mu: Array, log_var: Array, rng: Generator | None, y: Any = None
    ) -> tuple[Array, Array]:
        """log p(x|z) at one z ~ q = N(μ, diag σ²), and KL(q ‖ p(z)): (B,) each, of rows x."""
        z = reparametrise(mu, log_var, checked_generator(rng).normal(mu.shape, dtype=self.dtype))
        return self.log_likelihood(x, z, y), self.prior.kl(mu, log_var, z)

    def importance_log_prob(
        self, x: Array, y: Any = None, rng: Generator | None = None, *, k: int = 100
    ) -> Array:
        """Burda's bound on log p(x) in nats, (B,), from k ≥ 1 samples for each x (B, *shape)."""
        log_w = self.log_weights(x, checked_generator(rng), whole("k", k, 1), y)  # (k, B)
        return logsumexp(log_w, axis=0) - math.log(k)  # Eq. 8

    def log_weights(self, x: Array, rng: Generator, k: int, y: Any = None) -> Array:
        """log w, (k, B): log p(x|z) + log p(z) − log q(z|x) at k samples z for each x."""
        x, shape = self._read(x), (k, self.latent)
        mu, log_var = self._code(x, y)  # (B, latent)
        # One call for each x, so that its noise is the same in whatever batch it comes.
        drawn = [rng.normal(shape, dtype=self.dtype) for _ in range(len(x))]
        epsilon = np.array(drawn, self.dtype).reshape(len(x), *shape).swapaxes(0, 1)
        z = reparametrise(mu, log_var, epsilon)  # (k, B, latent)
        log_q_z = np.sum(Normal(mu, np.exp(0.5 * log_var)).log_prob(z), axis=-1)  # (k, B)
        return self.log_likelihood(x, z, y) + self.prior.log_prob(z) - log_q_z

    def validation_loss(self, x: Array, y: Any = None, rng: Generator | None = None) -> Array:
        """Mean negative bound with k = 16: nearer to what counts, and less noisy, than the loss."""
        return -np.mean(self.importance_log_prob(some(x), y, rng, k=16))

    @draws
    def sample(self, n: int, *, seed: int = 0) -> Any:
        """n draws (n, *shape): z from the prior, x from p(x|z)."""
        z = self.prior.draw(n, seed, self.dtype)
        x = self.likelihood.draw(self.decode(z), seed)
        return np.reshape(x, (n, *self.shape)).astype(self.dtype)

    def mean(self, z: Any, y: Any = None) -> Any:
        """E[x|z], (…, *shape), of z (…, latent): what to look at."""
        with no_grad():
            return np.reshape(self.likelihood.mean(self.decode(z, y)), (*z.shape[:-1], *self.shape))

    @no_grad()
    def reconstruct(self, x: Array, y: Any = None) -> Any:
        """E[x|z] at the mean code of x (B, *shape), (B, *shape)."""
        return self.mean(self.encode(x, y)[0], y)

    @no_grad()
    def interpolate(self, x0: Array, x1: Array, steps: int = 8, *, y: Any = None) -> Any:
        """Means (steps, B, *shape) on the line from the mean code of x0 (B, *shape) to x1's."""
        z0, z1 = self.encode(x0, y)[0], self.encode(x1, y)[0]
        line = np.linspace(0, 1, whole("steps", steps, 1)).tolist()
        return np.stack([self.mean((1 - t) * z0 + t * z1, y) for t in line])

    @no_grad()
    def traverse(self, x: Array, j: int, values: Sequence[float], *, y: Any = None) -> Any:
        """Means (V, B, *shape) at the mean code of x (B, *shape), with z_j set to each value."""
        z = self.encode(x, y)[0]
        chosen = np.arange(self.latent) == whole("j", j, 0, self.latent - 1)
        whole("the length of values", len(values), 1)
        line = [number("values", v) for v in values]
        return np.stack([self.mean(np.where(chosen, v, z).astype(self.dtype), y) for v in line])

    def _code(self, x: Array, y: Any) -> tuple[Array, Array]:
        """μ and log σ² of rows x that were read."""
        mu, log_var = np.split(self.encoder(self.likelihood.scaled(x, self.dtype)), 2, axis=-1)
        return mu, log_var

    def _checked_code(self, z: Array) -> Array:
        return shaped("z", z, ("…", self.latent), self.dtype)

    def _read(self, x: Array) -> Array:
        """x (B, *shape) as rows (B, D) that the likelihood knows."""
        return self.likelihood.read(rows(x, self.shape), self.dim, self.dtype)


def reparametrise(mu: Array, log_var: Array, epsilon: Any) -> Array:
    """z = μ + σ⊙ε: of ε ~ N(0, I) a sample of N(μ, diag σ²), differentiable in them (§ 2.4)."""
    return mu + np.exp(0.5 * log_var) * epsilon
