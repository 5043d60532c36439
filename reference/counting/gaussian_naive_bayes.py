"""Naive Bayes with Gaussian features.

    p(x_j | y) = exp(−(x_j − μ_yj)² / 2σ²_yj) / √(2πσ²_yj)

with the class's own mean and variance, so the log-odds of two classes are quadratic in x; they are
linear where the classes share the variance. Bayes' rule itself is `reference.counting.naive_bayes`.

Lecture 004; Duda & Hart 1973, Pattern Classification and Scene Analysis; Chan, Golub & LeVeque 1979
for moments of data that come in parts. MISSION row H3, H4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from core import Array
from core.checks import number, numbers
from core.distributions import Normal
from core.errors import InputError
from core.functional import one_hot
from core.random import normal
from reference.counting.frequencies import fitted
from reference.counting.naive_bayes import NaiveBayes


class GaussianNaiveBayes(NaiveBayes):
    """Real features: p(x_j | y) = N(x_j; μ_yj, σ²_yj), the class's mean and variance (ddof 0).

    variance_smoothing: every σ² grows by this fraction of the feature's variance over all classes
    (of 1, if it is constant), or a pixel that is the same throughout a class would have σ = 0; so
    the fit knows no units. The rest as in NaiveBayes.

    >>> x, y = np.array([[0.0], [2.0], [10.0], [12.0]]), np.array([0, 0, 1, 1])
    >>> model = GaussianNaiveBayes(1, 2, variance_smoothing=0).fit(x, y)
    >>> model.mean.ravel(), model.variance().ravel()
    (array([ 1., 11.]), array([1., 1.]))
    """

    def __init__(
        self,
        dim: int,
        classes: int,
        *,
        variance_smoothing: float = 1e-9,
        priors: Sequence[float] | None = None,
        dtype: Any = np.float32,
    ) -> None:
        self.variance_smoothing = number("variance_smoothing", variance_smoothing, least=0)
        super().__init__(dim, classes, priors, dtype)

    def variance(self) -> Array:
        """σ² (classes, dim), smoothed. InputError if one of them is 0 all the same."""
        n = self.class_counts[:, None]
        fitted(n.sum(), self)
        centre = np.sum(n * self.mean, axis=0) / n.sum()
        total = np.sum(self.squares + n * (self.mean - centre) ** 2, axis=0) / n.sum()
        total[np.sqrt(total) <= 1e-12 * np.abs(centre)] = 1.0  # constant, but for rounding
        variance = self.squares / _or_1(n) + self.variance_smoothing * total
        if not (variance > 0).all():
            raise InputError("variance_smoothing must be > 0 as a feature has variance 0, got 0")
        return variance

    def log_likelihood(self, x: Array) -> Array:
        """log p(x | y) in nats (B, classes), of real x (B, dim)."""
        x = self._read(x)
        classes = zip(self.mean, np.sqrt(self.variance()), strict=True)
        return np.stack([Normal(mu, s).log_prob(x).sum(axis=1) for mu, s in classes], axis=1)

    def _read(self, x: Array) -> Array:
        return numbers(x, self.dim).astype(np.float64)

    def _free(self) -> int:
        return 2 * self.classes * self.dim

    def _zeros(self) -> None:
        self.mean = np.zeros((self.classes, self.dim))
        self.squares = np.zeros((self.classes, self.dim))  # Σ (x − mean)² over the class

    def _count(self, x: Array, y: Array, w: Array) -> None:
        r = one_hot(y, self.classes, np.float64) * w[:, None]  # (B, classes)
        m = r.sum(axis=0)[:, None]  # (classes, 1)
        mean = r.T @ x / _or_1(m)
        self._add_moments(m, mean, r.T @ (x - mean[y]) ** 2)

    def _add_statistics(self, other: GaussianNaiveBayes) -> None:
        self._add_moments(other.class_counts[:, None], other.mean, other.squares)

    def _add_moments(self, m: Array, mean: Array, squares: Array) -> None:
        """Those of m more examples a class, (classes, 1) (Chan, Golub & LeVeque 1979, Eq. 2.1)."""
        n = self.class_counts[:, None]
        delta = mean - self.mean
        self.mean += delta * m / _or_1(n + m)
        self.squares += squares + delta**2 * n * m / _or_1(n + m)

    def _draw(self, y: Array, seed: int) -> Array:
        z = normal(seed, (len(y), self.dim), dtype=np.float64)
        return self.mean[y] + np.sqrt(self.variance())[y] * z


class SharedVarianceNaiveBayes(GaussianNaiveBayes):
    """Gaussian features whose variance is the same for all classes: σ²_j = Σ_y n_y σ²_yj / n.

    The log-odds are linear in x: the generative twin of logistic regression (MISSION row H5).

    >>> x, y = np.array([[0.0], [2.0], [10.0], [14.0]]), np.array([0, 0, 1, 1])
    >>> SharedVarianceNaiveBayes(1, 2, variance_smoothing=0).fit(x, y).variance().ravel()
    array([2.5, 2.5])
    """

    def variance(self) -> Array:
        """σ² (classes, dim), smoothed, every row the same."""
        n = self.class_counts[:, None]
        pooled = np.sum(n * super().variance(), axis=0) / n.sum()
        return np.broadcast_to(pooled, self.mean.shape)

    def _free(self) -> int:
        return (self.classes + 1) * self.dim


def _or_1(n: Array) -> Array:
    """A count to divide by: 1 where nothing was counted."""
    return np.where(n > 0, n, 1)
