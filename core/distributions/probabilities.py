"""Probabilities of outcomes k = 0 … K−1, as they were given: by logarithms, or by themselves.

All have derivatives up to the edge, where some p is 0 or 1: through the logarithm of a p of 0 the
derivatives would be 0 · ∞. ln q is told in two parts, `log()` − `log_total`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from core import functional as F
from core.rows import differentiable
from core.tensor import Array, value

Mask = Any  # (…, K), which outcomes


@differentiable(lambda g, z, p: -g * (np.log(p) + 1))
def surprise(p: Any) -> Any:
    """−p ln p, elementwise; 0 at 0, where the derivative is ∞."""
    return -p * np.log(np.where(p > 0, p, 1))


@differentiable(lambda g, z, p: g * (np.log1p(-p) - np.log(p)))
def binary_entropy(p: Any) -> Any:
    """−p ln p − (1 − p) ln (1 − p), elementwise; 0 at 0 and 1."""
    no, yes = np.log1p(-np.where(p < 1, p, 0)), np.log(np.where(p > 0, p, 1))
    return -((1 - p) * no + p * yes)


class LogProbabilities:
    """ln p_k (…, K), normalised; −∞ is allowed."""

    log_total = 0.0

    def __init__(self, log_p: Array) -> None:
        self.log_p = log_p

    @property
    def p(self) -> Array:
        """p_k."""
        return np.exp(self.log_p)

    @property
    def possible(self) -> Mask:
        """Where p_k > 0, even if it underflows."""
        return value(self.log_p) > -math.inf

    def log(self, where: Mask = True) -> Array:
        """ln p_k; 0 elsewhere, with no derivative."""
        return np.where(where, self.log_p, 0.0)

    def pick(self, k: Any) -> Array:
        """ln p_k of outcomes k (…)."""
        return _pick(self.log_p, k)

    def entropy(self) -> Array:
        """−Σ p ln p."""
        return self.cross_entropy(self)

    def cross_entropy(self, q: Table) -> Array:
        """−Σ p ln q over what is possible by both."""
        return q.log_total - np.sum(self.p * q.log(self.possible & q.possible), axis=-1)

    def log_average(self, log_f: Array) -> Array:
        """ln Σ_k p_k f_k, of ln f (…, K)."""
        return F.logsumexp(self.log_p + log_f, axis=-1)


class Probabilities:
    """p_k = w_k / Σ w, of weights w (…, K), the largest of them 1."""

    def __init__(self, w: Array) -> None:
        self.w = w

    @property
    def total(self) -> Array:
        """Σ w (…, 1)."""
        return np.sum(self.w, axis=-1, keepdims=True)

    @property
    def log_total(self) -> Array:
        """ln Σ w (…)."""
        return np.log(self.total)[..., 0]

    @property
    def p(self) -> Array:
        """p_k."""
        return self.w / self.total

    @property
    def possible(self) -> Mask:
        """Where p_k > 0."""
        return value(self.w) > 0

    def log(self, where: Mask = True) -> Array:
        """ln w_k; 0 elsewhere, with no derivative."""
        with np.errstate(divide="ignore"):
            return np.log(np.where(where, self.w, 1.0))

    def pick(self, k: Any) -> Array:
        """ln p_k of outcomes k (…)."""
        with np.errstate(divide="ignore"):
            return np.log(_pick(self.w, k)) - self.log_total

    def entropy(self) -> Array:
        """−Σ p ln p = ln Σ w − Σ w ln w / Σ w: at w_k = 0 only its own derivative is ∞."""
        return self.log_total + np.sum(surprise(self.w), axis=-1) / self.total[..., 0]

    def cross_entropy(self, q: Table) -> Array:
        """−Σ p ln q over what is possible by both."""
        logs = self.w * q.log(self.possible & q.possible)
        return q.log_total - np.sum(logs, axis=-1) / self.total[..., 0]

    def log_average(self, log_f: Array) -> Array:
        """ln Σ_k p_k f_k, of ln f (…, K); linear in w within, so that its derivative is f_k / Σ."""
        log_f = log_f + np.zeros_like(value(self.w))  # (…, K)
        top = np.where(self.possible, value(log_f), -math.inf).max(axis=-1, keepdims=True)
        top = np.where(np.isfinite(top), top, 0.0)
        most = math.log(np.finfo(log_f.dtype).max) - 1  # what is impossible may be far above it
        f = np.exp(np.minimum(log_f - top, most))
        with np.errstate(divide="ignore"):
            return np.log(np.sum(self.w * f, axis=-1)) + top[..., 0] - self.log_total


class TwoProbabilities:
    """1 − p and p, where p may be too small to leave a trace in 1 − p."""

    log_total = 0.0

    def __init__(self, p: Array) -> None:
        self.yes = p

    @property
    def p(self) -> Array:
        """1 − p and p."""
        return np.stack([1 - self.yes, self.yes], axis=-1)

    @property
    def possible(self) -> Mask:
        """Where they are > 0."""
        p = value(self.yes)
        return np.stack([p < 1, p > 0], axis=-1)

    def log(self, where: Mask = True) -> Array:
        """ln (1 − p) and ln p; 0 elsewhere, with no derivative."""
        no, yes = np.moveaxis(np.broadcast_to(where, np.shape(value(self.p))), -1, 0)
        with np.errstate(divide="ignore"):
            logs = np.log1p(-np.where(no, self.yes, 0.0)), np.log(np.where(yes, self.yes, 1.0))
        return np.stack(logs, axis=-1)

    def pick(self, k: Any) -> Array:
        """ln p where k = 1, ln (1 − p) where k = 0."""
        one = value(k) == 1
        with np.errstate(divide="ignore"):
            no, yes = np.where(one, 0.0, self.yes), np.where(one, self.yes, 1.0)
            return np.log(yes) + np.log1p(-no)

    def entropy(self) -> Array:
        """−p ln p − (1 − p) ln (1 − p)."""
        return binary_entropy(self.yes)

    def cross_entropy(self, q: Table) -> Array:
        """−Σ p ln q over what is possible by both."""
        return q.log_total - np.sum(self.p * q.log(self.possible & q.possible), axis=-1)


Table = LogProbabilities | Probabilities | TwoProbabilities


def _pick(table: Array, k: Any) -> Array:
    """table[…, k] for k (…), whose shapes broadcast."""
    shape = np.broadcast_shapes(k.shape, table.shape[:-1])
    table = np.broadcast_to(table, (*shape, table.shape[-1]))
    return np.take_along_axis(table, np.broadcast_to(k, shape)[..., None], axis=-1)[..., 0]
