"""The Gaussian VAE: a variational autoencoder of real numbers.

    p(x) = ∫ N(z; 0, I) N(x; f(z), σ² I) dz,      f a network, σ a number that is learned as well

Everything but the decoder is as in `reference.latent.vae`. One σ for all, rather than Appendix
C.2's network for it, keeps the likelihood finite where a pixel is constant. Without hidden layers
f is linear and p(x) is probabilistic PCA, whose every quantity has a closed form.

Kingma & Welling 2013, appendix C.2. MISSION rows L5, L2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from core import Array, Tensor
from core.checks import real
from core.functional import normal_log_prob
from core.random import normal
from reference.latent.vae import VAE


class GaussianVAE(VAE):
    """Real x (B, dim), Gaussian decoder: p(x|z) = N(x; decode(z), σ² I). Arguments as of `VAE`.

    >>> from core.random import Generator
    >>> model = GaussianVAE(2, latent=1, hidden=[8])
    >>> model
    GaussianVAE(dim=2, latent=1, hidden=(8,), beta=1.0, importance=1), 77 parameters
    >>> model.elbo(np.zeros((5, 2)), rng=Generator(0)).shape, model.sample(3, seed=1).shape
    ((5,), (3, 2))
    """

    def __init__(
        self,
        dim: int,
        *,
        latent: int = 12,
        hidden: Sequence[int] = (128, 128),
        beta: float = 1.0,
        importance: int = 1,
        seed: int = 0,
        dtype: Any = np.float32,
    ) -> None:
        how: Any = {"beta": beta, "importance": importance, "seed": seed, "dtype": dtype}
        super().__init__(dim, latent=latent, hidden=hidden, **how)
        self.log_sigma = Tensor(np.zeros(1, dtype))

    def decode(self, z: Array) -> Array:
        """The mean of p(x|z), (…, dim), of z (…, latent)."""
        return self.decoder(z)

    def log_likelihood(self, x: Array, z: Array) -> Array:
        """log p(x|z) in nats, (…,), of x (…, dim) and z (…, latent)."""
        return np.sum(normal_log_prob(x, self.decode(z), self.log_sigma), axis=-1)

    def _read(self, x: Array) -> Array:
        return real(x, self.dim, self.dtype)

    def _draw(self, mean: Any, seed: int) -> Any:
        return mean + np.exp(self.log_sigma) * normal(seed, mean.shape, dtype=self.dtype)
