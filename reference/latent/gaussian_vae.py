"""The Gaussian VAE: a variational autoencoder of real numbers.

    p(x) = ∫ N(z; 0, I) N(x; f(z), σ² I) dz,      f a network, σ a number that is learned as well

Everything but the decoder's meaning is as in `reference.latent.vae`. Without hidden layers f is
linear and p(x) is probabilistic PCA (`ppca`), whose every quantity has a closed form.

Kingma & Welling 2013, appendix C.2. MISSION rows L5, L2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from reference.latent.likelihoods import Gaussian
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
        self.likelihood = Gaussian(dtype)
