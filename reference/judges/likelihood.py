"""The likelihood of data a model hasn't seen, exact or bounded, and what it is to be compared with.

An explicit model is scored by its log-likelihood, one number per sample in nats. `baselines` need
no model: uniform, independent dimensions, the truth where known (MISSION rows F1, F4, F10).
"""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from core import Array, no_grad, value
from core.checks import whole
from core.errors import InputError
from core.random import Generator
from core.samples import Batch, Padded, entries, rows, take

if TYPE_CHECKING:
    from core.data import Dataset

IMPORTANCE_SAMPLES = 100
"""k of the importance-weighted bound that latent models are scored by."""

_BATCH = 250


@dataclass(frozen=True)
class Likelihood:
    """Negative log-likelihood of held-out data, in nats per sample: its mean and standard error.

    `bound` is None when the likelihood is exact, else the name of the bound: the true figure is
    at most `nats`. `gap` is mean(log p_true − log p_model), where the true density is known; being
    paired it is far more exact than the difference of two means. `impossible` counts samples the
    model gives probability 0, which make `nats` infinite. `terms` are what a diffusion model's
    bound is the sum of, in nats: L_0, the decoder's, to L_T, the prior's.
    """

    nats: float
    se: float
    count: int
    bits_per_dim: float | None
    bound: str | None
    impossible: int = 0
    gap: float | None = None
    gap_se: float | None = None
    terms: tuple[float, ...] | None = None


def likelihood(
    model: Any,
    data: Dataset,
    split: str = "test",
    *,
    first: int | None = None,
    seed: int = 0,
    samples: int = IMPORTANCE_SAMPLES,
) -> Likelihood:
    """Score `model` on one split of `data`, or its `first` rows; `seed` names a bound's noise.

    samples: k of an importance-weighted bound. Raises InputError if the model has no likelihood, if
    it is NaN, or if there are no rows.

    >>> from core.data import load
    >>> from reference.autoregressive.fvsbn import FVSBN
    >>> score = likelihood(FVSBN(64), load("digits", domain="binary"))  # untrained: fair coins
    >>> f"{score.nats:.2f} nats, {score.bits_per_dim:.2f} bits per dimension"
    '44.36 nats, 1.00 bits per dimension'
    """
    part = getattr(data, split).take(slice(first))
    x = part.x
    if len(x) == 0:
        raise InputError(f"{data.name} has no {split} rows to score")
    conditional = bool(data.given) and takes_condition(model)
    y = part.y if conditional or _needs_label(model) else None
    if hasattr(model, "terms"):
        return _by_terms(model, data, x, y if conditional else None, seed)
    log_p, bound = _log_likelihoods(model, x, y, seed, whole("samples", samples, 1))
    if data.domain == "continuous" and getattr(model, "levels", None) is not None:
        return _summary(log_p, None, True, x, bound)  # of pixels' probabilities, not a density
    return _summary(log_p, data, data.domain != "continuous", x, bound)


def _by_terms(model: Any, data: Dataset, x: Batch, y: Batch, seed: int) -> Likelihood:
    """The bound of a diffusion model, and its terms."""
    rng = Generator(seed, stream="evaluate")
    batch = (x,) if y is None else (x, y)
    terms = _in_batches(lambda b, c=None: np.swapaxes(model.terms(b, c, rng), 0, 1), *batch)
    discrete = model.levels is not None  # of pixels' probabilities, not a density
    log_p = -terms.sum(axis=1)
    score = _summary(log_p, None if discrete else data, discrete, x, "ELBO")
    return replace(score, terms=tuple(terms.mean(axis=0).tolist()))


def takes_condition(model: Any) -> bool:
    """Whether a model is of x given y: the others pass by whatever comes with the data.

    One that could be told a class, and was made without (`classes` is None), is one of the others.
    """
    takes = inspect.signature(getattr(model, "sample", len)).parameters
    return "y" in takes and getattr(model, "classes", 0) is not None


def _needs_label(model: Any) -> bool:
    """Whether a model knows p(x | y) only; with a prior p(y) of its own it has p(x) too."""
    takes = inspect.signature(getattr(model, "log_prob", len)).parameters
    return "y" in takes and not hasattr(model, "log_prior")


def _summary(
    log_p: Array, data: Dataset | None, discrete: bool, x: Batch, bound: str | None = None
) -> Likelihood:
    """Nats become bits per dimension for probabilities only: a density depends on the units."""
    nats, se = mean_and_se(-log_p)
    if data is not None and data.units is not None:
        nats += data.units.log_scale  # of a table's own units, not of its standardised columns
    gap, gap_se = None, None
    if data is not None and data.log_density is not None:
        true = np.asarray(data.log_density(x.astype(np.float64)), dtype=np.float64)
        gap, gap_se = mean_and_se(true - log_p)
    return Likelihood(
        nats,
        se,
        count=len(log_p),
        bits_per_dim=nats / (entries(x) * math.log(2)) if discrete else None,
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


def _log_likelihoods(model: Any, x: Batch, y: Batch, seed: int, k: int) -> tuple[Array, str | None]:
    """log p(x) or a lower bound on it, (N,), and the bound's name (None: exact).

    y: what is given with x, for a model of p(x | y); then it is log p(x | y). k: samples of z.
    """
    rng = Generator(seed, stream="evaluate")
    if hasattr(model, "log_prob") and y is not None:
        return _in_batches(model.log_prob, x, y), None
    if hasattr(model, "log_prob"):
        return _in_batches(model.log_prob, x), None
    if hasattr(model, "elbo") and y is not None:
        return _in_batches(lambda b, c: model.elbo(b, c, rng), x, y), "ELBO"
    if hasattr(model, "importance_log_prob"):
        name, rows = f"importance-weighted, k = {k}", max(1, _BATCH * IMPORTANCE_SAMPLES // k)
        weighted = _in_batches(
            lambda b: model.importance_log_prob(b, rng=rng, k=k), x, size=min(_BATCH, rows)
        )
        return weighted, name
    if hasattr(model, "elbo"):
        return _in_batches(lambda b: model.elbo(b, rng=rng), x), "ELBO"
    raise InputError(f"{type(model).__name__} is an implicit model: it has no likelihood")


def _in_batches(function: Any, *batch: Batch, size: int = _BATCH) -> Array:
    """function(x, …), (N,), asked for `size` rows of each of its arguments at a time."""
    cuts = [slice(i, i + size) for i in range(0, len(batch[0]), size)]
    with no_grad():
        parts = [value(function(*(take(b, cut) for b in batch))) for cut in cuts]
    log_p = np.concatenate(parts).astype(np.float64)
    if np.any(np.isnan(log_p)):
        raise InputError(f"the model's log-likelihood is NaN on {np.sum(np.isnan(log_p))} samples")
    return log_p


# Baselines: the floor of shame, and the floor nobody can pass


def baselines(data: Dataset) -> dict[str, Likelihood]:
    """Likelihoods that need no model: uniform, independent dimensions, and the truth if known.

    None for samples of different lengths.
    """
    if isinstance(data.test.x, Padded):
        return {}
    train, x = rows(data.train.x), rows(data.test.x)
    if data.domain == "continuous":
        found = {"independent Gaussian": _independent_gaussian(train, x)}
        if data.log_density is not None:
            log_p = data.log_density(x.astype(np.float64))
            found["the true density"] = np.asarray(log_p, dtype=np.float64)
    else:
        levels = data.levels or len(data.vocabulary or ())
        independent = "independent Bernoulli" if levels == 2 else "independent categorical"
        found = {
            "uniform": np.full(len(x), -x.shape[1] * math.log(levels)),
            independent: _independent_categorical(train, x, levels),
        }
    discrete = data.domain != "continuous"
    return {name: _summary(log_p, data, discrete, x) for name, log_p in found.items()}


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
