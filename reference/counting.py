"""What the models that count share: discrete data, relative frequencies, and drawing from them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from core import Array, value
from core.errors import InputError
from core.functional import logsumexp
from reference.checks import real

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


def posterior(log_joint: Array) -> Array:
    """Bayes' rule p(z | x) = p(z, x) / Σ_z p(z, x): log p(z, x) (B, Z) → (B, Z).

    InputError for an x of probability 0 under every z, where the rule says nothing.
    """
    log_p = logsumexp(log_joint, axis=1, keepdims=True)
    if np.isneginf(log_p).any():
        raise InputError(f"x has {np.isneginf(log_p).sum()} rows of probability 0; expected none")
    return np.exp(log_joint - log_p)


def numbers(x: Array, dim: int) -> Array:
    """x (B, dim), integers and booleans made float64. InputError unless finite numbers."""
    x = value(x)
    if isinstance(x, np.ndarray) and x.dtype.kind in "iub":
        x = x.astype(np.float64)
    return real(x, dim)


def categories(x: Array, dim: int, levels: int) -> Array:
    """x (B, dim) as int64. InputError unless every value is one of 0, …, levels − 1."""
    x = numbers(x, dim)
    wrong = (x != np.floor(x)) | (x < 0) | (x >= levels)
    if wrong.any():
        expected = "0 and 1 only" if levels == 2 else f"whole numbers in 0..{levels - 1}"
        raise InputError(f"x holds {x[wrong][0]}; expected {expected}")
    return x.astype(np.int64)


def labels(y: Any, n: int, classes: int) -> Array:
    """y (n,) as int64. InputError if it is missing, not whole, or out of 0, …, classes − 1."""
    if y is None:
        raise InputError(f"y is missing; expected {n} labels in 0..{classes - 1}")
    y = np.asarray(y)
    if y.dtype.kind not in "iu" or y.shape != (n,):
        raise InputError(f"y is {y.dtype} of shape {y.shape}; expected integers of shape ({n},)")
    if n and not (y.min() >= 0 and y.max() < classes):
        raise InputError(f"y ranges over {y.min()}..{y.max()}; expected 0..{classes - 1}")
    return y.astype(np.int64)


def some(x: Array) -> Array:
    """Return x. InputError if it has no rows: nothing can be learned from nothing."""
    if len(x) == 0:
        raise InputError("x has no rows; expected at least one to fit")
    return x


def fitted(n: Any, model: object) -> None:
    """InputError if the number of examples behind the counts is 0."""
    if not n > 0:
        raise InputError(f"the {type(model).__name__} model has seen no x yet; call fit first")


def whole(name: str, n: Any, least: int) -> int:
    """Return the int n. InputError unless it is one of at least `least`."""
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < least:
        raise InputError(f"{name} is {n!r}; expected an integer of at least {least}")
    return int(n)


def pseudo_count(name: str, alpha: Any, *, positive: bool = False) -> float:
    """Return the float alpha. InputError unless finite and ≥ 0, or > 0 if `positive`."""
    ok = isinstance(alpha, (int, float)) and math.isfinite(alpha)
    if not ok or alpha < 0 or (positive and alpha == 0):
        raise InputError(f"{name} is {alpha!r}; expected a number {'>' if positive else '≥'} 0")
    return float(alpha)
