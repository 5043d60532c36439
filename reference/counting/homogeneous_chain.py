"""A Markov chain that is the same at all positions: one table, however long the sequence.

    p(x) = p(x_1) Π_j p(x_j | x_{j−1}),      p̂(k | c) = (N[c, k] + α) / (N[c] + αK)

with N[c, k] the number of steps c → k, wherever they were seen; a chain that has a table for every
position is `reference.counting.markov`.

Markov 1906; lecture 002. MISSION row H2.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from core import Array
from core.checks import categories, float_dtype, number, some, whole
from core.model import Described, draws
from core.operation import operation
from core.random import uniform
from reference.counting.frequencies import draw, fitted, log_frequencies, mergeable


class HomogeneousChain(Described):
    """A first-order chain with one transition table for all positions: K² − 1 free parameters.

    alpha, dtype: as in MarkovTable.

    >>> chain = HomogeneousChain(4, alpha=0).fit(np.array([[0, 1, 0, 1], [0, 1, 1, 0]]))
    >>> chain.transitions
    array([[0, 3],
           [2, 1]])
    """

    order = 1  # how many variables it looks back

    def __init__(
        self, dim: int, *, levels: int = 2, alpha: float = 1.0, dtype: Any = np.float32
    ) -> None:
        self.dim, self.levels = whole("dim", dim, 1), whole("levels", levels, 2)
        self.alpha, self.dtype = number("alpha", alpha, least=0), float_dtype(dtype)
        K = self.levels
        self.first = np.zeros(K, np.int64)  # (K,) counts of x_1
        self.transitions = np.zeros((K, K), np.int64)  # (K, K) counts of x_{j−1} → x_j

    @property
    def num_parameters(self) -> int:
        """Free parameters: K − 1 for x_1, K − 1 for each row of transitions."""
        return (self.levels - 1) * (1 + len(self.transitions))

    def fit(self, x: Array, y: Any = None) -> HomogeneousChain:
        """Count x (B, dim), forgetting what was counted before; labels are not used."""
        x = categories(some(x), self.dim, self.levels)
        self.first[...], self.transitions[...] = 0, 0
        return self.partial_fit(x)

    def partial_fit(self, x: Array, y: Any = None) -> HomogeneousChain:
        """Count x (B, dim) on top of what was counted before."""
        x = categories(x, self.dim, self.levels)
        np.add.at(self.first, x[:, 0], 1)
        np.add.at(self.transitions, (x[:, :-1], x[:, 1:]), 1)
        return self

    def merge(self, other: HomogeneousChain) -> HomogeneousChain:
        """Add the counts of another chain of the same form: the chain of both data."""
        mergeable(self, other, "dim", "levels")
        self.first += other.first
        self.transitions += other.transitions
        return self

    def log_prob(self, x: Array) -> Array:
        """log p(x) in nats (B,), of x (B, dim)."""
        x = categories(x, self.dim, self.levels)
        return np.take_along_axis(self._log_tables(x), x[..., None], axis=-1)[..., 0].sum(axis=1)

    def conditionals(self, x: Array) -> Array:
        """log p(· | x_{j−1}) (B, dim, K); for K = 2 the logit of 1, (B, dim)."""
        log_p = self._log_tables(categories(x, self.dim, self.levels))
        return log_p[..., 1] - log_p[..., 0] if self.levels == 2 else log_p

    @draws
    def sample(self, n: int, *, seed: int = 0) -> Array:
        """n sequences (n, dim), position after position."""
        fitted(self.first.sum(), self)
        u = uniform(seed, (n, self.dim), dtype=np.float64)
        counts = self.first, self.transitions
        first, transitions = (np.exp(log_frequencies(c, self.alpha)) for c in counts)
        return chain_sample(u, first, transitions).astype(self.dtype)

    def _log_tables(self, x: Array) -> Array:
        """log p(· | x_{j−1}), (B, dim, K)."""
        fitted(self.first.sum(), self)
        first = np.broadcast_to(log_frequencies(self.first, self.alpha), (len(x), 1, self.levels))
        return np.concatenate([first, log_frequencies(self.transitions, self.alpha)[x[:, :-1]]], 1)


@operation
def chain_sample(u: Any, first: Any, transitions: Any) -> Any:
    """Values int64 (n, D) from uniforms u (n, D): x_1 from first (K,), x_j from row x_{j−1}.

    transitions: (K, K), a distribution in each row.

    >>> u = np.full((1, 4), 0.4)
    >>> chain_sample(u, np.array([0.0, 1.0]), np.array([[0.0, 1.0], [1.0, 0.0]]))
    array([[1, 0, 1, 0]])
    """
    x = np.zeros(u.shape, np.int64)
    for j, u_j in enumerate(u.T):
        x[:, j] = draw(transitions[x[:, j - 1]] if j else first, u_j)
    return x
