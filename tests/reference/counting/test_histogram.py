"""H1: the histogram is NumPy's, merges, maximises the likelihood, and can be sampled from."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from core import Tensor, grad
from core.errors import InputError
from core.functional import log_softmax
from reference.counting.histogram import Histogram

ON_A_GRID = st.integers(0, 20).map(lambda k: k / 20)  # so that many points lie on an edge
COLUMN = arrays(np.float64, st.tuples(st.integers(1, 40), st.just(1)), elements=ON_A_GRID)


def rng(seed=0):
    return np.random.default_rng(seed)


def unit(dim=1, bins=5, cls=Histogram, **options):
    return cls(dim, bins=bins, low=0.0, high=1.0, dtype=np.float64, **options)


# Broken on purpose


class OpenOnTheRight(Histogram):
    def _cells(self, x):
        k, inside = super()._cells(x)
        return k, inside & (x < np.array([e[-1] for e in self.edges])).all(axis=1)

    def _count(self, x, weights):
        inside = self._cells(x)[1]
        return super()._count(x[inside], weights[inside])


class ClosedOnTheRight(Histogram):
    def _cells(self, x):
        _, inside = super()._cells(x)
        pairs = zip(self.edges, x.T, strict=True)
        return tuple(np.maximum(np.searchsorted(e, c) - 1, 0) for e, c in pairs), inside

    def _count(self, x, weights):
        flat = np.ravel_multi_index(self._cells(x)[0], self.shape)
        return np.bincount(flat, minlength=self.counts.size).reshape(self.shape)


class ForgetsTheVolume(Histogram):
    def log_prob(self, x):
        return super().log_prob(x) + np.log(np.diff(self.edges[0])[0])


class KeepsOnlyTheLastPart(Histogram):
    def merge(self, other):
        self.counts = other.counts
        return self


class SamplesCellsUniformly(Histogram):
    def sample(self, n, *, seed=0):
        flat = Histogram(self.dim, edges=[list(e) for e in self.edges], alpha=1, dtype=self.dtype)
        flat.fit(np.array([[e[0] for e in self.edges]]))
        flat.counts[...] = 1
        return flat.sample(n, seed=seed)


class SamplesCentres(Histogram):
    def sample(self, n, *, seed=0):
        (edges,) = self.edges
        x = super().sample(n, seed=seed)
        return (edges[:-1] + np.diff(edges) / 2)[np.searchsorted(edges, x, side="right") - 1]


# Counts and densities are NumPy's


def equals_numpy(cls, x, edges):
    model = cls(1, edges=[edges], dtype=np.float64).fit(x)
    counts, _ = np.histogram(x[:, 0], bins=edges)
    density, _ = np.histogram(x[:, 0], bins=edges, density=True)
    np.testing.assert_array_equal(model.counts, counts)
    middles = (np.array(edges)[1:] + np.array(edges)[:-1]) / 2
    np.testing.assert_allclose(np.exp(model.log_prob(middles[:, None])), density, rtol=1e-12)


@given(COLUMN)
def test_one_dimension_equals_numpy(x):
    equals_numpy(Histogram, x, [0, 0.05, 0.3, 0.5, 0.85, 1.0])


@pytest.mark.parametrize("broken", [OpenOnTheRight, ClosedOnTheRight, ForgetsTheVolume])
def test_a_histogram_that_differs_from_numpy_is_noticed(broken):
    edges = [0.0, 0.25, 0.5, 1.0]
    x = np.array(edges)[:, None]
    equals_numpy(Histogram, x, edges)
    with pytest.raises(AssertionError):
        equals_numpy(broken, x, edges)


@pytest.mark.parametrize("bins", [7, [4, 9]])
def test_two_dimensions_equal_numpy_with_and_without_a_given_range(bins):
    x = rng().normal(size=(500, 2))
    box = [[-5, 5], [-4, 6]]
    model = Histogram(2, bins=bins, low=[-5, -4], high=[5, 6], dtype=np.float64).fit(x)
    np.testing.assert_array_equal(model.counts, np.histogramdd(x, bins, range=box)[0])
    model = Histogram(2, bins=bins, dtype=np.float64).fit(x)
    counts, edges = np.histogramdd(x, bins)
    np.testing.assert_array_equal(model.counts, counts)
    for ours, theirs in zip(model.edges, edges, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-14)
    assert model.num_parameters == counts.size - 1


def test_a_categorical_variable_has_its_relative_frequencies():
    x = rng().integers(0, 3, (200, 2))
    model = Histogram(2, levels=3).fit(x)
    grid = np.array([[a, b] for a in range(3) for b in range(3)])
    expected = np.bincount(x @ [3, 1], minlength=9) / 200
    np.testing.assert_allclose(np.exp(model.log_prob(grid)), expected, rtol=1e-12)


def test_the_full_table_of_binary_variables_has_all_states_less_one():
    assert [Histogram(m, levels=2).num_parameters for m in (1, 3, 10)] == [1, 7, 1023]


# Merging


def merges(cls, x, cuts):
    whole = unit(2, 4, cls).fit(x)
    parts = [unit(2, 4, cls).partial_fit(p) for p in np.split(x, cuts)]
    streamed = unit(2, 4, cls)
    for part in np.split(x, cuts):
        streamed.partial_fit(part)
    merged = parts[0]
    for other in parts[1:]:
        merged = merged.merge(other)
    np.testing.assert_array_equal(merged.counts, whole.counts)
    np.testing.assert_array_equal(streamed.counts, whole.counts)


@given(st.lists(st.integers(0, 60), max_size=4), st.integers(0, 2**32 - 1))
def test_histograms_of_parts_merge_into_the_histogram_of_the_whole(cuts, seed):
    merges(Histogram, np.random.default_rng(seed).random((60, 2)), sorted(cuts))


def test_a_merge_that_loses_counts_is_noticed():
    with pytest.raises(AssertionError):
        merges(KeepsOnlyTheLastPart, rng().random((60, 2)), [20, 40])


def test_histograms_with_other_cells_do_not_merge():
    for other in (unit(bins=4), unit(2), Histogram(1, bins=5, low=0, high=2)):
        with pytest.raises(InputError, match="other"):
            unit().merge(other)


def test_fit_forgets_and_a_failed_fit_keeps_the_counts():
    x = rng().random((30, 1))
    model = unit().fit(np.zeros((5, 1))).fit(x)
    before = model.counts.copy()
    assert before.sum() == 30
    with pytest.raises(InputError, match=r"x must .*got \[2\.\]"):
        model.fit(np.append(x, [[2.0]], axis=0))
    np.testing.assert_array_equal(model.counts, before)


# Maximum likelihood


def logit_gradient_vanishes(pi, counts):
    """∂/∂θ Σ_k n_k log softmax(θ)_k = n_k − n softmax(θ)_k is 0 at the fit."""
    theta = Tensor(np.log(pi))
    (g,) = grad(np.sum(counts * log_softmax(theta)), [theta])
    np.testing.assert_allclose(g, 0, atol=1e-10)


def test_the_gradient_of_the_likelihood_in_softmax_logits_vanishes_at_the_fit():
    x = rng().integers(0, 6, (100, 1))
    states = np.arange(6)[:, None]
    counts = np.bincount(x[:, 0], minlength=6).astype(float)
    pi = np.exp(Histogram(1, levels=6).fit(x).log_prob(states))
    logit_gradient_vanishes(pi, counts)
    smoothed = np.exp(Histogram(1, levels=6, alpha=0.1).fit(x).log_prob(states))
    with pytest.raises(AssertionError):
        logit_gradient_vanishes(smoothed, counts)


def test_alpha_adds_to_every_cell():
    model = unit(bins=4, alpha=0.5).fit(np.array([[0.1], [0.1], [0.9]]))
    middles = np.array([[0.125], [0.375], [0.625], [0.875]])
    expected = np.array([2.5, 0.5, 0.5, 1.5]) / 5 / 0.25
    np.testing.assert_allclose(np.exp(model.log_prob(middles)), expected)


# A density


def integrates_to_one(cls):
    edges = [-3.0, -1.0, -0.5, 0.25, 3.0]
    model = cls(1, edges=[edges], alpha=0.3, dtype=np.float64).fit(rng().normal(size=(90, 1)) / 2)
    n = 2400
    points = -3 + 6 * (np.arange(n) + 0.5) / n  # every edge lies between two of them
    total = np.exp(model.log_prob(points[:, None])).sum() * 6 / n
    np.testing.assert_allclose(total, 1, rtol=1e-10)


def test_the_density_integrates_to_one():
    integrates_to_one(Histogram)
    with pytest.raises(AssertionError):
        integrates_to_one(ForgetsTheVolume)


def test_outside_the_support_and_in_empty_cells_the_density_is_zero():
    model = unit(bins=2).fit(np.array([[0.1], [0.2]]))
    outside = np.array([[-1e-9], [1.0 + 1e-9], [0.7], [1.0]])
    np.testing.assert_array_equal(model.log_prob(outside), -np.inf)
    smoothed = unit(bins=2, alpha=1).fit(np.array([[0.1]])).log_prob(outside)
    np.testing.assert_array_equal(np.isfinite(smoothed), [False, False, True, True])


# Samples


def samples_follow_the_density(cls):
    edges = [0.0, 0.2, 0.5, 0.6, 1.0]
    model = cls(1, edges=[edges], dtype=np.float64).fit(rng().beta(2, 5, (300, 1)))
    x = model.sample(20_000, seed=3)
    cdf = np.concatenate([[0], np.cumsum(model.counts) / model.counts.sum()])
    # a continuous distribution function, so Kolmogorov and Smirnov apply
    assert stats.kstest(x[:, 0], lambda t: np.interp(t, edges, cdf)).pvalue > 1e-4


def test_samples_follow_the_density():
    samples_follow_the_density(Histogram)


@pytest.mark.parametrize("broken", [SamplesCellsUniformly, SamplesCentres])
def test_samples_of_another_density_are_noticed(broken):
    with pytest.raises(AssertionError):
        samples_follow_the_density(broken)


def test_categorical_samples_pass_a_chi_square_test():
    model = Histogram(2, levels=3).fit(rng().integers(0, 3, (40, 2)) // 2 * 2)
    x = model.sample(9000, seed=1).astype(int)
    states = np.array([[a, b] for a in range(3) for b in range(3)])
    p = np.exp(model.log_prob(states))
    observed = np.bincount(x @ [3, 1], minlength=9)
    assert observed[p == 0].sum() == 0
    assert stats.chisquare(observed[p > 0], 9000 * p[p > 0]).pvalue > 1e-4


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_sample_is_rounded_out_of_its_cell(dtype):
    """At 2²³ float32 has steps of 1: half of all points in a cell of width 2 are rounded."""
    low = 2.0**23
    model = Histogram(1, bins=8, low=low, high=low + 16, dtype=dtype)
    model.fit(low + 2.0 * np.array([[1.0], [3.0], [7.0]]))
    x = model.sample(4000, seed=0)
    assert x.dtype == dtype
    assert np.isfinite(model.log_prob(x)).all()


def test_samples_are_named_by_their_seed():
    model = unit(2).fit(rng().random((50, 2)))
    np.testing.assert_array_equal(model.sample(9, seed=2)[:4], model.sample(4, seed=2))
    assert (model.sample(9, seed=2) != model.sample(9, seed=3)).any()


# Bad input

X = np.full((3, 1), 0.5)


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: Histogram(0), "dim"),
        (lambda: Histogram(1, bins=0), "bins"),
        (lambda: Histogram(1, bins=2.5), "bins"),
        (lambda: Histogram(2, bins=[3]), "bins"),
        (lambda: Histogram(1, bins=3, low=0), "low and high"),
        (lambda: Histogram(1, bins=3, low=1, high=0), "low must be < high, got 1 and 0"),
        (lambda: Histogram(1, bins=3, low="a", high="b"), "low must .*got 'a'"),
        (lambda: Histogram(1, bins=3, low=0, high=float("nan")), "finite"),
        (lambda: Histogram(1, bins=10**6, low=1, high=1 + 1e-9), "increase"),
        (lambda: Histogram(1, bins=3, levels=3), "together"),
        (lambda: Histogram(2, edges=[[0, 1]]), "edges"),
        (lambda: Histogram(1, edges=[[0]]), "edges"),
        (lambda: Histogram(1, edges=[[0, 2, 1]]), "edges"),
        (lambda: Histogram(784, levels=2), "2 to the power 784"),
        (lambda: Histogram(1, bins=10**10), "2\\*\\*26 cells"),
        (lambda: Histogram(1, alpha=-1), "alpha"),
        (lambda: unit().fit(X * np.nan), "x must .*got nan"),
        (lambda: unit().fit(X[:0]), "x must have at least one row"),
        (lambda: unit(2).fit(X), r"x must have shape .*got \(3, 1\)"),
        (lambda: unit().fit(X[0]), "x must have shape"),
        (lambda: unit().fit([[0.5]]), "x must .*got list"),
        (lambda: Histogram(1, levels=2).fit(X), "x must .*got 0.5"),
        (lambda: Histogram(1, levels=3).fit(X * 6), "x must .*got 3.0"),
        (lambda: Histogram(1).partial_fit(X), "low and high"),
        (lambda: unit().log_prob(X), "call fit first"),
        (lambda: unit().sample(3), "call fit first"),
        (lambda: unit().fit(X).sample(-1), "n must be"),
    ],
)
def test_bad_input_is_named(call, names):
    with pytest.raises(InputError, match=names):
        call()


def test_the_numba_twin_fits_the_same_model():
    from core.operation import backend

    x = rng(0).random((5000, 2))
    plain = unit(2, 7).fit(x)
    with backend("numba"):
        fast = unit(2, 7).fit(x)
    np.testing.assert_array_equal(fast.counts, plain.counts)
