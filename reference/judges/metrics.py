"""How good is a model: its likelihood on data it hasn't seen, and two-sample distances.

An explicit model is scored by its log-likelihood, one number per sample in nats. A model without
one can only be asked whether its samples can be told from data, and two tests ask it: the kernel
MMD (Gretton et al. 2012) beside the null distribution of its own permutations, and the accuracy
of a classifier trained to tell the two apart (Lopez-Paz & Oquab 2017). Both say little without a
baseline, so `HeldOut` gives the same figures for real data nobody trained on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from core import Array, no_grad, value
from core.errors import InputError
from core.random import Generator, bits, integers, permutation

if TYPE_CHECKING:
    from core.data import Dataset

IMPORTANCE_SAMPLES = 100
"""k of the importance-weighted bound that latent models are scored by."""

_BATCH = 250
_BANDWIDTH_FACTORS = (0.25, 0.5, 1.0, 2.0)
_MOST_POINTS = 1000


# --- likelihood ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Likelihood:
    """Negative log-likelihood of held-out data, in nats per sample: its mean and standard error.

    `bound` is None when the likelihood is exact, else the name of the bound: the true figure is
    at most `nats`. `gap` is mean(log p_true − log p_model), where the true density is known; being
    paired it is far more exact than the difference of two means. `impossible` counts samples the
    model gives probability 0, which make `nats` infinite.
    """

    nats: float
    se: float
    count: int
    bits_per_dim: float | None
    bound: str | None
    impossible: int = 0
    gap: float | None = None
    gap_se: float | None = None


def likelihood(
    model: Any, data: Dataset, split: str = "test", *, first: int | None = None, seed: int = 0
) -> Likelihood:
    """Score `model` on one split of `data`, or its `first` rows; `seed` names a bound's noise.

    Raises InputError if the model has no likelihood, if it is NaN, or if there are no rows.
    """
    x = getattr(data, split).x[:first]
    if len(x) == 0:
        raise InputError(f"{data.name} has no {split} rows to score")
    log_p, bound = _log_likelihoods(model, x, seed)
    if data.domain == "continuous" and getattr(model, "levels", None) is not None:
        return _summary(log_p, None, True, x, bound)  # of pixels' probabilities, not a density
    return _summary(log_p, data, data.domain != "continuous", x, bound)


def _summary(
    log_p: Array, data: Dataset | None, discrete: bool, x: Array, bound: str | None = None
) -> Likelihood:
    """Nats become bits per dimension for probabilities only: a density depends on the units."""
    nats, se = mean_and_se(-log_p)
    gap, gap_se = None, None
    if data is not None and data.log_density is not None:
        true = np.asarray(data.log_density(x.astype(np.float64)), dtype=np.float64)
        gap, gap_se = mean_and_se(true - log_p)
    return Likelihood(
        nats,
        se,
        count=len(log_p),
        bits_per_dim=nats / (x.shape[1] * math.log(2)) if discrete else None,
        bound=bound,
        impossible=int(np.sum(np.isneginf(log_p))),
        gap=gap,
        gap_se=gap_se,
    )


def mean_and_se(values: Array) -> tuple[float, float]:
    """Mean of `values` (N,) and its standard error, std(ddof=1)/√N, in float64."""
    values = np.asarray(values, dtype=np.float64)
    if not np.all(np.isfinite(values)):
        return float(np.mean(values)), math.nan
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
    return float(np.mean(values)), spread / math.sqrt(len(values))


def _log_likelihoods(model: Any, x: Array, seed: int) -> tuple[Array, str | None]:
    """log p(x) or a lower bound on it, (N,), and the bound's name (None: exact)."""
    rng = Generator(seed, stream="evaluate")
    if hasattr(model, "log_prob"):
        return _in_batches(model.log_prob, x), None
    if hasattr(model, "importance_log_prob"):
        k = IMPORTANCE_SAMPLES
        name = f"importance-weighted, k = {k}"
        return _in_batches(lambda b: model.importance_log_prob(b, k, rng), x), name
    if hasattr(model, "elbo"):
        return _in_batches(lambda b: model.elbo(b, rng), x), "ELBO"
    raise InputError(f"{type(model).__name__} is an implicit model: it has no likelihood")


def _in_batches(function: Any, x: Array) -> Array:
    with no_grad():
        parts = [value(function(x[i : i + _BATCH])) for i in range(0, len(x), _BATCH)]
    log_p = np.concatenate(parts).astype(np.float64)
    if np.any(np.isnan(log_p)):
        raise InputError(f"the model's log-likelihood is NaN on {np.sum(np.isnan(log_p))} samples")
    return log_p


# --- baselines: the floor of shame, and the floor nobody can pass --------------------------------


def baselines(data: Dataset) -> dict[str, Likelihood]:
    """Likelihoods that need no model: uniform, independent dimensions, and the truth if known."""
    x = data.test.x
    if data.domain == "continuous":
        rows = {"independent Gaussian": _independent_gaussian(data.train.x, x)}
        if data.log_density is not None:
            log_p = data.log_density(x.astype(np.float64))
            rows["the true density"] = np.asarray(log_p, dtype=np.float64)
    else:
        levels = data.levels or len(data.vocabulary or ())
        independent = "independent Bernoulli" if levels == 2 else "independent categorical"
        rows = {
            "uniform": np.full(len(x), -x.shape[1] * math.log(levels)),
            independent: _independent_categorical(data.train.x, x, levels),
        }
    discrete = data.domain != "continuous"
    return {name: _summary(log_p, data, discrete, x) for name, log_p in rows.items()}


def _independent_categorical(train: Array, x: Array, levels: int) -> Array:
    """Each dimension on its own, counted with one pseudo-count per value (Laplace)."""
    counts = np.stack([np.sum(train == k, axis=0) for k in range(levels)], axis=1) + 1.0
    log_p = np.log(counts / np.sum(counts, axis=1, keepdims=True))  # (D, levels)
    chosen: Array = log_p[np.arange(x.shape[1]), x.astype(np.int64)]  # (N, D)
    return chosen.sum(axis=1)


def _independent_gaussian(train: Array, x: Array) -> Array:
    mu, var = train.mean(axis=0, dtype=np.float64), train.var(axis=0, dtype=np.float64) + 1e-12
    log_p = -0.5 * ((x - mu) ** 2 / var + np.log(2 * np.pi * var))
    return np.sum(log_p, axis=1)


# --- two-sample distances -----------------------------------------------------------------------


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
        x = np.concatenate([data.validation.x, data.test.x])
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
        if len(samples) < self.count:
            raise InputError(f"samples must be at least {self.count}, got {len(samples)}")
        return self._distance(round_to(samples[: self.count], self.data))

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
