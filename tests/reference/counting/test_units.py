"""A fit doesn't depend on the units and the origin of its columns: log p moves by a constant."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.functional import one_hot, softmax
from reference.counting.gaussian_naive_bayes import (
    GaussianNaiveBayes,
    SharedVarianceNaiveBayes,
)
from reference.counting.histogram import Histogram
from reference.counting.kernel_naive_bayes import KernelNaiveBayes
from reference.counting.logistic_regression import LogisticRegression, _descend

DIM, CLASSES = 3, 3
SCALES = st.lists(st.floats(-12, 12), min_size=DIM, max_size=DIM)
OFFSETS = st.lists(st.floats(-1e6, 1e6) | st.just(0.0), min_size=DIM, max_size=DIM)
SEEDS = st.integers(0, 999)


def data(seed: int, n: int = 60) -> tuple[Any, Any]:
    """Classes that overlap, a column that is constant in one of them, and all of them seen."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % CLASSES
    x = rng.normal(size=(CLASSES, DIM))[y] + rng.normal(size=(n, DIM))
    x[y == 0, 2] = 0.25
    return x, y


def check_units(make: Any, seed: int, powers: list[float], offsets: list[float]) -> None:
    """Equal posteriors; and where there is a density, the Jacobian's factor and no more."""
    x, y = data(seed)
    scale = 10.0 ** np.array(powers)
    moved = (x + np.array(offsets)) * scale
    x = moved / scale - np.array(offsets)  # what is left of x: the rest isn't the fit's fault
    a, b = make().fit(x, y), make().fit(moved, y)
    slack = 1e-6 + 1e-9 * np.abs(offsets).max()
    np.testing.assert_allclose(b.predict_proba(moved), a.predict_proba(x), atol=slack)
    if hasattr(a, "log_prob"):
        expected = a.log_prob(x) - np.log(scale).sum()
        np.testing.assert_allclose(b.log_prob(moved), expected, rtol=slack, atol=10 * slack)


KINDS = {
    "gaussian": lambda: GaussianNaiveBayes(DIM, CLASSES, variance_smoothing=1e-3),
    "shared variance": lambda: SharedVarianceNaiveBayes(DIM, CLASSES),
    "kernel": lambda: KernelNaiveBayes(DIM, CLASSES, 60),
    "logistic": lambda: LogisticRegression(DIM, CLASSES),
}


@pytest.mark.parametrize("kind", KINDS)
@given(seed=SEEDS, powers=SCALES, offsets=OFFSETS)
def test_no_fit_depends_on_units_and_origin(kind, seed, powers, offsets):
    check_units(KINDS[kind], seed, powers, offsets)


@given(seed=SEEDS, power=st.floats(-12, 12), offsets=OFFSETS)
def test_a_kernel_scales_with_its_bandwidth(seed, power, offsets):
    x, y = data(seed)
    scale = 10.0**power
    moved = (x + np.array(offsets)) * scale
    x = moved / scale - np.array(offsets)
    a = KernelNaiveBayes(DIM, CLASSES, 60, bandwidth=0.3).fit(x, y)
    b = KernelNaiveBayes(DIM, CLASSES, 60, bandwidth=0.3 * scale).fit(moved, y)
    np.testing.assert_allclose(b.predict_proba(moved), a.predict_proba(x), atol=1e-6)


@given(seed=SEEDS, powers=st.lists(st.integers(-40, 40), min_size=DIM, max_size=DIM))
def test_a_histogram_that_finds_its_range_has_none_of_its_own(seed, powers):
    """Powers of 2, for which the edges are exact: another unit could round a point over one."""
    x, _ = data(seed)
    scale = 2.0 ** np.array(powers)
    a, b = (Histogram(DIM, bins=4, dtype=np.float64).fit(z) for z in (x, x * scale))
    np.testing.assert_array_equal(a.counts, b.counts)
    np.testing.assert_allclose(b.log_prob(x * scale), a.log_prob(x) - np.log(scale).sum())


@given(seed=SEEDS, power=st.floats(-6, 6), l2=st.floats(0.01, 10))
def test_a_penalty_is_on_the_slopes_as_they_are(seed, power, l2):
    """(l2 / 2n) ΣW² of W in the units of x: c times as large a unit needs l2 / c²."""
    x, y = data(seed)
    scale = 10.0**power
    a = LogisticRegression(DIM, CLASSES, l2=l2).fit(x, y)
    b = LogisticRegression(DIM, CLASSES, l2=l2 * scale**2).fit(x * scale, y)
    np.testing.assert_allclose(b.predict_proba(x * scale), a.predict_proba(x), atol=1e-7)


@given(seed=SEEDS, offsets=OFFSETS, powers=SCALES)
def test_the_generative_twin_survives_its_offsets(seed, offsets, powers):
    x, y = data(seed)
    x = (x + np.array(offsets)) * 10.0 ** np.array(powers)
    model = SharedVarianceNaiveBayes(DIM, CLASSES).fit(x, y)
    twin = LogisticRegression.from_naive_bayes(model)
    slack = 1e-8 + 1e-9 * np.abs(offsets).max()
    np.testing.assert_allclose(twin.predict_proba(x), model.predict_proba(x), atol=slack)


def test_a_constant_column_says_nothing():
    """Wherever it lies, and however its mean is rounded."""
    x, y = data(0)
    x = np.column_stack([x, np.full(len(x), 1e5 + 0.1)])
    a = LogisticRegression(DIM + 1, CLASSES).fit(x, y)
    b = LogisticRegression(DIM, CLASSES).fit(x[:, :DIM], y)
    np.testing.assert_allclose(a.predict_proba(x), b.predict_proba(x[:, :DIM]), atol=1e-9)
    c = GaussianNaiveBayes(DIM + 1, CLASSES).fit(x, y)
    d = GaussianNaiveBayes(DIM, CLASSES).fit(x[:, :DIM], y)
    np.testing.assert_allclose(c.predict_proba(x), d.predict_proba(x[:, :DIM]), atol=1e-6)


# Broken on purpose


class SmoothsByTheLargest(GaussianNaiveBayes):
    """One variance for the smoothing of all columns, in whatever unit the largest has."""

    def variance(self):
        n = self.class_counts[:, None]
        total = np.sum(self.squares, axis=0) / n.sum()
        return self.squares / n + self.variance_smoothing * total.max()


class SolvesAsItComes(LogisticRegression):
    """Newton's method on the columns as they are."""

    def fit(self, x, y):
        A, Y = np.column_stack([x, np.ones(len(x))]), one_hot(y, self.classes, np.float64)
        theta = np.zeros((self.dim + 1, self.classes))
        for _ in range(self.steps):
            p = softmax(A @ theta)
            R = p[:, :, None] * (np.eye(self.classes) - p[:, None, :])
            H = np.einsum("ni,ncd,nj->icjd", A, R, A).reshape(theta.size, theta.size)
            step = np.linalg.lstsq(H, (A.T @ (p - Y)).ravel(), rcond=1e-12)[0]
            theta = _descend(A, Y, theta, np.zeros((len(theta), 1)), step.reshape(theta.shape))
        self.W[...], self.b[...] = theta[:-1], theta[-1]
        self.class_counts[...] = np.bincount(y)
        return self


class BumpsOfWidthOne(KernelNaiveBayes):
    """The same bump whatever the unit."""

    def __init__(self, dim, classes):
        super().__init__(dim, classes, 60, bandwidth=1.0)


@pytest.mark.parametrize("broken", [SmoothsByTheLargest, SolvesAsItComes, BumpsOfWidthOne])
def test_a_fit_that_knows_units_is_noticed(broken):
    check_units(lambda: broken(DIM, CLASSES), 0, [0.0] * DIM, [0.0] * DIM)
    with pytest.raises(AssertionError):
        check_units(lambda: broken(DIM, CLASSES), 0, [-6.0, 0.0, 6.0], [0.0, 1e5, 1e5])
