"""Densities: they learn X alone, score it in nats, and draw more of it."""

from __future__ import annotations

import warnings
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from core import Array, no_grad, value
from core.checks import number, whole
from core.data import Dataset, Split
from core.learners import GradientLearner, TrainSettings
from core.train import fit
from reference.counting.histogram import Histogram
from reference.estimators.shared import agree, counted, seed_of
from reference.flows.real_nvp import RealNVP
from reference.latent.bernoulli_mixture import BernoulliMixture
from reference.latent.gaussian_mixture import GaussianMixture


class _Density(DensityMixin, BaseEstimator):  # type: ignore[misc]
    """What they share. X is (n_samples, n_features)."""

    def score_samples(self, X: Array) -> Array:
        """log p(x) in nats, (n_samples,)."""
        check_is_fitted(self)
        return self.model_.log_prob(self._read(validate_data(self, X, reset=False)))

    def score(self, X: Array, y: Any = None) -> float:
        """Σ log p(x) over the rows of X, in nats, as scikit-learn's KernelDensity has it."""
        return float(np.sum(self.score_samples(X)))

    def sample(self, n_samples: int = 1) -> Array:
        """New rows (n_samples, n_features)."""
        check_is_fitted(self)
        return self.model_.sample(n_samples, seed=seed_of(self.random_state))

    def _read(self, X: Array) -> Array:
        return X.astype(np.float64)


def _has_a_range(self: Any) -> bool:
    if self.low is None or self.high is None:
        raise AttributeError("partial_fit needs low and high: data to come may lie anywhere")
    return True


class HistogramDensity(_Density):
    """`reference.counting.histogram.Histogram` of real features; arguments as there.

    bins: cells along each axis; None takes n^(1 / (d + 2)) for n rows of d features, rounded down,
    as narrow as pays with so many rows. low, high: the support; None takes the range of X. What
    lies outside the support, or in an empty cell with alpha = 0, has log p = −∞.
    """

    def __init__(
        self,
        *,
        bins: Any = None,
        low: Any = None,
        high: Any = None,
        alpha: float = 0.0,
        random_state: Any = None,
    ) -> None:
        self.bins = bins
        self.low = low
        self.high = high
        self.alpha = alpha
        self.random_state = random_state

    def fit(self, X: Array, y: Any = None, sample_weight: Any = None) -> Self:
        """Count X, each row once or as often as its weight says; labels are not used."""
        (X,), weights = counted(sample_weight, self._read(validate_data(self, X)))
        n = len(X) if weights is None else weights.sum()
        self.model_ = self._model(n, X.shape[1]).fit(X, weights=weights)
        return self

    @available_if(_has_a_range)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Array, y: Any = None, sample_weight: Any = None) -> Self:
        """Count X on top of what was counted; only where low and high are given."""
        first = not hasattr(self, "model_")
        X = self._read(validate_data(self, X, reset=first))
        (X,), weights = counted(sample_weight, X)
        if first:
            self.model_ = self._model(len(X), X.shape[1])
        self.model_.partial_fit(X, weights=weights)
        return self

    def merge(self, other: Any) -> Self:
        """Add what another one has counted in the same cells: the histogram of both data."""
        check_is_fitted(self)
        agree(self, other)
        self.model_.merge(other.model_)
        return self

    def _model(self, n: float, dim: int) -> Histogram:
        bins = max(1, int(n ** (1 / (dim + 2)))) if self.bins is None else self.bins
        return Histogram(
            dim, bins=bins, low=self.low, high=self.high, alpha=self.alpha, dtype=np.float64
        )


class RealNVPDensity(_Density):
    """`reference.flows.real_nvp.RealNVP` on standardised columns; its scores are of X as it came.

    layers, hidden: as there. epochs, batch_size, lr: of Adam under a cosine schedule.
    """

    def __init__(
        self,
        *,
        layers: int = 6,
        hidden: tuple[int, ...] = (32,),
        epochs: int = 100,
        batch_size: int = 100,
        lr: float = 3e-3,
        random_state: Any = None,
    ) -> None:
        self.layers = layers
        self.hidden = hidden
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.random_state = random_state

    def fit(self, X: Array, y: Any = None) -> Self:
        """Climb the likelihood of X; labels are not used."""
        X = validate_data(self, X, ensure_min_features=2, ensure_min_samples=2).astype(np.float64)
        self.mean_, self.scale_ = X.mean(axis=0), X.std(axis=0)
        self.scale_[self.scale_ <= 1e-12 * np.abs(self.mean_)] = 1.0  # constant, but for rounding
        seed = seed_of(self.random_state)
        self.model_ = RealNVP(
            X.shape[1], layers=self.layers, hidden=self.hidden, seed=seed, dtype=np.float64
        )
        how = TrainSettings(
            epochs=whole("epochs", self.epochs, 1),
            batch_size=whole("batch_size", self.batch_size, 1),
            lr=number("lr", self.lr, above=0),
            schedule="cosine",
            clip_norm=10.0,
            seed=seed,
        )
        none = Split(X[:0], None)
        data = Dataset("X", Split(self._read(X), None), none, none, "continuous")
        fit(GradientLearner(self.model_, how), data)
        return self

    def score_samples(self, X: Array) -> Array:
        """log p(x) in nats of the units of X, (n_samples,)."""
        with no_grad():
            log_p = value(super().score_samples(X))
        return log_p - np.log(self.scale_).sum()

    def sample(self, n_samples: int = 1) -> Array:
        """New rows (n_samples, n_features), in the units of X."""
        return self.mean_ + self.scale_ * super().sample(n_samples)

    def _read(self, X: Array) -> Array:
        return (X - self.mean_) / self.scale_


class _Mixture(_Density):
    """What mixtures share: EM until the mean log-likelihood changes by less than tol, in nats.

    `converged_` says whether it did within max_iter steps, and a ConvergenceWarning that it did
    not.
    """

    def fit(self, X: Array, y: Any = None) -> Self:
        """EM on X; labels are not used."""
        X = self._read(validate_data(self, X))
        components = whole("n_components", self.n_components, 1)
        if len(X) < components:
            raise ValueError(f"n_samples={len(X)} should be >= n_components={components}")
        self.model_ = self._model(X.shape[1], components)
        self._climb(X, whole("max_iter", self.max_iter, 1), number("tol", self.tol, least=0))
        return self

    def _climb(self, X: Array, most: int, tol: float) -> None:
        before, self.n_iter_, self.converged_ = self.model_.em_step(X), 1, False
        while not self.converged_ and self.n_iter_ < most:
            now = self.model_.em_step(X)
            self.converged_ = bool(abs(now - before) < tol)
            before, self.n_iter_ = now, self.n_iter_ + 1
        if not self.converged_:
            told = f"EM has not converged after max_iter={most} steps; tol={tol:g}"
            warnings.warn(told, ConvergenceWarning, stacklevel=3)


class BernoulliMixtureDensity(_Mixture):
    """`BernoulliMixture`, fitted by at most `max_iter` steps of EM.

    alpha: pseudo-count. binarize: values above it become 1, the others 0.
    """

    def __init__(
        self,
        n_components: int = 1,
        *,
        alpha: float = 0.1,
        max_iter: int = 100,
        tol: float = 1e-3,
        binarize: float = 0.0,
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.alpha = alpha
        self.max_iter = max_iter
        self.tol = tol
        self.binarize = binarize
        self.random_state = random_state

    def _model(self, dim: int, components: int) -> BernoulliMixture:
        seed = seed_of(self.random_state)
        how: Any = {"alpha": self.alpha, "seed": seed, "dtype": np.float64}
        return BernoulliMixture(dim, components=components, **how)

    def _read(self, X: Array) -> Array:
        return np.greater(X, number("binarize", self.binarize)).astype(np.float64)


class GaussianMixtureDensity(_Mixture):
    """`GaussianMixture`, fitted by at most `max_iter` steps of EM.

    covariance: full, diagonal, spherical or tied. floor: added to every variance.
    """

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance: str = "full",
        floor: float = 1e-6,
        max_iter: int = 100,
        tol: float = 1e-3,
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.covariance = covariance
        self.floor = floor
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state

    def _model(self, dim: int, components: int) -> GaussianMixture:
        seed = seed_of(self.random_state)
        how: Any = {"covariance": self.covariance, "floor": self.floor, "seed": seed}
        return GaussianMixture(dim, components=components, dtype=np.float64, **how)
