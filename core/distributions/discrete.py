"""Distributions of whole numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from core import functional as F
from core.checks import whole
from core.distributions.arguments import (
    arrays,
    binary,
    integers,
    only_one,
    parameters,
    require,
)
from core.distributions.continuous import Logistic
from core.distributions.draws import Distribution, Shape, draw
from core.distributions.probabilities import (
    LogProbabilities,
    Probabilities,
    Table,
    TwoProbabilities,
)
from core.errors import InputError
from core.random import Generator
from core.tensor import Array, value


class Bernoulli:
    """P(x = 1) = p = σ(logits), P(x = 0) = 1 − p. Give logits (±∞ allowed) or probs in [0, 1].

    x holds 0 and 1 in any dtype; draws have the parameter's.

    >>> coin = Bernoulli(probs=np.array([0.5, 1.0]))
    >>> coin.log_prob(np.array([1, 0]))
    array([-0.69314718,        -inf])
    """

    event_shape: tuple[int, ...] = ()

    def __init__(self, logits: Array = None, *, probs: Array = None) -> None:
        self._p: Array = None
        if only_one("logits", logits, "probs", probs) == "probs":
            (self._p,) = parameters(probs=probs)
            require("probs", self._p, "in [0, 1]", lambda p: (p >= 0) & (p <= 1))
        else:
            (self._logits,) = parameters(finite=False, logits=logits)
        given = self._logits if self._p is None else self._p
        self.batch_shape, self.dtype = given.shape, given.dtype

    @property
    def logits(self) -> Array:
        """ln p − ln (1 − p)."""
        if self._p is None:
            return self._logits
        with np.errstate(divide="ignore"):  # p = 0 and p = 1 are logits −∞ and ∞
            return np.log(self._p) - np.log1p(-self._p)

    @property
    def probs(self) -> Array:
        """p = σ(logits)."""
        return F.sigmoid(self._logits) if self._p is None else self._p

    @property
    def mean(self) -> Array:
        """p = σ(logits)."""
        return self.probs

    @property
    def variance(self) -> Array:
        """p (1 − p)."""
        if self._p is None:
            return F.sigmoid(self._logits) * F.sigmoid(-self._logits)
        return self._p * (1 - self._p)

    def log_prob(self, x: Array) -> Array:
        """ln p where x = 1, ln (1 − p) where x = 0."""
        x = binary(x, self.dtype, self)
        if self._p is None:
            return F.log_sigmoid((2 * x - 1) * self._logits)  # 1 − σ(l) = σ(−l); no 0 · ∞
        return TwoProbabilities(self._p).pick(x)

    def sample(self, shape: Shape, rng: Generator | int) -> Any:
        """0 and 1 in the parameters' dtype: 1 where a uniform falls below p."""
        p = value(self.probs)
        return (draw("uniform", self, shape, rng, p.dtype) < p).astype(p.dtype)

    def entropy(self) -> Array:
        """−p ln p − (1 − p) ln (1 − p)."""
        return self.outcomes().entropy()

    def outcomes(self) -> Table:
        """The probabilities of 0 and 1, (*batch_shape, 2)."""
        if self._p is not None:
            return TwoProbabilities(self._p)
        logs = F.log_sigmoid(-self._logits), F.log_sigmoid(self._logits)
        return LogProbabilities(np.stack(logs, axis=-1))


class Categorical:
    """P(x = k) ∝ e^logits_k (−∞ allowed), or ∝ probs_k ≥ 0, along the last axis, of length K.

    x and draws are integers in 0 … K−1. `logits` and `probs` hold the normalised values.

    >>> die = Categorical(probs=np.array([1.0, 1.0, 2.0]))
    >>> die.probs
    array([0.25, 0.25, 0.5 ])
    >>> die.sample(5, 0).shape
    (5,)
    """

    event_shape: tuple[int, ...] = ()

    def __init__(self, logits: Array = None, *, probs: Array = None) -> None:
        form = only_one("logits", logits, "probs", probs)
        (given,) = parameters(form == "probs", **{form: probs if logits is None else logits})
        if given.ndim == 0 or given.shape[-1] == 0:
            raise InputError(f"{form} must have a last axis of length K ≥ 1, got {given.shape}")
        self._table = _from_weights(given) if form == "probs" else _from_logits(given)
        self.batch_shape, self.dtype = given.shape[:-1], given.dtype

    @property
    def logits(self) -> Array:
        """ln P(x = k), (*batch_shape, K)."""
        logs = self._table.log()
        return (
            logs if isinstance(self._table, LogProbabilities) else logs - np.log(self._table.total)
        )

    @property
    def probs(self) -> Array:
        """P(x = k), (*batch_shape, K)."""
        return self._table.p

    @property
    def levels(self) -> int:
        """K."""
        return int(self.probs.shape[-1])

    def log_prob(self, x: Array) -> Array:
        """ln P(x)."""
        return self._table.pick(integers(x, self.levels, self))

    def sample(self, shape: Shape, rng: Generator | int) -> Any:
        """By inverse cdf: the number of cumulative probabilities that a uniform has reached."""
        cdf = np.cumsum(self._wide(), axis=-1)
        cdf = cdf / cdf[..., -1:]  # ends in 1 exactly: outcomes of probability 0 never come
        u = draw("uniform", self, shape, rng, np.float64)
        return np.sum(u[..., None] >= cdf, axis=-1)

    def _wide(self) -> Any:
        """P in float64, from the logarithms where those were given."""
        if isinstance(self._table, LogProbabilities):
            return np.exp(value(self._table.log_p).astype(np.float64))
        return value(self.probs).astype(np.float64)

    def entropy(self) -> Array:
        """−Σ p ln p."""
        return self._table.entropy()

    def outcomes(self) -> LogProbabilities | Probabilities:
        """The probabilities of 0 … K−1, (*batch_shape, K)."""
        return self._table

    def expand(self, batch_shape: tuple[int, ...]) -> Categorical:
        """The same for each member of a larger batch."""
        if batch_shape == self.batch_shape:
            return self
        shape = (*batch_shape, self.levels)
        if isinstance(self._table, LogProbabilities):
            return Categorical(logits=np.broadcast_to(self.logits, shape))
        return Categorical(probs=np.broadcast_to(self.probs, shape))


def _from_logits(logits: Array) -> LogProbabilities:
    top = value(logits).max(-1)
    require("the largest of logits", top, "finite (some probs positive)", np.isfinite)
    return LogProbabilities(F.log_softmax(logits))


def _from_weights(p: Array) -> Probabilities:
    require("probs", p, "at least 0", lambda p: p >= 0)
    top = value(p).max(-1, keepdims=True)
    require("the largest of probs", top, "positive", lambda p: p > 0)
    return Probabilities(p / top)  # a sum of the largest floats would overflow


class DiscretizedLogistic:
    """A logistic variable rounded to one of `levels` values x = 0 … L−1, placed evenly on [−1, 1].

    Value x sits at 2x / (L−1) − 1 and takes what falls within half a step 1 / (L−1) of it; the two
    outermost take their whole tails, so the probabilities sum to 1 (Salimans et al. 2017, Eq. 2).
    With a > b the edges of the bin in units of the scale, and δ = a − b = 2 / (L−1)s,

        P(x) = σ(a) − σ(b) = σ(a) σ(−b) (1 − e^(−δ))

    and the right-hand side has a logarithm that neither cancels nor overflows, at any scale.

    >>> pixel = DiscretizedLogistic(np.array(0.0), np.array(0.1), levels=4)
    >>> np.exp(pixel.log_prob(np.arange(4))).round(3)
    array([0.001, 0.499, 0.499, 0.001])
    """

    event_shape: tuple[int, ...] = ()

    def __init__(self, loc: Array, scale: Array, levels: int = 256) -> None:
        self.levels = whole("levels", levels, 2)
        self.logistic = Logistic(*arrays(loc=loc, scale=scale))
        self.batch_shape = self.logistic.batch_shape

    def log_prob(self, x: Array) -> Array:
        """ln P(x) for integers x."""
        x = integers(x, self.levels, self)
        scale = self.logistic.scale
        below = F.log_sigmoid(self._edge(x, 1))  # ln P(X ≤ x)
        above = F.log_sigmoid(-self._edge(x, -1))  # ln P(X ≥ x)
        width = np.log(-np.expm1(-2 / (self.levels - 1) / scale))
        inner = np.where(x == self.levels - 1, above, below + above + width)
        return np.where(x == 0, below, inner)

    def _edge(self, x: Any, side: int) -> Array:
        """(upper (1) or lower (−1) edge of the bin − μ) / s."""
        edge = ((2 * x + side) / (self.levels - 1) - 1).astype(self.logistic.loc.dtype)
        return (edge - self.logistic.loc) / self.logistic.scale

    def cdf(self, x: Array) -> Array:
        """P(X ≤ x) for integers x."""
        x = integers(x, self.levels, self)
        return np.where(x == self.levels - 1, 1.0, F.sigmoid(self._edge(x, 1)))

    def sample(self, shape: Shape, rng: Generator | int) -> Any:
        """A logistic draw, rounded to the nearest level (int64)."""
        y = self.logistic.sample(shape, rng)
        x = np.floor((y + 1) * ((self.levels - 1) / 2) + 0.5)
        return np.clip(x, 0, self.levels - 1).astype(np.int64)

    def entropy(self) -> Array:
        """−Σ P ln P over the levels."""
        return entropy_by_levels(self, self.levels)


def entropy_by_levels(d: Distribution, levels: int) -> Array:
    """−Σ P ln P of a distribution over 0 … levels − 1."""
    every = np.arange(levels).reshape(levels, *(1 for _ in d.batch_shape))
    return LogProbabilities(np.moveaxis(d.log_prob(every), 0, -1)).entropy()
