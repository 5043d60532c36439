"""The autoencoder: a code from which the data can be made again, and no distribution.

    z = e(x),   x̂ = d(z),        minimise E ‖x − d(e(x))‖²,        z shorter than x

The bottleneck keeps what the data vary in most. Without hidden layers e and d are affine, and
at the minimum d spans the principal components of the data, whatever basis z has there (Baldi &
Hornik 1989); hidden layers bend that plane.

It says nothing of how likely an x is, nor which z there are, so it has neither `log_prob` nor
`sample`: for those z needs a prior and x̂ a likelihood (`vae`).

Rumelhart, Hinton & Williams 1986; Hinton & Salakhutdinov 2006. MISSION row L4.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from core import Array
from core.checks import float_dtype, real, shaped, some, whole
from core.checks import sizes as widths
from core.functional import relu
from core.model import Described
from core.random import Generator
from reference.layers import MLP


class Autoencoder(Described):
    """Real x (B, dim) to codes z (B, latent) and back.

    hidden: widths of the encoder's ReLU layers; the decoder mirrors them.

    >>> model = Autoencoder(4, latent=2, hidden=[8])
    >>> model
    Autoencoder(dim=4, latent=2, hidden=(8,)), 118 parameters
    >>> model.reconstruct(np.zeros((5, 4))).shape
    (5, 4)
    """

    def __init__(
        self,
        dim: int,
        *,
        latent: int = 16,
        hidden: Sequence[int] = (128,),
        seed: int = 0,
        dtype: Any = np.float32,
    ) -> None:
        self.dim, self.latent = whole("dim", dim, 1), whole("latent", latent, 1)
        self.hidden, self.dtype = widths("hidden", hidden), float_dtype(dtype)
        rng, how = Generator(seed, stream="init"), {"activation": relu, "gain": math.sqrt(2)}
        self.encoder = MLP((dim, *self.hidden, latent), rng, **how, dtype=dtype)
        self.decoder = MLP((latent, *reversed(self.hidden), dim), rng, **how, dtype=dtype)

    def encode(self, x: Array) -> Array:
        """The code z = e(x), (B, latent), of x (B, dim)."""
        return self.encoder(real(x, self.dim, self.dtype))

    def decode(self, z: Array) -> Array:
        """x̂ = d(z), (…, dim), of z (…, latent)."""
        return self.decoder(shaped("z", z, ("…", self.latent), self.dtype))

    def reconstruct(self, x: Array) -> Array:
        """d(e(x)), (B, dim), of x (B, dim)."""
        return self.decode(self.encode(x))

    def loss(self, x: Array, y: Any = None, rng: Generator | None = None) -> Array:
        """Mean of ‖x − x̂‖² over the rows of x (B, dim). Neither labels nor noise are used."""
        x = real(some(x), self.dim, self.dtype)
        return np.mean(np.sum(np.square(x - self.reconstruct(x)), axis=1))
