"""What a decoder's numbers mean: p(x|z), of x in rows (B, D). MISSION rows L5, A8.

    Bernoulli            bits                 Π_j sigmoid(θ_j)^x_j · sigmoid(−θ_j)^(1−x_j)
    Gaussian             real numbers         N(x; θ, σ² I), with one σ that is learned
    DiscretisedLogistic  k of K in an order   logistics on [−1, 1] by the bin, each with its width

`size` is how many numbers the decoder gives for each x_j; all of the first kind come before those
of the second. A single σ, rather than a network for it, keeps the likelihood of reals finite where
a pixel is constant (Kingma & Welling 2013, appendix C, has one); bins have no such trouble.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from core import Array, Tensor
from core.checks import binary, categories, real, whole
from core.distributions import DiscretizedLogistic
from core.functional import bernoulli_log_prob, normal_log_prob, sigmoid
from core.random import Generator, normal, uniform

WIDEST = 7.0
"""Log scales stay within ± this, smoothly."""


class Bernoulli:
    """Bits, with θ the logits of 1.

    >>> Bernoulli().log_prob(np.ones((1, 2)), np.zeros((1, 2))).round(3)
    array([-1.386])
    """

    size = 1

    def read(self, x: Array, dim: int, dtype: Any) -> Array:
        """x (B, dim) of 0 and 1; else InputError."""
        return binary(x, dim, dtype)

    def scaled(self, x: Array, dtype: Any) -> Array:
        """x as an encoder reads it."""
        return x

    def log_prob(self, x: Array, theta: Array) -> Array:
        """log p(x|z) in nats, (…,), of x and θ (…, D)."""
        return np.sum(bernoulli_log_prob(x, theta), axis=-1)

    def mean(self, theta: Any) -> Any:
        """E[x|z], (…, D)."""
        return sigmoid(theta)

    def draw(self, theta: Any, seed: int) -> Any:
        """One x (n, D) for each row of θ."""
        return uniform(seed, theta.shape, dtype=theta.dtype) < sigmoid(theta)


class Gaussian:
    """Reals, with θ the mean and σ learned, 1 at first.

    >>> Gaussian().mean(np.zeros((1, 2)))
    array([[0., 0.]])
    """

    size = 1

    def __init__(self, dtype: Any = np.float64) -> None:
        self.log_sigma = Tensor(np.zeros(1, dtype))

    def read(self, x: Array, dim: int, dtype: Any) -> Array:
        """x (B, dim) of finite numbers; else InputError."""
        return real(x, dim, dtype)

    def scaled(self, x: Array, dtype: Any) -> Array:
        """x as an encoder reads it."""
        return x

    def log_prob(self, x: Array, theta: Array) -> Array:
        """log p(x|z) in nats, (…,), of x and θ (…, D)."""
        return np.sum(normal_log_prob(x, theta, self.log_sigma), axis=-1)

    def mean(self, theta: Any) -> Any:
        """E[x|z], (…, D)."""
        return theta

    def draw(self, theta: Any, seed: int) -> Any:
        """One x (n, D) for each row of θ."""
        return theta + np.exp(self.log_sigma) * normal(seed, theta.shape, dtype=theta.dtype)


class DiscretisedLogistic:
    """Whole numbers in 0 … levels − 1, which lie evenly on [−1, 1]; θ are locations and log scales.

    A bin has the logistic's probability of it, the first and last with all that is beyond
    (Kingma et al. 2016; Salimans et al. 2017, Eq. 2).

    >>> pixel = DiscretisedLogistic(4)
    >>> x, theta = np.arange(4).reshape(4, 1), np.array([0.3, -1.0])
    >>> round(float(np.exp(pixel.log_prob(x, theta)).sum()), 9)
    1.0
    """

    size = 2

    def __init__(self, levels: int) -> None:
        self.levels = whole("levels", levels, 2)

    def read(self, x: Array, dim: int, dtype: Any) -> Array:
        """x (B, dim) as int64 in 0 … levels − 1; else InputError."""
        return categories(x, dim, self.levels)

    def scaled(self, x: Array, dtype: Any) -> Array:
        """x on [−1, 1], as an encoder reads it."""
        return x.astype(dtype) * (2 / (self.levels - 1)) - 1

    def log_prob(self, x: Array, theta: Array) -> Array:
        """log p(x|z) in nats, (…,), of x (…, D) and θ (…, 2 D)."""
        return np.sum(self._distribution(theta).log_prob(x), axis=-1)

    def mean(self, theta: Any) -> Any:
        """E[x|z], (…, D)."""
        every = np.arange(self.levels)
        beside = every.reshape(-1, *(1 for _ in theta.shape))
        p = np.exp(self._distribution(theta).log_prob(beside))  # (levels, …, D)
        return np.tensordot(every.astype(theta.dtype), p, axes=1)

    def draw(self, theta: Any, seed: int) -> Any:
        """One x (n, D) for each row of θ."""
        return self._distribution(theta).sample((), Generator(seed, stream="sample"))

    def _distribution(self, theta: Array) -> DiscretizedLogistic:
        loc, log_scale = np.split(theta, 2, axis=-1)
        scale = np.exp(WIDEST * np.tanh(log_scale * (1 / WIDEST)))
        return DiscretizedLogistic(loc, scale, self.levels)
