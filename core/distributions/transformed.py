"""Distributions by change of variables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from core import functional as F
from core.distributions.arguments import broadcast, log, parameters, point, require
from core.distributions.draws import Distribution, Shape, reparametrised
from core.errors import InputError
from core.random import Generator
from core.tensor import Array, no_grad, value


class Transform(Protocol):
    """An invertible, differentiable map of each entry by itself.

    sign: 1 where it increases, −1 where it decreases; its shape must broadcast to the base's.
    """

    sign: Any

    def forward(self, x: Array) -> Array:
        """y = f(x), of −∞ and ∞ too: the ends of what y can be."""

    def inverse(self, y: Array) -> Array:
        """x = f⁻¹(y). Raises InputError where there is none."""

    def log_abs_det_jacobian(self, x: Array, y: Array) -> Array:
        """ln |dy/dx|, elementwise."""


class AffineTransform:
    """y = loc + scale · x, scale ≠ 0."""

    def __init__(self, loc: Array, scale: Array) -> None:
        self.loc, self.scale = parameters(loc=loc, scale=scale)
        require("scale", self.scale, "different from 0", lambda s: s != 0)
        shape = broadcast(loc=np.shape(self.loc), scale=np.shape(self.scale))
        self.sign = np.broadcast_to(np.sign(value(self.scale)), shape)

    def forward(self, x: Array) -> Array:
        """loc + scale · x."""
        return self.loc + self.scale * x

    def inverse(self, y: Array) -> Array:
        """(y − loc) / scale."""
        return (y - self.loc) / self.scale

    def log_abs_det_jacobian(self, x: Array, y: Array) -> Array:
        """ln |scale|."""
        return log(abs(self.scale)) + np.zeros_like(value(y))


class ExpTransform:
    """y = e^x > 0; what would round to 0 or ∞ is the float next to it."""

    sign = 1

    def forward(self, x: Array) -> Array:
        """e^x."""
        limits = np.finfo(x.dtype)
        low, high = (math.log(end) * (1 - limits.eps) for end in (limits.tiny, limits.max))
        return np.exp(np.clip(x, low, high))

    def inverse(self, y: Array) -> Array:
        """ln y."""
        require("x", y, "positive", lambda y: y > 0)
        return np.log(y)

    def log_abs_det_jacobian(self, x: Array, y: Array) -> Array:
        """ln e^x = x."""
        return x


class SigmoidTransform:
    """y = σ(x) in (0, 1); what would round to 0 or 1 is the float next to it."""

    sign = 1

    def forward(self, x: Array) -> Array:
        """σ(x)."""
        limits = np.finfo(x.dtype)
        return np.clip(F.sigmoid(x), limits.tiny, 1 - limits.epsneg)

    def inverse(self, y: Array) -> Array:
        """ln y − ln (1 − y)."""
        require("x", y, "between 0 and 1, ends excluded", lambda y: (y > 0) & (y < 1))
        return np.log(y) - np.log1p(-y)

    def log_abs_det_jacobian(self, x: Array, y: Array) -> Array:
        """ln σ(x) + ln σ(−x)."""
        return F.log_sigmoid(x) + F.log_sigmoid(-x)


class TransformedDistribution:
    """y = f_n(… f_1(x)) for x ~ base: ln p(y) = ln p_base(x) − Σ ln |dy/dx|.

    x must lie in the support, from the float that −∞ becomes to the one that ∞ becomes; so every
    draw has a finite log-probability, however the steps round.

    >>> from core.distributions import Normal
    >>> log_normal = TransformedDistribution(Normal(np.array(0.0), 1.0), ExpTransform())
    >>> log_normal.log_prob(np.array([1.0, 2.0])).round(4)
    array([-0.9189, -1.8523])
    """

    def __init__(self, base: Distribution, transforms: Transform | Sequence[Transform]) -> None:
        self.base = base
        self.transforms = list(transforms) if isinstance(transforms, Sequence) else [transforms]
        self.batch_shape, self.event_shape = base.batch_shape, base.event_shape
        whole = base.batch_shape + base.event_shape
        for t in self.transforms:
            if broadcast(base=whole, transform=np.shape(t.sign)) != whole:
                raise InputError(f"transform must fit base's shape {whole}, got {np.shape(t.sign)}")

    def log_prob(self, x: Array) -> Array:
        """ln p_base(f⁻¹(x)) − Σ ln |df/dx|."""
        y, log_det = point(x, self), 0.0
        for t, (low, high) in self._backwards(y):
            x = np.clip(t.inverse(y), low, high)
            log_det = log_det + t.log_abs_det_jacobian(x, y)
            y = x
        axes = tuple(range(-len(self.event_shape), 0))
        return self.base.log_prob(y) - (np.sum(log_det, axis=axes) if axes else log_det)

    def cdf(self, x: Array) -> Array:
        """P_base(X ≤ f⁻¹(x)), or its complement where f decreases; scalar events, base with cdf."""
        if not hasattr(self.base, "cdf") or self.event_shape:
            raise InputError(f"base {type(self.base).__name__} has no cdf")
        y, sign = point(x, self), 1
        for t, (low, high) in self._backwards(y):
            y, sign = np.clip(t.inverse(y), low, high), sign * t.sign
        c = self.base.cdf(y)
        return np.where(sign > 0, c, 1 - c)

    def sample(self, shape: Shape, rng: Generator | int) -> Any:
        """f(x) for draws x of the base."""
        with no_grad():
            return self._forward(self.base.sample(shape, rng))

    def rsample(self, shape: Shape, rng: Generator | int) -> Array:
        """f(x) for differentiable draws x of the base."""
        return self._forward(reparametrised(self.base).rsample(shape, rng))

    def _forward(self, x: Array) -> Array:
        for t in self.transforms:
            x = t.forward(x)
        return x

    def _backwards(self, y: Array) -> list[tuple[Transform, tuple[Any, Any]]]:
        """The transforms, last first, each with the ends of what goes into it.

        InputError where y is beyond the ends of the support. Rounding can carry an inverse beyond
        the ends of what it inverts, by no more than that: there it is clipped.
        """
        ends = self._ends(y.dtype)
        low, high = ends[-1]
        words = f"in the support, {np.min(low):g} … {np.max(high):g}"
        require("x", y, words, lambda y: (y >= low) & (y <= high))
        return list(zip(reversed(self.transforms), reversed(ends[:-1]), strict=True))

    def _ends(self, dtype: Any) -> list[tuple[Any, Any]]:
        """The least and the greatest of what comes out of the base and of each transform."""
        base, unbounded = self.base, (dtype.type(-math.inf), dtype.type(math.inf))
        ends = [base._ends(dtype)[-1] if isinstance(base, TransformedDistribution) else unbounded]
        for t in self.transforms:
            with no_grad(), np.errstate(over="ignore"):
                a, b = (value(t.forward(end)) for end in ends[-1])
            ends.append((np.minimum(a, b), np.maximum(a, b)))
        return ends
