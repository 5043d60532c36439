"""What the models that count share: discrete data, relative frequencies, and drawing from them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from core import Array
from core.errors import InputError
from core.functional import logsumexp

MOST_CELLS = 2**26
"""The largest table that is built (half a gigabyte); beyond it lies the curse of dimensionality."""


def log_frequencies(counts: Array, alpha: float = 0.0) -> Array:
    """log π̂_k = log (n_k + α) / (n + αK) over the last axis: counts (…, K) → float64 (…, K).

    alpha: pseudo-count of every value; 0 is maximum likelihood, 1 is Laplace's rule. Where nothing
    was counted and α = 0 every π has the same likelihood, and the uniform one is returned.
    """
    K = counts.shape[-1]
    n = counts.sum(axis=-1, keepdims=True) + alpha * K  # (…, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(n > 0, np.log(counts + alpha) - np.log(n), -math.log(K))


def draw(p: Array, u: Array) -> Array:
    """Value k with probability p_k: p (…, K) and uniform u (…) in [0, 1) → int64 (…).

    The inverse of the survival function, k = Σ_j [u < p_{j+1} + … + p_{K−1}], so that a binary
    variable is [u < p_1] and a value of probability 0 is never drawn.
    """
    tail = np.cumsum(p[..., ::-1], axis=-1)[..., -2::-1]  # P(x > j), (…, K−1)
    return np.sum(u[..., None] < tail, axis=-1)


def log_posterior(log_joint: Array) -> Array:
    """Bayes' rule p(z | x) = p(z, x) / Σ_z p(z, x), of logarithms: log p(z, x) (B, Z) → (B, Z).

    InputError for an x of probability 0 under every z, where the rule says nothing.
    """
    log_p = logsumexp(log_joint, axis=1, keepdims=True)
    if np.isneginf(log_p).any():
        raise InputError(
            f"x must have probability > 0 in every row, got {np.isneginf(log_p).sum()} rows without"
        )
    return log_joint - log_p


def fitted(n: Any, model: object) -> None:
    """InputError if the number of examples behind the counts is 0."""
    if not n > 0:
        raise InputError(f"the {type(model).__name__} model has seen no x yet; call fit first")


def mergeable(model: Any, other: Any, *settings: str) -> None:
    """InputError unless both are of one class and agree in these attributes."""
    if type(other) is not type(model):
        raise InputError(f"other must be a {type(model).__name__}, got {type(other).__name__}")
    for name in settings:
        mine, theirs = getattr(model, name), getattr(other, name)
        if mine != theirs:
            raise InputError(f"other must have {name} = {mine}, got {theirs}")


def class_priors(priors: Sequence[float] | None, classes: int) -> Array:
    """p(y) as given (classes,), or None. InputError unless positive numbers with sum 1."""
    if priors is None:
        return None
    try:
        p = np.asarray(priors, np.float64)
    except (TypeError, ValueError):
        p = np.zeros(0)
    if p.shape != (classes,) or not (p > 0).all() or not math.isclose(p.sum(), 1, rel_tol=1e-9):
        raise InputError(f"priors must be {classes} positive numbers with sum 1, got {priors!r}")
    return p


def weighed(weights: Any, n: int) -> Array:
    """What each of n examples counts for: weights (n,) as float64, or 1 each, int64, of None.

    InputError unless they are n finite numbers ≥ 0.
    """
    if weights is None:
        return np.ones(n, np.int64)
    w = np.asarray(weights)
    if w.dtype.kind not in "biuf" or w.shape != (n,):
        raise InputError(f"weights must be {n} numbers, got {w.dtype} of shape {w.shape}")
    if not (np.isfinite(w) & (w >= 0)).all():
        raise InputError(
            f"weights must be finite and >= 0, got {w[~(w >= 0) | ~np.isfinite(w)][0]}"
        )
    return w.astype(np.float64)
