"""Kullback–Leibler divergences by enumeration and by draws (F3)."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import Tensor, grad
from core import functional as F
from core.distributions import (
    Bernoulli,
    Categorical,
    MultivariateNormal,
    Normal,
    kl_divergence,
)
from core.random import Generator
from tests.core.distributions.subjects import (
    DISCRETE,
    INF,
    LINE,
    PLANE,
    SEEDS,
    covariance,
    positive,
    reals,
)


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


@given(seed=SEEDS, dtype=st.sampled_from([np.float32, np.float64]))
def test_divergence_of_normals_by_log_std_keeps_the_dtype(seed, dtype):
    """A network's output is (μ, ln σ) and its prior two Python numbers."""
    m, log_std = reals(seed, 5).astype(dtype), reals(seed + 1, 5).astype(dtype)
    found = F.normal_kl(m, log_std)
    assert found.dtype == F.normal_kl(m, log_std, 0.5, -1.0).dtype == dtype
    expected = kl_divergence(Normal(m, np.exp(log_std)), Normal(0.0, 1.0))
    np.testing.assert_allclose(
        found, expected, rtol=1e-4 if dtype == np.float32 else 1e-12, atol=1e-6
    )
    exact = 0.5 * (np.exp(2 * log_std) + m * m - 1) - log_std
    np.testing.assert_allclose(found, exact, rtol=1e-4, atol=1e-6)
