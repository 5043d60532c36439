"""L1 with Gaussians: EM climbs, agrees with scikit-learn's step by step, and repairs say so."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import mixture as sklearn_mixture
from sklearn.exceptions import ConvergenceWarning

from core.errors import InputError
from reference.latent.gaussian_mixture import COVARIANCES, GaussianMixture

THEIRS = {"full": "full", "diagonal": "diag", "spherical": "spherical", "tied": "tied"}


def data(n=150, seed=0, dim=2):
    rng = np.random.default_rng(seed)
    centres = 3 * rng.normal(size=(3, dim))
    stretch = rng.normal(size=(3, dim, dim))
    k = rng.integers(0, 3, n)
    return centres[k] + np.einsum("nij,nj->ni", stretch[k], rng.normal(size=(n, dim)))


def started(x, cls=GaussianMixture, **how):
    model = cls(x.shape[1], components=3, dtype=np.float64, **how)
    model._start(x)
    return model


class CreditsTheNextRow(GaussianMixture):
    def _maximise(self, x, r):
        super()._maximise(x, np.roll(r, 1, axis=0))


class MeasuresFromTheOrigin(GaussianMixture):
    """Σ of x, not of x − μ."""

    def _maximise(self, x, r):
        super()._maximise(x, r)
        N = r.sum(axis=0)
        for k in range(self.components):
            self.sigma[k] = (r[:, k, None] * x).T @ x / N[k]


class ForgetsTheWeights(GaussianMixture):
    def log_joint(self, x):
        return super().log_joint(x) - np.log(self.pi) - np.log(self.components)


class HalvesTheDeterminant(GaussianMixture):
    def _log_normal(self, x, k):
        return super()._log_normal(x, k) + 0.5 * np.log(np.diag(self._cholesky(k))).sum()


def never_falls(cls, seed, covariance="full", steps=15):
    x = data(seed=seed)
    model = started(x, cls, covariance=covariance, floor=0.0, seed=seed)
    path = []
    for _ in range(steps):
        path.append(model.log_prob(x).mean())
        model.em_step(x)
    assert np.all(np.diff(path) >= -1e-10), np.diff(path).min()


@given(st.integers(0, 10_000), st.sampled_from(COVARIANCES))
def test_the_likelihood_never_falls(seed, covariance):
    never_falls(GaussianMixture, seed, covariance)


@pytest.mark.parametrize("broken", [CreditsTheNextRow, MeasuresFromTheOrigin])
def test_a_wrong_m_step_is_noticed(broken):
    with pytest.raises((AssertionError, InputError)):
        never_falls(broken, 0)


def step_by_step(cls, covariance, seed, steps=6):
    """Largest difference in log p from scikit-learn's EM, from the same start."""
    x = data(seed=seed)
    ours = started(x, cls, covariance=covariance, seed=seed)
    precisions = np.linalg.inv(ours.sigma)
    given = {
        "full": precisions,
        "tied": precisions[0],
        "diagonal": np.diagonal(precisions, axis1=1, axis2=2),
        "spherical": precisions[:, 0, 0],
    }[covariance]
    theirs = sklearn_mixture.GaussianMixture(
        3, covariance_type=THEIRS[covariance], weights_init=ours.pi, means_init=ours.mu,
        precisions_init=given, max_iter=steps, tol=0, reg_covar=ours.floor,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        theirs.fit(x)
    for _ in range(steps):
        ours.em_step(x)
    return np.abs(ours.log_prob(x) - theirs.score_samples(x)).max()


@given(st.integers(0, 1000), st.sampled_from(COVARIANCES))
def test_it_is_scikit_learns_step_by_step(seed, covariance):
    assert step_by_step(GaussianMixture, covariance, seed) < 1e-8


@pytest.mark.parametrize(
    "broken", [CreditsTheNextRow, MeasuresFromTheOrigin, ForgetsTheWeights, HalvesTheDeterminant]
)
def test_wrong_mixtures_are_not_scikit_learns(broken):
    assert step_by_step(broken, "full", 0) > 1e-3


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_parameters_are_counted(covariance):
    model = started(data(dim=3), covariance=covariance)
    matrices = np.unique(model.sigma, axis=0) if covariance == "tied" else model.sigma
    upper = np.triu_indices(3)
    distinct = [np.unique(np.round(m[upper][m[upper] != 0], 12)) for m in matrices]
    assert model.num_parameters == 2 + 9 + sum(map(len, distinct))


def test_a_component_that_dies_starts_again_and_says_so():
    x = data()
    model = started(x)
    model.mu[1] = 1e6
    with pytest.warns(UserWarning, match="component 1 had no points left"):
        model.em_step(x)
    assert np.abs(model.mu).max() < 1e3
    assert np.isfinite(model.log_prob(x)).all()


def steps(model, x, n=60):
    for _ in range(n):
        model.em_step(x)


def test_a_singular_covariance_is_told_and_a_floor_mends_it():
    x = np.repeat(np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 0.0]]), 5, axis=0)
    model = GaussianMixture(2, components=3, floor=0.0, dtype=np.float64)
    with pytest.raises(InputError, match=r"covariance of component \d must be positive definite"):
        steps(model, x)
    mended = GaussianMixture(2, components=3, dtype=np.float64)
    steps(mended, x)
    assert np.isfinite(mended.log_prob(x)).all()


def test_fewer_rows_than_components_are_told():
    with pytest.raises(InputError, match="at least components = 8 rows, got 3"):
        GaussianMixture(2).em_step(np.zeros((3, 2)))
