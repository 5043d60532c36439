"""Naive Bayes with features that take several values, none of them larger than another.

    p(x_j = k | y) = (n_yjk + α) / (n_y + αK)

n_yjk of the n_y examples of class y have the value k in feature j. Bayes' rule itself is
`reference.counting.naive_bayes`. MISSION row H3, H4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from core import Array
from core.checks import categories, number, whole
from core.random import uniform
from reference.counting.frequencies import draw, log_frequencies
from reference.counting.naive_bayes import NaiveBayes


class CategoricalNaiveBayes(NaiveBayes):
    """Features with values 0, …, K − 1: p(x_j = k | y) = (n_yjk + α) / (n_y + αK).

    levels: K. alpha: pseudo-count of every value; with 0 a value never seen is impossible.
    The rest as in NaiveBayes.

    >>> x, y = np.array([[0], [0], [2], [1]]), np.array([0, 0, 1, 1])
    >>> model = CategoricalNaiveBayes(1, 2, 3).fit(x, y)
    >>> model.predict(np.array([[0], [1], [2]]))
    array([0, 1, 1])
    """

    _form = ("levels",)

    def __init__(
        self,
        dim: int,
        classes: int,
        levels: int,
        *,
        alpha: float = 1.0,
        priors: Sequence[float] | None = None,
        dtype: Any = np.float32,
    ) -> None:
        self.levels, self.alpha = whole("levels", levels, 1), number("alpha", alpha, least=0)
        super().__init__(dim, classes, priors, dtype)

    def log_likelihood(self, x: Array) -> Array:
        """log p(x | y) in nats (B, classes), of whole numbers x (B, dim)."""
        log_theta = log_frequencies(self.counts, self.alpha)  # (classes, dim, K)
        columns = enumerate(self._read(x).T)
        return np.sum([log_theta[:, j, x_j] for j, x_j in columns], axis=0).T

    def _read(self, x: Array) -> Array:
        return categories(x, self.dim, self.levels)

    def _free(self) -> int:
        return self.classes * self.dim * (self.levels - 1)

    def _zeros(self) -> None:
        self.counts = np.zeros((self.classes, self.dim, self.levels), np.int64)

    def _count(self, x: Array, y: Array, w: Array) -> None:
        added = np.zeros(self.counts.shape, w.dtype)
        np.add.at(added, (y[:, None], np.arange(self.dim), x), w[:, None])
        self.counts = self.counts + added

    def _add_statistics(self, other: CategoricalNaiveBayes) -> None:
        self.counts = self.counts + other.counts

    def _draw(self, y: Array, seed: int) -> Array:
        u = uniform(seed, (len(y), self.dim), dtype=np.float64)
        return draw(np.exp(log_frequencies(self.counts, self.alpha))[y], u)
