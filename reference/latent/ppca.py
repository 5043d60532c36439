"""Probabilistic PCA: the latent-variable model that is solved with pen and paper.

    z ~ N(0, I_M),    x = W z + μ + ε,    ε ~ N(0, σ² I_D)

Everything is Gaussian, so everything has a formula:

    p(x) = N(μ, C),  C = W Wᵀ + σ² I                      p(z | x) = N(M⁻¹ Wᵀ (x − μ), σ² M⁻¹)
    M = Wᵀ W + σ² I                                       Bishop Eqs. 12.35–12.42

and so has the maximum of the likelihood: σ² is the mean of the D − M smallest eigenvalues of the
data's covariance S, and W = U (Λ − σ² I)^½ with the M largest and their eigenvectors: the subspace
of PCA. EM climbs to the same place without an eigendecomposition (`em_step`), and that is the way
that a VAE takes where nothing has a formula any more.

Tipping & Bishop 1999; Bishop 2006, section 12.2. MISSION row L2.
"""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np

from core import Array
from core.checks import float_dtype, real, some, whole
from core.errors import InputError
from core.model import Described, draws
from core.random import Generator, normal
from reference.counting.frequencies import fitted


class PPCA(Described):
    """Points x (B, dim) from `latent` < dim directions and noise.

    dtype: the samples'. Parameters and log-probabilities are float64.

    >>> x = np.random.default_rng(0).normal(size=(500, 1)) @ np.array([[3.0, 4.0]])
    >>> model = PPCA(2, latent=1).fit(x + np.random.default_rng(1).normal(size=(500, 2)))
    >>> np.abs(model.W[:, 0]).round(), round(model.sigma2.item())
    (array([3., 4.]), 1)
    """

    def __init__(
        self, dim: int, *, latent: int = 2, seed: int = 0, dtype: Any = np.float32
    ) -> None:
        self.dim = whole("dim", dim, 2)
        self.latent = whole("latent", latent, 1, self.dim - 1)
        self.seed, self.dtype = whole("seed", seed, 0, 2**63 - 1), float_dtype(dtype)
        self.mu = np.zeros(self.dim)  # (D,)
        self.W = np.zeros((self.dim, self.latent))  # (D, M)
        self.sigma2 = np.zeros(1)  # σ², 0 until it is fitted

    @property
    def num_parameters(self) -> int:
        """Free parameters: μ, σ², and W but for rotations of z."""
        D, M = self.dim, self.latent
        return D + 1 + D * M - M * (M - 1) // 2

    def fit(self, x: Array, y: Any = None) -> Self:
        """The maximum of the likelihood of x (B, dim), Bishop Eqs. 12.45 and 12.46."""
        x = self._read(some(x))
        self.mu[...] = x.mean(axis=0)
        S = (x - self.mu).T @ (x - self.mu) / len(x)
        eigenvalues, U = np.linalg.eigh(S)  # rising
        rest, M = self.dim - self.latent, self.latent
        self._keep(eigenvalues[:rest].mean())
        self.W[...] = U[:, rest:] * np.sqrt(np.maximum(eigenvalues[rest:] - self.sigma2, 0))
        self.W[...] = self.W[:, ::-1] if M > 1 else self.W
        return self

    def em_step(self, x: Array) -> float:
        """One step of EM on x (B, dim), Bishop Eqs. 12.54–12.57; the mean log p(x) before, nats."""
        x = self._read(some(x))
        if not self.sigma2.any():
            self._start(x)
        nats = float(self.log_prob(x).mean())
        z, covariance = self.posterior(x)
        apart = x - self.mu
        zz = len(x) * covariance + z.T @ z  # Σ_i E[z zᵀ], (M, M)
        W = np.linalg.solve(zz, z.T @ apart).T
        left = np.sum(apart * apart) - 2 * np.sum((apart @ W) * z) + np.sum(zz * (W.T @ W))
        self.W[...] = W
        self._keep(left / x.size)
        return nats

    def log_prob(self, x: Array) -> Array:
        """log p(x) = log N(x; μ, C) in nats (B,), of x (B, dim)."""
        fitted(self.sigma2.sum(), self)
        apart = self._read(x) - self.mu
        L = np.linalg.cholesky(self.covariance())
        u = np.linalg.solve(L, apart.T)  # (D, B)
        log_det = 2 * np.log(np.diag(L)).sum()
        return -0.5 * (np.sum(u * u, axis=0) + log_det + self.dim * math.log(2 * math.pi))

    def covariance(self) -> Array:
        """C = W Wᵀ + σ² I (dim, dim), Bishop Eq. 12.36."""
        return self.W @ self.W.T + self.sigma2 * np.eye(self.dim)

    def posterior(self, x: Array) -> tuple[Array, Array]:
        """p(z | x): its mean (B, latent) and its covariance (latent, latent), Bishop Eq. 12.42."""
        fitted(self.sigma2.sum(), self)
        M = self.W.T @ self.W + self.sigma2 * np.eye(self.latent)
        return np.linalg.solve(M, self.W.T @ (self._read(x) - self.mu).T).T, (
            self.sigma2 * np.linalg.inv(M)
        )

    def bound(self, x: Array, mean: Array, covariance: Array) -> Array:
        """E_q[log p(x | z)] − KL(q(z) ‖ p(z)) in nats (B,), for q = N(mean (B, M), covariance).

        At the posterior it is log p(x); for any other q it is less by KL(q ‖ p(z | x)).
        """
        apart = self._read(x) - self.mu - mean @ self.W.T
        spread = np.sum((self.W @ covariance) * self.W)  # tr W cov Wᵀ
        variance = self.sigma2.item()
        log_2pi = self.dim * math.log(2 * math.pi * variance)
        reconstruction = -0.5 * (np.sum(apart**2, axis=1) + spread) / variance - 0.5 * log_2pi
        log_det = np.linalg.slogdet(covariance)[1]
        square = np.trace(covariance) + np.sum(mean * mean, axis=1)
        return reconstruction - 0.5 * (square - self.latent - log_det)

    @draws
    def sample(self, n: int, *, seed: int = 0) -> Array:
        """n points (n, dim): z from the stream "latent", then the noise."""
        fitted(self.sigma2.sum(), self)
        z = normal(seed, (n, self.latent), stream="latent", dtype=np.float64)
        noise = normal(seed, (n, self.dim), dtype=np.float64)
        return (z @ self.W.T + self.mu + np.sqrt(self.sigma2) * noise).astype(self.dtype)

    def _start(self, x: Array) -> None:
        """Random directions of the data's size."""
        self.mu[...] = x.mean(axis=0)
        self._keep(x.var())
        rng = Generator(self.seed, stream="init")
        self.W[...] = np.sqrt(self.sigma2) * rng.normal(self.W.shape, dtype=np.float64)

    def _keep(self, sigma2: float) -> None:
        if not sigma2 > 1e-12 * max(1.0, float(np.square(self.mu).mean())):
            raise InputError(
                f"x must vary in more than latent = {self.latent} directions, got data whose noise "
                f"is {sigma2:.2g}"
            )
        self.sigma2[...] = sigma2

    def _read(self, x: Array) -> Array:
        return real(x, self.dim).astype(np.float64)
