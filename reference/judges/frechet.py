"""Fréchet distance between two sets of features, each taken for Gaussian.

    d² = ‖μ_x − μ_y‖² + tr(Σ_x + Σ_y − 2 (Σ_x Σ_y)^½)

(Dowson & Landau 1982; for generative models Heusel et al. 2017.)

It is 0 for two sets of one mean and covariance, and biased upward by what the sets are short of:
it says something only beside real against real with as many rows. MISSION row G2.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from core import Array
from core.checks import numbers
from core.errors import InputError


def frechet_distance(x: Array, y: Array) -> float:
    """d² between features x (N, D) and y (M, D), in squared units of the features.

    Raises InputError where either has no more rows than columns: its covariance would be singular,
    and the distance that of its subspace.

    >>> x = np.random.default_rng(0).normal(size=(100, 3))
    >>> abs(frechet_distance(x, x)) < 1e-12, round(frechet_distance(x, x + [2, 0, 0]), 10)
    (True, 4.0)
    """
    (mean_x, cov_x), (mean_y, cov_y) = _moments("x", x, x.shape[-1]), _moments("y", y, x.shape[-1])
    apart = float(np.sum((mean_x - mean_y) ** 2))
    return apart + float(np.trace(cov_x) + np.trace(cov_y)) - 2 * root_of_product(cov_x, cov_y)


def root_of_product(A: Any, B: Any) -> float:
    """tr (AB)^½ of two covariances (D, D).

    AB is not symmetric, but has the eigenvalues of A^½ B A^½, which is, and is nowhere below 0; so
    no root of a complex or slightly negative number is ever taken.
    """
    values, vectors = np.linalg.eigh(A)
    root = vectors * np.sqrt(np.maximum(values, 0))  # R with R Rᵀ = A
    return float(np.sum(np.sqrt(np.maximum(np.linalg.eigvalsh(root.T @ B @ root), 0))))


def _moments(name: str, x: Array, dim: int) -> tuple[Any, Any]:
    """Mean (D,) and covariance (D, D), the latter without bias."""
    x = numbers(x, dim, name=name).astype(np.float64)
    if len(x) <= dim:
        raise InputError(f"{name} must have more rows than its {dim} columns, got {len(x)}")
    return x.mean(axis=0), np.cov(x, rowvar=False).reshape(dim, dim)
