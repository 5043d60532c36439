"""Markov chains by counting: the rungs between independence and the full joint table.

The chain rule p(x) = Π_j p(x_j | x_1 … x_{j−1}) with all but the last d variables forgotten:

    p(x) = Π_j p(x_j | x_{j−d} … x_{j−1}),      p̂(x_j = k | c) = (N_j[c, k] + α) / (N_j[c] + αK)

with one table for every position j. Order 0 is independence, order m − 1 the full joint table, and
for binary variables the free parameters number 2^d (m − d + 1) − 1: m, 2m − 1, …, 2^m − 1. A chain
that is the same at all positions has 3.

Markov 1906; lecture 002. MISSION row H2.
"""

from __future__ import annotations

from operator import index
from typing import Any

import numpy as np

from core import Array
from core.checks import categories, float_dtype, number, some, whole
from core.errors import InputError
from core.model import Described, draws
from core.random import uniform
from reference.counting.frequencies import MOST_CELLS, draw, fitted, log_frequencies, mergeable


def num_parameters(dim: int, order: int, levels: int = 2) -> int:
    """Free parameters of position-specific tables, exactly: K^d − 1 + (m − d)(K − 1) K^d.

    The first d positions together are a joint table of d variables, the other m − d have K^d
    contexts each. For K = 2 that is 2^d (m − d + 1) − 1. InputError unless 0 ≤ order < dim.
    """
    m, K = whole("dim", dim, 1), whole("levels", levels, 2)
    d = whole("order", order, 0)
    if d >= m:
        raise InputError(f"order must be at most dim − 1 = {m - 1}, got {d}")
    return int(K**d - 1 + (m - d) * (K - 1) * K**d)


class MarkovTable(Described):
    """p(x) of x (B, dim) with values 0, …, levels − 1, each given the `order` before it.

    alpha: pseudo-count of every value in every context; with 0 (maximum likelihood) what was never
    seen is impossible, and a context never seen is uniform. dtype: the samples'. Counts and
    log-probabilities are int64 and float64. Raises InputError for tables of more than 2²⁶ entries.

    >>> chain = MarkovTable(3, order=1, alpha=0).fit(np.array([[0, 1, 0], [1, 0, 1]]))
    >>> np.exp(chain.log_prob(np.array([[0, 1, 0], [0, 0, 0]])))
    array([0.5, 0. ])
    """

    def __init__(
        self,
        dim: int,
        *,
        order: int = 1,
        levels: int = 2,
        alpha: float = 1.0,
        dtype: Any = np.float32,
    ) -> None:
        size = num_parameters(dim, order, levels)
        if size > MOST_CELLS:
            raise InputError(
                f"order must give at most 2**26 parameters, got {order}: "
                f"2**{size.bit_length() - 1} or more"
            )
        self.dim, self.order, self.levels = index(dim), index(order), index(levels)
        self.alpha, self.dtype = number("alpha", alpha, least=0), float_dtype(dtype)
        K, d = self.levels, self.order
        shapes = [(K ** min(j, d), K) for j in range(self.dim)]  # dim × (contexts, K)
        self.counts = [np.zeros(shape, np.int64) for shape in shapes]

    @property
    def num_parameters(self) -> int:
        """Free parameters: each context's distribution has K − 1."""
        return sum(len(table) * (self.levels - 1) for table in self.counts)

    def fit(self, x: Array, y: Any = None) -> MarkovTable:
        """Count x (B, dim), forgetting what was counted before; labels are not used."""
        x = categories(some(x), self.dim, self.levels)
        for table in self.counts:
            table[...] = 0
        return self.partial_fit(x)

    def partial_fit(self, x: Array, y: Any = None) -> MarkovTable:
        """Count x (B, dim) on top of what was counted before."""
        x = categories(x, self.dim, self.levels)
        for table, c, x_j in zip(self.counts, self._contexts(x), x.T, strict=True):
            np.add.at(table, (c, x_j), 1)
        return self

    def merge(self, other: MarkovTable) -> MarkovTable:
        """Add the counts of another chain of the same form: the chain of both data."""
        mergeable(self, other, "dim", "order", "levels")
        for table, counts in zip(self.counts, other.counts, strict=True):
            table += counts
        return self

    def log_prob(self, x: Array) -> Array:
        """log p(x) in nats (B,), of x (B, dim)."""
        x = categories(x, self.dim, self.levels)
        return np.take_along_axis(self._log_tables(x), x[..., None], axis=-1)[..., 0].sum(axis=1)

    def conditionals(self, x: Array) -> Array:
        """What the past of each x_j says of it: log p(· | past) (B, dim, K); for K = 2 the logit
        log p(1 | past) − log p(0 | past), (B, dim).
        """
        log_p = self._log_tables(categories(x, self.dim, self.levels))
        return log_p[..., 1] - log_p[..., 0] if self.levels == 2 else log_p

    @draws
    def sample(self, n: int, *, seed: int = 0) -> Array:
        """n sequences (n, dim), position after position."""
        fitted(self.counts[0].sum(), self)
        u = uniform(seed, (n, self.dim), dtype=np.float64)
        x = np.zeros((n, self.dim), np.int64)
        c = np.zeros(n, np.int64)
        for j, table in enumerate(self.counts):
            x[:, j] = draw(np.exp(log_frequencies(table, self.alpha)[c]), u[:, j])
            c = self._next(c, x[:, j])
        return x.astype(self.dtype)

    def _log_tables(self, x: Array) -> Array:
        """log p(· | past of x_j), (B, dim, K)."""
        fitted(self.counts[0].sum(), self)
        rows = zip(self.counts, self._contexts(x), strict=True)
        return np.stack([log_frequencies(table, self.alpha)[c] for table, c in rows], axis=1)

    def _contexts(self, x: Array) -> list[Any]:
        """For each position the last d values before it, read as a number in base K: dim × (B,)."""
        contexts = [np.zeros(len(x), np.int64)]
        for x_j in x.T[:-1]:
            contexts.append(self._next(contexts[-1], x_j))
        return contexts

    def _next(self, c: Any, x_j: Any) -> Array:
        return (c * self.levels + x_j) % self.levels**self.order
