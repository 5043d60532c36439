"""Classifiers: naive Bayes of four kinds, which know p(x) too, and logistic regression."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from core import Array
from core.checks import number
from core.errors import InputError
from reference.counting.categorical_naive_bayes import CategoricalNaiveBayes
from reference.counting.gaussian_naive_bayes import GaussianNaiveBayes
from reference.counting.kernel_naive_bayes import KernelNaiveBayes
from reference.counting.logistic_regression import LogisticRegression
from reference.counting.naive_bayes import BernoulliNaiveBayes
from reference.estimators.shared import agree, counted, seed_of


class _Classifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """What they share. X is (n_samples, n_features), y any labels (n_samples,)."""

    def predict(self, X: Array) -> Array:
        """The most probable class of each row, (n_samples,)."""
        index = self._checked("predict", X)
        return self.classes_[index]

    def predict_proba(self, X: Array) -> Array:
        """p(y | x), (n_samples, n_classes), columns in the order of `classes_`."""
        return self._checked("predict_proba", X)

    def predict_log_proba(self, X: Array) -> Array:
        """log p(y | x) in nats, (n_samples, n_classes); it doesn't underflow."""
        return self._checked("log_proba", X)

    def _learnable(self, X: Array, y: Any, *, reset: bool = True) -> tuple[Array, Array]:
        X, y = validate_data(self, X, y, reset=reset)
        check_classification_targets(y)
        return X, y

    def _checked(self, method: str, X: Array) -> Array:
        check_is_fitted(self)
        X = validate_data(self, X, reset=False)
        return getattr(self.model_, method)(self._read(X))

    def _read(self, X: Array) -> Array:
        return X.astype(np.float64)

    def _index(self, y: Any) -> Array:
        """Position in `classes_` of one label or of each. InputError for one that isn't there."""
        y = np.asarray(y)
        index = np.minimum(np.searchsorted(self.classes_, y), len(self.classes_) - 1)
        if np.any(unknown := self.classes_[index] != y):
            known = ", ".join(map(str, self.classes_))
            raise InputError(f"y must be one of {known}, got {np.atleast_1d(y[unknown])[0]!r}")
        return index

    def _size(self, X: Array) -> tuple[int, int]:
        return X.shape[1], len(self.classes_)


class _Generative(_Classifier):
    """What knows p(x | y): it is learned by counting, in parts, and has new rows."""

    def _learn(self, X: Array, y: Any, sample_weight: Any = None) -> Self:
        X, y = self._learnable(X, y)
        (X, y), weights = counted(sample_weight, X, y)
        self.classes_, index = np.unique(y, return_inverse=True)
        X = self._read(X)
        self.model_ = self._model(X).fit(X, index, weights=weights)
        return self

    def _learn_more(self, X: Array, y: Any, classes: Any, sample_weight: Any = None) -> Self:
        first = not hasattr(self, "model_")
        X, y = self._learnable(X, y, reset=first)
        if first and classes is None:
            raise InputError("classes must be given with the first partial_fit, got none")
        (X, y), weights = counted(sample_weight, X, y)
        X = self._read(X)
        if first:
            self.classes_ = np.unique(classes)
        index = self._index(y)
        self.model_ = self._model(X) if first else self._with_room(len(X))
        self.model_.partial_fit(X, index, weights=weights)
        return self

    def _with_room(self, n: int) -> Any:
        """The model, able to count n more rows."""
        return self.model_

    def merge(self, other: Any) -> Self:
        """Add what another one has counted, of the same classes: the model of both data."""
        check_is_fitted(self)
        agree(self, other)
        if not np.array_equal(self.classes_, other.classes_):
            raise InputError(
                f"other must know the classes {list(self.classes_)}, got {list(other.classes_)}; "
                "partial_fit(…, classes=…) has them all in each part"
            )
        self.model_ = self._with_room(int(other.model_.class_counts.sum()))
        self.model_.merge(other.model_)
        return self

    def score_samples(self, X: Array) -> Array:
        """log p(x) in nats, (n_samples,)."""
        return self._checked("log_prob", X)

    def sample(self, n_samples: int = 1, y: Any = None) -> Array:
        """New rows (n_samples, n_features), of class y (one or one each), or of classes drawn."""
        check_is_fitted(self)
        index = None if y is None else self._index(y)
        return self.model_.sample(n_samples, seed=seed_of(self.random_state), y=index)


class _NaiveBayes(_Generative):
    """Whose counts may be any numbers."""

    def fit(self, X: Array, y: Any, sample_weight: Any = None) -> Self:
        """Count X and y, each row once or as often as its weight says (any number ≥ 0)."""
        return self._learn(X, y, sample_weight)

    def partial_fit(self, X: Array, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """Count X and y on top of what was counted. classes: all there are, for the first call."""
        return self._learn_more(X, y, classes, sample_weight)


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
        return np.greater(X, number("binarize", self.binarize)).astype(np.float64)


class CategoricalNaiveBayesClassifier(_NaiveBayes):
    """`reference.counting.categorical_naive_bayes.CategoricalNaiveBayes`; arguments as there.

    levels: number of values; None takes one more than the largest in the first X.
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
            *self._size(X), levels, alpha=self.alpha, priors=self.priors, dtype=np.float64
        )

    def _read(self, X: Array) -> Array:
        if (X < 0).any():
            raise ValueError(f"Negative values in data passed to {type(self).__name__}")
        return np.floor(X.astype(np.float64))


class KernelNaiveBayesClassifier(_Generative):
    """`reference.counting.kernel_naive_bayes.KernelNaiveBayes`; arguments as there.

    It keeps every row that it has seen.
    """

    def __init__(
        self, *, bandwidth: float | None = None, priors: Any = None, random_state: Any = None
    ) -> None:
        self.bandwidth = bandwidth
        self.priors = priors
        self.random_state = random_state

    def fit(self, X: Array, y: Any) -> Self:
        """Keep X and y."""
        return self._learn(X, y)

    def partial_fit(self, X: Array, y: Any, classes: Any = None) -> Self:
        """Keep X and y too. classes: all there are, for the first call."""
        return self._learn_more(X, y, classes)

    def _model(self, X: Array) -> KernelNaiveBayes:
        return self._of_size(X.shape[1], len(X))

    def _with_room(self, n: int) -> KernelNaiveBayes:
        kept = int(self.model_.class_counts.sum())
        roomy: KernelNaiveBayes = self._of_size(self.model_.dim, kept + n).merge(self.model_)
        return roomy

    def _of_size(self, dim: int, examples: int) -> KernelNaiveBayes:
        return KernelNaiveBayes(
            dim,
            len(self.classes_),
            examples,
            bandwidth=self.bandwidth,
            priors=self.priors,
            dtype=np.float64,
        )


class LogisticRegressionClassifier(_Classifier):
    """`reference.counting.logistic_regression.LogisticRegression`; arguments as there."""

    def __init__(self, *, l2: float = 1.0, steps: int = 25) -> None:
        self.l2 = l2
        self.steps = steps

    def fit(self, X: Array, y: Any) -> Self:
        """Maximise the likelihood of y given X, less the penalty on the slopes."""
        X, y = self._learnable(X, y)
        self.classes_, index = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise InputError(f"y must have at least 2 classes, got 1 class, {self.classes_[0]!r}")
        model = LogisticRegression(*self._size(X), l2=self.l2, steps=self.steps)
        self.model_ = model.fit(self._read(X), index)
        return self
