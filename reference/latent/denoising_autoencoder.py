"""The denoising autoencoder: to clean what was corrupted, one must know the distribution's slope.

    x̃ = x + σ ε,   ε ~ N(0, I),        minimise E ‖x − D(x̃)‖²                  (Vincent et al. 2008)

The best D is the mean of the posterior, E[x | x̃]; and whatever the data are, that is a step of
steepest ascent on log p_σ, the log-density of the *noised* data (Tweedie's formula):

    E[x | x̃] = x̃ + σ² ∇ log p_σ(x̃),        so        (D(x̃) − x̃) / σ² → ∇ log p_σ(x̃)

So noise takes the bottleneck's place: z may be longer than x. What is learned is a score, not a
likelihood: there is no `log_prob`. To draw samples takes many noise levels, one after the other:
diffusion (`ddpm`) is this model at every level.

Vincent 2011 (denoising and score matching); Alain & Bengio 2014. MISSION row L4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from core import Array
from core.checks import number, real, some
from core.random import Generator, checked_generator
from reference.latent.autoencoder import Autoencoder


class DenoisingAutoencoder(Autoencoder):
    """Real x (B, dim), made noisy and clean again. sigma: the noise's σ; the rest as Autoencoder.

    >>> model = DenoisingAutoencoder(2, latent=3, hidden=[8], sigma=0.3)
    >>> model
    DenoisingAutoencoder(dim=2, latent=3, hidden=(8,), sigma=0.3), 101 parameters
    >>> model.score(np.zeros((5, 2))).shape
    (5, 2)
    """

    def __init__(
        self,
        dim: int,
        *,
        latent: int = 128,
        hidden: Sequence[int] = (256,),
        sigma: float = 0.5,
        seed: int = 0,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(dim, latent=latent, hidden=hidden, seed=seed, dtype=dtype)
        self.sigma = number("sigma", sigma, above=0)

    def score(self, x: Array) -> Array:
        """An estimate of ∇ log p_σ at x (B, dim), (B, dim): the way to what x was before noise."""
        x = real(x, self.dim, self.dtype)
        return (self.reconstruct(x) - x) / self.sigma**2

    def loss(self, x: Array, y: Any = None, rng: Generator | None = None) -> Array:
        """Mean of ‖x − D(x + σ ε)‖² over the rows of x (B, dim). Labels are not used."""
        x = real(some(x), self.dim, self.dtype)
        noisy = x + self.sigma * checked_generator(rng).normal(x.shape, dtype=self.dtype)
        return np.mean(np.sum(np.square(x - self.reconstruct(noisy)), axis=1))
