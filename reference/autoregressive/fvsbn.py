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
from core.checks import binary, float_dtype, ordering, whole
from core.functional import bernoulli_log_prob, sigmoid
from core.model import Described, draws
from core.operation import operation
from core.random import checked_seed, uniform


class FVSBN(Described):
    """Distribution of binary x (B, dim).

    order: the variables from first to last; 0, 1, …, dim − 1 if not given.
    The likelihood is concave, so W and b start at 0, and `seed` has nothing to choose.

    >>> model = FVSBN(3)
    >>> model
    FVSBN(dim=3), 12 parameters
    >>> model.log_prob(np.array([[1, 0, 1]]))  # W = b = 0: three fair coins, −3 ln 2
    Tensor([-2.0794415], dtype=float32)
    >>> model.sample(2, seed=1)
    array([[1., 1., 0.],
           [0., 1., 1.]], dtype=float32)
    """

    def __init__(
        self,
        dim: int,
        *,
        order: Sequence[int] | None = None,
        seed: int = 0,
        dtype: Any = np.float32,
    ) -> None:
        self.dim, self.dtype = whole("dim", dim, 1), float_dtype(dtype)
        checked_seed(seed)
        self.order = ordering("order", order, dim)  # (D,)
        self.W = Tensor(np.zeros((dim, dim), dtype))  # row i: weights of the past of x_i
        self.b = Tensor(np.zeros(dim, dtype))

    def conditionals(self, x: Array) -> Array:
        """Logits of p(x_i = 1 | x_<i), (B, dim), for every i at once, of x (B, dim)."""
        rank = np.argsort(self.order)
        past = (rank[None, :] < rank[:, None]).astype(self.dtype)  # (D, D): 1 where "j < i"
        return binary(x, self.dim, self.dtype) @ (past * self.W).T + self.b

    def log_prob(self, x: Array) -> Array:
        """log p(x) in nats, (B,), of x (B, dim)."""
        x = binary(x, self.dim, self.dtype)
        return np.sum(bernoulli_log_prob(x, self.conditionals(x)), axis=-1)

    @draws
    def sample(self, n: int, *, seed: int = 0) -> Any:
        """n draws (n, dim), one variable after another."""
        u = uniform(seed, (n, self.dim), dtype=self.dtype)
        return fvsbn_sample(u, value(self.W), value(self.b), self.order)


@operation
def fvsbn_sample(u: Any, W: Any, b: Any, order: Any) -> Any:
    """Bits x (n, D) from uniforms u (n, D), one variable after another.

    >>> fvsbn_sample(np.full((1, 3), 0.4), np.zeros((3, 3)), np.array([9.0, 0.0, -9.0]), range(3))
    array([[1., 1., 0.]])
    """
    x = np.zeros_like(u)
    for place, i in enumerate(order):
        past = order[:place]
        x[:, i] = u[:, i] < sigmoid(b[i] + x[:, past] @ W[i, past])
    return x
