"""Normalisation by the moments of a batch (MISSION row G2)."""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

import numpy as np

from core import Array
from core.checks import number, shaped, whole
from core.errors import InputError
from core.functional import batch_norm, batch_norm_by
from reference.layers.initial import ones, zeros


class Moments(NamedTuple):
    """Of a batch: mean and variance of each channel, arrays (n,), the variance without bias.

    >>> Moments(np.zeros(3), np.ones(3)).variance.tolist()
    [1.0, 1.0, 1.0]
    """

    mean: Any
    variance: Any


class BatchNorm:
    """Each channel by its mean and variance, then γ and β (n,) (Ioffe & Szegedy 2015).

    There are two maps. `batch` takes the moments of x itself, and returns them (Algorithm 1); a
    call takes the running moments `mean` and `variance`, which are kept in the file (Algorithm 2).
    `follow` is the step that brings the running ones nearer to a batch's, by `momentum` of the way.

    >>> norm, x = BatchNorm(1, momentum=1.0), np.array([[1.0], [3.0]], np.float32)
    >>> y, moments = norm.batch(x)
    >>> norm.follow(moments)
    >>> y.data.ravel().round(3).tolist(), norm.mean, norm.variance
    ([-1.0, 1.0], array([2.], dtype=float32), array([2.], dtype=float32))
    """

    def __init__(
        self, n: int, *, momentum: float = 0.1, eps: float = 1e-5, dtype: Any = np.float32
    ) -> None:
        self.n, self.eps = whole("n", n, 1), number("eps", eps, least=0)
        self.momentum = number("momentum", momentum, least=0, most=1)
        self.gamma, self.beta = ones(self.n, dtype), zeros(self.n, dtype)
        self.mean, self.variance = np.zeros(self.n, dtype), np.ones(self.n, dtype)

    def __call__(self, x: Array) -> Array:
        """x (B, n, …) → (B, n, …), by the running moments."""
        x = shaped("x", x, ("B", self.n, "…"), self.gamma.dtype)
        return batch_norm_by(x, self.gamma, self.beta, self.mean, self.variance, self.eps)

    def batch(self, x: Array) -> tuple[Array, Moments]:
        """x (B, n, …) → (B, n, …) by its own moments, and these. InputError for a single value."""
        x = shaped("x", x, ("B", self.n, "…"), self.gamma.dtype)
        count = prod(x.shape) // self.n
        if count < 2:
            raise InputError(f"x must have at least two values a channel, got shape {x.shape}")
        y, mean, variance = batch_norm(x, self.gamma, self.beta, self.eps)
        return y, Moments(mean, variance * (count / (count - 1)))

    def follow(self, moments: Moments) -> None:
        """The running moments go `momentum` of the way to these."""
        mean, variance = (shaped("moments", m, (self.n,), self.mean.dtype) for m in moments)
        self.mean += self.momentum * (mean - self.mean)
        self.variance += self.momentum * (variance - self.variance)

    def __repr__(self) -> str:
        return f"BatchNorm({self.n})"
