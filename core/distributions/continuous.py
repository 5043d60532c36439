"""Distributions of real numbers and of vectors of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from core import functional as F
from core import special
from core.distributions.arguments import (
    broadcast,
    dtype_of,
    log,
    only_one,
    parameters,
    point,
    require,
    spread,
)
from core.distributions.draws import Shape, draw
from core.errors import InputError
from core.random import Generator
from core.tensor import Array, no_grad, value

_LOG_2PI = math.log(2 * math.pi)


class Normal:
    """N(loc, scale²), scale > 0: p(x) = exp(−(x − μ)² / 2σ²) / σ√2π.

    >>> z = Normal(np.zeros(2), 1.0)
    >>> z.log_prob(np.array([0.0, 1.0])).round(4)
    array([-0.9189, -1.4189])
    """

    event_shape: tuple[int, ...] = ()

    def __init__(self, loc: Array, scale: Array) -> None:
        self.loc, self.scale = parameters(loc=loc, scale=scale)
        require("scale", self.scale, "positive", lambda s: s > 0)
        self.batch_shape = broadcast(loc=np.shape(self.loc), scale=np.shape(self.scale))

    @property
    def mean(self) -> Array:
        """μ."""
        return spread(self.loc, self.batch_shape)

    @property
    def variance(self) -> Array:
        """σ²."""
        return spread(self.scale * self.scale, self.batch_shape)

    def log_prob(self, x: Array) -> Array:
        """−(x − μ)² / 2σ² − ln σ − ½ ln 2π."""
        z = (point(x, self) - self.loc) / self.scale
        return -0.5 * (z * z) - log(self.scale) - 0.5 * _LOG_2PI

    def cdf(self, x: Array) -> Array:
        """P(X ≤ x) = Φ((x − μ) / σ)."""
        return special.ndtr((point(x, self) - self.loc) / self.scale)

    def rsample(self, shape: Shape, rng: Generator | int) -> Array:
        """μ + σ ε, ε ~ N(0, 1)."""
        return self.loc + self.scale * draw("normal", self, shape, rng, dtype_of(self.loc))

    def sample(self, shape: Shape, rng: Generator | int) -> Any:
        """The numbers of `rsample`, without gradient."""
        with no_grad():
            return self.rsample(shape, rng)

    def entropy(self) -> Array:
        """½ ln 2πe + ln σ."""
        return spread(0.5 + 0.5 * _LOG_2PI + log(self.scale), self.batch_shape)


class Logistic:
    """cdf σ((x − loc) / scale), scale > 0: p(x) = σ(z) σ(−z) / s with z = (x − μ) / s.

    >>> Logistic(np.array(1.0), 2.0).cdf(np.array([1.0, 5.0])).round(4)
    array([0.5   , 0.8808])
    """

    event_shape: tuple[int, ...] = ()

    def __init__(self, loc: Array, scale: Array) -> None:
        self.loc, self.scale = parameters(loc=loc, scale=scale)
        require("scale", self.scale, "positive", lambda s: s > 0)
        self.batch_shape = broadcast(loc=np.shape(self.loc), scale=np.shape(self.scale))

    @property
    def mean(self) -> Array:
        """μ."""
        return spread(self.loc, self.batch_shape)

    @property
    def variance(self) -> Array:
        """s² π² / 3."""
        return spread(self.scale * self.scale * (math.pi**2 / 3), self.batch_shape)

    def log_prob(self, x: Array) -> Array:
        """ln σ(z) + ln σ(−z) − ln s."""
        z = (point(x, self) - self.loc) / self.scale
        return F.log_sigmoid(z) + F.log_sigmoid(-z) - log(self.scale)

    def cdf(self, x: Array) -> Array:
        """σ(z)."""
        return F.sigmoid((point(x, self) - self.loc) / self.scale)

    def rsample(self, shape: Shape, rng: Generator | int) -> Array:
        """μ + s · logit u; u ≥ 10⁻⁷ as for normals, so |logit u| < 16.7."""
        u = draw("uniform", self, shape, rng, dtype_of(self.loc))
        return self.loc + self.scale * special.logit(np.maximum(u, u.dtype.type(1e-7)))

    def sample(self, shape: Shape, rng: Generator | int) -> Any:
        """The numbers of `rsample`, without gradient."""
        with no_grad():
            return self.rsample(shape, rng)

    def entropy(self) -> Array:
        """2 + ln s."""
        return spread(2.0 + log(self.scale), self.batch_shape)


class MultivariateNormal:
    """N(loc, Σ) on vectors of length D, with Σ = L Lᵀ. Give covariance_matrix Σ or scale_tril L.

    loc (…, D), Σ or L (…, D, D), whose leading axes broadcast. Σ symmetric and positive definite;
    L lower triangular with a positive diagonal.

    >>> d = MultivariateNormal(np.zeros(2), np.array([[2.0, 1.0], [1.0, 2.0]]))
    >>> d.log_prob(np.array([[0.0, 0.0], [1.0, 1.0]])).round(4)
    array([-2.3872, -2.7205])
    """

    def __init__(
        self, loc: Array, covariance_matrix: Array = None, *, scale_tril: Array = None
    ) -> None:
        form = only_one("covariance_matrix", covariance_matrix, "scale_tril", scale_tril)
        matrix = covariance_matrix if scale_tril is None else scale_tril
        self.loc, matrix = parameters(**{"loc": loc, form: matrix})
        D = np.shape(self.loc)[-1:]
        if not D or np.shape(matrix)[-2:] != D + D:
            raise InputError(
                f"loc and {form} must have shapes (…, D) and (…, D, D), "
                f"got {np.shape(self.loc)} and {np.shape(matrix)}"
            )
        self.scale_tril = matrix if form == "scale_tril" else _cholesky(matrix)
        L = value(self.scale_tril)
        require("scale_tril", L, "0 above its diagonal", lambda L: np.tril(L) == L)
        require("scale_tril", _diagonal(L), "positive on its diagonal", lambda d: d > 0)
        self.batch_shape = broadcast(loc=self.loc.shape[:-1], **{form: matrix.shape[:-2]})
        self.event_shape: tuple[int, ...] = D

    @property
    def mean(self) -> Array:
        """μ, (*batch_shape, D)."""
        return spread(self.loc, self.batch_shape + self.event_shape)

    @property
    def covariance_matrix(self) -> Array:
        """Σ = L Lᵀ."""
        return self.scale_tril @ np.swapaxes(self.scale_tril, -1, -2)

    def log_prob(self, x: Array) -> Array:
        """−½ |y|² − ln |L| − D/2 ln 2π, with L y = x − μ."""
        y = solve(self.scale_tril, point(x, self) - self.loc)
        D = self.event_shape[0]
        return -0.5 * np.sum(y * y, axis=-1) - log_det(self.scale_tril) - 0.5 * D * _LOG_2PI

    def rsample(self, shape: Shape, rng: Generator | int) -> Array:
        """μ + L ε, ε ~ N(0, 1)."""
        eps = draw("normal", self, shape, rng, self.loc.dtype)
        return self.loc + (self.scale_tril @ eps[..., None])[..., 0]

    def sample(self, shape: Shape, rng: Generator | int) -> Any:
        """The numbers of `rsample`, without gradient."""
        with no_grad():
            return self.rsample(shape, rng)

    def entropy(self) -> Array:
        """D/2 ln 2πe + ln |L|."""
        h = log_det(self.scale_tril) + 0.5 * self.event_shape[0] * (1 + _LOG_2PI)
        return spread(h, self.batch_shape)


# Linear algebra


def _diagonal(L: Array) -> Array:
    return np.diagonal(L, axis1=-2, axis2=-1)


def log_det(L: Array) -> Array:
    """ln |L| of triangular L (…, D, D) with a positive diagonal."""
    return np.sum(np.log(_diagonal(L)), axis=-1)


def solve(L: Array, x: Array) -> Array:
    """y with L y = x, for L (…, D, D) and vectors x (…, D)."""
    if L.ndim > 2 or x.ndim == 1:
        return np.linalg.solve(L, x[..., None])[..., 0]
    flat = np.reshape(x, (math.prod(x.shape[:-1]), x.shape[-1]))
    return np.reshape(np.linalg.solve(L, flat.T).T, x.shape)


def _cholesky(covariance: Array) -> Array:
    require("covariance_matrix", covariance, "symmetric", _is_symmetric)
    try:
        return np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        raise InputError("covariance_matrix must be positive definite") from None


def _is_symmetric(S: Any) -> Any:
    """Entry by entry, up to rounding in the dtype of S."""
    slack = 100 * np.finfo(S.dtype).eps * np.abs(S).max(initial=0)
    return np.abs(S - np.swapaxes(S, -1, -2)) <= slack
