"""The discretised mixture of logistics (A8)."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from core import Tensor, grad
from core.distributions import (
    DiscretizedLogistic,
    DiscretizedLogisticMixture,
)
from tests.core.distributions.subjects import (
    F64,
    SEEDS,
    positive,
    reals,
)


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
