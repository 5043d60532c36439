"""Naive Bayes with features as the data are: a bump of width h on every example.

    p(x_j | y) = (1/n_y) Σ_i N(x_j; x_ij, h_yj²)        over the examples i of class y

Parzen's density with one variable at a time: it assumes no shape, and keeps all that it has seen.
How wide a bump is, Silverman's rule of thumb says for every class and variable,

    h_yj = 0.9 min(σ_yj, IQR_yj / 1.34) n_y^(−1/5)

which is best for data not far from Gaussian. Bayes' rule itself is
`reference.counting.naive_bayes`.

Rosenblatt 1956; Silverman 1986, Eq. 3.31; John & Langley 1995. MISSION row H3, H4.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from core import Array
from core.checks import number, numbers, some, whole
from core.distributions import Normal
from core.errors import InputError
from core.functional import logsumexp
from core.random import normal, uniform
from reference.counting.naive_bayes import NaiveBayes


class KernelNaiveBayes(NaiveBayes):
    """Real features: p(x_j | y) = (1/n_y) Σ_i N(x_j; x_ij, h²) over the class's examples i.

    examples: how many it can keep. bandwidth: h, in the units of x, for all; None takes Silverman's
    for each class and variable, and where a class has one value only, that of all classes (of 1, if
    these have no other). The rest as in NaiveBayes.

    >>> x, y = np.array([[0.0], [1.0], [5.0], [6.0]]), np.array([0, 0, 1, 1])
    >>> model = KernelNaiveBayes(1, 2, examples=4).fit(x, y)
    >>> model.predict(np.array([[2.0], [4.0]]))
    array([0, 1])
    """

    def __init__(
        self,
        dim: int,
        classes: int,
        examples: int,
        *,
        bandwidth: float | None = None,
        priors: Sequence[float] | None = None,
        dtype: Any = np.float32,
    ) -> None:
        self.bandwidth = None if bandwidth is None else number("bandwidth", bandwidth, above=0)
        self.x = np.zeros((whole("examples", examples, 1), whole("dim", dim, 1)))
        self.y = np.full(len(self.x), -1)  # −1: room for another
        super().__init__(dim, classes, priors, dtype)

    def fit(self, x: Array, y: Any = None, *, weights: Any = None) -> Any:
        """Keep x (B, dim) with labels y (B,), forgetting what was kept before."""
        self._check_room(len(self._read(some(x))))
        return super().fit(x, y, weights=weights)

    def log_likelihood(self, x: Array) -> Array:
        """log p(x | y) in nats (B, classes), of real x (B, dim); −∞ for a class never seen."""
        x = self._read(x)
        each = zip(self._of_each(), self.widths(), strict=True)
        return np.stack([self._log_density(x, seen, h) for seen, h in each], axis=1)

    def widths(self) -> Array:
        """h (classes, dim)."""
        if self.bandwidth is not None:
            return np.full((self.classes, self.dim), self.bandwidth)
        of_all = _silverman(self.x[self.y >= 0])
        own = np.stack([_silverman(seen) for seen in self._of_each()])
        return np.where(own > 0, own, np.where(of_all > 0, of_all, 1.0))

    def _of_each(self) -> list[Array]:
        """The examples of every class, classes × (n_y, dim)."""
        return [self.x[self.y == c] for c in range(self.classes)]

    def _log_density(self, x: Array, seen: Array, h: Array) -> Array:
        if len(seen) == 0:
            return np.full(len(x), -np.inf)
        total = np.zeros(len(x))
        for x_j, seen_j, h_j in zip(x.T, seen.T, h.tolist(), strict=True):
            bumps = Normal(seen_j, h_j).log_prob(x_j[:, None])  # (B, n_y)
            total += logsumexp(bumps, axis=1) - math.log(len(seen))
        return total

    def _read(self, x: Array) -> Array:
        return numbers(x, self.dim).astype(np.float64)

    def _free(self) -> int:
        return int(self.class_counts.sum()) * self.dim

    def _zeros(self) -> None:
        self.x[...], self.y[...] = 0, -1

    def _count(self, x: Array, y: Array, w: Array) -> None:
        if w.dtype != np.int64:
            raise InputError("weights must be None: every example is a bump of the same height")
        n = int(self.class_counts.sum())
        self._check_room(n + len(x))
        self.x[n : n + len(x)], self.y[n : n + len(x)] = x, y

    def _add_statistics(self, other: KernelNaiveBayes) -> None:
        n = int(other.class_counts.sum())
        self._count(other.x[:n], other.y[:n], np.ones(n, np.int64))

    def _check_room(self, n: int) -> None:
        if n > len(self.x):
            raise InputError(f"x must be at most {len(self.x)} examples, got {n}")

    def _draw(self, y: Array, seed: int) -> Array:
        """Each feature near that of an example of its own: independent given the class."""
        u = uniform(seed, (len(y), self.dim), dtype=np.float64)
        z = normal(seed, (len(y), self.dim), stream="noise", dtype=np.float64)
        i = (u * self.class_counts[y][:, None]).astype(np.int64)  # (n, dim)
        of_each = [np.flatnonzero(self.y == c) for c in range(self.classes)]
        rows = np.reshape([of_each[c][i_n] for c, i_n in zip(y, i, strict=True)], z.shape)
        return self.x[rows.astype(np.int64), np.arange(self.dim)] + self.widths()[y] * z


def _silverman(x: Array) -> Array:
    """The rule's h of every column of x (n, dim), (dim,); 0 where all its values are one."""
    if len(x) == 0:
        return np.zeros(x.shape[1])
    low, high = np.percentile(x, [25, 75], axis=0)
    rounding = 1e-12 * np.abs(x.mean(axis=0))
    sigma, robust = x.std(axis=0), (high - low) / 1.34
    spread = np.where(robust > rounding, np.minimum(sigma, robust), sigma)
    return np.where(spread > rounding, 0.9 * spread * len(x) ** -0.2, 0.0)
