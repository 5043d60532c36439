"""Can samples be told from data? Two tests for models that have no likelihood.

The kernel MMD (Gretton et al. 2012) beside the null distribution of its own permutations, and the
accuracy of a classifier trained to tell the two apart (Lopez-Paz & Oquab 2017). Both say little
without a baseline, so `HeldOut` gives the same figures for real data nobody trained on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from core import Array
from core.errors import InputError
from core.random import bits, integers, permutation
from core.samples import rows

if TYPE_CHECKING:
    from core.data import Dataset

_BANDWIDTH_FACTORS = (0.25, 0.5, 1.0, 2.0)
_MOST_POINTS = 1000


@dataclass(frozen=True)
class Distance:
    """How far two samples of `count` rows each are apart.

    mmd2: unbiased MMD². null_95: the 95 % quantile of its permutation null. p_value: of the test
    that both have one distribution. accuracy: of a classifier at telling them apart, ½ when nothing
    can; accuracy_se: its standard error.
    """

    count: int
    mmd2: float
    null_95: float
    p_value: float
    accuracy: float
    accuracy_se: float


class HeldOut:
    """Validation and test rows of `data`, shuffled and cut in two halves of at most 1000 rows.

    One half is what samples are compared with; the other half, compared with it too, is the
    baseline that a perfect model reaches.
    """

    def __init__(self, data: Dataset, *, seed: int = 0, permutations: int = 500) -> None:
        parts = [rows(data.validation.x), rows(data.test.x)]
        width = max(part.shape[1] for part in parts)  # padding is padded on
        x = np.concatenate([np.pad(p, ((0, 0), (0, width - p.shape[1]))) for p in parts])
        self.count = min(len(x) // 2, _MOST_POINTS)
        x = x[permutation(seed, len(x))[: 2 * self.count]].astype(np.float64)
        self.real, self.fresh = x[: self.count], x[self.count :]
        self.data, self.seed, self.permutations = data, seed, permutations

    @cached_property
    def baseline(self) -> Distance:
        """Fresh real data against real data."""
        return self._distance(self.fresh)

    def distance(self, samples: Array) -> Distance:
        """Samples (N, D), N ≥ count, against real data.

        Pixels are rounded to the values the data have, or their decimals alone would tell.
        """
        return self._distance(self.comparable(samples))

    def comparable(self, samples: Array) -> Array:
        """The first `count` samples as rows like those of the data. InputError for fewer."""
        if len(samples) < self.count:
            raise InputError(f"samples must be at least {self.count}, got {len(samples)}")
        return rows(round_to(samples[: self.count], self.data))

    def _distance(self, x: Array) -> Distance:
        test = mmd_test(x, self.real, permutations=self.permutations, seed=self.seed)
        told = classifier_accuracy(x, self.real, seed=self.seed)
        return Distance(len(x), test.mmd2, test.null_95, test.p_value, told.mean, told.se)


def round_to(samples: Array, data: Dataset) -> Array:
    """Each value of `samples` at the nearest value that `data` takes, if it has at most 256."""
    if data.image_shape is None:
        return np.asarray(samples, dtype=np.float64)
    grid = np.unique(data.train.x).astype(np.float64)
    if len(grid) > 256:
        return np.asarray(samples, dtype=np.float64)
    midpoints = (grid[1:] + grid[:-1]) / 2
    return grid[np.searchsorted(midpoints, samples)]


def squared_distances(x: Array) -> Array:
    """Squared Euclidean distance between all rows of `x` (N, D): (N, N), zero diagonal."""
    x = x - x.mean(axis=0)
    norms = np.sum(x * x, axis=1)
    d2: Array = np.maximum(norms[:, None] + norms - 2 * x @ x.T, 0.0)
    np.fill_diagonal(d2, 0.0)
    return d2


def gram(x: Array) -> Array:
    """Mean of Gaussian kernels exp(−‖x−y‖²/2σ²) over σ = {¼, ½, 1, 2} × the median distance.

    One bandwidth at the median sees the shape of the whole, smaller ones the modes inside it.
    The median is taken over the pooled sample, so that relabelling rows doesn't change the kernel
    and the permutation test keeps its exact size; and over distinct points, for sparse data have
    many equal ones.
    """
    d2 = squared_distances(x)
    pairs = d2[np.triu_indices(len(x), 1)]
    if not np.any(pairs):
        raise InputError("x and y must hold distinct points: all their distances are 0")
    median = np.median(np.sqrt(pairs[pairs > 1e-12 * pairs.max()]))
    kernels = [np.exp(d2 / (-2 * (f * median) ** 2)) for f in _BANDWIDTH_FACTORS]
    return np.asarray(sum(kernels) / len(kernels))


def mmd2(k: Array, in_x: Array) -> Array:
    """Unbiased MMD² for each column of `in_x` (N, P): which rows of the kernel (N, N) are X.

    Gretton et al. 2012, Eq. 3: means of k over pairs of *different* points within X and within Y,
    minus twice the mean over pairs across. It is 0 on average when X and Y have one distribution,
    and so half of the time negative.
    """
    k = k - np.diag(np.diag(k))
    z = in_x.astype(k.dtype)  # (N, P)
    n, m = z.sum(axis=0), (1 - z).sum(axis=0)
    kz = k @ z
    xx = np.sum(z * kz, axis=0)
    xy = np.sum(kz, axis=0) - xx
    yy = np.sum(k) - xx - 2 * xy
    result: Array = xx / (n * (n - 1)) + yy / (m * (m - 1)) - 2 * xy / (n * m)
    return result


@dataclass(frozen=True)
class MMD:
    """MMD² of two samples, the 95 % quantile of its permutation null, and the test's p-value."""

    mmd2: float
    null_95: float
    p_value: float


def mmd_test(x: Array, y: Array, *, permutations: int = 500, seed: int = 0) -> MMD:
    """MMD² of `x` (n, D) and `y` (m, D) beside the null of `permutations` random relabellings."""
    pooled = _pooled(x, y)
    k = gram(pooled)
    in_x = np.arange(len(pooled)) < len(x)
    order = np.argsort(bits(seed, (permutations, len(pooled)), stream="shuffle"), axis=1)
    observed = float(mmd2(k, in_x[:, None])[0])
    null = mmd2(k, in_x[order].T)
    p = (1 + int(np.sum(null >= observed))) / (1 + permutations)
    return MMD(observed, float(np.quantile(null, 0.95)), p)


@dataclass(frozen=True)
class Accuracy:
    """Share of rows that a classifier assigns to the right sample, and its standard error."""

    mean: float
    se: float


def classifier_accuracy(x: Array, y: Array, *, folds: int = 5, seed: int = 0) -> Accuracy:
    """Cross-validated accuracy of a random forest at telling rows of `x` from rows of `y`.

    `x` and `y` must have equally many rows, so that guessing scores ½. The standard error is that
    of a proportion.
    """
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    if len(x) != len(y) or len(x) < folds:
        raise InputError(
            f"x and y must have equally many rows, {folds} or more, got {len(x)} and {len(y)}"
        )
    pooled = _pooled(x, y)
    labels = np.repeat([0, 1], [len(x), len(y)])
    state = int(integers(seed, 0, 2**31 - 1, (1,))[0])
    forest = RandomForestClassifier(n_estimators=60, min_samples_leaf=2, random_state=state)
    split = StratifiedKFold(folds, shuffle=True, random_state=state)
    right = cross_val_predict(forest, pooled, labels, cv=split) == labels
    mean = float(np.mean(right))
    return Accuracy(mean, math.sqrt(mean * (1 - mean) / len(right)))


def _pooled(x: Array, y: Array) -> Array:
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise InputError(
            "x and y must be (n, D) and (m, D) with n, m ≥ 2, "
            f"got shapes {tuple(x.shape)} and {tuple(y.shape)}"
        )
    pooled = np.concatenate([x, y]).astype(np.float64)
    if not np.all(np.isfinite(pooled)):
        raise InputError("x and y must be finite, got NaN or infinity")
    return pooled
