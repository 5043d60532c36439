"""Estimates of means and divergences are unbiased, and as far off as they say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.distributions import Categorical, Normal, kl_divergence
from core.errors import InputError
from core.random import Generator
from reference.judges import estimates
from reference.judges.estimates import (
    Estimate,
    cross_entropy,
    effective_sample_size,
    entropy,
    importance,
    kl,
    monte_carlo,
    self_normalised,
)

SEEDS = st.integers(0, 2**31)
ROUNDS, N = 400, 200


def pair(rng: Generator) -> tuple[Categorical, Categorical, Any]:
    """p, q and f over 5 values."""
    p, q = (Categorical(logits=0.7 * rng.normal((5,), dtype=np.float64)) for _ in range(2))
    return p, q, rng.normal((5,), dtype=np.float64)


def is_unbiased_and_covers(rounds: Estimate, truth: float) -> None:
    """Mean of the estimates within 4 errors of the truth; 95 % of the intervals hold it."""
    of_means = monte_carlo(rounds.mean)
    assert abs(of_means.mean - truth) <= 4 * of_means.se
    low, high = rounds.interval(0.95)
    assert 0.9 < np.mean((low < truth) & (truth < high)) < 0.99


def by_samples_of_q(rng: Generator, estimate: Any) -> tuple[Estimate, float]:
    p, q, f = pair(rng)
    x = np.asarray(q.sample((ROUNDS, N), rng))
    log_w = np.asarray(p.log_prob(x) - q.log_prob(x))
    return estimate(f[x], log_w), float(p.probs @ f)


@pytest.mark.parametrize("seed", range(3))
def test_importance_sampling_is_unbiased_and_knows_its_error(seed: int):
    is_unbiased_and_covers(*by_samples_of_q(Generator(seed), importance))


def wrong_weights(f: Any, log_w: Any) -> Estimate:
    return importance(f, -log_w)


def no_weights(f: Any, log_w: Any) -> Estimate:
    return monte_carlo(f)


def too_sure(f: Any, log_w: Any) -> Estimate:
    found = importance(f, log_w)
    return Estimate(found.mean, found.se / 2, found.n)


@pytest.mark.parametrize("estimate", [wrong_weights, no_weights, too_sure])
def test_a_wrong_estimate_is_noticed(estimate: Any):
    with pytest.raises(AssertionError):
        is_unbiased_and_covers(*by_samples_of_q(Generator(0), estimate))


@given(seed=SEEDS, shift=st.floats(-700, 700))
def test_self_normalised_needs_no_constant(seed: int, shift: float):
    rng = Generator(seed)
    p, q, f = pair(rng)
    x = np.asarray(q.sample((N,), rng))
    log_w = np.asarray(p.log_prob(x) - q.log_prob(x))
    found, moved = self_normalised(f[x], log_w), self_normalised(f[x], log_w + shift)
    np.testing.assert_allclose(moved.mean, found.mean, rtol=1e-9, atol=1e-12)
    w = np.exp(log_w)
    np.testing.assert_allclose(found.mean, np.average(f[x], weights=w), rtol=1e-9, atol=1e-12)
    ess = effective_sample_size(log_w + shift)
    np.testing.assert_allclose(ess, w.sum() ** 2 / (w**2).sum(), rtol=1e-9)
    assert 1 <= ess <= N * (1 + 1e-12)


def test_the_error_of_a_ratio_is_that_of_its_repetitions():
    found, truth = by_samples_of_q(Generator(1), self_normalised)
    low, high = found.interval()
    assert 0.9 < np.mean((low < truth) & (truth < high)) < 0.99
    np.testing.assert_allclose(np.mean(found.se), np.std(found.mean), rtol=0.15)


@given(seed=SEEDS)
def test_entropies_and_kl_lie_in_their_interval(seed: int):
    """Of categoricals in closed form; 5 errors, so that none of the examples is outside."""
    rng = Generator(seed)
    p, q, _ = pair(rng)
    x = np.asarray(p.sample((4000,), rng))
    truths = (
        (entropy(x, p), float(p.entropy())),
        (cross_entropy(x, q), float(-(p.probs @ q.logits))),
        (kl(x, p, q), float(kl_divergence(p, q))),
    )
    for found, truth in truths:
        assert abs(found.mean - truth) <= 5 * found.se


def test_kl_the_other_way_round_is_noticed():
    p, q = Normal(np.array(0.0), np.array(1.0)), Normal(np.array(1.0), np.array(3.0))
    x = p.sample((4000,), Generator(0))
    found, wrong = kl(x, p, q), kl(x, q, p)
    truth = float(kl_divergence(p, q))
    assert abs(found.mean - truth) <= 4 * found.se
    assert abs(wrong.mean - truth) > 4 * wrong.se


def test_kl_is_infinite_off_the_support():
    p, q = Categorical(probs=np.array([0.5, 0.5])), Categorical(probs=np.array([1.0, 0.0]))
    assert kl(np.array([0, 1, 0]), p, q).mean == np.inf


@given(seed=SEEDS, rows=st.integers(1, 4), n=st.integers(2, 9))
def test_many_estimates_at_once_are_those_one_by_one(seed: int, rows: int, n: int):
    rng = np.random.default_rng(seed)
    f, log_w = rng.normal(size=(2, rows, n))
    for estimate in (importance, self_normalised):
        together = estimate(f, log_w)
        for i in range(rows):
            alone = estimate(f[i], log_w[i])
            np.testing.assert_allclose((together.mean[i], together.se[i]), (alone.mean, alone.se))
    np.testing.assert_allclose(
        effective_sample_size(log_w), [effective_sample_size(w) for w in log_w]
    )


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: monte_carlo(np.ones(1)), "f must have at least 2 samples"),
        (lambda: monte_carlo(np.array([1.0, np.nan])), "f must hold numbers, got NaN at 1"),
        (lambda: importance(np.ones(2), np.array([0.0, np.inf])), "log_w must be < inf"),
        (lambda: effective_sample_size(np.full(3, -np.inf)), "log_w must be finite for some"),
        (lambda: monte_carlo(np.ones(2)).interval(1.0), "level must be"),
    ],
)
def test_bad_input_is_named(call: Any, told: str):
    with pytest.raises(InputError, match=told):
        call()


def test_examples():
    import doctest

    assert not doctest.testmod(estimates).failed
