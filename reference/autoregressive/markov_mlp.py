"""Markov MLP: each variable given the last d, by a network with a softmax over its values.

The chain rule with all but the last d variables forgotten, as in `reference.counting.markov`, and
a multilayer perceptron in place of the table, whose K^d rows grow out of hand:

    p(x) = Π_j p(x_j | x_{j−d} … x_{j−1}),      p(x_j = k | c_j) = softmax_k(MLP_j(c_j))

For two pixels of 256 grey levels (lecture 002's d = 2) the table has 256³ entries, the network a
few thousand. One network serves all positions, or each has its own (A9). A value is seen as a
number in [−1, 1] and a 1 beside it; before the beginning both are 0. Bengio, Ducharme, Vincent &
Jauvin 2003, without their embedding. MISSION rows A4, A9.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from core import Array, Tensor, value
from core.checks import categories, flag, float_dtype, ordering, whole
from core.checks import sizes as widths
from core.functional import relu
from core.model import Described, draws
from core.operation import operation
from core.random import Generator, uniform
from reference.autoregressive.heads import Softmax


class MarkovMLP(Described):
    """Distribution of x (B, dim) of the values 0, …, levels − 1, each given the `window` before it.

    hidden: the numbers of ReLU units, layer by layer. shared: one network for all positions.
    order: the variables from first to last; 0, 1, …, dim − 1 if not given.

    >>> model = MarkovMLP(64, 256, hidden=[32])
    >>> model
    MarkovMLP(dim=64, levels=256, window=2, hidden=(32,), shared=True), 8,608 parameters
    >>> model.conditionals(np.zeros((1, 64))).shape, model.sample(2, seed=1).shape
    ((1, 64, 256), (2, 64))
    """

    def __init__(
        self,
        dim: int,
        levels: int,
        *,
        window: int = 2,
        hidden: Sequence[int] = (64,),
        shared: bool = True,
        order: Sequence[int] | None = None,
        seed: int = 0,
        dtype: Any = np.float32,
    ) -> None:
        self.dim, self.levels = whole("dim", dim, 1), whole("levels", levels, 2)
        self.window, self.hidden = whole("window", window, 1), widths("hidden", hidden)
        self.shared, self.dtype = flag("shared", shared), float_dtype(dtype)
        self.order, self.head = ordering("order", order, dim), Softmax(levels)
        sizes, rng = (2 * window, *self.hidden, self.head.size), Generator(seed, stream="init")
        networks = 1 if shared else self.dim
        self.W = [
            Tensor(rng.normal((networks, *s), dtype=dtype) * math.sqrt(2 / s[0]))
            for s in pairwise(sizes)
        ]
        self.b = [Tensor(np.zeros((networks, 1, n), dtype)) for n in sizes[1:]]

    def conditionals(self, x: Array) -> Array:
        """Logits of every p(x_j | its window), (B, dim, levels), of x (B, dim).

        For two levels the logit of 1, (B, dim).
        """
        x = categories(x, self.dim, self.levels)
        theta = self._parameters(x)
        return theta[..., 0] if self.levels == 2 else theta

    def _parameters(self, x: Array) -> Array:
        c = contexts(x[:, self.order], self.window, self.levels, self.dtype)  # (D, B, 2d)
        theta = markov_mlp(c, self._layers())  # (D, B, P)
        return np.swapaxes(theta, 0, 1)[:, np.argsort(self.order)]

    def _layers(self) -> list[tuple[Array, Array]]:
        return list(zip(self.W, self.b, strict=True))

    def log_prob(self, x: Array) -> Array:
        """log p(x) in nats, (B,), of x (B, dim)."""
        x = categories(x, self.dim, self.levels)
        return np.sum(self.head.log_prob(x, self._parameters(x)), axis=-1)

    @draws
    def sample(self, n: int, *, seed: int = 0) -> Any:
        """n draws (n, dim), one variable after another."""
        u = uniform(seed, (n, self.dim), dtype=self.dtype)
        layers = [(value(W), value(b)) for W, b in self._layers()]
        x = markov_mlp_sample(u[:, self.order], layers, self.window, self.levels)
        return x[:, np.argsort(self.order)].astype(self.dtype)


def contexts(x: Any, window: int, levels: int, dtype: Any) -> Any:
    """What x_j is given, for every j: of whole numbers x (B, D), (D, B, 2·window).

    The latest first, each as a number in [−1, 1] and whether there is one.
    """
    B, D = x.shape
    seen = np.zeros((2, window + D, B), dtype)
    seen[0, window:], seen[1, window:] = (x.T * (2 / (levels - 1)) - 1), 1
    past = [seen[:, window - i : window - i + D] for i in range(1, window + 1)]  # (2, D, B) each
    return np.concatenate(past).transpose(1, 2, 0)


def markov_mlp(c: Any, layers: list[tuple[Array, Array]]) -> Array:
    """Contexts (D, B, n) → parameters (D, B, P); layers: (W, b) with one network, or D of them."""
    *hidden, (V, a) = layers
    for W, b in hidden:
        c = relu(c @ W + b)
    return c @ V + a


@operation
def markov_mlp_sample(u: Any, layers: list[tuple[Any, Any]], window: int, levels: int) -> Any:
    """Whole numbers x (n, D) from uniforms u (n, D), each from the `window` before it.

    layers: (W, b) of each layer, with a first axis of 1 or D networks.

    >>> layers = [(np.zeros((1, 4, 3)), np.array([[[0.0, 9.0, 0.0]]]))]
    >>> markov_mlp_sample(np.full((1, 4), 0.4), layers, 2, 3)
    array([[1, 1, 1, 1]])
    """
    x = np.zeros(u.shape, np.int64)
    for j in range(u.shape[1]):
        c = contexts(x[:, max(j - window, 0) : j + 1], window, levels, u.dtype)[-1:]
        own = [(W[j % len(W)], b[j % len(b)]) for W, b in layers]
        theta = markov_mlp(c, own)[0]
        x[:, j] = Softmax(levels).draw(theta, u[:, j, None])
    return x
