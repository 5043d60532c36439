"""L2: closed form, EM and scikit-learn's PCA agree; the bound is tight at the posterior only."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from core.errors import InputError
from reference.latent.ppca import PPCA

seeds = st.integers(0, 10_000)


def data(seed=0, n=80, dim=4):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, dim)) @ rng.normal(size=(dim, dim)) + rng.normal(size=dim)
    return x + 0.1 * rng.normal(size=x.shape)  # no direction without noise: nothing to amplify


class DividesByOneLess(PPCA):
    """The noise of the kept directions too."""

    def fit(self, x, y=None):
        super().fit(x)
        self.sigma2 *= 0.9
        return self


class ForgetsTheNoise(PPCA):
    """W = U Λ^½."""

    def fit(self, x, y=None):
        super().fit(x)
        self.W *= np.sqrt(1 + self.sigma2 / (self.W**2).sum(axis=0))
        return self


def differs_from_pca(cls, seed, latent):
    x = data(seed)
    ours, theirs = cls(4, latent=latent, dtype=np.float64).fit(x), PCA(latent).fit(x)
    n = len(x)  # theirs divides the covariance by n − 1
    scaled = cls(4, latent=latent, dtype=np.float64).fit(
        ours.mu + (x - ours.mu) * np.sqrt(n / (n - 1))
    )
    return np.abs(scaled.log_prob(x) - theirs.score_samples(x)).max()


@given(seeds, st.integers(1, 3))
def test_the_closed_form_is_pca(seed, latent):
    assert differs_from_pca(PPCA, seed, latent) < 1e-8


@pytest.mark.parametrize("broken", [DividesByOneLess, ForgetsTheNoise])
def test_another_density_is_not_pca(broken):
    assert differs_from_pca(broken, 0, 2) > 1e-3


@given(seeds, st.integers(1, 3))
def test_em_climbs_to_the_closed_form(seed, latent):
    x = data(seed)
    best = PPCA(4, latent=latent, dtype=np.float64).fit(x).log_prob(x).mean()
    model = PPCA(4, latent=latent, seed=seed, dtype=np.float64)
    path = [model.em_step(x) for _ in range(40)]
    assert np.all(np.diff(path) >= -1e-10)
    assert path[-1] <= best + 1e-10
    assert best - path[-1] < 0.5 * (best - path[0]) + 1e-6


def test_em_arrives():
    x = data(3, n=400)
    model = PPCA(4, latent=2, dtype=np.float64)
    for _ in range(400):
        nats = model.em_step(x)
    assert nats == pytest.approx(PPCA(4, latent=2).fit(x).log_prob(x).mean(), abs=1e-6)


@given(seeds, st.integers(1, 3))
def test_the_bound_is_tight_at_the_posterior_only(seed, latent):
    """log p − ELBO = KL(q ‖ posterior), in closed form, for any q."""
    x, rng = data(seed, n=6), np.random.default_rng(seed)
    model = PPCA(4, latent=latent, dtype=np.float64).fit(data(seed))
    mean, covariance = model.posterior(x)
    np.testing.assert_allclose(model.bound(x, mean, covariance), model.log_prob(x), atol=1e-9)
    root = rng.normal(size=(latent, latent))
    q_mean, q = mean + rng.normal(size=mean.shape), root @ root.T + 0.1 * np.eye(latent)
    precision = np.linalg.inv(covariance)
    apart = q_mean - mean
    kl = 0.5 * (
        np.trace(precision @ q)
        + np.einsum("bi,ij,bj->b", apart, precision, apart)
        - latent
        + np.linalg.slogdet(covariance)[1]
        - np.linalg.slogdet(q)[1]
    )
    np.testing.assert_allclose(model.log_prob(x) - model.bound(x, q_mean, q), kl, rtol=1e-7)


def test_data_without_noise_are_told():
    x = np.outer(np.arange(9.0), np.ones(3))
    with pytest.raises(InputError, match="more than latent = 1 directions"):
        PPCA(3, latent=1).fit(x)
