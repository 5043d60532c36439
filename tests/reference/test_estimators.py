"""The scikit-learn adapters pass its own checks and say what the models say (H3, H4, L1)."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import cross_val_score
from sklearn.utils.estimator_checks import check_estimator

from reference.counting.naive_bayes import BernoulliNaiveBayes
from reference.estimators import (
    BernoulliMixtureDensity,
    BernoulliNaiveBayesClassifier,
    CategoricalNaiveBayesClassifier,
    GaussianNaiveBayesClassifier,
)
from reference.latent.bernoulli_mixture import BernoulliMixture

CLASSIFIERS = [
    GaussianNaiveBayesClassifier,
    BernoulliNaiveBayesClassifier,
    CategoricalNaiveBayesClassifier,
]
DIGITS = load_digits()
NAMES = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])


class ForgetsItsFeatures(GaussianNaiveBayesClassifier):
    def predict(self, X):
        return np.full(len(X), self.classes_[0])


@pytest.mark.parametrize("cls", [*CLASSIFIERS, BernoulliMixtureDensity])
def test_scikit_learns_own_checks_pass(cls):
    check_estimator(cls(), on_skip=None)


def test_scikit_learns_own_checks_can_fail():
    with pytest.raises((AssertionError, AttributeError)):
        check_estimator(ForgetsItsFeatures(), on_skip=None)


@pytest.mark.parametrize("cls", CLASSIFIERS)
def test_classes_keep_their_names(cls):
    x, y = DIGITS.data, NAMES[DIGITS.target]
    model = cls(random_state=0).fit(x, y)
    assert (model.predict(x) == y).mean() > 0.7
    np.testing.assert_allclose(model.predict_proba(x[:9]).sum(axis=1), 1)
    assert np.isfinite(model.score_samples(x)).all()
    sevens = model.sample(200, y="seven")
    assert (model.predict(sevens) == "seven").mean() > 0.7
    np.testing.assert_array_equal(clone(model).fit(x, y).sample(3), model.sample(3))
    with pytest.raises(ValueError, match=r"y must .*got 'eleven'"):
        model.sample(2, y="eleven")


def test_the_adapters_say_what_the_models_say():
    x, y = (DIGITS.data >= 8).astype(float), DIGITS.target
    model = BernoulliNaiveBayes(64, 10, alpha=0.3).fit(x, y)
    adapter = BernoulliNaiveBayesClassifier(alpha=0.3, binarize=7.5).fit(DIGITS.data, y)
    np.testing.assert_array_equal(adapter.predict_proba(DIGITS.data), model.predict_proba(x))
    np.testing.assert_array_equal(adapter.score_samples(DIGITS.data), model.log_prob(x))
    density = BernoulliMixtureDensity(4, max_iter=7, tol=0, random_state=0).fit(x)
    mixture = BernoulliMixture(64, components=4, alpha=0.1, seed=density.model_.seed)
    for _ in range(7):
        mixture.em_step(x)
    np.testing.assert_array_equal(density.score_samples(x), mixture.log_prob(x))
    assert density.score(x) == mixture.log_prob(x).sum()
    assert density.n_iter_ == 7
    assert density.sample(5).shape == (5, 64)


def test_they_work_in_scikit_learns_tools():
    scores = cross_val_score(GaussianNaiveBayesClassifier(), DIGITS.data, DIGITS.target, cv=3)
    assert scores.mean() > 0.75


def test_the_package_does_not_load_scikit_learn():
    code = "import core, reference, sys; print('sklearn' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
