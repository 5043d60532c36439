"""The scikit-learn adapters pass its own checks and say what the models say (H1, H3–H5, L1, N1)."""

from __future__ import annotations

import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture as SklearnMixture
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.utils.estimator_checks import check_estimator

from reference.counting.logistic_regression import LogisticRegression
from reference.counting.naive_bayes import BernoulliNaiveBayes
from reference.estimators import (
    BernoulliMixtureDensity,
    BernoulliNaiveBayesClassifier,
    CategoricalNaiveBayesClassifier,
    GaussianMixtureDensity,
    GaussianNaiveBayesClassifier,
    HistogramDensity,
    KernelNaiveBayesClassifier,
    LogisticRegressionClassifier,
    RealNVPDensity,
)
from reference.latent.bernoulli_mixture import BernoulliMixture

COUNTING = [
    GaussianNaiveBayesClassifier,
    BernoulliNaiveBayesClassifier,
    CategoricalNaiveBayesClassifier,
]
CLASSIFIERS = [*COUNTING, KernelNaiveBayesClassifier, LogisticRegressionClassifier]
ALL = [
    *(cls() for cls in CLASSIFIERS),
    BernoulliMixtureDensity(),
    GaussianMixtureDensity(),
    GaussianMixtureDensity(2, covariance="diagonal", max_iter=200),
    HistogramDensity(),
    HistogramDensity(low=-1e3, high=1e3, bins=1),
    RealNVPDensity(epochs=2, layers=2, hidden=(4,)),
]
DIGITS = load_digits()
NAMES = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])


class ForgetsItsFeatures(GaussianNaiveBayesClassifier):
    def predict(self, X):
        return np.full(len(X), self.classes_[0])


class WeighsNothing(GaussianNaiveBayesClassifier):
    def fit(self, X, y, sample_weight=None):
        return super().fit(X, y)


@pytest.mark.parametrize("estimator", ALL, ids=lambda e: repr(e)[:60])
def test_scikit_learns_own_checks_pass(estimator):
    check_estimator(estimator, on_skip=None)


@pytest.mark.parametrize("broken", [ForgetsItsFeatures, WeighsNothing])
def test_scikit_learns_own_checks_can_fail(broken):
    with pytest.raises((AssertionError, AttributeError)):
        check_estimator(broken(), on_skip=None)


@pytest.mark.parametrize("cls", COUNTING)
def test_classes_keep_their_names(cls):
    x, y = DIGITS.data, NAMES[DIGITS.target]
    model = cls(random_state=0).fit(x, y)
    assert (model.predict(x) == y).mean() > 0.7
    np.testing.assert_allclose(model.predict_proba(x[:9]).sum(axis=1), 1)
    assert np.isfinite(model.score_samples(x)).all()
    sevens = model.sample(200, y="seven")
    assert (model.predict(sevens) == "seven").mean() > 0.7
    np.testing.assert_array_equal(clone(model).fit(x, y).sample(3), model.sample(3))
    for unknown in ("eleven", ["one", "eleven"]):
        with pytest.raises(ValueError, match=r"y must be one of eight, .*, got .*eleven"):
            model.sample(2, y=unknown)


def test_the_adapters_say_what_the_models_say():
    x, y = (DIGITS.data >= 8).astype(float), DIGITS.target
    model = BernoulliNaiveBayes(64, 10, alpha=0.3).fit(x, y)
    adapter = BernoulliNaiveBayesClassifier(alpha=0.3, binarize=7.5).fit(DIGITS.data, y)
    np.testing.assert_array_equal(adapter.predict_proba(DIGITS.data), model.predict_proba(x))
    np.testing.assert_array_equal(adapter.score_samples(DIGITS.data), model.log_prob(x))
    density = BernoulliMixtureDensity(4, max_iter=7, tol=0, random_state=0)
    with pytest.warns(ConvergenceWarning, match="not converged after max_iter=7"):
        density.fit(x)
    mixture = BernoulliMixture(64, components=4, alpha=0.1, seed=density.model_.seed)
    for _ in range(7):
        mixture.em_step(x)
    np.testing.assert_array_equal(density.score_samples(x), mixture.log_prob(x))
    assert density.score(x) == mixture.log_prob(x).sum()
    assert density.n_iter_ == 7
    assert not density.converged_
    assert density.sample(5).shape == (5, 64)
    few = DIGITS.data[:200, 20:24]
    twin = LogisticRegression(4, 10, l2=0.5).fit(few, y[:200])
    logistic = LogisticRegressionClassifier(l2=0.5).fit(few, y[:200])
    np.testing.assert_array_equal(logistic.predict_proba(few), twin.predict_proba(few))


@pytest.mark.parametrize("covariance", ["full", "diagonal", "spherical", "tied"])
def test_a_gaussian_mixture_learns_where_scikit_learns_does(covariance):
    x = np.random.default_rng(0).normal(size=(400, 2)) + 8 * np.eye(2)[np.arange(400) % 2]
    ours = GaussianMixtureDensity(2, covariance=covariance, tol=1e-9, max_iter=500, random_state=0)
    kind = {"diagonal": "diag"}.get(covariance, covariance)
    theirs = SklearnMixture(2, covariance_type=kind, tol=1e-9, max_iter=500, random_state=0).fit(x)
    np.testing.assert_allclose(ours.fit(x).score_samples(x), theirs.score_samples(x), atol=1e-3)


def test_em_says_whether_it_has_converged():
    x = DIGITS.data[:300] >= 8
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = BernoulliMixtureDensity(3, max_iter=500, random_state=0).fit(x)
    assert model.converged_
    assert 1 < model.n_iter_ < 500


# Logarithms, weights, parts


@pytest.mark.parametrize("cls", CLASSIFIERS)
def test_log_probabilities_are_the_logarithms_where_those_underflow_too(cls):
    x, y = DIGITS.data[:500], DIGITS.target[:500] % 3
    model = cls().fit(x, y)
    log_p, p = model.predict_log_proba(x), model.predict_proba(x)
    np.testing.assert_allclose(np.exp(log_p), p, rtol=1e-9, atol=1e-300)
    assert np.isfinite(log_p).all()


MAKERS = [*COUNTING, lambda **_: HistogramDensity(bins=3, low=-9.0, high=9.0)]


def scores(model, x):
    return model.score_samples(x)


@pytest.mark.parametrize("make", MAKERS)
@given(seed=st.integers(0, 999))
def test_a_weight_is_how_often_a_row_counts(make, seed):
    check_weights(make, seed)


def check_weights(make, seed):
    rng = np.random.default_rng(seed)
    x, y = np.floor(np.abs(rng.normal(size=(30, 2))) * 2), np.arange(30) % 3
    weights = rng.integers(0, 4, 30)
    weights[:3] = 1
    weighted = make().fit(x, y, sample_weight=weights)
    repeated = make().fit(np.repeat(x, weights, axis=0), np.repeat(y, weights))
    some = np.repeat(x, weights, axis=0)
    np.testing.assert_allclose(scores(weighted, some), scores(repeated, some), rtol=1e-9)
    doubled = make(**({"alpha": 0.5} if "alpha" in make().get_params() else {}))
    halves = doubled.fit(x, y, sample_weight=weights * 0.5)
    if "alpha" not in make().get_params():
        np.testing.assert_allclose(scores(halves, some), scores(repeated, some), rtol=1e-6)


def test_weights_that_are_ignored_are_noticed():
    with pytest.raises(AssertionError):
        check_weights(WeighsNothing, 0)


@pytest.mark.parametrize("bad", [[1.0] * 29, [-1.0] * 30, [np.nan] * 30, ["a"] * 30, [0.0] * 30])
def test_bad_weights_are_named(bad):
    x, y = np.random.default_rng(0).normal(size=(30, 2)), np.arange(30) % 3
    for make in MAKERS[:1] + MAKERS[-1:]:
        with pytest.raises(ValueError, match="weight"):
            make().fit(x, y, sample_weight=bad)


@pytest.mark.parametrize("cls", COUNTING)
@given(cut=st.integers(1, 299), seed=st.integers(0, 99))
def test_parts_give_the_model_of_the_whole(cls, cut, seed):
    order = np.random.default_rng(seed).permutation(300)
    x, y = DIGITS.data[order], NAMES[DIGITS.target[order]]
    options = {"levels": 17} if cls is CategoricalNaiveBayesClassifier else {}
    whole = cls(**options).fit(x, y)
    parts = cls(**options)
    for piece in (slice(cut), slice(cut, None)):
        parts.partial_fit(x[piece], y[piece], classes=NAMES)
    np.testing.assert_allclose(parts.predict_proba(x), whole.predict_proba(x), atol=1e-6)


def merges(make, cut, seed):
    x, y = DIGITS.data[:300], DIGITS.target[:300]
    order = np.random.default_rng(seed).permutation(np.arange(20, 300))
    first, second = np.append(np.arange(10), order[:cut]), np.append(np.arange(10, 20), order[cut:])
    x = x[:, [10, 20, 36]]
    one, other = (make().fit(x[i], y[i]) for i in (first, second))
    np.testing.assert_allclose(scores(one.merge(other), x), scores(make().fit(x, y), x), rtol=1e-7)


MERGED = {
    "gaussian": GaussianNaiveBayesClassifier,
    "bernoulli": BernoulliNaiveBayesClassifier,
    "kernel": KernelNaiveBayesClassifier,
    "categorical": lambda: CategoricalNaiveBayesClassifier(levels=17),
    "histogram": lambda: HistogramDensity(bins=4, low=0, high=16, alpha=1.0),
}


def test_bumps_come_in_parts_and_by_class():
    x, y = DIGITS.data[:200, 10:14], NAMES[DIGITS.target[:200]]
    whole, parts = KernelNaiveBayesClassifier().fit(x, y), KernelNaiveBayesClassifier()
    for piece in (slice(30), slice(30, 130), slice(130, None)):
        parts.partial_fit(x[piece], y[piece], classes=NAMES)
    np.testing.assert_allclose(parts.predict_proba(x), whole.predict_proba(x), rtol=1e-9)
    drawn, sevens = whole.set_params(random_state=0).sample(4000, y="seven"), x[y == "seven"]
    off = drawn.mean(axis=0) - sevens.mean(axis=0)
    assert (np.abs(off) <= 5 * drawn.std(axis=0) / np.sqrt(4000)).all()
    assert (np.abs(off) < np.abs(drawn.mean(axis=0) - x[y != "seven"].mean(axis=0))).any()


@pytest.mark.parametrize("make", MERGED.values(), ids=MERGED)
@given(cut=st.integers(1, 279), seed=st.integers(0, 99))
def test_parts_merge_into_the_model_of_the_whole(make, cut, seed):
    merges(make, cut, seed)


class MergesWithNobody(GaussianNaiveBayesClassifier):
    def merge(self, other):
        return self


def test_a_merge_that_loses_a_part_is_noticed():
    with pytest.raises(AssertionError):
        merges(MergesWithNobody, 100, 0)


def test_only_like_merges_with_like():
    x, y = DIGITS.data[:100], DIGITS.target[:100]
    gaussian, levels = GaussianNaiveBayesClassifier, CategoricalNaiveBayesClassifier
    for one, other, told in (
        (gaussian().fit(x, y), gaussian().fit(x[y < 9], y[y < 9]), "other must know the classes"),
        (gaussian().fit(x, y), gaussian().fit(x[:, 1:], y), "other must have 64 features, got 63"),
        (gaussian().fit(x, y), levels().fit(x, y), "other must be a GaussianNaive"),
        (levels(levels=17).fit(x, y), levels(levels=18).fit(x, y), "other must have levels = 17"),
        (
            HistogramDensity(bins=2).fit(x[:, :2]),
            HistogramDensity(bins=3).fit(x[:, :2]),
            "other must be a histogram with equal edges",
        ),
    ):
        with pytest.raises(ValueError, match=told):
            one.merge(other)


def test_parts_need_what_they_cannot_know():
    x, y = DIGITS.data[:20], DIGITS.target[:20]
    with pytest.raises(ValueError, match="classes must be given with the first"):
        GaussianNaiveBayesClassifier().partial_fit(x, y)
    with pytest.raises(ValueError, match="y must be one of 0, 1, got"):
        GaussianNaiveBayesClassifier().partial_fit(x, y, classes=[0, 1])
    assert not hasattr(HistogramDensity(), "partial_fit")
    parts = HistogramDensity(bins=4, low=-1, high=17).partial_fit(x[:, :2]).partial_fit(x[:, :2])
    whole = HistogramDensity(bins=4, low=-1, high=17).fit(x[:, :2])
    np.testing.assert_allclose(parts.score_samples(x[:, :2]), whole.score_samples(x[:, :2]))


# Densities


@given(st.integers(0, 99), st.floats(-6, 6), st.floats(-100, 100))
def test_a_histogram_integrates_to_one_in_any_units(seed, log10, offset):
    x = (np.random.default_rng(seed).normal(size=(200, 1)) + offset) * 10.0**log10
    model = HistogramDensity().fit(x)
    grid = np.linspace(x.min(), x.max(), 2001)
    middle = (grid[1:] + grid[:-1])[:, None] / 2
    total = np.exp(model.score_samples(middle)).sum() * (grid[1] - grid[0])
    assert abs(total - 1) < 1e-2
    assert model.model_.shape == (5,)


def test_a_flow_scores_in_the_units_of_its_columns():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 2)) @ np.array([[1.0, 0.8], [0.0, 0.6]])
    scale, offset = np.array([1e-3, 1e3]), np.array([5.0, -7e4])
    a = RealNVPDensity(epochs=20, random_state=0).fit(x)
    b = RealNVPDensity(epochs=20, random_state=0).fit(x * scale + offset)
    moved = a.score_samples(x) - np.log(scale).sum()
    np.testing.assert_allclose(b.score_samples(x * scale + offset), moved, atol=1e-4)
    np.testing.assert_allclose(b.sample(50), a.sample(50) * scale + offset, rtol=1e-5)
    independent = -0.5 * ((x - x.mean(0)) ** 2 / x.var(0) + np.log(2 * np.pi * x.var(0)))
    assert a.score_samples(x).mean() > independent.sum(axis=1).mean() + 0.2


@pytest.mark.parametrize("estimator", ALL, ids=lambda e: repr(e)[:60])
def test_a_fitted_estimator_is_pickled(estimator):
    x, y = np.abs(np.random.default_rng(0).normal(size=(40, 3))), np.arange(40) % 2
    model = clone(estimator).fit(x, y)
    again = pickle.loads(pickle.dumps(model))
    method = "score_samples" if hasattr(model, "score_samples") else "predict_proba"
    np.testing.assert_array_equal(getattr(again, method)(x), getattr(model, method)(x))


# Arguments, and scikit-learn's tools


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: GaussianNaiveBayesClassifier(variance_smoothing=-1), "variance_smoothing"),
        (lambda: BernoulliNaiveBayesClassifier(alpha=0), "alpha"),
        (lambda: BernoulliNaiveBayesClassifier(binarize="a"), "binarize"),
        (lambda: CategoricalNaiveBayesClassifier(levels=2.5), "levels"),
        (lambda: LogisticRegressionClassifier(l2=-1), "l2"),
        (lambda: BernoulliMixtureDensity(0), "n_components"),
        (lambda: BernoulliMixtureDensity(max_iter=0), "max_iter"),
        (lambda: BernoulliMixtureDensity(tol=np.nan), "tol"),
        (lambda: HistogramDensity(bins=0), "bins"),
        (lambda: HistogramDensity(low=0), "low and high"),
        (lambda: RealNVPDensity(epochs=0), "epochs"),
        (lambda: RealNVPDensity(hidden=[0]), "hidden"),
        (lambda: RealNVPDensity(lr=0), "lr"),
    ],
)
def test_bad_arguments_are_named_by_fit(make, named):
    x, y = np.abs(np.random.default_rng(0).normal(size=(30, 2))), np.arange(30) % 3
    with pytest.raises(ValueError, match=f"^{named} must"):
        make().fit(x, y)


GRIDS = [
    (BernoulliNaiveBayesClassifier(binarize=7.5), {"alpha": np.logspace(-3, 1, 3)}),
    (CategoricalNaiveBayesClassifier(levels=17), {"alpha": np.logspace(-3, 1, 3, dtype="f4")}),
    (GaussianNaiveBayesClassifier(), {"variance_smoothing": np.logspace(-9, -1, 3)}),
    (LogisticRegressionClassifier(), {"l2": np.logspace(-1, 1, 2), "steps": np.arange(2, 4)}),
    (BernoulliMixtureDensity(random_state=0), {"n_components": np.arange(1, 4)}),
    (HistogramDensity(low=-1, high=17, alpha=1), {"bins": np.arange(2, 5, dtype=np.int32)}),
    (RealNVPDensity(epochs=2), {"layers": np.array([2, 4]), "lr": np.logspace(-3, -2, 2)}),
]


@pytest.mark.parametrize(("estimator", "grid"), GRIDS, ids=lambda v: type(v).__name__)
def test_a_grid_search_over_numpys_numbers_works(estimator, grid):
    x, y = DIGITS.data[:200, 18:21], DIGITS.target[:200] % 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        search = GridSearchCV(estimator, grid, cv=2, error_score="raise").fit(x, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_they_work_in_scikit_learns_tools():
    scores = cross_val_score(GaussianNaiveBayesClassifier(), DIGITS.data, DIGITS.target, cv=3)
    assert scores.mean() > 0.75


def test_the_package_does_not_load_scikit_learn():
    code = "import core, reference, sys; print('sklearn' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
