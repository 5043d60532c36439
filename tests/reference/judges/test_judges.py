"""Scores and two-sample distances: unbiased, of the right size under the null, and not blind."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from core.data import Dataset, Split, load
from core.errors import InputError
from reference.judges import likelihood, two_sample


def normal(seed, n, dim=2, shift=0.0):
    return np.random.default_rng(seed).normal(size=(n, dim)) + shift


# Kernel MMD


def naive_mmd2(x, y, k):
    """Gretton et al. 2012, Eq. 3, sum by sum."""
    n, m = len(x), len(y)
    xx = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j)
    yy = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j)
    xy = sum(k(a, b) for a in x for b in y)
    return xx / (n * (n - 1)) + yy / (m * (m - 1)) - 2 * xy / (n * m)


def test_mmd2_is_the_papers_sum():
    x, y = normal(0, 7), normal(1, 5, shift=0.5)
    pooled = np.concatenate([x, y])
    gram = np.exp(-0.3 * two_sample.squared_distances(pooled))
    in_x = (np.arange(12) < 7)[:, None]
    expected = naive_mmd2(x, y, lambda a, b: math.exp(-0.3 * np.sum((a - b) ** 2)))
    np.testing.assert_allclose(two_sample.mmd2(gram, in_x), [expected], rtol=1e-12)


def test_gram_averages_four_gaussians_around_the_median_distance():
    x = normal(0, 9)
    d = np.linalg.norm(x[:, None] - x, axis=2)
    median = np.median(d[np.triu_indices(9, 1)])
    kernels = [np.exp(-(d**2) / (2 * (f * median) ** 2)) for f in (0.25, 0.5, 1, 2)]
    np.testing.assert_allclose(two_sample.gram(x), np.mean(kernels, axis=0), rtol=1e-10)


def test_equal_points_do_not_make_the_bandwidth_zero():
    x = np.zeros((20, 2))
    x[:3] = [[3, 4], [3, 4], [0, 5]]
    kernels = [math.exp(-25 / (2 * (f * 5) ** 2)) for f in (0.25, 0.5, 1, 2)]
    assert two_sample.gram(x)[0, 9] == pytest.approx(np.mean(kernels))
    assert two_sample.gram(x)[0, 1] == 1


def estimates(estimator, repetitions=400, n=12, m=8):
    """An estimator of MMD² on pairs of samples from one distribution."""
    in_x = (np.arange(n + m) < n)[:, None]
    return np.array(
        [estimator(two_sample.gram(normal(seed, n + m)), in_x)[0] for seed in range(repetitions)]
    )


def assert_mean_zero(values):
    assert abs(np.mean(values)) < 4 * np.std(values) / math.sqrt(len(values))


def test_mmd2_is_unbiased_and_keeping_the_diagonal_is_not():
    def with_diagonal(k, in_x):
        """The V-statistic: pairs of a point with itself count."""
        x, y = k[in_x[:, 0]][:, in_x[:, 0]], k[~in_x[:, 0]][:, ~in_x[:, 0]]
        return [x.mean() + y.mean() - 2 * k[in_x[:, 0]][:, ~in_x[:, 0]].mean()]

    assert_mean_zero(estimates(two_sample.mmd2))
    with pytest.raises(AssertionError):
        assert_mean_zero(estimates(with_diagonal))


def p_values(test, repetitions=300):
    return np.array([test(normal(2 * s, 15), normal(2 * s + 1, 12), s) for s in range(repetitions)])


def assert_uniform(p):
    assert stats.kstest(p, "uniform").pvalue > 1e-3


def test_permutation_test_has_its_size():
    def exact(x, y, seed):
        return two_sample.mmd_test(x, y, permutations=199, seed=seed).p_value

    def bandwidth_of_one_side(x, y, seed):
        """A kernel that knows which rows are X is not exchangeable: the null is not its own."""
        pooled = np.concatenate([x, y])
        k = two_sample.gram(pooled)
        k[: len(x), : len(x)] *= 1.2
        order = np.random.default_rng(seed).permuted(np.tile(np.arange(27), (199, 1)), axis=1)
        null = two_sample.mmd2(k, (order < len(x)).T)
        observed = two_sample.mmd2(k, (np.arange(27) < len(x))[:, None])
        return (1 + np.sum(null >= observed)) / 200

    assert_uniform(p_values(exact))
    with pytest.raises(AssertionError):
        assert_uniform(p_values(bandwidth_of_one_side))


@pytest.mark.parametrize("change", ["shift", "spread", "dependence", "modes"])
def test_mmd_sees_a_difference(change):
    x, y = normal(0, 200), normal(1, 200)
    if change == "shift":
        y = y + 0.5
    elif change == "spread":
        y = y * 1.7
    elif change == "dependence":
        y[:, 1] = 0.9 * y[:, 0] + math.sqrt(1 - 0.81) * y[:, 1]
    else:
        y = 0.2 * y + np.random.default_rng(2).choice([-1.0, 1.0], size=(200, 2))
    result = two_sample.mmd_test(x, y, permutations=199)
    assert result.mmd2 > result.null_95
    assert result.p_value == 1 / 200


def test_mmd_is_reproducible_and_named_by_its_seed():
    x, y = normal(0, 30), normal(1, 30)
    assert two_sample.mmd_test(x, y, seed=3) == two_sample.mmd_test(x, y, seed=3)
    assert two_sample.mmd_test(x, y, seed=3).null_95 != two_sample.mmd_test(x, y, seed=4).null_95


# Classifier


def test_classifier_guesses_between_equals_and_tells_a_shift():
    same = two_sample.classifier_accuracy(normal(0, 150), normal(1, 150))
    assert abs(same.mean - 0.5) < 4 * same.se
    assert same.se == pytest.approx(math.sqrt(same.mean * (1 - same.mean) / 300))
    assert two_sample.classifier_accuracy(normal(0, 150), normal(1, 150, shift=3.0)).mean > 0.95


@pytest.mark.parametrize(("n", "m"), [(10, 9), (4, 4)])
def test_classifier_needs_rows_enough(n, m):
    with pytest.raises(InputError, match="equally many rows, 5 or more"):
        two_sample.classifier_accuracy(normal(0, n), normal(1, m))


def test_classifier_is_not_asked_about_what_it_was_trained_on():
    """A forest knows its training rows by heart; without cross-validation this would be near 1."""
    assert two_sample.classifier_accuracy(normal(5, 100), normal(6, 100)).mean < 0.62


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (np.zeros((3, 2)), np.zeros((3, 3)), r"got shapes \(3, 2\) and \(3, 3\)"),
        (np.zeros(3), np.zeros(3), "must be"),
        (np.full((3, 2), np.nan), np.zeros((3, 2)), "finite"),
        (np.zeros((3, 2)), np.zeros((3, 2)), "distinct"),
        (np.zeros((1, 2)), np.ones((3, 2)), "n, m ≥ 2"),
    ],
)
def test_bad_samples_are_named(x, y, words):
    with pytest.raises(InputError, match=words):
        two_sample.mmd_test(x, y)


# Distance from a data set


def test_distance_of_real_data_and_of_noise():
    data = load("digits", domain="continuous")
    held_out = two_sample.HeldOut(data, permutations=199)
    real = held_out.distance(data.train.x[:250])
    fake = held_out.distance(np.random.default_rng(0).uniform(-1, 1, size=(250, 64)))
    for d in (real, held_out.baseline):
        assert d.p_value > 0.01
        assert abs(d.accuracy - 0.5) < 0.12
    assert fake.mmd2 > 20 * fake.null_95
    assert fake.accuracy > 0.98
    with pytest.raises(InputError, match="at least 250, got 30"):
        held_out.distance(data.train.x[:30])


def test_held_out_halves_are_disjoint_and_leave_training_data_out():
    data = load("digits", domain="integer")
    held_out = two_sample.HeldOut(data)
    assert held_out.real.shape == held_out.fresh.shape == (250, 64)
    rows = np.concatenate([data.validation.x, data.test.x])
    np.testing.assert_array_equal(
        np.unique(np.concatenate([held_out.real, held_out.fresh]), axis=0), np.unique(rows, axis=0)
    )


def test_pixels_are_rounded_to_the_datas_values():
    data = load("digits", domain="continuous")
    x = np.array([[-1.3, -0.97, 0.01, 0.99]])
    np.testing.assert_allclose(two_sample.round_to(x, data), [[-1.0, -1.0, 0.0, 1.0]], atol=1e-7)
    points = load("eight-gaussians", n=100)
    np.testing.assert_array_equal(two_sample.round_to(x, points), x)


# Likelihood


class Coin:
    """p(x_j = 1) = p for all j; with `impossible` it never shows a head at j = 0."""

    def __init__(self, p=0.5, impossible=False):
        self.p, self.impossible = p, impossible

    def log_prob(self, x):
        log_p = np.sum(np.where(x == 1, math.log(self.p), math.log(1 - self.p)), axis=1)
        return np.where(self.impossible & (x[:, 0] == 1), -np.inf, log_p)


class Bounded(Coin):
    """Only a bound, of a random gap."""

    log_prob = property()

    def elbo(self, x, rng):
        return Coin.log_prob(self, x) - rng.uniform((len(x),), dtype=np.float64)


def bits(n, dim, seed=0):
    return (np.random.default_rng(seed).random((n, dim)) < 0.3).astype(np.float32)


@pytest.fixture
def coins():
    splits = [Split(bits(n, 6, n)) for n in (400, 50, 600)]
    return Dataset("coins", *splits, domain="binary", levels=2)


def test_likelihood_is_the_mean_over_the_split_with_its_standard_error(coins):
    score = likelihood.likelihood(Coin(0.3), coins)
    terms = -Coin(0.3).log_prob(coins.test.x)
    assert score.nats == pytest.approx(terms.mean(), abs=1e-12)
    assert score.se == pytest.approx(stats.sem(terms), abs=1e-12)
    assert score.bits_per_dim == pytest.approx(terms.mean() / 6 / math.log(2))
    assert (score.count, score.bound, score.gap) == (600, None, None)
    assert likelihood.likelihood(Coin(0.3), coins, "train").count == 400


def test_a_bound_says_so(coins):
    score = likelihood.likelihood(Bounded(0.3), coins, seed=1)
    assert score.bound == "ELBO"
    assert score.nats == pytest.approx(likelihood.likelihood(Coin(0.3), coins).nats + 0.5, abs=0.05)
    assert score == likelihood.likelihood(Bounded(0.3), coins, seed=1)


class Weighted(Bounded):
    """A bound whose gap is 1/k; notes how many numbers it was asked for at a time."""

    asked = 0

    def importance_log_prob(self, x, y=None, rng=None, *, k):
        type(self).asked = max(self.asked, k * len(x))
        return Coin.log_prob(self, x) - 1 / k


def test_an_importance_weighted_bound_takes_the_samples_it_is_told(coins):
    exact = likelihood.likelihood(Coin(0.3), coins).nats
    for how, k in (({}, 100), ({"samples": 5000}, 5000), ({"samples": 3}, 3)):
        score = likelihood.likelihood(Weighted(0.3), coins, **how)
        assert score.bound == f"importance-weighted, k = {k}"
        assert score.nats == pytest.approx(exact + 1 / k, rel=1e-12)
    assert Weighted.asked <= 25_000  # many samples of few rows: memory stays as it is
    with pytest.raises(InputError, match="samples must be an int >= 1, got 0"):
        likelihood.likelihood(Weighted(0.3), coins, samples=0)


def test_impossible_samples_are_counted_and_make_it_infinite(coins):
    score = likelihood.likelihood(Coin(0.3, impossible=True), coins)
    assert score.nats == math.inf
    assert math.isnan(score.se)
    assert score.impossible == np.sum(coins.test.x[:, 0] == 1)


def test_nan_and_implicit_models_are_errors(coins):
    class Broken:
        def log_prob(self, x):
            return np.full(len(x), np.nan)

    with pytest.raises(InputError, match="NaN on 600"):
        likelihood.likelihood(Broken(), coins)
    with pytest.raises(InputError, match="implicit"):
        likelihood.likelihood(object(), coins)


def test_gap_is_paired_and_absolute(coins):
    points = load("eight-gaussians", n=500)

    class Truth:
        def log_prob(self, x):
            return points.log_density(x) - 0.25

    score = likelihood.likelihood(Truth(), points)
    assert score.gap == pytest.approx(0.25, abs=1e-5)
    assert score.gap_se < 1e-5
    assert score.bits_per_dim is None


def test_baselines_of_binary_data_are_the_ones_everybody_must_beat():
    rows = likelihood.baselines(load("digits", domain="binary"))
    assert rows["uniform"].nats == pytest.approx(64 * math.log(2))
    assert rows["independent Bernoulli"].nats == pytest.approx(25.20, abs=0.01)


def test_baselines_of_integers_normalise(coins):
    shades = load("digits", domain="integer")
    rows = likelihood.baselines(shades)
    assert rows["uniform"].nats == pytest.approx(64 * math.log(17))
    assert rows["independent categorical"].nats < rows["uniform"].nats
    every_state = np.indices((3, 3)).reshape(2, -1).T
    tiny = replace(shades, levels=3, test=Split(every_state), train=Split(every_state[:4]))
    log_p = likelihood._independent_categorical(tiny.train.x, tiny.test.x, 3)
    assert np.exp(log_p).sum() == pytest.approx(1.0)


def test_the_true_density_has_no_gap():
    rows = likelihood.baselines(load("eight-gaussians", n=500))
    truth, independent = rows["the true density"], rows["independent Gaussian"]
    assert (truth.gap, truth.gap_se) == (0.0, 0.0)
    assert truth.nats == pytest.approx(1.698, abs=4 * truth.se)
    assert independent.gap > 1.5
