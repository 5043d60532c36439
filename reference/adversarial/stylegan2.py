"""StyleGAN2: styles scale the weights, not what they make (Karras et al. 2019). Row G4.

AdaIN measures every channel of every sample, and what it measures, G can play against it. Here the
style scales the weight instead, and the size of what comes out is brought to 1 by what is to be
expected of it (section 2.2, "weight demodulation"):

    W'_oik = s_i W_oik                                       modulation, s affine in w
    W"_oik = W'_oik / √(Σ_ik W'²_oik + ε)                    demodulation

Every resolution gives an image of its own, and x is the sum of them all, each grown to full size
(output skips, section 4). Mapping, mixing, truncation and losses are those of StyleGAN.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np

from core import Array
from core.functional import demodulated_conv2d, modulated_conv2d, upsample_nearest2d
from core.random import Generator
from reference.adversarial.convolutional import Shape, leaky
from reference.adversarial.style_networks import channels, grown, layer_sizes
from reference.adversarial.stylegan import StyleGAN
from reference.layers import Linear
from reference.layers.initial import normal_weight, zeros


class ModulatedSynthesis:
    """Styles (layers, B, n) and noise → images (B, C, H, W)."""

    def __init__(self, n: int, shape: Shape, width: int, rng: Generator, dtype: Any) -> None:
        self.sizes = layer_sizes(shape)
        widths = channels(width)
        self.constant = normal_weight((1, widths[0], *self.sizes[0]), 1, rng, 1.0, dtype)
        self.W = [normal_weight((o, i, 3, 3), 9 * i, rng, 1.0, dtype) for i, o in pairwise(widths)]
        self.b = [zeros((o, 1, 1), dtype) for o in widths[1:]]
        self.strengths = [zeros((o, 1, 1), dtype) for o in widths[1:]]  # of the noise, by channel
        self.styles = [Linear(n, i, rng, dtype=dtype) for i in widths[:-1]]
        self.to_pixels = [ToPixels(n, o, shape[0], rng, dtype) for o in (widths[1], *widths[3::2])]

    def __call__(self, w: Array, noise: list[Any]) -> Array:
        """Images of styles w (layers, B, n), with noise (B, 1, h, w) for each layer."""
        h = self.activations(w, noise)
        x: Array = None
        for i, to_pixels in zip((0, 2, 4), self.to_pixels, strict=True):  # the last of each size
            y = to_pixels(h[i], w[i])
            x = y if x is None else upsample_nearest2d(x, 2) + y
        return np.tanh(x)

    def activations(self, w: Array, noise: list[Any]) -> list[Array]:
        """What every layer gives, (B, channels, h, w), from coarse to fine."""
        h: Array = np.broadcast_to(self.constant, (w.shape[1], *self.constant.shape[1:]))
        found = []
        for i, size in enumerate(self.sizes):
            s = 1 + self.styles[i](w[i])  # (B, channels in)
            h = demodulated_conv2d(grown(h, size), self.W[i], s, padding=1)
            h = leaky(h + self.strengths[i] * noise[i] + self.b[i]) * math.sqrt(2)
            found.append(h)
        return found


class ToPixels:
    """h (B, n_in, h, w) → an image (B, C, h, w): a modulated 1 × 1 convolution, not demodulated."""

    def __init__(self, n: int, n_in: int, C: int, rng: Generator, dtype: Any) -> None:
        self.W = normal_weight((C, n_in, 1, 1), n_in, rng, 1.0, dtype)
        self.b, self.style = zeros((C, 1, 1), dtype), Linear(n, n_in, rng, dtype=dtype)

    def __call__(self, h: Array, w: Array) -> Array:
        """An image in the style w (B, n)."""
        return modulated_conv2d(h, self.W, 1 + self.style(w)) + self.b


class StyleGAN2(StyleGAN):
    """StyleGAN with the weights modulated. Arguments: as of StyleGAN.

    >>> model = StyleGAN2((1, 8, 8), latent=4, width=2)
    >>> model
    StyleGAN2(shape=(1, 8, 8), latent=4, width=2, depth=2, gamma=1.0), 1,486 parameters
    >>> model.sample(3, seed=1, psi=0.7).shape
    (3, 1, 8, 8)
    """

    synthesis = ModulatedSynthesis
