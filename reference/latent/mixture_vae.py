"""A VAE whose prior is learned: codes may come in clusters, where the data do.

    p(z) = Σ_k π_k N(z; μ_k, diag σ_k²)

The plain prior pulls all codes into one ball; this one goes where the codes are (`priors`). The
KL to a mixture has no closed form, and is taken at the z that was drawn. The rest is `vae`.

Dilokthanakul et al. 2016; Tomczak & Welling 2018 compare such priors. MISSION row L5.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from core.checks import whole
from core.random import Generator
from reference.latent.priors import MixtureOfGaussians
from reference.latent.vae import VAE


class MixtureVAE(VAE):
    """Binary x (B, dim). components: K of the prior; the other arguments as of `VAE`.

    >>> model = MixtureVAE(4, latent=2, hidden=[8], components=3)
    >>> model
    MixtureVAE(dim=4, latent=2, hidden=(8,), components=3, importance=1), 151 parameters
    >>> model.elbo(model.sample(5, seed=1), rng=Generator(0)).shape
    (5,)
    """

    def __init__(
        self,
        dim: int,
        *,
        latent: int = 12,
        hidden: Sequence[int] = (128, 128),
        components: int = 20,
        importance: int = 1,
        seed: int = 0,
        dtype: Any = np.float32,
    ) -> None:
        how: Any = {"importance": importance, "seed": seed, "dtype": dtype}
        super().__init__(dim, latent=latent, hidden=hidden, **how)
        self.components = whole("components", components, 1)
        rng = Generator(seed, stream="latent")  # the networks have drawn from "init"
        self.prior = MixtureOfGaussians(latent, components, rng, dtype)
