"""What every model that knows p(y | x) owes (MISSION rows H3, H5)."""

from __future__ import annotations

import numpy as np

from tests.laws.subject import Subject, examples


def probabilities_of_classes_sum_to_one(s: Subject) -> None:
    """Σ_y p(y | x) = 1, and none is negative."""
    x, _ = examples(s.row, 50, 3)
    p = s.model.predict_proba(x)
    assert p.shape == (50, s.model.classes)
    assert (p >= 0).all()
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-12)


def predicts_the_most_probable_class(s: Subject) -> None:
    """predict(x) = argmax_y p(y | x), as integers."""
    x, _ = examples(s.row, 50, 3)
    found = s.model.predict(x)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, s.model.predict_proba(x).argmax(axis=1))


def knows_more_than_the_frequencies(s: Subject) -> None:
    """On what it learned from, p(y | x) beats p(y): it looks at x."""
    x, y = examples(s.row, 300, 0)
    p = s.model.predict_proba(x)[np.arange(300), y]
    prior = np.bincount(y) / len(y)
    assert np.log(p).mean() > np.log(prior[y]).mean() + 0.1
    assert (s.model.predict(x) == y).mean() > prior.max() + 0.1


def obeys_bayes_rule(s: Subject) -> None:
    """p(y | x) p(x) = p(y) p(x | y) for every y, and Σ p(y) = 1."""
    np.testing.assert_allclose(np.exp(s.model.log_prior()).sum(), 1, rtol=1e-12)
    x, _ = examples(s.row, 50, 3)
    left = np.log(s.model.predict_proba(x)) + s.model.log_prob(x)[:, None]
    given = [s.model.log_prob(x, np.full(50, y)) for y in range(s.model.classes)]
    right = s.model.log_prior() + np.stack(given, axis=1)
    np.testing.assert_allclose(left, right, rtol=1e-9, atol=1e-9)


def knows_nothing_of_x(s: Subject) -> None:
    """It offers neither a likelihood nor samples."""
    for name in ("log_prob", "elbo", "sample"):
        assert not hasattr(s.model, name), name
