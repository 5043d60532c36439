"""Means of samples in place of sums and integrals, each with how far off it may be.

    E_p[f(x)] ≈ 1/n Σ f(x_i),              x_i ~ p                     Monte Carlo
              ≈ 1/n Σ w_i f(x_i),          x_i ~ q,  w = p(x)/q(x)     importance sampling
              ≈ Σ w_i f(x_i) / Σ w_i                                   p or q known up to a factor
    effective sample size = (Σ w)² / Σ w²       how many samples of p they are worth
    standard error = standard deviation / √n

Entropy, cross-entropy and KL are such means, of −ln p(x), −ln q(x) and ln p(x)/q(x), for x ~ p.
The first two estimates are unbiased; the third is, like any ratio, only in the limit. Kong 1992
(effective sample size). MISSION rows F3, F5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from core import Array, no_grad, special, value
from core.checks import number
from core.errors import InputError


class Scores(Protocol):
    """An explicit model, or a distribution of core.distributions."""

    def log_prob(self, x: Array) -> Array:
        """log p(x) in nats, (n,), of x (n, …)."""


@dataclass(frozen=True)
class Estimate:
    """A mean of n numbers and its standard error: floats, or arrays of many such (…).

    A mean may be infinite; its error is then NaN.
    """

    mean: Any
    se: Any
    n: int

    @property
    def deviation(self) -> Any:
        """Standard deviation of one of the n."""
        return self.se * math.sqrt(self.n)

    def interval(self, level: float = 0.95) -> tuple[Any, Any]:
        """Where the truth lies at this confidence, by the normal approximation of the mean.

        >>> low, high = monte_carlo(np.array([1.0, 2.0, 3.0, 4.0])).interval()
        >>> round(low, 3), round(high, 3)
        (1.235, 3.765)
        """
        z = float(special.ndtri(0.5 + number("level", level, above=0, below=1) / 2))
        return self.mean - z * self.se, self.mean + z * self.se


def monte_carlo(f: Array) -> Estimate:
    """The mean of f (…, n) over its last axis, (…). InputError for NaN and for n < 2.

    >>> monte_carlo(np.array([1.0, 2.0, 3.0])).mean
    2.0
    """
    f = _samples("f", f)
    n = f.shape[-1]
    with np.errstate(invalid="ignore"):  # infinite less infinite
        return Estimate(_plain(f.mean(axis=-1)), _plain(f.std(axis=-1, ddof=1) / math.sqrt(n)), n)


def importance(f: Array, log_w: Array) -> Estimate:
    """E_p f from f (…, n) at samples of q and log_w = ln p(x)/q(x) (…, n), both densities exact.

    >>> importance(np.array([1.0, 3.0]), np.log([0.5, 1.5])).mean
    2.5
    """
    return monte_carlo(_samples("f", f) * np.exp(_log_weights(log_w)))


def self_normalised(f: Array, log_w: Array) -> Estimate:
    """E_p f as `importance` has it, where ln p(x)/q(x) is known but for a constant.

    The error is that of a ratio, by linearisation: √(Σ w²(f − mean)²) / Σ w.

    >>> round(self_normalised(np.array([1.0, 3.0]), np.log([2.0, 6.0])).mean, 12)
    2.5
    """
    f, share = _samples("f", f), _shares(log_w)
    mean = (share * f).sum(axis=-1)
    spread = share * (f - mean[..., None])
    return Estimate(_plain(mean), _plain(np.sqrt((spread**2).sum(axis=-1))), f.shape[-1])


def effective_sample_size(log_w: Array) -> Any:
    """(Σ w)² / Σ w² over the last axis of log_w (…, n): n for equal weights, 1 if one has all.

    >>> round(effective_sample_size(np.zeros(5)), 12)
    5.0
    """
    return _plain(1 / (_shares(log_w) ** 2).sum(axis=-1))


def entropy(x: Array, p: Scores) -> Estimate:
    """H(p) = E_p[−ln p(x)], nats, from samples x (n, …) of p."""
    return monte_carlo(-_log_prob(p, x))


def cross_entropy(x: Array, q: Scores) -> Estimate:
    """H(p, q) = E_p[−ln q(x)], nats, from samples x (n, …) of p: a likelihood on data is this."""
    return monte_carlo(-_log_prob(q, x))


def kl(x: Array, p: Scores, q: Scores) -> Estimate:
    """KL(p ‖ q) = E_p[ln p(x)/q(x)], nats, from samples x (n, …) of p; ∞ where q has none.

    >>> from core.distributions import Normal
    >>> from core.random import Generator
    >>> p, q = Normal(np.array(0.0), np.array(1.0)), Normal(np.array(1.0), np.array(1.0))
    >>> found = kl(p.sample((10_000,), Generator(0)), p, q)
    >>> low, high = found.interval()
    >>> low < 0.5 < high
    True
    """
    return monte_carlo(_log_prob(p, x) - _log_prob(q, x))


def _log_prob(model: Scores, x: Array) -> Any:
    with no_grad():
        return np.asarray(value(model.log_prob(x)), np.float64)


def _samples(name: str, f: Array) -> Any:
    f = np.asarray(value(f), np.float64)
    if f.ndim == 0 or f.shape[-1] < 2:
        raise InputError(f"{name} must have at least 2 samples on its last axis, got {f.shape}")
    if np.isnan(f).any():
        raise InputError(f"{name} must hold numbers, got NaN at {np.isnan(f).sum()} samples")
    return f


def _log_weights(log_w: Array) -> Any:
    log_w = _samples("log_w", log_w)
    if np.isposinf(log_w).any():
        raise InputError("log_w must be < inf: p must have no mass where q has none, got inf")
    return log_w


def _shares(log_w: Array) -> Any:
    """w / Σ w, which needs no scale."""
    log_w = _log_weights(log_w)
    top = log_w.max(axis=-1, keepdims=True)
    if np.isneginf(top).any():
        raise InputError("log_w must be finite for some sample, got -inf for all")
    w = np.exp(log_w - top)
    return w / w.sum(axis=-1, keepdims=True)


def _plain(a: Any) -> Any:
    return float(a) if np.ndim(a) == 0 else a
