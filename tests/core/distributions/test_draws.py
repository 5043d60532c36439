"""Draws: by name, in batches, differentiable, in both precisions."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from core import Tensor, grad, no_grad
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
from core.random import Generator
from tests.core.distributions.subjects import (
    ALL,
    F64,
    SEEDS,
    covariance,
    each,
    positive,
    reals,
)


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
