"""H5: the generative–discriminative pair is one linear function, estimated in two ways."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression as Peer

from core import Tensor, grad
from core.errors import InputError
from core.functional import cross_entropy
from reference.counting.gaussian_naive_bayes import GaussianNaiveBayes, SharedVarianceNaiveBayes
from reference.counting.logistic_regression import LogisticRegression
from reference.counting.naive_bayes import BernoulliNaiveBayes

DIM, CLASSES = 3, 3


def data(n=300, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, CLASSES, n)
    mean = np.random.default_rng(7).normal(size=(CLASSES, DIM))
    return mean[y] + rng.normal(size=(n, DIM)) * (1 + y[:, None] / 2), y


class StopsEarly(LogisticRegression):
    def fit(self, x, y):
        self.steps = 2
        return super().fit(x, y)


class ForgetsTheBias(LogisticRegression):
    @classmethod
    def from_naive_bayes(cls, model):
        twin = super().from_naive_bayes(model)
        twin.b[...] = model.log_prior()
        return twin


# Maximum likelihood


def the_likelihood_has_no_slope(model, x, y):
    W, b = Tensor(model.W.copy()), Tensor(model.b.copy())
    for g in grad(np.mean(cross_entropy(x @ W + b, y)), [W, b]):
        np.testing.assert_allclose(g, 0, atol=1e-7)


def test_the_gradient_of_the_likelihood_vanishes_at_the_fit():
    x, y = data()
    the_likelihood_has_no_slope(LogisticRegression(DIM, CLASSES).fit(x, y), x, y)
    with pytest.raises(AssertionError):
        the_likelihood_has_no_slope(StopsEarly(DIM, CLASSES).fit(x, y), x, y)


@pytest.mark.parametrize("l2", [0.0, 3.0])
def test_it_agrees_with_scikit_learn(l2):
    x, y = data()
    peer = Peer(C=1 / l2 if l2 else np.inf, tol=1e-10, max_iter=10_000).fit(x, y)
    ours = LogisticRegression(DIM, CLASSES, l2=l2).fit(x, y)
    np.testing.assert_allclose(ours.predict_proba(x), peer.predict_proba(x), atol=1e-5)


def test_separable_data_end_with_the_right_classes_and_no_nan():
    x = np.array([[-2.0], [-1.0], [1.0], [2.0]])
    y = np.array([0, 0, 1, 1])
    model = LogisticRegression(1, 2).fit(x, y)
    np.testing.assert_array_equal(model.predict(x), y)
    assert np.isfinite(model.W).all()


def test_digits_seen_from_afar():
    digits = load_digits()
    x = digits.images.reshape(-1, 4, 2, 4, 2).mean(axis=(2, 4)).reshape(-1, 16)
    model = LogisticRegression(16, 10, l2=1.0).fit(x[:1000], digits.target[:1000])
    peer = Peer(C=1.0, max_iter=10_000).fit(x[:1000], digits.target[:1000])
    assert (model.predict(x[1000:]) == peer.predict(x[1000:])).mean() > 0.99


# The pair


def is_the_same_function(cls):
    x, y = data()
    model = SharedVarianceNaiveBayes(DIM, CLASSES).fit(x, y)
    twin = cls.from_naive_bayes(model)
    np.testing.assert_allclose(twin.predict_proba(x), model.predict_proba(x), rtol=1e-10)


def test_with_shared_variance_naive_bayes_is_logistic_regression_exactly():
    is_the_same_function(LogisticRegression)
    with pytest.raises(AssertionError):
        is_the_same_function(ForgetsTheBias)


def log_odds_along_a_line(model):
    t = np.linspace(-3, 3, 9)[:, None]
    log_joint = model.log_joint(t * np.array([[1.0, -0.5, 2.0]]))
    return log_joint[:, 0] - log_joint[:, 1]


def test_log_odds_are_linear_with_shared_variance_and_quadratic_without():
    x, y = data()
    shared = log_odds_along_a_line(SharedVarianceNaiveBayes(DIM, CLASSES).fit(x, y))
    own = log_odds_along_a_line(GaussianNaiveBayes(DIM, CLASSES).fit(x, y))
    np.testing.assert_allclose(np.diff(shared, 2), 0, atol=1e-10)
    np.testing.assert_allclose(np.diff(own, 3), 0, atol=1e-10)
    assert np.abs(np.diff(own, 2)).min() > 0.1


def test_binary_naive_bayes_is_linear_too():
    x, y = data()
    bits = (x > 0).astype(float)
    model = BernoulliNaiveBayes(DIM, CLASSES).fit(bits, y)
    twin = LogisticRegression(DIM, CLASSES).fit(bits, y)
    zero = model.log_joint(np.zeros((1, DIM)))
    twin.W[...], twin.b[...] = model.log_joint(np.eye(DIM)) - zero, zero[0]
    np.testing.assert_allclose(twin.predict_proba(bits), model.predict_proba(bits), rtol=1e-10)


def test_the_shared_variance_is_the_mean_of_the_classes_own():
    x, y = data()
    model = SharedVarianceNaiveBayes(DIM, CLASSES, variance_smoothing=0.0).fit(x, y)
    residuals = x - model.mean[y]
    np.testing.assert_allclose(model.variance()[0], (residuals**2).mean(axis=0), rtol=1e-12)


def test_with_much_data_and_independence_the_pair_agrees():
    """H6 in the limit: both estimate the same line where the assumption is true."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 40_000)
    x = np.array([[-0.5, 0.3], [0.5, -0.3]])[y] + rng.normal(size=(40_000, 2))
    generative = LogisticRegression.from_naive_bayes(SharedVarianceNaiveBayes(2, 2).fit(x, y))
    discriminative = LogisticRegression(2, 2).fit(x, y)
    for a in (generative.W, discriminative.W):
        np.testing.assert_allclose(a[:, 1] - a[:, 0], [1.0, -0.6], atol=0.05)


X, Y = data(20)


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: LogisticRegression(0, 2), "dim"),
        (lambda: LogisticRegression(2, 1), "classes"),
        (lambda: LogisticRegression(2, 2, l2=-1), "l2"),
        (lambda: LogisticRegression(2, 2, steps=0), "steps"),
        (lambda: LogisticRegression(3, 3).fit(X * np.nan, Y), "x must .*got nan"),
        (lambda: LogisticRegression(3, 3).fit(X[:0], Y[:0]), "x must have at least one row"),
        (lambda: LogisticRegression(3, 3).fit(X, Y + 1), "y must lie in"),
        (lambda: LogisticRegression(3, 3).fit(X, Y[1:]), "y must .*got "),
        (lambda: LogisticRegression(3, 3).predict(X), "call fit first"),
    ],
)
def test_bad_input_is_named(call, names):
    with pytest.raises(InputError, match=names):
        call()
