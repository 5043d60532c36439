"""Distributions of every kind, by seed, and the laws they owe.

Every law is a function of the distribution it checks, so that planted wrong ones meet it too.
"""

import itertools
import math

import numpy as np
import pytest
from hypothesis import strategies as st
from scipy import stats

from core import functional as F
from core.distributions import (
    AffineTransform,
    Bernoulli,
    Categorical,
    DiscretizedLogistic,
    DiscretizedLogisticMixture,
    ExpTransform,
    Independent,
    Logistic,
    Mixture,
    MultivariateNormal,
    Normal,
    SigmoidTransform,
    TransformedDistribution,
)
from core.random import Generator, normal, uniform

SEEDS = st.integers(0, 2**32)
F64 = np.float64


def reals(seed, *shape):
    return normal(seed, (1, *shape), stream="test", dtype=F64)[0]


def positive(seed, *shape):
    return np.exp(0.5 * reals(seed + 1, *shape))


def simplex(seed, k):
    return F.softmax(reals(seed, k))


def covariance(seed, d):
    a = reals(seed, d, d)
    return a @ a.T + 0.5 * np.eye(d)


def mixture_of_normals(seed):
    return Mixture(
        Categorical(logits=reals(seed, 3)), Normal(2 * reals(seed + 2, 3), positive(seed + 4, 3))
    )


def mixture_of_vectors(seed):
    scale_tril = np.stack([np.linalg.cholesky(covariance(seed + i, 2)) for i in range(3)])
    return Mixture(
        Categorical(logits=reals(seed, 3)),
        MultivariateNormal(2 * reals(seed + 9, 3, 2), scale_tril=scale_tril),
    )


def bits_of_a_mixture(seed):
    return Mixture(Categorical(logits=reals(seed, 4)), Independent(Bernoulli(reals(seed, 4, 3))))


def discretised_mixture(seed, levels=256):
    scale = 0.2 * positive(seed, 5)
    return DiscretizedLogisticMixture(reals(seed, 5), reals(seed + 1, 5), scale, levels)


def transformed(seed, *transforms):
    return TransformedDistribution(Normal(reals(seed), positive(seed)), transforms)


CUBE = np.array(list(itertools.product([0, 1], repeat=3)))
DISCRETE = {  # name: (make, every x, index of a draw among them)
    "bernoulli": (lambda s: Bernoulli(reals(s)), np.arange(2), lambda x: x.astype(int)),
    "bernoulli probs": (lambda s: Bernoulli(probs=uniform(s, (), dtype=F64)), np.arange(2), int),
    "categorical": (lambda s: Categorical(reals(s, 7)), np.arange(7), np.asarray),
    "categorical probs": (lambda s: Categorical(probs=positive(s, 7)), np.arange(7), np.asarray),
    "product": (
        lambda s: Independent(Bernoulli(reals(s, 3))),
        CUBE,
        lambda x: x.astype(int) @ [4, 2, 1],
    ),
    "mixture of products": (bits_of_a_mixture, CUBE, lambda x: x.astype(int) @ [4, 2, 1]),
    "discretised": (
        lambda s: DiscretizedLogistic(reals(s), 0.2 * positive(s), 16),
        np.arange(16),
        np.asarray,
    ),
    "discretised mixture": (lambda s: discretised_mixture(s, 16), np.arange(16), np.asarray),
}
INF = math.inf
LINE = {  # name: (make, support)
    "normal": (lambda s: Normal(reals(s), positive(s)), (-INF, INF)),
    "logistic": (lambda s: Logistic(reals(s), positive(s)), (-INF, INF)),
    "mixture": (mixture_of_normals, (-INF, INF)),
    "affine": (lambda s: transformed(s, AffineTransform(1.5, 0.5)), (-INF, INF)),
    "decreasing": (lambda s: transformed(s, AffineTransform(1.5, -0.5)), (-INF, INF)),
    "log-normal": (lambda s: transformed(s, ExpTransform()), (0, INF)),
    "logit-normal": (lambda s: transformed(s, SigmoidTransform()), (0, 1)),
    "chain": (
        lambda s: transformed(
            s, SigmoidTransform(), AffineTransform(0.0, -3.0), AffineTransform(1.0, 2.0)
        ),
        (-5, 1),
    ),
}
PLANE = {
    "multivariate normal": lambda s: MultivariateNormal(reals(s, 2), covariance(s, 2)),
    "independent normals": lambda s: Independent(Normal(reals(s, 2), positive(s, 2))),
    "mixture of vectors": mixture_of_vectors,
}
ALL = {
    **{name: make for name, (make, *_) in DISCRETE.items()},
    **{name: make for name, (make, _) in LINE.items()},
    **PLANE,
}


def each(table):
    return pytest.mark.parametrize("name", list(table))


# Laws


def density(d):
    return lambda x: math.exp(d.log_prob(np.asarray(x, F64)))


def bounds(support):
    """Support, cut where every distribution here has less than 1e-12 left."""
    return max(support[0], -400.0), min(support[1], 400.0)


def quadrature(f, low, high):
    """∫ f by Gauss–Legendre on many short panels."""
    nodes, weights = np.polynomial.legendre.leggauss(12)
    edges = np.linspace(low, high, 4001)
    half = np.diff(edges)[:, None] / 2
    x = edges[:-1, None] + half * (1 + nodes)
    return float(np.sum(f(x) * half * weights))


def check_sums_to_one(d, points):
    assert abs(math.fsum(np.exp(d.log_prob(points))) - 1) < 1e-12


def check_integrates_to_one(d, support):
    total = quadrature(lambda x: np.exp(d.log_prob(x)), *bounds(support))
    assert abs(total - 1) < 1e-7


def plane_grid(half_width=25.0, n=601):
    side = np.linspace(-half_width, half_width, n)
    points = np.stack(np.meshgrid(side, side), axis=-1)
    return points, (side[1] - side[0]) ** 2


def check_integrates_over_the_plane(d):
    points, area = plane_grid()
    total = np.exp(d.log_prob(points)).sum() * area
    assert abs(total - 1) < 1e-6


def check_cdf_is_the_integral(d, support):
    low, high = bounds(support)
    for share in (0.4, 0.501, 0.6):
        x = d.sample((1,), 5)[0] if share == 0.501 else low + share * (high - low)
        below = quadrature(lambda y: np.exp(d.log_prob(y)), low, float(x))
        assert abs(d.cdf(np.asarray(x)) - below) < 1e-7


def check_frequencies(d, points, index, n=20_000):
    drawn = np.asarray(index(d.sample((n,), Generator(17, "test"))))
    counts = np.bincount(drawn, minlength=len(points))
    expected = n * np.exp(d.log_prob(points))
    rare = expected < 5
    counts = np.append(counts[~rare], counts[rare].sum())
    expected = np.append(expected[~rare], expected[rare].sum())
    if expected[-1] < 1e-9:
        assert counts[-1] == 0
        counts, expected = counts[:-1], expected[:-1]
    if len(counts) > 1:
        assert stats.chisquare(counts, expected, sum_check=False).pvalue > 1e-4


def check_samples_follow_the_cdf(d, n=20_000):
    x = d.sample((n,), Generator(17, "test"))
    assert stats.kstest(x, d.cdf).pvalue > 1e-4


def check_plane_samples(d, n=5000):
    """Each ring of equal log_prob mass: log_prob of draws against its law by the grid."""
    x = d.sample((n,), Generator(17, "test"))
    points, area = plane_grid()
    log_p = d.log_prob(points).ravel()
    order = np.argsort(log_p)
    cdf = np.cumsum(np.exp(log_p[order])) * area
    ranks = np.interp(d.log_prob(x), log_p[order], cdf)
    assert stats.kstest(ranks, "uniform").pvalue > 1e-4
    p = np.exp(log_p) * area
    flat = points.reshape(-1, 2)
    mean = p @ flat
    second = (flat - mean).T @ ((flat - mean) * p[:, None])
    for i, j in ((0, 0), (0, 1), (1, 1)):
        products = (x - mean)[:, i] * (x - mean)[:, j]
        assert abs(products.mean() - second[i, j]) < 4.5 * products.std() / math.sqrt(n)
    assert (np.abs(x.mean(0) - mean) < 4.5 * x.std(0) / math.sqrt(n)).all()


def check_entropy(d, log_p, p):
    """H = −Σ p ln p, given all log-probabilities with their weights."""
    surprise = np.where(p > 0, -np.where(p > 0, log_p, 0), 0)
    assert abs(d.entropy() - np.sum(p * surprise)) < 1e-7
