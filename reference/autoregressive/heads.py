"""What the parameters of a conditional mean: a head turns theta (…, P) into p(x_i | x_<i).

    Softmax               k of K values: K logits, or for bits the one of 1
    DiscretisedLogistics  k of K values in their order: a mixture of logistics, by the bin
    Gaussians, Logistics  real numbers: a mixture, or with one component the distribution itself
    LeastSquares          real numbers: one Gaussian whose width σ is the same throughout, where
                          −log p = Σ_i (x_i − μ_i)² / 2σ² + (D/2) ln 2πσ²

A head says how many parameters it takes (`size`), what a value's log-probability is, and which
value uniforms draw: `draw` inverts the distribution function, so that the same numbers give the
same sample. MISSION row A8.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from core import Array, special, value
from core.checks import number, whole
from core.distributions import (
    Categorical,
    DiscretizedLogisticMixture,
    Distribution,
    Logistic,
    Mixture,
    Normal,
)
from core.functional import bernoulli_log_prob, cross_entropy, sigmoid, softmax
from reference.counting.frequencies import draw

WIDEST = 7.0
"""Log scales stay within ± this, smoothly: far away a chain could make any width of them."""
TAIL = 1e-7
"""Least uniform whose quantile is taken, as for normals (core.random)."""


class Softmax:
    """p(k) ∝ e^theta_k for k < levels; of two levels sigmoid(theta_0) is that of 1.

    >>> Softmax(2).size, Softmax(256).size
    (1, 256)
    """

    uniforms = 1

    def __init__(self, levels: int) -> None:
        self.levels = whole("levels", levels, 2)
        self.size = 1 if levels == 2 else self.levels

    def log_prob(self, x: Array, theta: Array) -> Array:
        """Nats (…) of whole numbers x (…), theta (…, size)."""
        if self.size == 1:
            return bernoulli_log_prob(x.astype(theta.dtype), theta[..., 0])
        return -cross_entropy(theta, x.astype(np.int64))

    def draw(self, theta: Any, u: Any) -> Any:
        """x (…) of theta (…, size) and uniforms u (…, 1)."""
        if self.size == 1:
            return u[..., 0] < sigmoid(theta[..., 0])
        return draw(softmax(theta), u[..., 0])


class DiscretisedLogistics:
    """A mixture of logistics on [−1, 1], rounded to `levels` values that lie there evenly.

    theta: K locations, K log scales, and for K > 1 as many logits (Salimans et al. 2017, Eq. 2).
    """

    uniforms = 1

    def __init__(self, levels: int, components: int) -> None:
        self.levels, self.components = (
            whole("levels", levels, 2),
            whole("components", components, 1),
        )
        self.size = _size(components)

    def distribution(self, theta: Array) -> Distribution:
        """The one that theta (…, size) stands for."""
        loc, log_scale, logits = _parts(theta, self.components)
        return DiscretizedLogisticMixture(logits, loc, np.exp(log_scale), self.levels)

    def log_prob(self, x: Array, theta: Array) -> Array:
        """Nats (…) of whole numbers x (…), theta (…, size)."""
        return self.distribution(theta).log_prob(x.astype(np.int64))

    def draw(self, theta: Any, u: Any) -> Any:
        """x (…) of theta (…, size) and uniforms u (…, 1)."""
        every = np.arange(self.levels).reshape(-1, *(1 for _ in theta.shape[:-1]))
        log_p = value(self.distribution(theta).log_prob(every))  # (levels, …)
        return draw(np.exp(np.moveaxis(log_p, 0, -1)), u[..., 0])


def of_levels(levels: int, mixture: int | None = None) -> Softmax | DiscretisedLogistics:
    """The head of whole numbers < levels: a mixture of so many logistics; None is softmax."""
    return DiscretisedLogistics(levels, mixture) if mixture else Softmax(levels)


class _Continuous:
    """A mixture of K like components, each a quantile function moved and stretched.

    theta: K locations, K log scales, and for K > 1 as many logits.
    """

    uniforms = 2
    kind: Callable[[Array, Array], Distribution]
    quantile: Callable[[Any], Any]

    def __init__(self, components: int) -> None:
        self.components = whole("components", components, 1)
        self.size = _size(components)

    def log_prob(self, x: Array, theta: Array) -> Array:
        """Nats (…) of numbers x (…), theta (…, size)."""
        loc, log_scale, logits = _parts(theta, self.components)
        component = type(self).kind(loc, np.exp(log_scale))
        return Mixture(Categorical(logits), component).log_prob(x)

    def draw(self, theta: Any, u: Any) -> Any:
        """x (…) of theta (…, size) and uniforms u (…, 2): which component, and where in it."""
        loc, log_scale, logits = _parts(theta, self.components)
        k = draw(softmax(logits), u[..., 0])[..., None]
        mu, s = (np.take_along_axis(a, k, axis=-1)[..., 0] for a in (loc, log_scale))
        return mu + np.exp(s) * type(self).quantile(np.maximum(u[..., 1], TAIL))


class Gaussians(_Continuous):
    """Σ_k π_k N(x; μ_k, σ_k²) (Uria, Murray & Larochelle 2013).

    >>> Gaussians(1).size, Gaussians(5).size
    (2, 15)
    """

    kind = Normal
    quantile = staticmethod(lambda u: special.ndtri(u))


class Logistics(_Continuous):
    """Σ_k π_k Logistic(x; μ_k, s_k)."""

    kind = Logistic
    quantile = staticmethod(lambda u: special.logit(u))


class LeastSquares:
    """N(x; theta_0, σ²) with one constant σ: the likeliest mean is that of least squares."""

    uniforms, size = 1, 1

    def __init__(self, std: float) -> None:
        self.std = number("std", std, above=0)

    def log_prob(self, x: Array, theta: Array) -> Array:
        """Nats (…) of numbers x (…), theta (…, 1): −(x − μ)² / 2σ² − ½ ln 2πσ²."""
        gap = x - theta[..., 0]
        return gap * gap * (-0.5 / self.std**2) - 0.5 * math.log(2 * math.pi * self.std**2)

    def draw(self, theta: Any, u: Any) -> Any:
        """x (…) of theta (…, 1) and uniforms u (…, 1)."""
        return theta[..., 0] + self.std * special.ndtri(np.maximum(u[..., 0], TAIL))


def _size(components: int) -> int:
    return 3 * components if components > 1 else 2


def _parts(theta: Array, components: int) -> tuple[Array, Array, Array]:
    """Locations, log scales and logits, (…, K) each; a component alone has the logit 0."""
    K = components
    loc, log_scale = theta[..., :K], WIDEST * np.tanh(theta[..., K : 2 * K] * (1 / WIDEST))
    return loc, log_scale, theta[..., 2 * K :] if K > 1 else loc * 0
