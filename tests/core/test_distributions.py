"""core.distributions: SciPy, PyTorch, normalisation, samples, entropies, divergences, bad input.

Every law is a function of the distribution it checks, so that planted wrong ones meet it too.
"""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, special, stats

from core import Tensor, distributions, grad, no_grad
from core import functional as F
from core.distributions import (
    AffineTransform,
    Bernoulli,
    Categorical,
    DiscretizedLogistic,
    DiscretizedLogisticMixture,
    Distribution,
    ExpTransform,
    Independent,
    Logistic,
    Mixture,
    MultivariateNormal,
    Normal,
    SigmoidTransform,
    TransformedDistribution,
    kl_divergence,
)
from core.errors import InputError
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


# The distributions obey


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


# Wrong distributions don't


class Unnormalised(Normal):
    def log_prob(self, x):
        return super().log_prob(x) + distributions._log(self.scale)


class WrongCdf(Logistic):
    def cdf(self, x):
        return stats.norm.cdf(x, self.loc, self.scale * math.pi / math.sqrt(3))


class WideDraws(Normal):
    def sample(self, shape, rng):
        return 1.1 * super().sample(shape, rng)


class WrongEntropy(Normal):
    def entropy(self):
        return super().entropy() + distributions._log(self.scale)


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


# Values, against SciPy and PyTorch


@given(seed=SEEDS)
def test_values_equal_scipy(seed):
    loc, scale, x = reals(seed), positive(seed), 3 * reals(seed + 7, 9)
    p, k = uniform(seed, (), dtype=F64), np.arange(2)
    S, v = covariance(seed, 3), reals(seed + 5, 4, 3)
    lognormal = TransformedDistribution(Normal(loc, scale), [ExpTransform()])
    frozen = stats.lognorm(scale, scale=np.exp(loc))
    for ours, theirs in (
        (Normal(loc, scale).log_prob(x), stats.norm.logpdf(x, loc, scale)),
        (Normal(loc, scale).cdf(x), stats.norm.cdf(x, loc, scale)),
        (Normal(loc, scale).entropy(), stats.norm.entropy(loc, scale)),
        (Logistic(loc, scale).log_prob(x), stats.logistic.logpdf(x, loc, scale)),
        (Logistic(loc, scale).cdf(x), stats.logistic.cdf(x, loc, scale)),
        (Logistic(loc, scale).entropy(), stats.logistic.entropy(loc, scale)),
        (Logistic(loc, scale).variance, stats.logistic.var(loc, scale)),
        (Bernoulli(probs=p).log_prob(k), stats.bernoulli.logpmf(k, p)),
        (Bernoulli(probs=p).entropy(), stats.bernoulli.entropy(p)),
        (MultivariateNormal(v[0], S).log_prob(v), stats.multivariate_normal.logpdf(v, v[0], S)),
        (MultivariateNormal(v[0], S).entropy(), stats.multivariate_normal.entropy(v[0], S)),
        (MultivariateNormal(v[0], S).covariance_matrix, S),
        (lognormal.log_prob(np.exp(x)), frozen.logpdf(np.exp(x))),
        (lognormal.cdf(np.exp(x)), frozen.cdf(np.exp(x))),
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)


def torch_pairs(torch):
    """(make from parameters, the same in PyTorch, parameters, x)."""
    D = torch.distributions
    L = np.linalg.cholesky(np.stack([covariance(1, 3), covariance(2, 3)]))

    def their_mixture(w, m, s):
        return D.MixtureSameFamily(D.Categorical(logits=w), D.Normal(m, s))

    def our_chain(m, s, a):
        steps = [AffineTransform(0.5, a), SigmoidTransform(), AffineTransform(1.0, -2.0)]
        return TransformedDistribution(Normal(m, s), steps)

    def their_chain(m, s, a):
        T = D.transforms
        steps = [T.AffineTransform(0.5, a), T.SigmoidTransform(), T.AffineTransform(1.0, -2.0)]
        return D.TransformedDistribution(D.Normal(m, s), steps)

    m, s, x = reals(1, 5), positive(2, 5), reals(3, 4, 5)
    bits = (x > 0).astype(F64)
    labels = np.array([[0, 3], [2, 1], [1, 1]])
    return {
        "normal": (Normal, D.Normal, [m, s], x),
        "bernoulli": (Bernoulli, lambda a: D.Bernoulli(logits=a), [m], bits),
        "bernoulli probs": (
            lambda p: Bernoulli(probs=p),
            lambda p: D.Bernoulli(probs=p),
            [special.expit(m)],
            bits,
        ),
        "categorical": (Categorical, lambda a: D.Categorical(logits=a), [reals(4, 2, 4)], labels),
        "categorical probs": (
            lambda p: Categorical(probs=p),
            lambda p: D.Categorical(probs=p),
            [positive(4, 2, 4)],
            labels,
        ),
        "multivariate normal": (
            lambda m, L: MultivariateNormal(m, scale_tril=L),
            lambda m, L: D.MultivariateNormal(m, scale_tril=L),
            [reals(5, 2, 3), L],
            reals(6, 4, 2, 3),
        ),
        "covariance": (
            lambda m, S: MultivariateNormal(m, S),
            lambda m, S: D.MultivariateNormal(m, S),
            [reals(5, 3), covariance(1, 3)],
            reals(6, 4, 3),
        ),
        "mixture": (
            lambda w, m, s: Mixture(Categorical(w), Normal(m, s)),
            their_mixture,
            [reals(7, 5), m, s],
            reals(8, 6),
        ),
        "independent": (
            lambda m, s: Independent(Normal(m, s)),
            lambda m, s: D.Independent(D.Normal(m, s), 1),
            [m, s],
            x,
        ),
        "chain": (our_chain, their_chain, [m, s, -np.abs(m)], 1 - 2 * special.expit(x)),
    }


PAIRS = ["normal", "bernoulli", "bernoulli probs", "categorical", "categorical probs"]
PAIRS += ["multivariate normal", "covariance", "mixture", "independent", "chain"]


@pytest.mark.parametrize("name", PAIRS)
def test_values_and_gradients_equal_torch(name):
    torch = pytest.importorskip("torch")
    ours, theirs, parameters, x = torch_pairs(torch)[name]
    continuous = x.dtype == F64 and "bernoulli" not in name
    leaves = [Tensor(p) for p in (*parameters, *([x] if continuous else []))]
    their_leaves = [torch.tensor(a.data, requires_grad=True) for a in leaves]
    n = len(parameters)
    log_p = ours(*leaves[:n]).log_prob(leaves[n] if continuous else x)
    their_log_p = theirs(*their_leaves[:n]).log_prob(
        their_leaves[n] if continuous else torch.tensor(x)
    )
    np.testing.assert_allclose(log_p.data, their_log_p.detach(), rtol=1e-10)
    plain = ours(*parameters).log_prob(x)
    assert isinstance(plain, np.ndarray)
    np.testing.assert_array_equal(plain, log_p.data)
    g = reals(9, *log_p.shape)
    their_log_p.backward(torch.tensor(g))
    found = grad(log_p, leaves, g)
    for a, b in zip(found, their_leaves, strict=True):
        expected = b.grad.numpy()
        if name == "multivariate normal" and a.ndim == 3:
            a, expected = np.tril(a), np.tril(expected)
        if name == "covariance" and a.shape == (3, 3):
            a, expected = a + a.T, expected + expected.T
        np.testing.assert_allclose(a, expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", PAIRS[:7])
def test_entropies_equal_torch(name):
    torch = pytest.importorskip("torch")
    ours, theirs, parameters, _ = torch_pairs(torch)[name]
    leaves = [Tensor(p) for p in parameters]
    their_leaves = [torch.tensor(p, requires_grad=True) for p in parameters]
    h, their_h = ours(*leaves).entropy(), theirs(*their_leaves).entropy()
    np.testing.assert_allclose(h.data, their_h.detach(), rtol=1e-10)
    g = reals(9, *h.shape)
    their_h.backward(torch.tensor(g))
    for a, b in zip(grad(h, leaves, g), their_leaves, strict=True):
        expected = np.zeros_like(a) if b.grad is None else b.grad.numpy()
        np.testing.assert_allclose(np.tril(a), np.tril(expected), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", PAIRS[:7])
def test_divergences_equal_torch(name):
    torch = pytest.importorskip("torch")
    ours, theirs, parameters, _ = torch_pairs(torch)[name]
    others = [p[::-1].copy() if p.ndim == 1 else p * 1.5 for p in parameters]
    both = [*parameters, *others]
    leaves = [Tensor(p) for p in both]
    their_leaves = [torch.tensor(p, requires_grad=True) for p in both]
    n = len(parameters)
    kl = kl_divergence(ours(*leaves[:n]), ours(*leaves[n:]))
    expected = torch.distributions.kl_divergence(
        theirs(*their_leaves[:n]), theirs(*their_leaves[n:])
    )
    np.testing.assert_allclose(kl.data, expected.detach(), rtol=1e-8, atol=1e-12)
    g = reals(9, *kl.shape)
    expected.backward(torch.tensor(g))
    for a, b in zip(grad(kl, leaves, g), their_leaves, strict=True):
        np.testing.assert_allclose(np.tril(a), np.tril(b.grad.numpy()), rtol=1e-7, atol=1e-9)


# The discretised mixture of logistics (A8)


@given(
    seed=SEEDS,
    log_scale=st.floats(-80, 80),
    spread=st.floats(0, 3),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_discretised_mixture_sums_to_one_at_any_scale(seed, log_scale, spread, dtype):
    scale = np.exp(log_scale + reals(seed, 4)).astype(dtype)
    loc, logits = (
        (spread * reals(seed + 1, 4)).astype(dtype),
        (30 * reals(seed + 2, 4)).astype(dtype),
    )
    log_p = DiscretizedLogisticMixture(logits, loc, scale).log_prob(np.arange(256))
    assert log_p.dtype == dtype
    assert np.isfinite(log_p).all()
    tolerance = 1e-9 if dtype == F64 else 1e-4
    assert abs(math.fsum(np.exp(log_p.astype(F64))) - 1) < tolerance


def test_discretised_probabilities_are_differences_of_the_cdf():
    loc, scale = np.array(0.3), np.array(0.11)
    d = DiscretizedLogistic(loc, scale, 16)
    cdf = stats.logistic.cdf(2 * np.arange(15) / 15 - 1 + 1 / 15, loc, scale)
    expected = np.diff(np.concatenate([[0], cdf, [1]]))
    np.testing.assert_allclose(np.exp(d.log_prob(np.arange(16))), expected, rtol=1e-11)
    np.testing.assert_allclose(d.cdf(np.arange(16)), np.append(cdf, 1), rtol=1e-12)
    np.testing.assert_allclose(np.cumsum(expected), d.cdf(np.arange(16)), rtol=1e-12)


def test_discretised_log_prob_has_no_floor():
    """Far from the location a difference of sigmoids is 0 in any float; the logarithm is not."""
    d = DiscretizedLogistic(np.array(-1.0), np.array(1e-3))
    exact = -1000 * (2 * 200 - 1) / 255 + math.log1p(-math.exp(-2000 / 255))
    np.testing.assert_allclose(d.log_prob(np.array(200)), exact, rtol=1e-12)


@pytest.mark.parametrize("levels", [2, 3, 256])
def test_discretised_gradient_equals_finite_differences(levels):
    x = np.array([0, 1, levels // 2, levels - 1])[:, None] % levels
    x = np.broadcast_to(x, (4, 3))
    start = [reals(1, 3, 4), reals(2, 3, 4), 0.2 * positive(3, 3, 4)]
    g = reals(4, 4, 3)

    def f(*parameters):
        log_p = DiscretizedLogisticMixture(*parameters, levels).log_prob(x)
        return log_p if isinstance(log_p, Tensor) else np.sum(g * log_p)

    leaves = [Tensor(p) for p in start]
    for i, found in enumerate(grad(f(*leaves), leaves, g)):
        v, h = reals(5 + i, 3, 4), 1e-6
        moved = [[p + e * v if i == j else p for j, p in enumerate(start)] for e in (h, -h)]
        slope = (f(*moved[0]) - f(*moved[1])) / (2 * h)
        np.testing.assert_allclose(np.sum(found * v), slope, rtol=1e-6)


def test_gradients_of_entropy_by_levels():
    leaves = [Tensor(reals(1, 4)), Tensor(reals(2, 4)), Tensor(0.3 * positive(3, 4))]
    d = DiscretizedLogisticMixture(*leaves, 8)
    log_p = d.log_prob(np.arange(8))
    by_hand = grad(np.sum(-np.exp(log_p) * log_p), leaves)
    for a, b in zip(grad(d.entropy(), leaves), by_hand, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-14)


# Extremes


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extreme_logits_stay_finite(dtype):
    big = np.array([-1e30, -200.0, 0.0, 200.0, 1e30], dtype)
    for x in (0, 1):
        log_p = Bernoulli(big).log_prob(np.full(5, x))
        assert np.isfinite(log_p).all()
        assert (log_p <= 0).all()
    assert np.isfinite(Categorical(big).log_prob(np.arange(5))).all()
    assert np.isfinite(Bernoulli(big).entropy()).all()
    assert np.isfinite(Categorical(big).entropy())
    z = np.array([-1e18, -200.0, 0.0, 200.0, 1e18], dtype)
    assert np.isfinite(Logistic(dtype(0), dtype(1)).log_prob(z)).all()
    assert np.isfinite(Normal(dtype(0), dtype(1)).log_prob(z)).all()
    mixture = Mixture(Categorical(big), Normal(z, np.ones(5, dtype)))
    assert np.isfinite(mixture.log_prob(np.array([3.0], dtype))).all()
    leaf = Tensor(big)
    for y in (Bernoulli(leaf).log_prob(np.ones(5)), Categorical(leaf).log_prob(np.arange(5))):
        assert np.isfinite(grad(y, [leaf], np.ones(5, dtype))[0]).all()


def test_certain_outcomes():
    sure = Bernoulli(probs=np.array([0.0, 1.0]))
    np.testing.assert_array_equal(sure.log_prob([0, 1]), [0, 0])
    np.testing.assert_array_equal(sure.log_prob([1, 0]), [-INF, -INF])
    np.testing.assert_array_equal(sure.entropy(), [0, 0])
    np.testing.assert_array_equal(sure.variance, [0, 0])
    np.testing.assert_array_equal(sure.sample((500,), 0), np.tile([0.0, 1.0], (500, 1)))
    one = Categorical(probs=np.array([0.0, 1.0, 0.0]))
    np.testing.assert_array_equal(one.log_prob(np.arange(3)), [-INF, 0, -INF])
    assert one.entropy() == 0
    assert (one.sample((500,), 0) == 1).all()
    mixture = Mixture(one, Normal(np.arange(3.0), np.ones(3)))
    np.testing.assert_allclose(mixture.log_prob([0.5]), stats.norm.logpdf([0.5], 1))


def test_outcomes_of_probability_zero_never_come():
    d = Categorical(probs=np.array([0.0, 0.3, 0.0, 0.7, 0.0]))
    assert set(d.sample((20_000,), 3)) == {1, 3}


# Samples


@each(ALL)
@given(seed=SEEDS, k=st.integers(0, 19))
def test_a_draw_is_the_same_in_every_batch(name, seed, k):
    """Row k of 20 draws is row k of 20 draws of a longer table: noise is named by its sample."""
    d = ALL[name](seed)
    many = d.sample((20,), Generator(seed, "test"))
    assert many.shape == (20, *d.event_shape)
    few = d.sample((k + 1,), Generator(seed, "test"))
    np.testing.assert_array_equal(many[k], few[k])


@each(ALL)
def test_shapes(name):
    d = ALL[name](3)
    assert isinstance(d, Distribution)
    assert d.batch_shape == ()
    for lead in ((), (4,), (2, 3)):
        x = d.sample(lead, 1)
        assert isinstance(x, (np.ndarray, np.generic))
        assert x.shape == lead + d.event_shape
        assert d.log_prob(x).shape == lead
    np.testing.assert_array_equal(d.sample(5, 1), d.sample((5,), Generator(1, "sample")))


def batched():
    s = 3
    m, sd = reals(s, 2, 3), positive(s, 2, 3)
    S = np.stack([covariance(i, 2) for i in range(3)])
    return {
        "normal": (Normal(m, sd), lambda i, j: Normal(m[i, j], sd[i, j])),
        "broadcast": (Normal(m[:, :1], sd[0]), lambda i, j: Normal(m[i, 0], sd[0, j])),
        "logistic": (Logistic(m, sd[0]), lambda i, j: Logistic(m[i, j], sd[0, j])),
        "bernoulli": (Bernoulli(m), lambda i, j: Bernoulli(m[i, j])),
        "categorical": (
            Categorical(reals(s, 2, 3, 4)),
            lambda i, j: Categorical(reals(s, 2, 3, 4)[i, j]),
        ),
        "multivariate": (
            MultivariateNormal(reals(s, 2, 1, 2), S),
            lambda i, j: MultivariateNormal(reals(s, 2, 1, 2)[i, 0], S[j]),
        ),
        "mixture": (
            Mixture(Categorical(reals(s, 4)), Normal(reals(s, 2, 3, 4), positive(s, 4))),
            lambda i, j: Mixture(
                Categorical(reals(s, 4)), Normal(reals(s, 2, 3, 4)[i, j], positive(s, 4))
            ),
        ),
        "discretised": (
            DiscretizedLogistic(m, sd[0], 9),
            lambda i, j: DiscretizedLogistic(m[i, j], sd[0, j], 9),
        ),
        "transformed": (
            TransformedDistribution(Normal(m, sd), AffineTransform(0.0, m[0])),
            lambda i, j: TransformedDistribution(
                Normal(m[i, j], sd[i, j]), AffineTransform(0.0, m[0, j])
            ),
        ),
    }


@each(batched())
def test_a_batch_is_its_members_side_by_side(name):
    d, member = batched()[name]
    assert d.batch_shape == (2, 3)
    x = d.sample((4,), 7)
    assert x.shape == (4, 2, 3, *d.event_shape)
    log_p = d.log_prob(x)
    for i, j in itertools.product(range(2), range(3)):
        one = member(i, j)
        np.testing.assert_allclose(log_p[:, i, j], one.log_prob(x[:, i, j]), rtol=1e-12)
        if hasattr(one, "entropy"):
            assert d.entropy().shape == (2, 3)
            np.testing.assert_allclose(d.entropy()[i, j], one.entropy(), rtol=1e-12)
        if hasattr(one, "cdf"):
            np.testing.assert_allclose(d.cdf(x)[:, i, j], one.cdf(x[:, i, j]), rtol=1e-12)


def test_transforms_of_vectors_add_up():
    base = MultivariateNormal(reals(1, 2), covariance(1, 2))
    scale = np.array([2.0, -3.0])
    d = TransformedDistribution(base, [AffineTransform(np.ones(2), scale)])
    exact = MultivariateNormal(
        1 + scale * base.loc, scale[:, None] * base.covariance_matrix * scale
    )
    x = d.sample((50,), 3)
    np.testing.assert_allclose(d.log_prob(x), exact.log_prob(x), rtol=1e-11)


# Reparametrised samples


def check_pathwise_gradient(make, parameters, analytic, n=4000):
    """d/dθ of mean f(x) with f(x) = Σ x² by rsample equals the exact derivative of E f."""
    leaves = [Tensor(p) for p in parameters]
    x = make(*leaves).rsample((n,), Generator(5, "test"))
    per_draw = np.sum(x * x, axis=tuple(range(1, x.ndim)))
    for i, expected in enumerate(analytic(*parameters)):
        found = grad(np.mean(per_draw), leaves)[i]
        spread = 8 * (1 + np.abs(expected)) / math.sqrt(n)
        np.testing.assert_array_less(np.abs(found - expected), 4.5 * spread)


class NoPath(Normal):
    def rsample(self, shape, rng):
        return super().rsample(shape, rng) - (self.loc - self.loc.data)


PATHS = {
    "normal": (Normal, lambda m, s: (2 * m, 2 * s)),
    "logistic": (Logistic, lambda m, s: (2 * m, 2 * s * math.pi**2 / 3)),
    "independent": (lambda m, s: Independent(Normal(m, s)), lambda m, s: (2 * m, 2 * s)),
    "affine": (
        lambda m, s: TransformedDistribution(Normal(m, s), AffineTransform(1.0, -2.0)),
        lambda m, s: (-4 * (1 - 2 * m), 8 * s),
    ),
}


@each(PATHS)
def test_pathwise_gradient(name):
    make, analytic = PATHS[name]
    check_pathwise_gradient(make, [reals(1, 3), positive(2, 3)], analytic)


def test_pathwise_gradient_of_vectors():
    L = np.linalg.cholesky(covariance(1, 3))
    check_pathwise_gradient(
        lambda m, L: MultivariateNormal(m, scale_tril=L),
        [reals(1, 3), L],
        lambda m, L: (2 * m, 2 * L),
    )


def test_a_cut_path_is_rejected():
    with pytest.raises(AssertionError):
        check_pathwise_gradient(NoPath, [1 + positive(1, 3), positive(2, 3)], PATHS["normal"][1])


@given(seed=SEEDS)
def test_the_path_of_each_draw(seed):
    m, s = Tensor(reals(seed, 3)), Tensor(positive(seed, 3))
    x = Normal(m, s).rsample((), Generator(seed))
    dm, ds = grad(x, [m, s], np.ones(3))
    np.testing.assert_array_equal(dm, np.ones(3))
    np.testing.assert_allclose(ds, (x.data - m.data) / s.data, rtol=1e-9, atol=1e-12)


def test_rsample_draws_what_sample_draws():
    for d in (
        Normal(Tensor(reals(1, 3)), 2.0),
        Logistic(Tensor(reals(1, 3)), 2.0),
        MultivariateNormal(Tensor(reals(1, 3)), covariance(1, 3)),
        Independent(Normal(Tensor(reals(1, 3)), 2.0)),
        TransformedDistribution(Normal(Tensor(reals(1, 3)), 1.0), ExpTransform()),
    ):
        x, y = d.sample((4,), 3), d.rsample((4,), 3)
        assert isinstance(x, np.ndarray)
        assert isinstance(y, Tensor)
        np.testing.assert_array_equal(x, y.data)
    with no_grad():
        assert isinstance(d.rsample((4,), 3), np.ndarray)


def test_tensor_parameters_give_plain_samples():
    for d in (
        Bernoulli(Tensor(reals(1, 3))),
        Categorical(Tensor(reals(1, 3))),
        DiscretizedLogisticMixture(*(Tensor(positive(i, 3)) for i in range(3))),
        Mixture(Categorical(Tensor(reals(1, 3))), Normal(Tensor(reals(1, 3)), 1.0)),
    ):
        assert isinstance(d.sample((4,), 3), np.ndarray)


# dtypes


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_in_is_dtype_out(dtype):
    a, s, x = (f(1, 3).astype(dtype) for f in (reals, positive, reals))
    S = covariance(1, 3).astype(dtype)
    k = np.array([0, 1, 1])
    line = [Normal(a, s), Normal(a, 2.0), Normal(0.0, s), Normal(0, 1), Logistic(a, s)]
    line += [Logistic(0.0, 1.0), TransformedDistribution(Normal(a, s), AffineTransform(1.0, -2))]
    line += [TransformedDistribution(Normal(0.0, 1.0), SigmoidTransform())]
    results = []
    for d in line:
        y = special.expit(x)
        results += [d.log_prob(y), d.cdf(y)]
    for d in line[:3]:
        results += [d.entropy(), d.mean, d.variance, d.sample((2,), 0), d.rsample((2,), 0)]
        results += [kl_divergence(d, line[0])]
    d = MultivariateNormal(a, S)
    results += [d.log_prob(x), d.entropy(), d.sample((2,), 0), kl_divergence(d, d)]
    mixture = Mixture(Categorical(a), Normal(a, s))
    results += [mixture.log_prob(x), mixture.cdf(x), mixture.sample((2,), 0)]
    for d in (Bernoulli(a), Bernoulli(probs=special.expit(a)), Categorical(np.stack([a, a, a]))):
        results += [d.log_prob(k), d.entropy(), d.probs, kl_divergence(d, d)]
    results += [Bernoulli(a).sample((2,), 0), Bernoulli(a).variance]
    for d in (DiscretizedLogistic(a, s), DiscretizedLogisticMixture(a, np.stack([a] * 3), s)):
        results += [d.log_prob(k), d.cdf(k), d.entropy()]
        assert d.sample((2,), 0).dtype == np.int64
    assert [r.dtype for r in results] == [dtype] * len(results)
    leaf = Tensor(a)
    for d in (Normal(leaf, 1.0), Logistic(leaf, s), Normal(0.0, Tensor(s))):
        assert d.log_prob(x).dtype == d.rsample((2,), 0).dtype == dtype
        assert d.log_prob(Tensor(x)).dtype == dtype


def test_numbers_alone():
    assert Normal(0, 1).sample((2,), 0).dtype == np.float32
    assert Normal(0, 2).entropy() == pytest.approx(stats.norm.entropy(0, 2))
    assert Bernoulli(probs=0.25).log_prob(1) == pytest.approx(math.log(0.25))
    assert Categorical(probs=[1, 3]).log_prob(1) == pytest.approx(math.log(0.75))
    assert kl_divergence(Normal(0, 1), Normal(1, 2)) == pytest.approx(math.log(2) + 0.25 - 0.5)
    assert Normal(0.0, 1.0).log_prob(1).dtype == np.float32
    for dtype in (np.float32, F64):
        d = Normal(np.zeros(2, dtype), 1.0)
        for e in (d, TransformedDistribution(d, ExpTransform()), Mixture(Categorical(d.loc), d)):
            assert e.log_prob([0.5]).dtype == dtype
    x = Tensor(reals(1, 3))
    assert grad(Normal(0.0, 1.0).log_prob(x), [x], np.ones(3))[0].dtype == F64


def test_both_precisions_see_the_same_noise():
    a, s = reals(1, 3).astype(np.float32), positive(1, 3).astype(np.float32)
    for make in (Normal, Logistic):
        narrow = make(a, s).sample((100,), 0)
        wide = make(a.astype(F64), s.astype(F64)).sample((100,), 0)
        np.testing.assert_allclose(narrow, wide, rtol=1e-5, atol=1e-5)


# Divergences


def check_divergence_by_enumeration(kl, p, q, points):
    lp, lq = p.log_prob(points), q.log_prob(points)
    exact = math.fsum(np.exp(lp) * (lp - lq))
    assert abs(kl - exact) < 1e-10 * max(1, abs(exact))


def check_divergence_by_draws(kl, p, q, n=20_000):
    x = p.sample((n,), Generator(23, "test"))
    gaps = p.log_prob(x) - q.log_prob(x)
    assert abs(gaps.mean() - kl) < 4.5 * gaps.std() / math.sqrt(n) + 1e-12


@pytest.mark.parametrize("name", ["bernoulli", "bernoulli probs", "categorical", "product"])
@given(seed=SEEDS)
def test_discrete_divergence(name, seed):
    make, points, _ = DISCRETE[name]
    p, q = make(seed), make(seed + 50)
    kl = kl_divergence(p, q)
    check_divergence_by_enumeration(kl, p, q, points)
    assert kl >= -1e-15
    assert abs(kl_divergence(p, p)) < 1e-14


@pytest.mark.parametrize("make", [LINE["normal"][0], *list(PLANE.values())[:2]])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_continuous_divergence(make, seed):
    p, q = make(seed), make(seed + 50)
    kl = kl_divergence(p, q)
    check_divergence_by_draws(kl, p, q)
    assert kl > 0
    assert abs(kl - kl_divergence(q, p)) > 1e-6
    assert abs(kl_divergence(p, p)) < 1e-12


def test_wrong_divergences_are_rejected():
    p, q = DISCRETE["categorical"][0](1), DISCRETE["categorical"][0](2)
    with pytest.raises(AssertionError):
        check_divergence_by_enumeration(kl_divergence(q, p), p, q, np.arange(7))
    for make in (LINE["normal"][0], PLANE["multivariate normal"]):
        p, q = make(1), make(51)
        for wrong in (kl_divergence(q, p), 0.9 * kl_divergence(p, q)):
            with pytest.raises(AssertionError):
                check_divergence_by_draws(wrong, p, q)


def test_divergence_on_and_off_the_support():
    p = Categorical(probs=np.array([0.5, 0.5, 0.0]))
    q = Categorical(probs=np.array([0.25, 0.5, 0.25]))
    assert kl_divergence(p, q) == pytest.approx(0.5 * math.log(2))
    assert kl_divergence(q, p) == INF
    assert kl_divergence(p, p) == 0
    zero, one, half = (Bernoulli(probs=np.array(x)) for x in (0.0, 1.0, 0.5))
    assert kl_divergence(zero, one) == INF
    assert kl_divergence(half, one) == INF
    assert kl_divergence(zero, half) == pytest.approx(math.log(2))
    assert kl_divergence(one, one) == 0
    tiny = Bernoulli(np.array(-1e5))  # P(1) is 0 in floating point, yet not zero
    assert kl_divergence(tiny, zero) == INF
    logits = Tensor(np.array([0.3, -0.2, 0.0]))
    slope = grad(kl_divergence(p, Categorical(logits)), [logits])[0]
    np.testing.assert_allclose(slope, F.softmax(logits.data) - [0.5, 0.5, 0.0], atol=1e-15)


def test_divergence_broadcasts():
    m = reals(1, 4, 3)
    kl = kl_divergence(Normal(m, 1.0), Normal(m[0], positive(1, 4, 1)))
    assert kl.shape == (4, 3)
    d = MultivariateNormal(m, covariance(1, 3))
    kl = kl_divergence(d, MultivariateNormal(np.zeros(3), np.eye(3)))
    assert kl.shape == (4,)
    one = kl_divergence(
        MultivariateNormal(m[2], covariance(1, 3)), MultivariateNormal(np.zeros(3), np.eye(3))
    )
    np.testing.assert_allclose(kl[2], one, rtol=1e-12)


# Bad input


def bad(message):
    return pytest.raises(InputError, match=message)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Normal(0.0, 0.0), "scale must be positive, got 0.0"),
        (lambda: Normal(0.0, np.array([1.0, -2.0])), "scale must be positive, got -2.0"),
        (lambda: Normal(np.array([0.0, np.nan]), 1.0), "loc must be finite, got nan"),
        (lambda: Normal(INF, 1.0), "loc must be finite, got inf"),
        (lambda: Normal(np.zeros(2), np.ones(3)), r"shapes don't broadcast: loc \(2,\) and scale"),
        (lambda: Normal(np.zeros(2, np.float32), np.ones(2)), "one dtype, got loc float32 and"),
        (lambda: Normal(np.zeros(2, int), 1.0), "loc must be float32 or float64, got int64"),
        (lambda: Normal("a", 1.0), "loc must be numbers, got str"),
        (lambda: Logistic(0.0, -1.0), "scale must be positive, got -1.0"),
        (lambda: Bernoulli(), "give logits or probs, one of them"),
        (lambda: Bernoulli(0.0, probs=0.5), "give logits or probs, one of them"),
        (lambda: Bernoulli(probs=np.array([0.5, 1.5])), r"probs must be in \[0, 1\], got 1.5"),
        (lambda: Bernoulli(np.array(np.nan)), "logits must be a number, got nan"),
        (lambda: Categorical(probs=np.array([0.5, -0.1])), "probs must be at least 0, got -0.1"),
        (lambda: Categorical(probs=np.zeros(3)), r"largest of logits must be finite .*, got -inf"),
        (lambda: Categorical(np.array([0.0, INF])), "largest of logits must be finite .*, got inf"),
        (lambda: Categorical(np.array(0.0)), "logits must have a last axis"),
        (lambda: Categorical(np.zeros((2, 0))), "logits must have a last axis"),
        (lambda: MultivariateNormal(np.zeros(2)), "give covariance_matrix or scale_tril"),
        (lambda: MultivariateNormal(np.zeros(2), np.eye(3)), r"shapes \(…, D\) and \(…, D, D\)"),
        (lambda: MultivariateNormal(np.array(0.0), np.eye(1)), r"got \(\) and \(1, 1\)"),
        (lambda: MultivariateNormal(np.zeros(2), -np.eye(2)), "must be positive definite"),
        (lambda: MultivariateNormal(np.zeros(2), np.array([[1, 0.5], [0, 1]])), "symmetric"),
        (lambda: MultivariateNormal(np.zeros(2), scale_tril=np.ones((2, 2))), "0 above its diag"),
        (lambda: MultivariateNormal(np.zeros(2), scale_tril=-np.eye(2)), "positive on its diag"),
        (lambda: DiscretizedLogistic(0.0, 1.0, 1), "levels must be an int of at least 2, got 1"),
        (lambda: DiscretizedLogistic(0.0, 1.0, 2.5), "levels must be an int"),
        (lambda: DiscretizedLogistic(0.0, 0.0), "scale must be positive, got 0.0"),
        (lambda: Mixture(Categorical(np.zeros(3)), Normal(np.zeros(2), 1.0)), r"\(…, 3\)"),
        (lambda: Mixture(Categorical(np.zeros((2, 3))), Normal(np.zeros(3), 1.0)), r"mixing has"),
        (lambda: Independent(Normal(np.zeros(3), 1.0), 2), r"ndims must be in \[0, 1\], got 2"),
        (lambda: AffineTransform(0.0, 0.0), "scale must be different from 0, got 0.0"),
        (
            lambda: TransformedDistribution(Normal(0, 1), AffineTransform(np.zeros(3), 1.0)),
            r"transform has shape \(3,\); base has \(\)",
        ),
    ],
)
def test_bad_parameters(make, message):
    with bad(message):
        make()


MULTI = MultivariateNormal(np.zeros(2), np.eye(2))


@pytest.mark.parametrize(
    ("d", "x", "message"),
    [
        (Normal(np.zeros(2), 1.0), np.array([0.0, np.nan]), "x must be a number, got nan"),
        (Normal(np.zeros(2), 1.0), np.zeros(3), r"shapes don't broadcast: x \(3,\)"),
        (
            Normal(np.zeros(2), 1.0),
            np.zeros(2, np.float32),
            "parameters' dtype float64, got float32",
        ),
        (Normal(np.zeros(2), 1.0), np.zeros(2, int), "x must be float32 or float64, got int64"),
        (Normal(0.0, 1.0), None, "x must be"),
        (Bernoulli(np.zeros(2)), np.array([0, 2]), "x must be 0 or 1, got 2"),
        (Bernoulli(np.zeros(2)), np.array([0.5, np.nan]), "x must be 0 or 1, got 0.5"),
        (Categorical(np.zeros(3)), np.array([0, 3]), r"x must be in \[0, 3\), got 3"),
        (Categorical(np.zeros(3)), np.array([-1]), r"x must be in \[0, 3\), got -1"),
        (Categorical(np.zeros(3)), np.array([1.0]), r"x must be integers in \[0, 3\), got float64"),
        (DiscretizedLogistic(0.0, 1.0, 16), np.array([16]), r"x must be in \[0, 16\), got 16"),
        (MULTI, np.zeros(3), r"x must end in the event_shape \(2,\), got shape \(3,\)"),
        (MULTI, np.zeros(()), r"x must end in the event_shape \(2,\), got shape \(\)"),
        (TransformedDistribution(Normal(0, 1), ExpTransform()), [-1.0], "positive, got -1.0"),
        (TransformedDistribution(Normal(0, 1), SigmoidTransform()), [1.0], "ends excluded, got 1"),
    ],
)
def test_bad_points(d, x, message):
    with bad(message):
        d.log_prob(x)


def test_what_has_no_closed_form_says_so():
    p = Normal(0.0, 1.0)
    with bad("kl_divergence has no closed form for Logistic and Logistic"):
        kl_divergence(Logistic(0.0, 1.0), Logistic(0.0, 1.0))
    with bad("kl_divergence has no closed form for Normal and Bernoulli"):
        kl_divergence(p, Bernoulli(0.0))
    with bad("p has 2 outcomes; q has 3"):
        kl_divergence(Categorical(np.zeros(2)), Categorical(np.zeros(3)))
    with bad(r"p has event_shape \(2,\); q has \(3,\)"):
        kl_divergence(MULTI, MultivariateNormal(np.zeros(3), np.eye(3)))
    with bad("shapes don't broadcast: p"):
        kl_divergence(Normal(np.zeros(2), 1.0), Normal(np.zeros(3), 1.0))
    one, two = (Independent(Normal(np.zeros((n, 2)), 1.0), n) for n in (1, 2))
    with bad("event_shape"):
        kl_divergence(one, two)
    with bad("Bernoulli has no reparametrised sample; use sample"):
        Independent(Bernoulli(np.zeros(2))).rsample((2,), 0)
    with bad("no cdf"):
        TransformedDistribution(Bernoulli(0.0), AffineTransform(0.0, 1.0)).cdf([1.0])
    with bad("no cdf"):
        Mixture(Categorical(np.zeros(2)), Bernoulli(np.zeros(2))).cdf(1)
    with bad("no entropy"):
        Independent(mixture_of_normals(1), 0).entropy()
    with bad("seed must be an int"):
        p.sample((2,), -1)
    with bad("a length in shape must be an int"):
        p.sample((2.5,), 0)


def test_mixed_precision_on_the_tape_is_refused():
    d = Normal(Tensor(np.zeros(2)), 1.0)
    with bad("dtype"):
        d.log_prob(Tensor(np.zeros(2, np.float32)))


def test_quadrature_is_sound():
    value, _ = integrate.quad(density(Normal(np.array(0.3), 2.0)), -30, 30)
    ours = quadrature(lambda x: np.exp(Normal(np.array(0.3), 2.0).log_prob(x)), -400, 400)
    assert abs(value - ours) < 1e-8
