"""Naive Bayes: features that are independent once the class is known.

    p(y, x) = p(y) Π_j p(x_j | y)         p(y | x) = p(y, x) / Σ_y' p(y', x)

Estimated by counting, it is a generative model (a mixture whose components are the classes) that
classifies by Bayes' rule. Correlated features are counted as often as they are repeated, so the
posterior is overconfident while the most likely class is often right. Here: that rule, and binary
features; the other kinds have a file each.

Maron 1961; lecture 004. MISSION rows H3, H4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from core import Array
from core.checks import categories, float_dtype, labels, number, some, whole
from core.errors import InputError
from core.functional import logsumexp
from core.model import Described, draws
from core.random import uniform
from reference.counting.frequencies import (
    class_priors,
    draw,
    fitted,
    log_frequencies,
    log_posterior,
    mergeable,
    weighed,
)


class NaiveBayes(Described):
    """Bayes' rule: all that doesn't depend on what p(x_j | y) looks like.

    dim: features. classes: y is one of 0, …, classes − 1. priors: p(y) of each class; None takes
    the classes' frequencies. dtype: the samples'. Statistics and log-probabilities are int64 and
    float64. InputError for data, labels or arguments that don't fit.
    """

    _form: tuple[str, ...] = ()  # what merging models agree in, beside dim and classes
    class_counts: Array  # (classes,) int64; float64 once weights were given

    # What the kinds add
    log_likelihood: Callable[[Array], Array]  # x (B, dim) → log p(x | y) (B, classes)
    _read: Callable[[Array], Array]  # x checked, in the dtype that is counted
    _zeros: Callable[[], None]  # statistics of no data
    _count: Callable[[Array, Array, Array], None]  # x, y, weights added to the statistics
    _add_statistics: Callable[[Any], None]  # those of another model, before its class_counts
    _draw: Callable[[Array, int], Array]  # y (n,), seed → x (n, dim)
    _free: Callable[[], int]  # free parameters of p(x | y)

    def __init__(self, dim: int, classes: int, priors: Sequence[float] | None, dtype: Any) -> None:
        self.dim, self.classes = whole("dim", dim, 1), whole("classes", classes, 1)
        self.priors, self.dtype = class_priors(priors, self.classes), float_dtype(dtype)
        self._forget()

    @property
    def num_parameters(self) -> int:
        """Free parameters: classes − 1 for p(y) unless it is given, and those of the features."""
        return self._free() + (self.classes - 1 if self.priors is None else 0)

    def fit(self, x: Array, y: Any = None, *, weights: Any = None) -> Any:
        """Count x (B, dim) with labels y (B,), forgetting what was counted before.

        weights (B,): how many times each counts, any numbers ≥ 0; once each if not given.
        """
        x, y = self._read(some(x)), labels(y, len(x), self.classes)
        weights = weighed(weights, len(x))
        self._forget()
        return self._add(x, y, weights)

    def partial_fit(self, x: Array, y: Any = None, *, weights: Any = None) -> Any:
        """Count x (B, dim) with labels y (B,) on top of what was counted before."""
        x, y = self._read(x), labels(y, len(x), self.classes)
        return self._add(x, y, weighed(weights, len(x)))

    def _add(self, x: Array, y: Array, w: Array) -> Any:
        self._count(x, y, w)
        added = np.zeros(self.classes, w.dtype)
        np.add.at(added, y, w)
        self.class_counts = self.class_counts + added
        return self

    def merge(self, other: NaiveBayes) -> Any:
        """Add what another model of the same form has counted: the model of both data."""
        mergeable(self, other, "dim", "classes", *self._form)
        self._add_statistics(other)
        self.class_counts = self.class_counts + other.class_counts
        return self

    def log_prior(self) -> Array:
        """log p(y) (classes,); −∞ for a class that was never seen."""
        fitted(self.class_counts.sum(), self)
        return log_frequencies(self.class_counts) if self.priors is None else np.log(self.priors)

    def log_joint(self, x: Array) -> Array:
        """log p(y, x) in nats (B, classes), of x (B, dim)."""
        return self.log_prior() + self.log_likelihood(x)

    def log_prob(self, x: Array, y: Any = None) -> Array:
        """log p(x) = log Σ_y p(y, x) in nats (B,), of x (B, dim); of given y (B,), log p(x | y)."""
        if y is None:
            return logsumexp(self.log_joint(x), axis=1)
        fitted(self.class_counts.sum(), self)
        return self.log_likelihood(x)[np.arange(len(x)), labels(y, len(x), self.classes)]

    def predict_proba(self, x: Array) -> Array:
        """The posterior p(y | x) (B, classes), of x (B, dim)."""
        return np.exp(self.log_proba(x))

    def log_proba(self, x: Array) -> Array:
        """log p(y | x) in nats (B, classes), of x (B, dim)."""
        return log_posterior(self.log_joint(x))

    def predict(self, x: Array) -> Array:
        """The most probable class a posteriori, argmax_y p(y, x), int64 (B,), of x (B, dim)."""
        return np.argmax(self.log_joint(x), axis=1)

    @draws
    def sample(self, n: int, *, seed: int = 0, y: Any = None) -> Array:
        """n new x (n, dim). y: the class of all or of each, (n,); None draws it from p(y)."""
        u = uniform(seed, (n,), stream="latent", dtype=np.float64)
        if y is None:
            y = draw(np.exp(self.log_prior()), u)
        y = labels(y if np.ndim(y) else np.full(n, y), n, self.classes)
        if (self.class_counts[y] == 0).any():
            raise InputError(f"y asks for class {y[self.class_counts[y] == 0][0]}; fit saw none")
        return self._draw(y, seed).astype(self.dtype)

    def _forget(self) -> None:
        self.class_counts = np.zeros(self.classes, np.int64)
        self._zeros()


class BernoulliNaiveBayes(NaiveBayes):
    """Binary features: p(x_j = 1 | y) = (n_yj + α) / (n_y + 2α).

    alpha: pseudo-count of both values, > 0 (1 is Laplace's rule). The rest as in NaiveBayes.

    >>> x, y = np.array([[0, 0], [0, 1], [1, 1], [1, 1]]), np.array([0, 0, 1, 1])
    >>> model = BernoulliNaiveBayes(2, 2).fit(x, y)
    >>> model.predict_proba(np.array([[0, 1], [1, 0]])).round(2)
    array([[0.67, 0.33],
           [0.4 , 0.6 ]])
    """

    def __init__(
        self,
        dim: int,
        classes: int,
        *,
        alpha: float = 1.0,
        priors: Sequence[float] | None = None,
        dtype: Any = np.float32,
    ) -> None:
        self.alpha = number("alpha", alpha, above=0)
        super().__init__(dim, classes, priors, dtype)

    def log_likelihood(self, x: Array) -> Array:
        """log p(x | y) in nats (B, classes), of binary x (B, dim)."""
        x, (log_q, log_p) = self._read(x), np.moveaxis(self._log_theta(), 2, 0)
        return x @ log_p.T + (1 - x) @ log_q.T

    def _read(self, x: Array) -> Array:
        return categories(x, self.dim, 2).astype(np.float64)

    def _zeros(self) -> None:
        self.counts = np.zeros((self.classes, self.dim), np.int64)  # ones seen

    def _count(self, x: Array, y: Array, w: Array) -> None:
        added = np.zeros(self.counts.shape, w.dtype)
        np.add.at(added, y, w[:, None] * x.astype(w.dtype))
        self.counts = self.counts + added

    def _add_statistics(self, other: BernoulliNaiveBayes) -> None:
        self.counts = self.counts + other.counts

    def _free(self) -> int:
        return self.classes * self.dim

    def _log_theta(self) -> Array:
        """log p(x_j = 0 | y) and log p(x_j = 1 | y), (classes, dim, 2)."""
        zeros = self.class_counts[:, None] - self.counts
        return log_frequencies(np.stack([zeros, self.counts], axis=2), self.alpha)

    def _draw(self, y: Array, seed: int) -> Array:
        u = uniform(seed, (len(y), self.dim), dtype=np.float64)
        return draw(np.exp(self._log_theta())[y], u)
