"""A VAE of grey levels: what the decoder says of a pixel is a logistic, cut into bins.

    z ~ N(0, I),      p(x_j = k|z) = F((k + ½) / s_j) − F((k − ½) / s_j)

with F the logistic distribution function around the location that the decoder gives for the pixel,
and s_j the width that it gives too, both on the scale of the grey levels. Neighbouring levels are
alike, which a softmax over them would have to learn; and it is a probability, not a density, so
that it says how many bits an image takes. The networks are those of `conv_vae`.

Kingma et al. 2016 (arXiv:1606.04934); Salimans et al. 2017, Eq. 2. MISSION rows L5, A8.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from core.checks import image_shape, whole
from core.checks import sizes as widths
from core.random import Generator
from reference.latent.convolutional import ConvDecoder, ConvEncoder
from reference.latent.likelihoods import DiscretisedLogistic
from reference.latent.priors import StandardNormal
from reference.latent.variational import Variational


class LogisticVAE(Variational):
    """Images x (B, C, H, W) of whole numbers in 0 … levels − 1. Arguments as of `ConvVAE`.

    >>> model = LogisticVAE((1, 8, 8), 17, latent=2, channels=[4, 8])
    >>> x = model.sample(5, seed=1)
    >>> x.shape, bool(x.max() <= 16)
    ((5, 1, 8, 8), True)
    """

    def __init__(
        self,
        shape: Sequence[int],
        levels: int,
        *,
        latent: int = 12,
        channels: Sequence[int] = (32, 64),
        seed: int = 0,
        dtype: Any = np.float32,
    ) -> None:
        found, latent = image_shape(shape), whole("latent", latent, 1)
        likelihood = DiscretisedLogistic(levels)
        self.levels = likelihood.levels
        self.channels, rng = widths("channels", channels), Generator(seed, stream="init")
        encoder = ConvEncoder(found, 2 * latent, channels, rng, dtype=dtype)
        decoder = ConvDecoder(latent, found, likelihood.size, channels, rng, dtype=dtype)
        parts = encoder, decoder, likelihood, StandardNormal(latent)
        super().__init__(found, latent, *parts, dtype=dtype)
