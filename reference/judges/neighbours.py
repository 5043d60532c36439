"""What nearest neighbours say of samples: are they like data, all of it, or copies of it?

A ball around each point reaches to its k-th nearest neighbour of the same set; together the balls
stand for where the set has mass.

    precision   share of samples in a ball of the data       recall   share of data in a ball of the
                                                             samples   Kynkäänniemi et al. 2019
    density     balls of the data that a sample is in, / k   coverage share of the data whose ball
                                                             holds a sample       Naeem et al. 2020

One real point far out has a large ball: it spoils precision, not density; one sample far out spoils
recall, not coverage. Rows are features, or anything else that has distances. MISSION row G2.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from core import Array
from core.checks import numbers, whole
from core.errors import InputError

_ROWS = 500  # at a time: the table of distances is never whole


@dataclass(frozen=True)
class PrecisionRecall:
    """Shares in [0, 1]: of samples that pass for data, of data that samples pass for."""

    precision: float
    recall: float


@dataclass(frozen=True)
class DensityCoverage:
    """density: 1 on average where both are of one distribution, or more; coverage: at most 1."""

    density: float
    coverage: float


@dataclass(frozen=True)
class Copying:
    """share: how often a sample is nearer to the training data than a test row is; z: in standard
    errors from ½, that of samples that know the training data no better than the test data do."""

    share: float
    z: float


def precision_recall(samples: Array, data: Array, *, k: int = 3) -> PrecisionRecall:
    """Of samples (M, D) and data (N, D), M, N > k (Kynkäänniemi et al. 2019, Eqs. 1–2).

    >>> x = np.arange(12.0)[:, None]
    >>> precision_recall(x[:6], x)
    PrecisionRecall(precision=1.0, recall=0.75)
    """
    samples, data = _two(samples, data, k)
    in_data = np.concatenate([inside.any(axis=1) for inside in _inside(samples, data, k)])
    in_samples = np.concatenate([inside.any(axis=1) for inside in _inside(data, samples, k)])
    return PrecisionRecall(float(in_data.mean()), float(in_samples.mean()))


def density_coverage(samples: Array, data: Array, *, k: int = 5) -> DensityCoverage:
    """Of samples (M, D) and data (N, D), M, N > k (Naeem et al. 2020, Eqs. 3–4).

    >>> x = np.arange(12.0)[:, None]
    >>> density_coverage(x, x, k=2)
    DensityCoverage(density=1.5, coverage=1.0)
    """
    samples, data = _two(samples, data, k)
    balls, covered = 0, np.zeros(len(data), bool)
    for inside in _inside(samples, data, k):
        balls += int(inside.sum())
        covered |= inside.any(axis=0)
    return DensityCoverage(balls / (k * len(samples)), float(covered.mean()))


def copying(samples: Array, train: Array, test: Array) -> Copying:
    """Whether samples (M, D) are nearer to the rows trained on than test rows (N, D) are.

    P(d(sample) < d(test)), d the distance to the nearest of `train`, ties counted half, with the z
    of Mann & Whitney's test: that of Meehan, Chaudhuri & Dasgupta 2020, on all of space at once.
    Share ½: they generalise as the truth does; 1: they are copies; 0: they are farther from the
    training data than data are, as bad samples may be.

    >>> x = np.random.default_rng(0).normal(size=(300, 2))
    >>> copying(x[:100], x[:100], x[200:]).share
    1.0
    """
    samples, train = _two(samples, train, 1)
    test, _ = _two(test, train, 1)
    own, fresh = nearest(samples, train), nearest(test, train)
    nearer = np.mean(np.sign(fresh[None, :] - own[:, None])) / 2 + 0.5
    m, n = len(own), len(fresh)
    return Copying(float(nearer), float((nearer - 0.5) / math.sqrt((m + n + 1) / (12 * m * n))))


def nearest(x: Array, y: Array) -> Any:
    """Distance of each row of x (M, D) to the nearest row of y (N, D), (M,)."""
    return np.concatenate([d.min(axis=1) for d in _distances(x, y)])


def radii(x: Array, k: int) -> Any:
    """Distance of each row of x (N, D) to the k-th nearest other row, (N,)."""
    return np.concatenate([np.partition(d, k, axis=1)[:, k] for d in _distances(x, x)])  # 0: itself


def _inside(x: Array, y: Array, k: int) -> Iterator[Any]:
    """Of some rows of x at a time: which balls of y hold which of them, bool (…, N)."""
    reach = radii(y, k)
    for d in _distances(x, y):
        yield d <= reach


def _distances(x: Array, y: Array) -> Iterator[Any]:
    """Of some rows of x at a time, to every row of y (N, D): (…, N), exactly 0 between equals."""
    from scipy.spatial.distance import cdist

    for start in range(0, len(x), _ROWS):
        yield cdist(x[start : start + _ROWS], y)


def _two(samples: Array, data: Array, k: int) -> tuple[Any, Any]:
    """Both as float64; InputError unless they fit, and have more than k rows."""
    whole("k", k, 1)
    if getattr(data, "ndim", 0) != 2:
        raise InputError(f"data must be (N, D), got {getattr(data, 'shape', data)}")
    both = [
        numbers(x, data.shape[1], name=name).astype(np.float64)
        for name, x in (("samples", samples), ("data", data))
    ]
    for name, x in zip(("samples", "data"), both, strict=True):
        if len(x) <= k:
            raise InputError(f"{name} must have more than k = {k} rows, got {len(x)}")
    return both[0], both[1]
