"""NADE, the neural autoregressive distribution estimator (Larochelle & Murray 2011).

Each conditional is a network with one hidden layer, and all of them share its weights W, c:

    h_i = σ(c + W_{·,<i} x_<i)                                                               Eq. 3
    p(x_i = 1 | x_<i) = σ(b_i + V_i h_i)                                                     Eq. 2

where "j < i" says that x_j comes before x_i in the order. Thanks to the sharing the activations
a_i = c + W_{·,<i} x_<i need not be computed anew for each i. They follow a recursion,

    a_1 = c,      a_{i+1} = a_i + W_{·,i} x_i                                          Algorithm 1

so that log p(x) costs O(D·H), not O(D²·H). Numbers as in Uria et al. 2016. MISSION row A2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from core import Array, Tensor, value
from core.checks import binary, float_dtype, ordering, whole
from core.functional import bernoulli_log_prob, sigmoid
from core.model import Described, draws
from core.operation import operation
from core.random import Generator, uniform

BLOCK = 2**20
"""Hidden activations that are computed together: what bounds the memory of scoring."""


class NADE(Described):
    """Distribution of binary x (B, dim) with `hidden` units.

    order: the variables from first to last; 0, 1, …, dim − 1 if not given.
    W and V are (dim, hidden), a row for each variable, in order: W[i] is the paper's W_{·,i}.

    >>> model = NADE(3, hidden=2)
    >>> model
    NADE(dim=3, hidden=2), 17 parameters
    >>> model.log_prob(np.array([[1, 0, 1]])).shape, model.sample(2, seed=1).shape
    ((1,), (2, 3))
    """

    def __init__(
        self,
        dim: int,
        *,
        hidden: int = 100,
        order: Sequence[int] | None = None,
        seed: int = 0,
        dtype: Any = np.float32,
    ) -> None:
        self.dim, self.hidden = whole("dim", dim, 1), whole("hidden", hidden, 1)
        self.dtype = float_dtype(dtype)
        self.order = ordering("order", order, dim)  # (D,)
        rng = Generator(seed, stream="init")
        self.W = Tensor(rng.normal((dim, hidden), dtype=dtype) / math.sqrt(dim))
        self.V = Tensor(rng.normal((dim, hidden), dtype=dtype) / math.sqrt(hidden))
        self.b = Tensor(np.zeros(dim, dtype))
        self.c = Tensor(np.zeros(hidden, dtype))

    def conditionals(self, x: Array) -> Array:
        """Logits of p(x_i = 1 | x_<i), (B, dim), for every i at once, of x (B, dim)."""
        x = binary(x, self.dim, self.dtype)[:, self.order]
        return nade_logits(self.W, self.V, self.b, self.c, x)[:, np.argsort(self.order)]

    def log_prob(self, x: Array) -> Array:
        """log p(x) in nats, (B,), of x (B, dim)."""
        x = binary(x, self.dim, self.dtype)
        return np.sum(bernoulli_log_prob(x, self.conditionals(x)), axis=-1)

    @draws
    def sample(self, n: int, *, seed: int = 0) -> Any:
        """n draws (n, dim), one variable after another."""
        u = uniform(seed, (n, self.dim), dtype=self.dtype)
        W, V, b, c = (value(p) for p in (self.W, self.V, self.b, self.c))
        return nade_sample(u, W, V, b, c, self.order)


@operation(arrays=4)
def nade_logits(W: Array, V: Array, b: Array, c: Array, x: Array) -> Array:
    """Every logit b_i + V_i h_i at once, (B, D), of bits x (B, D), both in order.

    Without a graph, memory stays bounded however large B: rows are computed in blocks.

    >>> W, V = np.ones((3, 1)), np.ones((3, 1))
    >>> nade_logits(W, V, np.zeros(3), np.zeros(1), np.array([[1.0, 0.0, 1.0]])).round(3)
    array([[0.5  , 0.731, 0.731]])
    """
    rows = max(1, BLOCK // W.size)
    starts = range(0, max(1, len(x)), rows)
    return np.concatenate([_logits(W, V, b, c, x[i : i + rows]) for i in starts])


def _logits(W: Array, V: Array, b: Array, c: Array, x: Array) -> Array:
    """The recursion as a cumulative sum: c is the weight of a first input that is always 1."""
    x = np.concatenate([np.ones_like(x[:, :1]), x[:, :-1]], axis=1)  # (B, D)
    W = np.concatenate([c[None, :], W[:-1]])  # (D, H)
    a = np.cumsum(x[:, :, None] * W, axis=1)  # (B, D, H)
    return b + np.sum(V * sigmoid(a), axis=-1)


@operation
def nade_sample(u: Any, W: Any, V: Any, b: Any, c: Any, order: Any) -> Any:
    """Bits x (n, D) from uniforms u (n, D): Algorithm 1 with x_i drawn, not given.

    >>> W, V = np.zeros((3, 2)), np.zeros((3, 2))  # no weights: each bit is a coin of its own
    >>> nade_sample(np.full((1, 3), 0.4), W, V, np.array([9.0, 0.0, -9.0]), np.zeros(2), range(3))
    array([[1., 1., 0.]])
    """
    x = np.zeros_like(u)
    a = np.tile(c, (len(u), 1))  # (n, H)
    for d, i in enumerate(order):
        x[:, i] = u[:, i] < sigmoid(b[d] + sigmoid(a) @ V[d])
        a += x[:, i : i + 1] * W[d]
    return x
