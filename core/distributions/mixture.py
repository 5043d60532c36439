"""Distributions made of others: mixtures, and batches read as events."""

from __future__ import annotations

from typing import Any

import numpy as np

from core.checks import whole
from core.distributions.arguments import broadcast
from core.distributions.discrete import Categorical, DiscretizedLogistic, entropy_by_levels
from core.distributions.draws import Distribution, Shape, generator, reparametrised
from core.errors import InputError
from core.random import Generator
from core.tensor import Array


class Mixture:
    """Σ_k π_k p_k(x): `mixing` holds π, (…, K); `component` has batch_shape (…, K).

    The K components are the last batch axis of one distribution of any kind; the batch axes before
    it are the mixture's, and π broadcasts to them.

    >>> from core.distributions import Normal
    >>> two = Mixture(Categorical(probs=np.array([0.5, 0.5])), Normal(np.array([-1.0, 1.0]), 0.5))
    >>> two.log_prob(np.array([0.0, 1.0])).round(3)
    array([-2.226, -0.919])
    """

    def __init__(self, mixing: Categorical, component: Distribution) -> None:
        K = mixing.levels
        if component.batch_shape[-1:] != (K,):
            raise InputError(
                f"component must have batch_shape (…, {K}) for {K} mixing probabilities, "
                f"got {component.batch_shape}"
            )
        batch = component.batch_shape[:-1]
        if broadcast(mixing=mixing.batch_shape, component=batch) != batch:
            raise InputError(
                f"mixing must have component's batch_shape {batch}, got {mixing.batch_shape}"
            )
        self.mixing, self.component = mixing.expand(batch), component
        self.batch_shape, self.event_shape = batch, component.event_shape

    def log_prob(self, x: Array) -> Array:
        """ln Σ_k π_k p_k(x)."""
        return self.mixing.outcomes().log_average(self.component.log_prob(self._beside(x)))

    def _beside(self, x: Array) -> Array:
        """Give x an axis to meet the K components on."""
        if not hasattr(x, "dtype"):
            x = np.asarray(x)
            x = x.astype(self.mixing.dtype) if x.dtype.kind == "f" else x
        return np.expand_dims(x, x.ndim - len(self.event_shape))

    def cdf(self, x: Array) -> Array:
        """Σ_k π_k P_k(X ≤ x), where the components have a cdf."""
        if not hasattr(self.component, "cdf"):
            raise InputError(f"component {type(self.component).__name__} has no cdf")
        return np.sum(self.mixing.probs * self.component.cdf(self._beside(x)), axis=-1)

    def sample(self, shape: Shape, rng: Generator | int) -> Any:
        """Draw from every component, and keep the one that `mixing` draws."""
        rng = generator(rng)
        k = self.mixing.sample(shape, rng)  # (*shape, *batch)
        every = self.component.sample(shape, rng)  # (*shape, *batch, K, *event)
        index = k.reshape(k.shape + (1,) * (every.ndim - k.ndim))
        return np.take_along_axis(every, index, axis=k.ndim).squeeze(k.ndim)


class DiscretizedLogisticMixture(Mixture):
    """Mixture of discretised logistics, the conditional of PixelCNN++ (Salimans et al. 2017).

    logits, loc, scale (…, K): K components on [−1, 1]; x (…) integers in 0 … levels−1.

    >>> d = DiscretizedLogisticMixture(np.zeros(2), np.array([-0.5, 0.5]), np.array([0.1, 0.1]), 8)
    >>> float(np.exp(d.log_prob(np.arange(8))).sum().round(9))
    1.0
    """

    def __init__(self, logits: Array, loc: Array, scale: Array, levels: int = 256) -> None:
        component = DiscretizedLogistic(loc, scale, levels)
        super().__init__(Categorical(logits=logits), component)
        self.levels = component.levels

    def entropy(self) -> Array:
        """−Σ P ln P over the levels."""
        return entropy_by_levels(self, self.levels)


class Independent:
    """`base` with its last `ndims` batch axes read as part of the event: log-probabilities add.

    >>> from core.distributions import Bernoulli
    >>> bits = Independent(Bernoulli(np.zeros(3)))
    >>> bits.event_shape, round(float(bits.log_prob(np.array([0, 1, 1]))), 4)
    ((3,), -2.0794)
    """

    def __init__(self, base: Distribution, ndims: int = 1) -> None:
        ndims = whole("ndims", ndims, 0, len(base.batch_shape))
        split = len(base.batch_shape) - ndims
        self.base, self.axes = base, tuple(range(-ndims, 0))
        self.batch_shape = base.batch_shape[:split]
        self.event_shape = base.batch_shape[split:] + base.event_shape

    def log_prob(self, x: Array) -> Array:
        """Σ ln p(x_i)."""
        return np.sum(self.base.log_prob(x), axis=self.axes)

    def sample(self, shape: Shape, rng: Generator | int) -> Any:
        """The draws of `base`."""
        return self.base.sample(shape, rng)

    def rsample(self, shape: Shape, rng: Generator | int) -> Array:
        """The differentiable draws of `base`."""
        return reparametrised(self.base).rsample(shape, rng)

    def entropy(self) -> Array:
        """Σ H_i, where `base` has an entropy."""
        if not hasattr(self.base, "entropy"):
            raise InputError(f"base {type(self.base).__name__} has no entropy in closed form")
        return np.sum(self.base.entropy(), axis=self.axes)
