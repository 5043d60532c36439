"""H2: the curse of dimensionality, counted exactly, and the tables between its two ends."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from core.errors import InputError
from reference.counting.histogram import Histogram
from reference.counting.homogeneous_chain import HomogeneousChain
from reference.counting.markov import MarkovTable, num_parameters


def states(dim, levels=2):
    return np.array(list(itertools.product(range(levels), repeat=dim)))


def dependent(n, dim, levels=2, seed=0):
    """Sequences in which every value leans on the two before it."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, levels, (n, dim))
    for j in range(2, dim):
        copy = rng.random(n) < 0.6
        x[copy, j] = (x[copy, j - 1] + x[copy, j - 2]) % levels
    return x


# Parameters


def counts_match_the_tables(count):
    for m in range(1, 9):
        for d in range(m):
            for levels in (2, 3):
                model = MarkovTable(m, order=d, levels=levels).fit(dependent(9, m, levels))
                contexts = sum(table.shape[0] for table in model.counts)
                assert count(m, d, levels) == contexts * (levels - 1) == model.num_parameters


def test_the_formula_counts_the_free_parameters_of_the_fitted_tables():
    counts_match_the_tables(num_parameters)
    with pytest.raises(AssertionError):
        counts_match_the_tables(lambda m, d, K: num_parameters(m, d, K) + 1)
    with pytest.raises(AssertionError):  # forgets that the first d positions have fewer contexts
        counts_match_the_tables(lambda m, d, K: m * (K - 1) * K**d)


def test_free_parameters_are_the_rank_of_the_map_from_tables_to_probabilities():
    """No table entry is idle: log p over all states moves in exactly that many directions."""
    m, d = 5, 2
    model = MarkovTable(m, order=d).fit(states(m))
    rows = []
    for table in model.counts:
        for c in range(len(table)):
            table[c, 1] += 1
            rows.append(model.log_prob(states(m)))
            table[c, 1] -= 1
    moved = np.array(rows) - model.log_prob(states(m))
    assert np.linalg.matrix_rank(moved) == num_parameters(m, d)


@given(st.integers(1, 2000), st.data())
def test_parameter_counts_are_exact_integers(m, data):
    d = data.draw(st.integers(0, m - 1))
    assert num_parameters(m, d) == 2**d * (m - d + 1) - 1
    assert num_parameters(m, d) == sum(2 ** min(j, d) for j in range(m))


def test_the_seeds_figures_for_a_28_by_28_binary_image():
    m = 784
    assert num_parameters(m, 0) == 784
    assert num_parameters(m, 1) == 2 * m - 1 == 1567
    assert num_parameters(m, m - 1) == 2**784 - 1
    assert type(num_parameters(m, m - 1)) is int
    assert HomogeneousChain(m).num_parameters == 3
    assert HomogeneousChain(5, levels=3).num_parameters == 8


# The two ends, and normalisation between them


@pytest.mark.parametrize("levels", [2, 3])
def test_order_zero_is_independence(levels):
    x = dependent(200, 4, levels)
    model = MarkovTable(4, order=0, levels=levels, alpha=0).fit(x)
    marginals = [Histogram(1, levels=levels).fit(x[:, [j]]) for j in range(4)]
    product = sum(h.log_prob(x[:, [j]]) for j, h in enumerate(marginals))
    np.testing.assert_allclose(model.log_prob(x), product, rtol=1e-12)


def is_the_joint_table(order, levels=2, m=4):
    x = dependent(300, m, levels)
    joint = np.exp(Histogram(m, levels=levels).fit(x).log_prob(states(m, levels)))
    model = MarkovTable(m, order=order, levels=levels, alpha=0).fit(x)
    p = np.exp(model.log_prob(states(m, levels)))
    np.testing.assert_allclose(p, joint, atol=1e-12)


@pytest.mark.parametrize("levels", [2, 3])
def test_the_highest_order_is_the_full_joint_table(levels):
    is_the_joint_table(3, levels)
    with pytest.raises(AssertionError):
        is_the_joint_table(2, levels)


@pytest.mark.parametrize("alpha", [0.0, 0.5])
@pytest.mark.parametrize(("dim", "levels"), [(1, 2), (6, 2), (4, 3)])
def test_probabilities_sum_to_one_at_every_order(dim, levels, alpha):
    everything = states(dim, levels)
    for order in range(dim):
        model = MarkovTable(dim, order=order, levels=levels, alpha=alpha)
        model.fit(dependent(12, dim, levels))  # few: many contexts are never seen
        np.testing.assert_allclose(np.exp(model.log_prob(everything)).sum(), 1, rtol=1e-12)
    chain = HomogeneousChain(dim, levels=levels, alpha=alpha).fit(dependent(12, dim, levels))
    np.testing.assert_allclose(np.exp(chain.log_prob(everything)).sum(), 1, rtol=1e-12)


def test_a_higher_order_never_has_a_lower_training_likelihood():
    x = dependent(400, 7)
    fits = [MarkovTable(7, order=d, alpha=0).fit(x).log_prob(x).mean() for d in range(7)]
    assert np.all(np.diff(fits) >= -1e-12)
    chain = HomogeneousChain(7, alpha=0).fit(x).log_prob(x).mean()
    assert chain <= fits[1]


def test_the_tables_are_relative_frequencies_of_what_followed():
    x = np.array([[0, 1, 1], [0, 1, 0], [1, 1, 1], [0, 0, 0]])
    model = MarkovTable(3, order=1, alpha=0).fit(x)
    p = 1 / (1 + np.exp(-model.conditionals(np.array([[0, 1, 0]]))))
    np.testing.assert_allclose(p, [[1 / 4, 2 / 3, 2 / 3]])
    chain = HomogeneousChain(3, alpha=0).fit(x)
    np.testing.assert_array_equal(chain.transitions, [[2, 2], [1, 3]])
    np.testing.assert_allclose(chain.log_prob(x[:1]), np.log(3 / 4 * 2 / 4 * 3 / 4))


# Conditionals and samples


@pytest.mark.parametrize("levels", [2, 3])
def test_values_before_the_window_change_nothing_and_those_in_it_do(levels):
    m, d = 6, 2
    model = MarkovTable(m, order=d, levels=levels).fit(dependent(500, m, levels))
    x = dependent(5, m, levels, seed=1)
    before = model.conditionals(x)
    for j in range(m):
        other = x.copy()
        other[:, j] = (x[:, j] + 1) % levels
        moved = (model.conditionals(other) != before).reshape(5, m, -1).any(axis=(0, 2))
        np.testing.assert_array_equal(moved, [j < i <= j + d for i in range(m)])


def test_log_prob_is_the_sum_of_the_conditionals():
    model = MarkovTable(4, order=2, levels=3).fit(dependent(50, 4, 3))
    x = states(4, 3)
    log_p = np.take_along_axis(model.conditionals(x), x[..., None], axis=2)
    np.testing.assert_allclose(model.log_prob(x), log_p.sum(axis=(1, 2)), rtol=1e-12)


def samples_follow(sampler, model, levels=2):
    n, m = 20_000, model.dim
    places = levels ** np.arange(m)[::-1]
    observed = np.bincount(sampler.sample(n, seed=4).astype(int) @ places, minlength=levels**m)
    expected = n * np.exp(model.log_prob(states(m, levels)))
    assert stats.chisquare(observed, expected).pvalue > 1e-4


@pytest.mark.parametrize("levels", [2, 3])
def test_sample_frequencies_pass_a_chi_square_test(levels):
    x = dependent(400, 5, levels)
    model = MarkovTable(5, order=2, levels=levels).fit(x)
    samples_follow(model, model, levels)
    chain = HomogeneousChain(5, levels=levels).fit(x)
    samples_follow(chain, chain, levels)
    with pytest.raises(AssertionError):  # a sampler that remembers one value too few
        samples_follow(MarkovTable(5, order=1, levels=levels).fit(x), model, levels)


def test_streaming_counts_are_those_of_the_whole():
    x = dependent(100, 5)
    streamed = MarkovTable(5, order=3)
    for part in np.split(x, [10, 10, 73]):
        streamed.partial_fit(part)
    whole = MarkovTable(5, order=3).fit(x[:7]).fit(x)
    for ours, theirs in zip(streamed.counts, whole.counts, strict=True):
        np.testing.assert_array_equal(ours, theirs)


# Bad input

X = states(3)


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: num_parameters(3, 3), "order must .*got 3"),
        (lambda: num_parameters(3, -1), "order"),
        (lambda: num_parameters(3, 1, 1), "levels"),
        (
            lambda: MarkovTable(784, order=783),
            "order must give at most 2\\*\\*26 parameters, got 783: 2\\*\\*783 or more",
        ),
        (lambda: MarkovTable(3000, order=2999), "order"),
        (lambda: MarkovTable(3, alpha=float("inf")), "alpha"),
        (lambda: MarkovTable(3).fit(X[:0]), "x must have at least one row"),
        (lambda: MarkovTable(3).fit(X + 0.5), "x must .*got 0.5"),
        (lambda: MarkovTable(3).fit(X * np.nan), "x must .*got nan"),
        (lambda: MarkovTable(4).fit(X), "x must have shape"),
        (lambda: MarkovTable(3, levels=3).fit(X + 2), "x must .*got 3.0"),
        (lambda: MarkovTable(3).log_prob(X), "call fit first"),
        (lambda: MarkovTable(3).conditionals(X), "call fit first"),
        (lambda: MarkovTable(3).sample(2), "call fit first"),
        (lambda: HomogeneousChain(3).sample(2), "call fit first"),
        (lambda: HomogeneousChain(3).fit(X - 1), "x must .*got -1.0"),
    ],
)
def test_bad_input_is_named(call, names):
    with pytest.raises(InputError, match=names):
        call()
