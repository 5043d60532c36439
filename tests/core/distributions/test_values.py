"""Values, gradients, entropies and divergences of SciPy and PyTorch."""

import numpy as np
import pytest
from hypothesis import given
from scipy import special, stats

from core import Tensor, grad
from core.distributions import (
    AffineTransform,
    Bernoulli,
    Categorical,
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
from core.random import uniform
from tests.core.distributions.subjects import (
    F64,
    SEEDS,
    covariance,
    positive,
    reals,
)


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
