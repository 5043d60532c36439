"""Free bits: a VAE that may tell a little in every dimension of its code before it costs.

Early in training a code says nothing yet, and the KL's cost drives q(z_j|x) to the prior: such a
z_j is noise to the decoder, which learns to pass it by, and it seldom comes back. That is posterior
collapse. Here no dimension gains by a KL below λ nats, on average over the batch:

    minimise  −E log p(x|z) + Σ_j max(λ, E_x KL(q(z_j|x) ‖ p(z_j)))

The sum is at least λ·latent, so the loss is not the bound's negative; the bound itself
(`elbo`) is as before, and validation and scores ask for it. With λ = 0 this is `vae`. Which
dimensions are in use is counted by `judges.codes.active_units`.

Kingma et al. 2016 (arXiv:1606.04934). MISSION row L5.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from core import Array
from core.checks import number, some
from core.random import Generator, checked_generator
from reference.latent.priors import kl_of_each
from reference.latent.vae import VAE
from reference.latent.variational import reparametrise


class FreeBitsVAE(VAE):
    """Binary x (B, dim). free: λ, in nats for each dimension of z; the other arguments as of `VAE`.

    >>> model = FreeBitsVAE(4, latent=2, hidden=[8], free=0.1)
    >>> model
    FreeBitsVAE(dim=4, latent=2, hidden=(8,), free=0.1), 136 parameters
    >>> model.loss(model.sample(5, seed=1), rng=Generator(0)).shape
    ()
    """

    def __init__(
        self,
        dim: int,
        *,
        latent: int = 12,
        hidden: Sequence[int] = (128, 128),
        free: float = 0.25,
        seed: int = 0,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(dim, latent=latent, hidden=hidden, seed=seed, dtype=dtype)
        self.free = number("free", free, least=0)

    def loss(self, x: Array, y: Any = None, rng: Generator | None = None) -> Array:
        """−E log p(x|z) + Σ_j max(λ, E KL_j) in nats, the means over x (B, dim)."""
        x = self._read(some(x))
        mu, log_var = self._code(x, y)
        z = reparametrise(mu, log_var, checked_generator(rng).normal(mu.shape, dtype=self.dtype))
        kl = np.mean(kl_of_each(mu, log_var), axis=0)  # (latent,)
        return np.sum(np.maximum(kl, self.free)) - np.mean(self.log_likelihood(x, z))
