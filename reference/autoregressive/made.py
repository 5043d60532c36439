"""MADE: an autoencoder that masks make autoregressive (Germain, Gregor, Murray & Larochelle 2015).

Number the inputs 1 … D by their place in an order, and give every hidden unit k a degree m(k) < D:
it may see the first m(k) inputs and no more. A connection that would break this is multiplied by 0,

    h = g(b + (W ⊙ M^W) x),           M^W_{k,d} = 1 where m(k) ≥ d, else 0             Eqs. 6 and 8
    logits = c + (V ⊙ M^V) h,         M^V_{d,k} = 1 where d > m(k), else 0             Eqs. 7 and 9

so that output d sees the inputs before d, all of them, and one pass gives every conditional of

    p(x) = Π_d p(x_d | x_<d).

With L hidden layers each mask compares a layer's degrees with those of the layer below,

    M^{W^l}_{k',k} = 1 where m^l(k') ≥ m^{l−1}(k),      M^V_{d,k} = 1 where d > m^L(k)       12, 13

which for L = 1 are Eqs. 8 and 9, an input's degree being its place. The same weights can serve many
orders and degrees: a step of training uses one of K sets of masks, chosen at random, and p(x) is
the average of the K probabilities.

Two departures: x enters as ±1, so that a bit that is 0 differs from one that is masked, and degrees
are dealt out evenly rather than drawn, so that no path from input to output is missing by chance.
MISSION row A3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from core import Array, Tensor, value
from core.checks import binary, float_dtype, ordering, some, whole
from core.checks import sizes as widths
from core.functional import bernoulli_log_prob, linear, logsumexp, relu, sigmoid
from core.model import Described, draws
from core.operation import operation
from core.random import Generator, checked_generator, integers, uniform


class MADE(Described):
    """Distribution of binary x (B, dim); `hidden` lists the numbers of ReLU units, layer by layer.

    masks: K. order: the variables from first to last, 0, 1, …, dim − 1 if not given; it belongs to
    the first set of masks, the others have random orders. All have random degrees. `seed` names the
    draw. Matrices are (inputs, outputs), the transposes of the paper's.

    >>> model = MADE(3, hidden=[8, 8], masks=2)
    >>> model
    MADE(dim=3, hidden=(8, 8), masks=2), 131 parameters
    >>> model.log_prob(np.array([[1, 0, 1]])).shape, model.sample(2, seed=1).shape
    ((1,), (2, 3))
    """

    def __init__(
        self,
        dim: int,
        *,
        hidden: Sequence[int] = (500,),
        masks: int = 1,
        order: Sequence[int] | None = None,
        seed: int = 0,
        dtype: Any = np.float32,
    ) -> None:
        self.dim, self.hidden = whole("dim", dim, 1), widths("hidden", hidden)
        self.masks, self.dtype = whole("masks", masks, 1), float_dtype(dtype)
        sizes, rng = (dim, *self.hidden), Generator(seed, stream="init")
        self.W = [Tensor(rng.normal(s, dtype=dtype) * math.sqrt(2 / s[0])) for s in pairwise(sizes)]
        self.b = [Tensor(np.zeros(n, dtype)) for n in self.hidden]
        self.V = Tensor(rng.normal((sizes[-1], dim), dtype=dtype) / math.sqrt(sizes[-1]))
        self.c = Tensor(np.zeros(dim, dtype))
        rng = Generator(seed, stream="order")
        first, others = ordering("order", order, dim), range(masks - 1)
        self.orders = np.stack([first, *(rng.permutation(dim) for _ in others)])  # (K, D)
        self.m = [self._degrees(n, rng) for n in self.hidden]  # per layer (K, units)
        self._derive()

    def _degrees(self, units: int, rng: Generator) -> Any:
        """K shuffles of 1, …, D − 1, 1, …: with at least D − 1 units no path is lost. (K, units)"""
        shuffled = [rng.permutation(units) for _ in range(self.masks)]
        return 1 + np.stack(shuffled) % max(self.dim - 1, 1)

    def _derive(self) -> None:
        """The masks of every set, from its order and degrees."""
        self._M = [self._masks(k) for k in range(self.masks)]

    def _masks(self, k: int) -> list[Any]:
        """M of each W and, last, of V, as (inputs, outputs)."""
        d = 1 + np.argsort(self.orders[k])  # the place of every variable, (D,)
        m = [d, *(layer[k] for layer in self.m)]  # of the inputs, then of each layer
        M_W = [above >= below[:, None] for below, above in pairwise(m)]  # Eq. 12
        M_V = d > m[-1][:, None]  # Eq. 13
        return [M.astype(self.dtype) for M in (*M_W, M_V)]

    @property
    def order(self) -> Any:
        """The variables from first to last in the first set of masks, (D,)."""
        return self.orders[0]

    def masked(self, k: int) -> list[tuple[Array, Array]]:
        """(W ⊙ M^W, b) of each hidden layer and, last, (V ⊙ M^V, c), under the k-th set."""
        M = self._M[whole("k", k, 0, self.masks - 1)]
        layers = zip([*self.W, self.V], M, [*self.b, self.c], strict=True)
        return [(W * M, b) for W, M, b in layers]

    def conditionals(self, x: Array, *, k: int = 0) -> Array:
        """Logits of p(x_i = 1 | x_<i) under the k-th set of masks, (B, dim), of x (B, dim)."""
        return made_logits(binary(x, self.dim, self.dtype), self.masked(k))

    def log_prob(self, x: Array) -> Array:
        """log p(x) = log (1/K) Σ_k p_k(x) in nats, (B,), of x (B, dim)."""
        log_p = np.stack([self._log_prob(x, k) for k in range(self.masks)])  # (K, B)
        return logsumexp(log_p, axis=0) - math.log(self.masks)

    def _log_prob(self, x: Array, k: int) -> Array:
        x = binary(x, self.dim, self.dtype)
        return np.sum(bernoulli_log_prob(x, self.conditionals(x, k=k)), axis=-1)

    def loss(self, x: Array, y: Any = None, rng: Generator | None = None) -> Array:
        """Mean negative log-likelihood of a batch, in nats, under masks that `rng` chooses."""
        k = int(checked_generator(rng).integers(0, self.masks, ()))
        return -np.mean(self._log_prob(some(x), k))

    @draws
    def sample(self, n: int, *, seed: int = 0) -> Any:
        """n draws (n, dim): for each a set of masks, then one variable after another in order."""
        u = uniform(seed, (n, self.dim), dtype=self.dtype)
        chosen = integers(seed, 0, self.masks, (n,), stream="order")
        x = np.zeros((n, self.dim), self.dtype)
        for k in np.unique(chosen):
            layers = [(value(W), value(b)) for W, b in self.masked(k)]
            x[chosen == k] = made_sample(u[chosen == k], layers, self.orders[k])
        return x


def made_logits(x: Array, layers: list[tuple[Array, Array]]) -> Array:
    """Every conditional in one pass, bits x (B, D) → logits (B, D); layers as in `made_sample`."""
    *hidden, (V, c) = layers  # masked already
    h = 2 * x - 1
    for W, b in hidden:
        h = relu(linear(h, W, b))  # Eq. 6
    return linear(h, V, c)  # Eq. 7


@operation
def made_sample(u: Any, layers: list[tuple[Any, Any]], order: Any) -> Any:
    """Bits x (n, D) from uniforms u (n, D) in D passes, each of which decides one variable.

    layers: (W ⊙ M, b) of each layer. The last pass alone would do for units computed by degree.

    >>> layers = [(np.zeros((3, 2)), np.zeros(2)), (np.zeros((2, 3)), np.array([9.0, 0.0, -9.0]))]
    >>> made_sample(np.full((1, 3), 0.4), layers, range(3))
    array([[1., 1., 0.]])
    """
    x = np.zeros_like(u)
    for i in order:
        x[:, i] = u[:, i] < sigmoid(made_logits(x, layers)[:, i])
    return x
