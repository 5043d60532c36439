"""A convolutional VAE: the variational autoencoder of images, whose neighbours belong together.

    z ~ N(0, I),      p(x|z) = Π_j Bernoulli(x_j; sigmoid(l_j)),      l = decoder(z)

As `vae` but for the two networks, which are of `convolutional`: an image is halved until little is
left of it, and doubled back. They have far fewer weights than perceptrons of as many units.

Kingma & Welling 2013; Radford et al. 2015 for strides in pooling's place. MISSION row L5.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from core.checks import image_shape, whole
from core.checks import sizes as widths
from core.random import Generator
from reference.latent.convolutional import ConvDecoder, ConvEncoder
from reference.latent.likelihoods import Bernoulli
from reference.latent.priors import StandardNormal
from reference.latent.variational import Variational


class ConvVAE(Variational):
    """Binary images x (B, C, H, W). channels: of the encoder's layers; the decoder mirrors them.

    >>> model = ConvVAE((1, 8, 8), latent=2, channels=[4, 8])
    >>> model
    ConvVAE(shape=(1, 8, 8), latent=2, channels=(4, 8)), 1,397 parameters
    >>> model.sample(5, seed=1).shape
    (5, 1, 8, 8)
    """

    def __init__(
        self,
        shape: Sequence[int],
        *,
        latent: int = 12,
        channels: Sequence[int] = (32, 64),
        seed: int = 0,
        dtype: Any = np.float32,
    ) -> None:
        found, latent = image_shape(shape), whole("latent", latent, 1)
        self.channels, rng = widths("channels", channels), Generator(seed, stream="init")
        encoder = ConvEncoder(found, 2 * latent, channels, rng, dtype=dtype)
        decoder = ConvDecoder(latent, found, Bernoulli.size, channels, rng, dtype=dtype)
        parts = encoder, decoder, Bernoulli(), StandardNormal(latent)
        super().__init__(found, latent, *parts, dtype=dtype)
