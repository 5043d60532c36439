"""RealNVP of images (Dinh, Sohl-Dickstein & Bengio 2016, sections 3.4 to 3.6).

The couplings are those of `real_nvp`, with masks that fit images and networks of convolutions. From
data to noise, each scale is

    three couplings whose masks are checkerboards: every pixel given its neighbours
    a squeeze: the four pixels of a block become channels
    three couplings whose masks are halves of the channels
    and half of the channels leaves (`multi_scale`)

A mask and its negative take turns. Between the couplings the paper has batch normalisation; here a
channel is scaled and shifted once, next to the data, by an `actnorm`. Its networks are residual and
deep; here they are Glow's, of three layers. And its last scale has checkerboards only.
MISSION row N1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from core.checks import float_dtype, image_shape, whole
from core.random import Generator
from reference.flows.actnorm import ActNorm
from reference.flows.conv_net import ConvNet
from reference.flows.flow import Bijection
from reference.flows.image_flow import Dequantised, ImageFlow
from reference.flows.logit import Logit
from reference.flows.multi_scale import MultiScale
from reference.flows.real_nvp import Coupling
from reference.flows.squeeze import Squeeze


def checkerboard(shape: tuple[int, int, int]) -> Any:
    """b (C, H, W): 1 where the row and the column are both even, or both odd.

    >>> checkerboard((1, 2, 4))[0].tolist()
    [[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0]]
    """
    _, i, j = np.indices(shape)
    return 1.0 - (i + j) % 2


def first_half(shape: tuple[int, int, int]) -> Any:
    """b (C, H, W): 1 in the first half of the channels."""
    return np.broadcast_to((np.arange(shape[0]) < shape[0] // 2)[:, None, None], shape) * 1.0


class MultiScaleRealNVP(Dequantised):
    """Distribution of images x (B, C, H, W) of the values 0, …, levels − 1.

    scales: how often the image is squeezed, and all but the last time half of it leaves. width:
    channels inside of the couplings' networks.

    Raises InputError for an image that can't be halved so often.

    >>> from core.random import Generator
    >>> model = MultiScaleRealNVP([1, 8, 8], 17, width=4)
    >>> model.elbo(np.zeros((2, 1, 8, 8)), rng=Generator(0)).shape, model.sample(3).shape
    ((2,), (3, 1, 8, 8))
    """

    def __init__(
        self,
        shape: Sequence[int],
        levels: int,
        *,
        scales: int = 2,
        width: int = 32,
        seed: int = 0,
        dtype: Any = np.float32,
    ) -> None:
        self.shape, self.levels = image_shape(shape), whole("levels", levels, 2)
        self.dim, self.dtype = math.prod(self.shape), float_dtype(dtype)
        self.scales, self.width = whole("scales", scales, 1), whole("width", width, 1)
        rng, (C, H, W) = Generator(seed, stream="init"), self.shape
        shapes = [(C * 2**i, H // 2**i, W // 2**i) for i in range(self.scales)]
        each = [self._scale(shape, rng) for shape in shapes]
        chain: list[Bijection] = [
            MultiScale(self.shape, each),
            ActNorm(C, self.dtype),
            Logit(self.levels),
        ]
        self.flow = ImageFlow(self.shape, chain, self.dtype)

    def _scale(self, shape: tuple[int, int, int], rng: Generator) -> list[Bijection]:
        """The couplings and the squeeze of images of this shape, from noise to data."""
        C, H, W = shape
        by_channel = self._couplings(first_half((4 * C, H // 2, W // 2)), rng)
        return [*by_channel, Squeeze(), *self._couplings(checkerboard(shape), rng)]

    def _couplings(self, b: Any, rng: Generator) -> list[Bijection]:
        """Three, with b, its negative, and b."""
        b = b.astype(self.dtype)
        return [
            Coupling(mask, ConvNet(len(b), 2 * len(b), self.width, rng, dtype=self.dtype))
            for mask in (b, 1 - b, b)
        ]
