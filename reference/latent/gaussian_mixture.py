"""A mixture of Gaussians, fitted by expectation–maximisation.

First a component z ~ Categorical(π), then a point of its Gaussian:

    p(x) = Σ_k π_k N(x; μ_k, Σ_k)

    E    r_ik = p(z = k | x_i)                                      by Bayes' rule
    M    N_k = Σ_i r_ik,   π_k = N_k / n,   μ_k = Σ_i r_ik x_i / N_k
         S_k = Σ_i r_ik (x_i − μ_k)(x_i − μ_k)ᵀ / N_k

What of S_k is kept says how round a component may be: all of it ("full"), its diagonal, one number
σ² for all directions ("spherical"), or one covariance Σ_k π_k S_k for all components ("tied").

The likelihood never falls, and has no maximum: a component that shrinks onto one point makes it as
large as one likes. `floor` is added to every variance, so that none does.

Dempster, Laird & Rubin 1977; Bishop 2006, section 9.2.2. The start is k-means++ of Arthur &
Vassilvitskii 2007. MISSION row L1.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from core import Array
from core.checks import float_dtype, number, one_of, real, some, whole
from core.errors import InputError
from core.functional import logsumexp
from core.model import Described, draws
from core.random import Generator, normal, uniform
from reference.counting.frequencies import draw, fitted, log_posterior

COVARIANCES = ("full", "diagonal", "spherical", "tied")


class GaussianMixture(Described):
    """Points x (B, dim) of `components` Gaussians.

    covariance: full, diagonal, spherical or tied. floor: added to every variance, in units of x².
    seed: names the points that EM starts from. dtype: the samples'. Parameters and
    log-probabilities are float64. A component that no point belongs to any more is put on the point
    that is explained worst, and a warning says so.

    >>> x = np.random.default_rng(0).normal(size=(300, 2)) + 4 * np.eye(2)[np.arange(300) % 2]
    >>> model = GaussianMixture(2, components=2, covariance="spherical")
    >>> for _ in range(20):
    ...     nats = model.em_step(x)
    >>> model.pi.round(1)
    array([0.5, 0.5])
    """

    def __init__(
        self,
        dim: int,
        *,
        components: int = 8,
        covariance: str = "full",
        floor: float = 1e-6,
        seed: int = 0,
        dtype: Any = np.float32,
    ) -> None:
        self.dim, self.components = whole("dim", dim, 1), whole("components", components, 1)
        self.covariance = one_of("covariance", covariance, COVARIANCES)
        self.floor, self.dtype = number("floor", floor, least=0), float_dtype(dtype)
        self.seed = whole("seed", seed, 0, 2**63 - 1)
        self.pi = np.zeros(self.components)  # (K,), 0 until EM has seen data
        self.mu = np.zeros((self.components, self.dim))  # (K, D)
        self.sigma = np.zeros((self.components, self.dim, self.dim))  # Σ_k, (K, D, D)

    @property
    def num_parameters(self) -> int:
        """Free parameters of π, μ and Σ."""
        K, D = self.components, self.dim
        each = {"full": D * (D + 1) // 2, "diagonal": D, "spherical": 1}
        free = each["full"] if self.covariance == "tied" else K * each[self.covariance]
        return K - 1 + K * D + free

    def em_step(self, x: Array) -> float:
        """One E and one M step on x (B, dim); returns the mean log-likelihood before, in nats."""
        x = self._read(some(x))
        if not self.pi.any():
            self._start(x)
        log_joint = self.log_joint(x)
        log_p = logsumexp(log_joint, axis=1)
        self._maximise(x, self._revived(np.exp(log_posterior(log_joint)), log_p))
        return float(log_p.mean())

    def log_joint(self, x: Array) -> Array:
        """log p(x, z) in nats (B, components), of x (B, dim)."""
        fitted(self.pi.sum(), self)
        x = self._read(x)
        columns = [self._log_normal(x, k) for k in range(self.components)]
        with np.errstate(divide="ignore"):
            return np.log(self.pi) + np.stack(columns, axis=1)

    def log_prob(self, x: Array) -> Array:
        """log p(x) in nats (B,), of x (B, dim)."""
        return logsumexp(self.log_joint(x), axis=1)

    def posterior(self, x: Array) -> Array:
        """p(z | x) (B, components), of x (B, dim): the responsibilities, Bishop Eq. 9.23."""
        return np.exp(log_posterior(self.log_joint(x)))

    @draws
    def sample(self, n: int, *, seed: int = 0) -> Array:
        """n points (n, dim): z from the stream "latent", then μ_z + L_z ε with Σ = L Lᵀ."""
        fitted(self.pi.sum(), self)
        z = draw(self.pi, uniform(seed, (n,), stream="latent", dtype=np.float64))
        L = np.stack([self._cholesky(k) for k in range(self.components)])
        epsilon = normal(seed, (n, self.dim), dtype=np.float64)
        return (self.mu[z] + np.einsum("ndc,nc->nd", L[z], epsilon)).astype(self.dtype)

    def _log_normal(self, x: Array, k: int) -> Array:
        """ln N(x; μ_k, Σ_k) (B,)."""
        L = self._cholesky(k)
        u = np.linalg.solve(L, (x - self.mu[k]).T)  # (D, B), so that |u|² is Mahalanobis' distance
        log_det = 2 * np.log(np.diag(L)).sum()
        return -0.5 * (np.sum(u * u, axis=0) + log_det + self.dim * math.log(2 * math.pi))

    def _cholesky(self, k: int) -> Array:
        try:
            return np.linalg.cholesky(self.sigma[k])
        except np.linalg.LinAlgError:
            raise InputError(
                f"covariance of component {k} must be positive definite, got a singular one; a "
                f"floor > {self.floor:g} keeps it so"
            ) from None

    def _maximise(self, x: Array, r: Array) -> None:
        """M step from responsibilities r (B, K), Bishop Eqs. 9.24–9.27."""
        N = r.sum(axis=0)  # (K,)
        self.pi[...] = N / N.sum()
        self.mu[...] = r.T @ x / N[:, None]
        for k in range(self.components):
            apart = x - self.mu[k]
            self.sigma[k] = (r[:, k, None] * apart).T @ apart / N[k]
        self.sigma[...] = self._kept(self.sigma) + self.floor * np.eye(self.dim)

    def _kept(self, S: Array) -> Array:
        """What may be kept of the scatter S (K, D, D)."""
        if self.covariance == "tied":
            return np.broadcast_to(np.tensordot(self.pi, S, 1), S.shape)
        if self.covariance == "full":
            return S
        variances = np.diagonal(S, axis1=1, axis2=2)  # (K, D)
        if self.covariance == "spherical":
            variances = variances.mean(axis=1, keepdims=True)
        return variances[..., None] * np.eye(self.dim)

    def _revived(self, r: Array, log_p: Array) -> Array:
        """r, where a component that has lost its points is given those that are explained worst."""
        dead = np.flatnonzero(r.sum(axis=0) < 1e-8)
        worst = np.argsort(log_p)[: len(dead)]
        for k, i in zip(dead, worst, strict=True):
            warnings.warn(f"component {k} had no points left and starts again at one", stacklevel=3)
            r[i] = np.eye(self.components)[k]
        return r

    def _start(self, x: Array) -> None:
        """Centres far from each other, each point to its nearest: k-means++, then an M step."""
        if len(x) < self.components:
            raise InputError(f"x must have at least components = {len(self.pi)} rows, got {len(x)}")
        u = Generator(self.seed, stream="init").uniform((self.components,), dtype=np.float64)
        distance2 = np.ones((len(x), 1))
        centres: list[Array] = []
        for k in range(self.components):
            near = distance2.min(axis=1)
            weights = np.cumsum(near) if near.any() else np.arange(1.0, len(x) + 1)
            i = np.searchsorted(weights, u[k] * weights[-1], side="right")
            centres.append(x[min(int(i), len(x) - 1)])
            distance2 = np.stack([np.sum((x - c) ** 2, axis=1) for c in centres], axis=1)
        r = np.eye(self.components)[distance2.argmin(axis=1)]
        spread = (
            1e-2 / self.components
        )  # a little of everything: no component begins without points
        self._maximise(x, (1 - spread) * r + spread / self.components)

    def _read(self, x: Array) -> Array:
        return real(x, self.dim).astype(np.float64)
