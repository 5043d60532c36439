"""What parameters mean (MISSION A8): against SciPy, over all values, and by inverting uniforms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.special import logsumexp

from core import Tensor, grad, value
from core.errors import InputError
from core.random import uniform
from reference.autoregressive.heads import (
    DiscretisedLogistics,
    Gaussians,
    LeastSquares,
    Logistics,
    Softmax,
)

COUNTS = st.integers(1, 5)
SEEDS = st.integers(0, 999)


def parameters(head, n=(3, 4), seed=0, scale=1.0):
    return scale * np.random.default_rng(seed).normal(size=(*n, head.size))


def sums_to_one(head, seed=0, scale=3.0):
    theta = parameters(head, (4,), seed, scale)
    log_p = [value(head.log_prob(np.full(4, k), theta)) for k in range(head.levels)]
    np.testing.assert_allclose(np.exp(log_p).sum(axis=0), 1, rtol=1e-9)


def draws_follow_log_prob(head, n=4000, scale=0.3):
    """Kolmogorov and Smirnov for numbers, Pearson for whole ones."""
    theta = np.broadcast_to(parameters(head, (), 3, scale), (n, head.size))
    x = head.draw(theta, uniform(5, (n, head.uniforms), dtype=np.float64)).astype(np.float64)
    if hasattr(head, "levels"):
        every = np.arange(head.levels)
        p = np.exp(value(head.log_prob(every, theta[: head.levels])))
        found = np.bincount(x.astype(int), minlength=head.levels)
        likely = p * n > 5
        expected = p[likely] * found[likely].sum() / p[likely].sum()
        p_value = stats.chisquare(found[likely], expected).pvalue
    else:
        fine = np.linspace(x.min() - 20, x.max() + 20, 200_001)
        p = np.exp(value(head.log_prob(fine, np.broadcast_to(theta[0], (fine.size, head.size)))))
        cdf = np.cumsum(p) * (fine[1] - fine[0])
        np.testing.assert_allclose(cdf[-1], 1, atol=1e-3)
        p_value = stats.kstest(x, lambda t: np.interp(t, fine, cdf)).pvalue
    assert p_value > 1e-4


def continuous_agree(head, loc_scale, seed=0):
    """Σ π_k p_k, by SciPy."""
    theta, K = parameters(head, (7,), seed), head.components
    x = np.random.default_rng(seed + 1).normal(size=7)
    logits = theta[:, 2 * K :] if K > 1 else np.zeros((7, 1))
    log_pi = logits - logsumexp(logits, axis=1, keepdims=True)
    scale = np.exp(7 * np.tanh(theta[:, K : 2 * K] / 7))
    each = loc_scale.logpdf(x[:, None], theta[:, :K], scale)
    expected = logsumexp(log_pi + each, axis=1)
    np.testing.assert_allclose(value(head.log_prob(x, theta)), expected, rtol=1e-9, atol=1e-12)


@given(st.integers(2, 40), SEEDS)
def test_softmax_sums_to_one_and_is_the_exponential(levels, seed):
    head = Softmax(levels)
    sums_to_one(head, seed)
    theta, x = parameters(head, (9,), seed), np.random.default_rng(seed).integers(0, levels, 9)
    logits = np.concatenate([0 * theta, theta], axis=1) if levels == 2 else theta
    expected = (logits - logsumexp(logits, axis=1, keepdims=True))[np.arange(9), x]
    np.testing.assert_allclose(value(head.log_prob(x, theta)), expected, rtol=1e-9)


@given(st.integers(2, 256), COUNTS, SEEDS)
def test_discretised_logistics_sum_to_one_over_all_values(levels, components, seed):
    sums_to_one(DiscretisedLogistics(levels, components), seed)


def test_of_256_values_too_however_narrow():
    for scale in (0.1, 3.0, 10.0):
        sums_to_one(DiscretisedLogistics(256, 10), scale=scale)


@given(COUNTS, SEEDS)
def test_gaussians_and_logistics_are_scipys(components, seed):
    continuous_agree(Gaussians(components), stats.norm, seed)
    continuous_agree(Logistics(components), stats.logistic, seed)


@pytest.mark.parametrize(
    "head",
    [
        Softmax(2),
        Softmax(7),
        DiscretisedLogistics(8, 1),
        DiscretisedLogistics(16, 3),
        Gaussians(1),
        Gaussians(4),
        Logistics(3),
        LeastSquares(0.3),
    ],
)
def test_draws_follow_log_prob(head):
    draws_follow_log_prob(head)


@given(st.floats(0.01, 100), st.integers(1, 6), SEEDS)
def test_one_constant_width_is_least_squares(std, dim, seed):
    """−log p = Σ (x−μ)² / 2σ² + (D/2) ln 2πσ², so the gradients are proportional."""
    rng = np.random.default_rng(seed)
    x, theta = rng.normal(size=(4, dim)), Tensor(rng.normal(size=(4, dim, 1)))
    squares = np.sum((x - theta[..., 0]) ** 2)
    log_p = np.sum(LeastSquares(std).log_prob(x, theta))
    constant = 4 * dim / 2 * math.log(2 * math.pi * std**2)
    np.testing.assert_allclose(-log_p.item(), squares.item() / (2 * std**2) + constant, rtol=1e-10)
    (a,), (b,) = grad(log_p, [theta]), grad(squares, [theta])
    np.testing.assert_allclose(-a * (2 * std**2), b, rtol=1e-10)


class ForgetsTheTails(DiscretisedLogistics):
    """The two outermost values have a bin like the others'."""

    def log_prob(self, x, theta):
        d = self.distribution(theta).component.logistic
        half = 1 / (self.levels - 1)
        y = (2 * x / (self.levels - 1) - 1)[..., None]
        return np.log(np.sum(d.cdf(y + half) - d.cdf(y - half), axis=-1) / self.components)


class OneDrawForAll(Gaussians):
    """Component and place in it come from one uniform, as if independent."""

    def draw(self, theta, u):
        return super().draw(theta, np.stack([u[..., 0], u[..., 0]], axis=-1))


class TakesVariances(Gaussians):
    """The log scale is read as that of σ²."""

    def draw(self, theta, u):
        K = self.components
        return super().draw(
            np.concatenate([theta[..., :K], theta[..., K : 2 * K] / 2, theta[..., 2 * K :]], -1), u
        )


@pytest.mark.parametrize(
    ("law", "head"),
    [
        (sums_to_one, ForgetsTheTails(8, 1)),
        (draws_follow_log_prob, OneDrawForAll(4)),
        (draws_follow_log_prob, TakesVariances(1)),
        (lambda head: draws_follow_log_prob(head, scale=1.0), TakesVariances(3)),
    ],
)
def test_the_law_rejects(law, head):
    with pytest.raises(AssertionError):
        law(head)


def test_float32_stays():
    for head in (Softmax(5), Gaussians(2), Logistics(1), LeastSquares(1.0)):
        theta = parameters(head).astype(np.float32)
        x = np.ones((3, 4), np.float32)
        assert value(head.log_prob(x, theta)).dtype == np.float32
        if not hasattr(head, "levels"):
            assert head.draw(theta, uniform(0, (3, 4, head.uniforms))).dtype == np.float32
    head = DiscretisedLogistics(9, 2)
    assert value(head.log_prob(x, parameters(head).astype(np.float32))).dtype == np.float32


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Softmax(1), "levels must"),
        (lambda: DiscretisedLogistics(8, 0), "components must"),
        (lambda: Gaussians(0), "components must"),
        (lambda: LeastSquares(0.0), "std must"),
    ],
)
def test_bad_arguments_are_named(make, told):
    with pytest.raises(InputError, match=told):
        make()


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.floats(-1e3, 1e3))
def test_no_parameters_make_a_density_that_is_none(loc, log_scale, x):
    """However far a chain strays, its next conditional has a width."""
    theta = np.array([[loc, log_scale]])
    for head in (Gaussians(1), Logistics(1)):
        assert np.isfinite(value(head.log_prob(np.array([x]), theta)))
        assert np.isfinite(head.draw(theta, np.array([[0.5, 0.0]])))
    assert np.isfinite(value(DiscretisedLogistics(9, 1).log_prob(np.array([3.0]), theta)))
