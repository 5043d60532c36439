"""Synthesis with styles by adaptive instance norm (Karras et al. 2018, section 2). Row G4.

    h ← AdaIN(leaky(h ∗ W + s · noise + b), w)        in every layer, with W, s and b of its own

AdaIN takes away each channel's mean and size, so that a style reigns until the next layer's.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np

from core import Array
from core.random import Generator
from reference.adversarial.convolutional import Shape, leaky
from reference.adversarial.style_networks import channels, grown, layer_sizes
from reference.layers import AdaIN, Conv2d
from reference.layers.initial import normal_weight, zeros


class AdaINSynthesis:
    """Styles (layers, B, n) and noise → images (B, C, H, W)."""

    def __init__(self, n: int, shape: Shape, width: int, rng: Generator, dtype: Any) -> None:
        self.sizes = layer_sizes(shape)
        widths, how = channels(width), {"gain": math.sqrt(2), "dtype": dtype}
        self.constant = normal_weight((1, widths[0], *self.sizes[0]), 1, rng, 1.0, dtype)
        self.convs = [Conv2d(i, o, 3, rng, padding=1, **how) for i, o in pairwise(widths)]
        self.strengths = [zeros((o, 1, 1), dtype) for o in widths[1:]]  # of the noise, by channel
        self.styles = [AdaIN(n, o, rng, dtype=dtype) for o in widths[1:]]
        self.to_pixels = Conv2d(widths[-1], shape[0], 1, rng, dtype=dtype)

    def __call__(self, w: Array, noise: list[Any]) -> Array:
        """Images of styles w (layers, B, n), with noise (B, 1, h, w) for each layer."""
        return np.tanh(self.to_pixels(self.activations(w, noise)[-1]))

    def activations(self, w: Array, noise: list[Any]) -> list[Array]:
        """What every layer gives, (B, channels, h, w), from coarse to fine."""
        h: Array = np.broadcast_to(self.constant, (w.shape[1], *self.constant.shape[1:]))
        found = []
        for i, size in enumerate(self.sizes):
            h = self.convs[i](grown(h, size)) + self.strengths[i] * noise[i]
            h = self.styles[i](leaky(h), w[i])
            found.append(h)
        return found
