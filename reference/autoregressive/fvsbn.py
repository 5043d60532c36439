"""Fully visible sigmoid belief network: every variable is a logistic regression of its past.

The chain rule, in any order of the variables, with the simplest conditional there is for bits:

    p(x) = Π_i p(x_i | x_<i),      p(x_i = 1 | x_<i) = σ(b_i + Σ_{j<i} W_ij x_j)

Here "j < i" says that x_j comes before x_i in the order. Nothing is hidden, so the likelihood is
concave in W and b, and its D terms could be fitted one by one.

Neal 1992 (sigmoid belief networks); Frey, Hinton & Dayan 1996 (with all variables visible). Germain
et al. 2015 compare it with its successors on eight data sets. MISSION row A1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from core import Array, Tensor, value
from core.checks import binary, ordering, whole
from core.functional import bernoulli_log_prob, sigmoid
from core.operation import operation
from core.random import Generator, uniform


class FVSBN:
    """Distribution of binary x (B, dim).

    order: the variables from first to last; 0, 1, …, dim − 1 if not given.
    The likelihood is concave, so W and b start at 0, and `seed` has nothing to choose.
    """

    def __init__(
        self,
        dim: int,
        *,
        order: Sequence[int] | None = None,
        seed: int = 0,
        dtype: Any = np.float32,
    ) -> None:
        self.dim, self.dtype = whole("dim", dim, 1), dtype
        self.order = ordering("order", order, dim)  # (D,)
        self.W = Tensor(np.zeros((dim, dim), dtype))  # row i: weights of the past of x_i
        self.b = Tensor(np.zeros(dim, dtype))

    def conditionals(self, x: Array) -> Array:
        """Logits of p(x_i = 1 | x_<i), (B, dim), for every i at once, of x (B, dim)."""
        return binary(x, self.dim) @ (self._past() * self.W).T + self.b

    def log_prob(self, x: Array) -> Array:
        """log p(x) in nats, (B,), of x (B, dim)."""
        return np.sum(bernoulli_log_prob(x, self.conditionals(x)), axis=-1)

    def loss(self, x: Array, y: Any = None, rng: Generator | None = None) -> Array:
        """Mean negative log-likelihood of a batch, in nats; labels and rng are not used."""
        return -np.mean(self.log_prob(x))

    def sample(self, n: int, *, seed: int = 0) -> Any:
        """n draws (n, dim), one variable after another."""
        u = uniform(seed, (n, self.dim), dtype=self.dtype)
        return fvsbn_sample(u, value(self.W), value(self.b), self.order)

    def _past(self) -> Any:
        """M_ij = 1 if x_j comes before x_i, (D, D)."""
        rank = np.argsort(self.order)
        return (rank[None, :] < rank[:, None]).astype(self.dtype)


@operation
def fvsbn_sample(u: Any, W: Any, b: Any, order: Any) -> Any:
    """Bits x (n, D) from uniforms u (n, D), one variable after another."""
    x = np.zeros_like(u)
    for place, i in enumerate(order):
        past = order[:place]
        x[:, i] = u[:, i] < sigmoid(b[i] + x[:, past] @ W[i, past])
    return x
