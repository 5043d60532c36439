"""PixelCNN: a convolutional network that masks make autoregressive (van den Oord et al. 2016).

Pixels come row by row, in each from left to right, and in each pixel its colours R, G, B:

    p(x) = Π_i p(x_i,R | x_<i) p(x_i,G | x_i,R, x_<i) p(x_i,B | x_i,R, x_i,G, x_<i)

A kernel whose weights to the right of its centre and below are masked sees the past only. At the
centre mask A, the first layer's, lets a colour see the colours before it; mask B, all others', its
own as well: channel i of every layer belongs to colour i mod C. The layers are those of Table 1,

    7×7, mask A  →  residual blocks: ReLU 1×1, ReLU 3×3, ReLU 1×1, mask B  →  ReLU 1×1, twice

One pass gives all conditionals; drawing takes one as well, if what is computed is kept
(`image_sampling`). There is a blind spot: up and to the right, a 3×3 mask goes by one pixel at a
time, so what lies further right than up is never seen (van den Oord et al. 2016b, Figure 1).
`gated_pixelcnn` mends it. MISSION row A6.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from core import Array
from core.checks import float_dtype, image_shape, multiple, pixels, whole, whole_odd
from core.functional import relu
from core.model import Described, draws
from core.random import Generator, uniform
from reference.autoregressive.heads import Softmax
from reference.autoregressive.image_sampling import pixelcnn_sample, plain
from reference.autoregressive.images import by_pixel, raster, scaled
from reference.layers import Conv2d, colour_mask


class PixelCNN(Described):
    """Distribution of images x (B, C, H, W) of the values 0, …, levels − 1.

    features: channels within a block, a multiple of C; twice as many between blocks. layers: how
    many blocks. first: the length of the first kernel, odd.

    >>> model = PixelCNN([1, 8, 8], 17, features=4, layers=2)
    >>> model
    PixelCNN(shape=(1, 8, 8), levels=17, features=4, layers=2, first=7), 1,073 parameters
    >>> model.conditionals(np.zeros((2, 1, 8, 8))).shape, model.sample(1).shape
    ((2, 1, 8, 8, 17), (1, 1, 8, 8))
    """

    def __init__(
        self,
        shape: Sequence[int],
        levels: int,
        *,
        features: int = 15,
        layers: int = 7,
        first: int = 7,
        seed: int = 0,
        dtype: Any = np.float32,
    ) -> None:
        self.shape, self.head = image_shape(shape), Softmax(levels)
        self.dim, self.levels, C = math.prod(self.shape), self.head.levels, self.shape[0]
        self.features, self.layers = multiple("features", features, C), whole("layers", layers, 1)
        self.first, self.dtype = whole_odd("first", first), float_dtype(dtype)
        h, rng = self.features, Generator(seed, stream="init")

        def masked(n_in: int, n_out: int, kernel: int = 1, kind: str = "B") -> Conv2d:
            mask = colour_mask(kind, (kernel, kernel), n_in, n_out, C)
            how: Any = {"padding": kernel // 2, "gain": math.sqrt(2), "dtype": dtype}
            return Conv2d(n_in, n_out, kernel, rng, mask=mask, **how)

        self.enter = masked(C, 2 * h, self.first, "A")
        self.blocks = [
            [masked(2 * h, h), masked(h, h, 3), masked(h, 2 * h)] for _ in range(self.layers)
        ]
        self.leave = [masked(2 * h, 2 * h), masked(2 * h, self.head.size * C)]

    @property
    def order(self) -> Any:
        """The variables from first to last, of x read flat, (C·H·W,)."""
        return raster(self.shape)

    def network(self, v: Array) -> Array:
        """Parameters (B, C, h, W, P) of every conditional, of v (B, C, h, W) in [−1, 1]."""
        y = self.enter(v)
        for block in self.blocks:
            r = y
            for layer in block:
                r = layer(relu(r))
            y = y + r
        for layer in self.leave:
            y = layer(relu(y))
        return by_pixel(y, self.shape[0])

    def conditionals(self, x: Array) -> Array:
        """Logits of every p(x_i | x_<i), (B, C, H, W, levels), of x (B, C, H, W).

        For two levels the logit of 1, (B, C, H, W).
        """
        theta = self._parameters(pixels(x, self.shape, self.levels))
        return theta[..., 0] if self.levels == 2 else theta

    def _parameters(self, x: Any) -> Array:
        return self.network(scaled(x, self.levels, self.dtype))

    def log_prob(self, x: Array) -> Array:
        """log p(x) in nats, (B,), of x (B, C, H, W)."""
        x = pixels(x, self.shape, self.levels)
        return np.sum(self.head.log_prob(x, self._parameters(x)), axis=(1, 2, 3))

    @draws
    def sample(self, n: int, *, seed: int = 0) -> Any:
        """n draws (n, C, H, W), one colour of one pixel after another."""
        u = uniform(seed, (n, *self.shape), dtype=self.dtype)
        convs = [self.enter, *itertools.chain(*self.blocks), *self.leave]
        return pixelcnn_sample(u, plain(convs), self.levels)
