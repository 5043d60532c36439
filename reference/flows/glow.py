"""Glow: normalise, mix, couple, at several scales (Kingma & Dhariwal 2018).

One step of the flow, from data to noise (Figure 2a):

    activation normalisation        x ← (x − b) / s                               `actnorm`
    invertible 1 × 1 convolution    x ← W x                                       `invertible_1x1`
    affine coupling                 x_b ← (x_b − t(x_a)) exp(−s(x_a)),  x = (x_a, x_b)

`steps` of them after a squeeze are one scale; then half of the channels leaves (`multi_scale`).
Next to the data each pixel is made normal by itself (`gaussianise`), where the paper has x/256 − ½.
What the couplings learn has all the power; what is around them lets every channel take its turn,
and lets a stack of dozens of them learn at all. MISSION row N1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from core import Array, Tensor
from core.checks import float_dtype, image_shape, whole
from core.random import Generator
from reference.flows.actnorm import ActNorm
from reference.flows.conv_net import ConvNet
from reference.flows.flow import Bijection
from reference.flows.gaussianise import Gaussianise
from reference.flows.image_flow import Dequantised, ImageFlow
from reference.flows.invertible_1x1 import Invertible1x1, rotation
from reference.flows.multi_scale import MultiScale
from reference.flows.squeeze import Squeeze


class ChannelCoupling:
    """y_a = x_a, y_b = x_b exp(s(x_a)) + t(x_a) of halves of n channels (Table 1, read backwards).

    |s| is bounded by a learned scale, as RealNVP's is.
    """

    def __init__(self, n: int, width: int, rng: Generator, dtype: Any) -> None:
        self.network = ConvNet(n // 2, n, width, rng, dtype=dtype)
        self.scale = Tensor(np.ones((n // 2, 1, 1), dtype))

    def forward(self, x: Array) -> tuple[Array, Array]:
        """x (B, n, H, W) → y and log |det ∂y/∂x| (B,)."""
        x_a, x_b = np.split(x, 2, axis=1)
        s, t = self._s_and_t(x_a)
        y = np.concatenate([x_a, x_b * np.exp(s) + t], axis=1)
        return y, np.sum(s, axis=(1, 2, 3))

    def inverse(self, y: Array) -> tuple[Array, Array]:
        """y (B, n, H, W) → x and log |det ∂x/∂y| (B,)."""
        y_a, y_b = np.split(y, 2, axis=1)
        s, t = self._s_and_t(y_a)
        x = np.concatenate([y_a, (y_b - t) * np.exp(-s)], axis=1)
        return x, -np.sum(s, axis=(1, 2, 3))

    def _s_and_t(self, x_a: Array) -> tuple[Array, Array]:
        s, t = np.split(self.network(x_a), 2, axis=1)
        return self.scale * np.tanh(s), t


class Glow(Dequantised):
    """Distribution of images x (B, C, H, W) of the values 0, …, levels − 1.

    scales: how often the image is squeezed, and all but the last time half of it leaves. steps: of
    each scale. width: channels inside of the couplings' networks.

    Raises InputError for an image that can't be halved so often.

    >>> from core.random import Generator
    >>> model = Glow([1, 8, 8], 17, scales=2, steps=2, width=8)
    >>> model
    Glow(shape=(1, 8, 8), levels=17, scales=2, steps=2, width=8), 3,340 parameters
    >>> model.elbo(np.zeros((2, 1, 8, 8)), rng=Generator(0)).shape, model.sample(3).shape
    ((2,), (3, 1, 8, 8))
    """

    def __init__(
        self,
        shape: Sequence[int],
        levels: int,
        *,
        scales: int = 2,
        steps: int = 8,
        width: int = 64,
        seed: int = 0,
        dtype: Any = np.float32,
    ) -> None:
        self.shape, self.levels = image_shape(shape), whole("levels", levels, 2)
        self.dim, self.dtype = math.prod(self.shape), float_dtype(dtype)
        self.scales, self.steps = whole("scales", scales, 1), whole("steps", steps, 1)
        self.width = whole("width", width, 1)
        rng = Generator(seed, stream="init")
        each = [self._scale(4 * self.shape[0] * 2**i, rng) for i in range(self.scales)]
        chain: list[Bijection] = [
            MultiScale(self.shape, each),
            Gaussianise(self.levels, self.dtype),
        ]
        self.flow = ImageFlow(self.shape, chain, self.dtype)

    def _scale(self, n: int, rng: Generator) -> list[Bijection]:
        """The steps at n channels and the squeeze, from noise to data."""
        found: list[Bijection] = []
        for _ in range(self.steps):
            found += [
                ChannelCoupling(n, self.width, rng, self.dtype),
                Invertible1x1(rotation(n, rng, self.dtype)),
                ActNorm(n, self.dtype),
            ]
        return [*found, Squeeze()]
