"""The variational autoencoder, as it was first: bits, two perceptrons and a plain normal code.

    z ~ N(0, I),      p(x|z) = Π_j sigmoid(l_j)^x_j · sigmoid(−l_j)^(1−x_j),      l = decoder(z)
    q(z|x) = N(μ, diag σ²),      (μ, log σ²) = encoder(x)

Both are trained to raise the bound of `reference.latent.variational`,

    log p(x) ≥ E_q[log p(x|z)] − KL(q(z|x) ‖ p(z)),     −KL = ½ Σ_j (1 + log σ_j² − μ_j² − σ_j²)

Kingma & Welling 2013 (arXiv:1312.6114), appendix B; the decoder is C.1's, the encoder C.2's. With
k > 1 importance weights it is the autoencoder of Burda et al. 2015. MISSION row L5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from core.checks import number, whole
from core.checks import sizes as widths
from core.errors import InputError
from core.functional import relu
from core.random import Generator
from reference.latent.likelihoods import Bernoulli
from reference.latent.priors import StandardNormal
from reference.latent.variational import Variational
from reference.layers import MLP


class VAE(Variational):
    """Binary x (B, dim), Bernoulli decoder.

    latent: dimensions of z. hidden: widths of the encoder's ReLU layers; the decoder mirrors them.
    beta: weight of the KL term in the training loss; only with 1 is the loss a bound. importance: k
    of the bound that is trained on; more than 1 is Burda's autoencoder, which leaves β at 1.

    >>> model = VAE(4, latent=2, hidden=[8])
    >>> model
    VAE(dim=4, latent=2, hidden=(8,), beta=1.0, importance=1), 136 parameters
    >>> x = model.sample(5, seed=1)  # (5, 4) of 0 and 1
    >>> model.elbo(x, rng=Generator(0)).shape
    (5,)
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
        dim, latent = whole("dim", dim, 1), whole("latent", latent, 1)
        self.hidden, self.beta = widths("hidden", hidden), number("beta", beta, least=0)
        self.importance = whole("importance", importance, 1)
        if self.importance > 1 and self.beta != 1:
            raise InputError(f"beta must be 1 with importance = {importance}, got {beta}")
        rng = Generator(seed, stream="init")
        how: dict[str, Any] = {"activation": relu, "gain": math.sqrt(2), "dtype": dtype}
        encoder = MLP((dim, *self.hidden, 2 * latent), rng, **how)
        decoder = MLP((latent, *reversed(self.hidden), dim), rng, **how)
        parts = encoder, decoder, Bernoulli(), StandardNormal(latent)
        super().__init__((dim,), latent, *parts, dtype=dtype)
