"""Distributions normalise, draw what they score, have the entropy they say; wrong ones don't."""

import math

import numpy as np
import pytest
from hypothesis import given
from scipy import integrate, stats

from core import functional as F
from core.distributions import (
    Bernoulli,
    Categorical,
    DiscretizedLogistic,
    ExpTransform,
    Independent,
    Logistic,
    Mixture,
    MultivariateNormal,
    Normal,
    TransformedDistribution,
)
from core.random import Generator
from tests.core.distributions.subjects import (
    CUBE,
    DISCRETE,
    F64,
    INF,
    LINE,
    PLANE,
    SEEDS,
    check_cdf_is_the_integral,
    check_entropy,
    check_frequencies,
    check_integrates_over_the_plane,
    check_integrates_to_one,
    check_plane_samples,
    check_samples_follow_the_cdf,
    check_sums_to_one,
    density,
    discretised_mixture,
    each,
    plane_grid,
    positive,
    quadrature,
    reals,
)


@each(DISCRETE)
@given(seed=SEEDS)
def test_sums_to_one(name, seed):
    make, points, _ = DISCRETE[name]
    check_sums_to_one(make(seed), points)


@each(LINE)
@pytest.mark.parametrize("seed", [0, 1])
def test_integrates_to_one(name, seed):
    make, support = LINE[name]
    check_integrates_to_one(make(seed), support)
    check_cdf_is_the_integral(make(seed), support)


@each(PLANE)
def test_integrates_over_the_plane(name):
    check_integrates_over_the_plane(PLANE[name](1))


@each(DISCRETE)
def test_sample_frequencies(name):
    make, points, index = DISCRETE[name]
    for seed in range(3):
        if index is int:
            check_frequencies(make(seed), points, lambda x: x.astype(int))
        else:
            check_frequencies(make(seed), points, index)


@each(LINE)
def test_samples_follow_the_cdf(name):
    make, _ = LINE[name]
    for seed in range(3):
        check_samples_follow_the_cdf(make(seed))


@each(PLANE)
def test_plane_samples(name):
    check_plane_samples(PLANE[name](1))


@pytest.mark.parametrize("name", ["bernoulli", "bernoulli probs", "categorical", "discretised"])
@given(seed=SEEDS)
def test_discrete_entropy(name, seed):
    make, points, _ = DISCRETE[name]
    d = make(seed)
    check_entropy(d, d.log_prob(points), np.exp(d.log_prob(points)))


@pytest.mark.parametrize("name", ["normal", "logistic"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_continuous_entropy(name, seed):
    d = LINE[name][0](seed)
    h = quadrature(lambda x: -np.exp(d.log_prob(x)) * d.log_prob(x), -150, 150)
    assert abs(d.entropy() - h) < 1e-9


def test_entropies_of_vectors_and_mixtures():
    points, area = plane_grid()
    for name in ("multivariate normal", "independent normals"):
        d = PLANE[name](3)
        log_p = d.log_prob(points)
        check_entropy(d, log_p, np.exp(log_p) * area)
    d = discretised_mixture(4)
    log_p = d.log_prob(np.arange(256))
    check_entropy(d, log_p, np.exp(log_p))
    d = Independent(Bernoulli(reals(4, 3)))
    check_entropy(d, d.log_prob(CUBE), np.exp(d.log_prob(CUBE)))


def test_quadrature_is_sound():
    value, _ = integrate.quad(density(Normal(np.array(0.3), 2.0)), -30, 30)
    ours = quadrature(lambda x: np.exp(Normal(np.array(0.3), 2.0).log_prob(x)), -400, 400)
    assert abs(value - ours) < 1e-8


# Wrong distributions don't


class Unnormalised(Normal):
    def log_prob(self, x):
        return super().log_prob(x) + math.log(self.scale)


class WrongCdf(Logistic):
    def cdf(self, x):
        return stats.norm.cdf(x, self.loc, self.scale * math.pi / math.sqrt(3))


class WideDraws(Normal):
    def sample(self, shape, rng):
        return 1.1 * super().sample(shape, rng)


class WrongEntropy(Normal):
    def entropy(self):
        return super().entropy() + math.log(self.scale)


class NoJacobian(TransformedDistribution):
    def log_prob(self, x):
        for t in reversed(self.transforms):
            x = t.inverse(x)
        return self.base.log_prob(x)


class NoTails(DiscretizedLogistic):
    def log_prob(self, x):
        return np.log(F.sigmoid(self._edge(x, 1)) - F.sigmoid(self._edge(x, -1)))


class UnweightedMixture(Mixture):
    def log_prob(self, x):
        return F.logsumexp(self.component.log_prob(self._beside(x)), axis=-1)


class FirstComponentOnly(Mixture):
    def sample(self, shape, rng):
        return self.component.sample(shape, rng)[..., 0]


class SquaredCategorical(Categorical):
    def sample(self, shape, rng):
        return Categorical(logits=2 * self.logits).sample(shape, rng)


class Uncorrelated(MultivariateNormal):
    def sample(self, shape, rng):
        sd = np.sqrt(np.diagonal(self.covariance_matrix))
        return Normal(self.loc, sd).sample(shape, rng)


class TransposedFactor(MultivariateNormal):
    def sample(self, shape, rng):
        eps = Generator(3).normal((*shape, 2), dtype=F64)
        return self.loc + eps @ self.scale_tril


REAL_LINE = (-INF, INF)
TILTED = np.array([[1.0, 0.8], [0.8, 2.0]])
WRONG = {
    "unnormalised": lambda: check_integrates_to_one(Unnormalised(reals(0), 2.0), REAL_LINE),
    "no jacobian": lambda: check_integrates_to_one(
        NoJacobian(Normal(0.0, 1.0), ExpTransform()), (0, INF)
    ),
    "no tails": lambda: check_sums_to_one(NoTails(reals(0), 0.3, 16), np.arange(16)),
    "unweighted": lambda: check_integrates_to_one(
        UnweightedMixture(Categorical(reals(0, 2)), Normal(reals(1, 2), positive(1, 2))), REAL_LINE
    ),
    "wrong cdf": lambda: check_cdf_is_the_integral(WrongCdf(0.3, 1.0), REAL_LINE),
    "wrong cdf for the draws": lambda: check_samples_follow_the_cdf(WrongCdf(0.3, 1.0)),
    "wide draws": lambda: check_samples_follow_the_cdf(WideDraws(0.0, 1.0)),
    "wrong entropy": lambda: check_entropy_on_the_line(WrongEntropy(reals(0), 2.0)),
    "first component": lambda: check_samples_follow_the_cdf(
        FirstComponentOnly(Categorical(reals(0, 2)), Normal(reals(1, 2), positive(1, 2)))
    ),
    "sharper draws": lambda: check_frequencies(
        SquaredCategorical(reals(0, 7)), np.arange(7), np.asarray
    ),
    "uncorrelated": lambda: check_plane_samples(Uncorrelated(reals(1, 2), TILTED)),
    "transposed": lambda: check_plane_samples(TransposedFactor(reals(1, 2), TILTED)),
}


def check_entropy_on_the_line(d):
    x, step = np.linspace(-40, 40, 20_001, retstep=True)
    check_entropy(d, d.log_prob(x), np.exp(d.log_prob(x)) * step)


def test_the_entropy_check_on_the_line():
    check_entropy_on_the_line(Normal(reals(0), 2.0))


@each(WRONG)
def test_wrong_distributions_are_rejected(name):
    with pytest.raises(AssertionError):
        WRONG[name]()
