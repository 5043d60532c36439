"""Gated PixelCNN: two stacks that see all of the past (van den Oord et al. 2016b).

A pixel's past is the rows above it, and what lies left of it in its own row. The vertical stack v
sees the one, the horizontal stack h the other, and what v knows. No mask is needed: kernels end in
the row, or at the pixel, that they are for, so that nothing is seen twice and nothing is missed.
Each layer gates what it makes (Eq. 2), and is told the class y there, if there is one (Eq. 4):

    gate(a) = tanh(a_1) ⊙ σ(a_2),       a = (a_1, a_2) with p channels each

    a = W^v ∗ v + V^v y                          rows up to its own; the first layer's end above it
    b = W^h ∗ h + U a + V^h y                    pixels up to its own; the first layer's end before
    v ← gate(a),    h ← h + W^o gate(b)                                                     Figure 2

Of one pixel's colours each sees those before it: at the pixel itself the weights of h are masked as
in `pixelcnn`. The conditionals are softmax, or mixtures of discretised logistics (Salimans et al.
2017). MISSION rows A6, A8.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from core import Array, value
from core.checks import float_dtype, image_shape, multiple, pixels, whole, whole_odd
from core.functional import logsumexp, relu
from core.model import Described, draws
from core.random import Generator, uniform
from reference.autoregressive.heads import of_levels
from reference.autoregressive.image_sampling import gated_pixelcnn_sample, plain
from reference.autoregressive.images import (
    by_pixel,
    checked_classes,
    drawn_classes,
    gate,
    raster,
    scaled,
)
from reference.layers import Conv2d, Embedding, colour_mask


class GatedPixelCNN(Described):
    """Distribution of images x (B, C, H, W) of the values 0, …, levels − 1.

    features: p, a multiple of C. layers: how many, the first included. kernel: their length, odd;
    first: the first layer's. mixture: discretised logistics in each conditional; None: softmax.
    classes: of labels y that x is given; without a label p(x) is the mean over all. None: no y.

    >>> model = GatedPixelCNN([1, 8, 8], 2, features=8, layers=3)
    >>> model
    GatedPixelCNN(shape=(1, 8, 8), levels=2, features=8, layers=3, kernel=3, first=7, \
mixture=None, classes=None), 3,657 parameters
    >>> model.conditionals(np.zeros((2, 1, 8, 8))).shape, model.sample(1).shape
    ((2, 1, 8, 8), (1, 1, 8, 8))
    """

    def __init__(
        self,
        shape: Sequence[int],
        levels: int,
        *,
        features: int = 32,
        layers: int = 6,
        kernel: int = 3,
        first: int = 7,
        mixture: int | None = None,
        classes: int | None = None,
        seed: int = 0,
        dtype: Any = np.float32,
    ) -> None:
        self.shape, self.levels = image_shape(shape), whole("levels", levels, 2)
        self.mixture = None if mixture is None else whole("mixture", mixture, 1)
        self.head = of_levels(levels, mixture)
        self.dtype = float_dtype(dtype)
        self.classes = None if classes is None else whole("classes", classes, 1)
        C, rng = self.shape[0], Generator(seed, stream="init")
        self.dim, self.features = math.prod(self.shape), multiple("features", features, C)
        self.kernel, self.first = whole_odd("kernel", kernel, 3), whole_odd("first", first, 3)
        self.layers = whole("layers", layers, 1)
        n, how = self.features, dict[str, Any](classes=self.classes, dtype=dtype)
        enter = GatedLayer(C, n, self.first, C, rng, first=True, **how)
        others = (GatedLayer(n, n, self.kernel, C, rng, **how) for _ in range(self.layers - 1))
        self.stack = [enter, *others]
        self.leave = [
            Conv2d(n, m, 1, rng, mask=colour_mask("B", (1, 1), n, m, C), dtype=dtype)
            for m in (n, self.head.size * C)
        ]

    @property
    def order(self) -> Any:
        """The variables from first to last, of x read flat, (C·H·W,)."""
        return raster(self.shape)

    def network(self, x: Array, y: Any = None) -> Array:
        """Parameters (B, C, h, W, P) of every conditional, of x (B, C, h, W) in [−1, 1]."""
        v = h = x
        for layer in self.stack:
            v, h = layer(v, h, y)
        for conv in self.leave:
            h = conv(relu(h))
        return by_pixel(h, self.shape[0])

    def conditionals(self, x: Array, y: Any = None) -> Array:
        """Parameters of every p(x_i | x_<i, y), (B, C, H, W, P), of x (B, C, H, W).

        Logits of the levels, for two of them the logit of 1, (B, C, H, W); or those of a mixture.
        """
        x = pixels(x, self.shape, self.levels)
        theta = self._parameters(x, checked_classes(y, len(x), self.classes))
        return theta[..., 0] if self.head.size == 1 else theta

    def _parameters(self, x: Any, y: Any) -> Array:
        return self.network(scaled(x, self.levels, self.dtype), y)

    def log_prob(self, x: Array, y: Any = None) -> Array:
        """log p(x | y) in nats, (B,), of x (B, C, H, W) and labels y (B,); without y, log p(x)."""
        x = pixels(x, self.shape, self.levels)
        if self.classes is None or y is not None:
            return self._log_prob(x, checked_classes(y, len(x), self.classes))
        given = [self._log_prob(x, np.full(len(x), k)) for k in range(self.classes)]
        return logsumexp(np.stack(given), axis=0) - math.log(self.classes)

    def _log_prob(self, x: Any, y: Any) -> Array:
        return np.sum(self.head.log_prob(x, self._parameters(x, y)), axis=(1, 2, 3))

    @draws
    def sample(self, n: int, *, seed: int = 0, y: Any = None) -> Any:
        """n draws (n, C, H, W). y: the class of all or of each, (n,); None draws it."""
        y = drawn_classes(y, n, self.classes, seed)
        u = uniform(seed, (n, *self.shape), dtype=self.dtype)
        layers = [plain([part.above, part.left, part.link, part.out]) for part in self.stack]
        labels = [part.labels for part in self.stack if part.labels is not None]
        told = np.stack([value(label(y)) for label in labels], axis=1) if labels else None
        return gated_pixelcnn_sample(u, layers, plain(self.leave), self.levels, self.mixture, told)


class GatedLayer:
    """(v, h) ↦ (v, h), from n_in channels each to n_out: Figure 2 of the paper.

    The first layer sees nothing of the row, or of the pixel, that it is for.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        kernel: int,
        colours: int,
        rng: Generator,
        *,
        first: bool = False,
        classes: int | None = None,
        dtype: Any = np.float32,
    ) -> None:
        k, n, self.first = kernel // 2, 2 * n_out, first
        at_pixel = colour_mask("A" if first else "B", (1, kernel), n_in, n, colours)[..., : k + 1]
        to_colours = colour_mask("B", (1, 1), n_out, n_out, colours)
        how: Any = {"rng": rng, "dtype": dtype}
        self.above = Conv2d(n_in, n, (k if first else k + 1, kernel), padding=k, **how)
        self.left = Conv2d(n_in, n, (1, k + 1), padding=(0, k), mask=at_pixel, **how)
        self.link, self.out = (
            Conv2d(n, n, 1, **how),
            Conv2d(n_out, n_out, 1, mask=to_colours, **how),
        )
        self.labels = None if classes is None else Embedding(classes, 2 * n, **how)

    def __call__(self, v: Array, h: Array, y: Any) -> tuple[Array, Array]:
        """v and h (B, n_in, H, W), labels y (B,) or None → (B, n_out, H, W) each."""
        H, W = v.shape[2:]
        a = self.above(v)[:, :, :H]  # row i sees i − k … i, or up to i − 1
        b = self.left(h)[:, :, :, :W]
        if self.labels is not None:
            told = np.split(self.labels(y)[:, :, None, None], 2, axis=1)
            a, b = a + told[0], b + told[1]
        b = gate(b + self.link(a))
        return gate(a), self.out(b) if self.first else h + self.out(b)
