"""The classical models as scikit-learn estimators: thin adapters that pass `check_estimator`.

They turn any labels into 0, 1, …, find sizes in the data, and otherwise call the model, which is at
`model_` after fit. The only file that imports scikit-learn at the top; import it where it's needed.
MISSION rows H3, H4, L1.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, DensityMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from core import Array
from core.errors import InputError
from reference.counting.categorical_naive_bayes import CategoricalNaiveBayes
from reference.counting.gaussian_naive_bayes import GaussianNaiveBayes
from reference.counting.naive_bayes import BernoulliNaiveBayes
from reference.latent.bernoulli_mixture import BernoulliMixture


def _seed(random_state: Any) -> int:
    return int(check_random_state(random_state).randint(2**31 - 1))


class _NaiveBayes(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """What the three classifiers share. X is (n_samples, n_features), y any labels (n_samples,)."""

    def fit(self, X: Array, y: Any) -> Self:
        """Count X and y."""
        X, y = validate_data(self, X, y)
        check_classification_targets(y)
        self.classes_, index = np.unique(y, return_inverse=True)
        X = self._read(X)
        self.model_ = self._model(X).fit(X, index)
        return self

    def predict(self, X: Array) -> Array:
        """The most probable class of each row, (n_samples,)."""
        index = self._checked("predict", X)
        return self.classes_[index]

    def predict_proba(self, X: Array) -> Array:
        """p(y | x), (n_samples, n_classes), columns in the order of `classes_`."""
        return self._checked("predict_proba", X)

    def score_samples(self, X: Array) -> Array:
        """log p(x) in nats, (n_samples,)."""
        return self._checked("log_prob", X)

    def sample(self, n_samples: int = 1, y: Any = None) -> Array:
        """New rows (n_samples, n_features), of class y (one or one each), or of classes drawn."""
        check_is_fitted(self)
        index = None if y is None else self._index(y)
        return self.model_.sample(n_samples, seed=_seed(self.random_state), y=index)

    def _index(self, y: Any) -> Array:
        """Position in `classes_` of one label or of each. InputError for one fit hasn't seen."""
        index = np.minimum(np.searchsorted(self.classes_, y), len(self.classes_) - 1)
        if np.any(self.classes_[index] != y):
            raise InputError(f"y must be one of {', '.join(map(str, self.classes_))}, got {y!r}")
        return index

    def _checked(self, method: str, X: Array) -> Array:
        check_is_fitted(self)
        X = validate_data(self, X, reset=False)
        return getattr(self.model_, method)(self._read(X))

    def _read(self, X: Array) -> Array:
        return X.astype(np.float64)

    def _size(self, X: Array) -> tuple[int, int]:
        return X.shape[1], len(self.classes_)


class GaussianNaiveBayesClassifier(_NaiveBayes):
    """`reference.counting.gaussian_naive_bayes.GaussianNaiveBayes`; arguments as there."""

    def __init__(
        self, *, variance_smoothing: float = 1e-9, priors: Any = None, random_state: Any = None
    ) -> None:
        self.variance_smoothing = variance_smoothing
        self.priors = priors
        self.random_state = random_state

    def _model(self, X: Array) -> GaussianNaiveBayes:
        return GaussianNaiveBayes(
            *self._size(X),
            variance_smoothing=self.variance_smoothing,
            priors=self.priors,
            dtype=np.float64,
        )


class BernoulliNaiveBayesClassifier(_NaiveBayes):
    """`reference.counting.naive_bayes.BernoulliNaiveBayes`; arguments as there.

    binarize: values above it become 1, the others 0.
    """

    def __init__(
        self,
        *,
        alpha: float = 1.0,
        binarize: float = 0.0,
        priors: Any = None,
        random_state: Any = None,
    ) -> None:
        self.alpha = alpha
        self.binarize = binarize
        self.priors = priors
        self.random_state = random_state

    def _model(self, X: Array) -> BernoulliNaiveBayes:
        return BernoulliNaiveBayes(
            *self._size(X), alpha=self.alpha, priors=self.priors, dtype=np.float64
        )

    def _read(self, X: Array) -> Array:
        return np.greater(X, self.binarize).astype(np.float64)


class CategoricalNaiveBayesClassifier(_NaiveBayes):
    """`reference.counting.naive_bayes.CategoricalNaiveBayes`; arguments as there.

    levels: number of values; None takes one more than the largest in X.
    """

    def __init__(
        self,
        *,
        levels: int | None = None,
        alpha: float = 1.0,
        priors: Any = None,
        random_state: Any = None,
    ) -> None:
        self.levels = levels
        self.alpha = alpha
        self.priors = priors
        self.random_state = random_state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.categorical = True
        tags.input_tags.positive_only = True
        return tags

    def _model(self, X: Array) -> CategoricalNaiveBayes:
        levels = int(X.max()) + 1 if self.levels is None else self.levels
        return CategoricalNaiveBayes(
            *self._size(X), levels=levels, alpha=self.alpha, priors=self.priors, dtype=np.float64
        )

    def _read(self, X: Array) -> Array:
        if (X < 0).any():
            raise ValueError(f"Negative values in data passed to {type(self).__name__}")
        return np.floor(X.astype(np.float64))


class BernoulliMixtureDensity(DensityMixin, BaseEstimator):  # type: ignore[misc]
    """`BernoulliMixture`, fitted by at most `max_iter` steps of EM.

    tol: EM ends when the mean log-likelihood changes by less, in nats. binarize: values above it
    become 1, the others 0.
    """

    def __init__(
        self,
        n_components: int = 1,
        *,
        alpha: float = 0.1,
        max_iter: int = 100,
        tol: float = 1e-3,
        binarize: float = 0.0,
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.alpha = alpha
        self.max_iter = max_iter
        self.tol = tol
        self.binarize = binarize
        self.random_state = random_state

    def fit(self, X: Array, y: Any = None) -> Self:
        """EM on X (n_samples, n_features); labels are not used."""
        X = self._read(validate_data(self, X))
        if len(X) < self.n_components:
            raise ValueError(f"n_samples={len(X)} should be >= n_components={self.n_components}")
        self.model_ = BernoulliMixture(
            X.shape[1],
            components=self.n_components,
            alpha=self.alpha,
            seed=_seed(self.random_state),
            dtype=np.float64,
        )
        before, self.n_iter_, gain = self.model_.em_step(X), 1, np.inf
        while abs(gain) >= self.tol and self.n_iter_ < self.max_iter:
            now = self.model_.em_step(X)
            before, gain, self.n_iter_ = now, now - before, self.n_iter_ + 1
        return self

    def score_samples(self, X: Array) -> Array:
        """log p(x) in nats, (n_samples,)."""
        check_is_fitted(self)
        return self.model_.log_prob(self._read(validate_data(self, X, reset=False)))

    def score(self, X: Array, y: Any = None) -> float:
        """Σ log p(x) over the rows of X, in nats, as scikit-learn's KernelDensity has it."""
        return float(np.sum(self.score_samples(X)))

    def sample(self, n_samples: int = 1) -> Array:
        """New rows (n_samples, n_features) of 0 and 1."""
        check_is_fitted(self)
        return self.model_.sample(n_samples, seed=_seed(self.random_state))

    def _read(self, X: Array) -> Array:
        return np.greater(X, self.binarize).astype(np.float64)
