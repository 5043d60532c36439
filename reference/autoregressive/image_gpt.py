"""ImageGPT: a transformer that reads an image pixel by pixel (Chen et al. 2020).

A pixel is one of K colours of a palette (`palette`, learned by k-means), an image the sequence of
its pixels in an order π, the raster if no other is given:

    h_t = E[x_π(t−1)] + P[t],    then `layers` blocks over h_1 … h_t,    p(x_π(t) | past) = softmax

as in `transformer`, of one length, with no end. What stands before the first pixel is a token of
its own, or that of a class: then p(x | y). Every pixel sees all before it, in whichever order.

p is a distribution over images in the palette's colours; any other is scored as painted in them,
each pixel in the nearest, so that figures compare for one palette only. MISSION rows A7, A9.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from core import Array, value
from core.checks import float_dtype, image_shape, ordering, pixels, whole
from core.functional import logsumexp
from core.model import Described, draws
from core.random import Generator, uniform
from reference.autoregressive.images import checked_classes, drawn_classes
from reference.autoregressive.language_model import Tokens
from reference.autoregressive.palette import checked_palette, nearest, painted
from reference.autoregressive.transformer import nothing, transformer_sample
from reference.layers import Embedding, LayerNorm, LearnedPositions, Linear, TransformerBlock
from reference.operations.decoding import check_controls
from reference.operations.masks import causal


class ImageGPT(Described):
    """Distribution of images x (B, C, H, W) of the values 0, …, levels − 1, in K colours.

    palette: (K, C). layers, heads, width: of the transformer. order: the H·W pixels from first to
    last. classes: of labels y that x is given; without one p(x) is the mean over all. None: no y.

    >>> model = ImageGPT([1, 4, 4], 3, [[0], [1], [2]], layers=1, heads=2, width=8)
    >>> model
    ImageGPT(shape=(1, 4, 4), levels=3, layers=1, heads=2, width=8, classes=None), 1,075 parameters
    >>> model.conditionals(np.zeros((2, 1, 4, 4))).shape, model.sample(1).shape
    ((2, 4, 4, 3), (1, 1, 4, 4))
    """

    def __init__(
        self,
        shape: Sequence[int],
        levels: int,
        palette: Sequence[Sequence[int]],
        *,
        layers: int = 4,
        heads: int = 4,
        width: int = 64,
        order: Sequence[int] | None = None,
        classes: int | None = None,
        seed: int = 0,
        dtype: Any = np.float32,
    ) -> None:
        self.shape, self.levels = image_shape(shape), whole("levels", levels, 2)
        C, H, W = self.shape
        self.palette = checked_palette(palette, C, self.levels)  # (K, C)
        self.dim, self.head, self.dtype = C * H * W, Tokens(len(self.palette)), float_dtype(dtype)
        self.order = ordering("order", order, H * W)  # (T,)
        self.layers, self.heads = whole("layers", layers, 1), whole("heads", heads, 1)
        self.classes = None if classes is None else whole("classes", classes, 1)
        self.width, rng = whole("width", width, 1), Generator(seed, stream="init")
        how: dict[str, Any] = {"last_gain": 1 / math.sqrt(2 * self.layers), "dtype": dtype}
        self.first = Embedding(self.classes or 1, width, rng, gain=0.02, dtype=dtype)
        self.embedding = Embedding(self.head.levels, width, rng, gain=0.02, dtype=dtype)
        self.positions = LearnedPositions(H * W, width, rng, dtype=dtype)
        self.blocks = [TransformerBlock(width, heads, rng, **how) for _ in range(self.layers)]
        self.norm = LayerNorm(width, dtype=dtype)
        self.out = Linear(width, self.head.levels, rng, dtype=dtype)

    def conditionals(self, x: Array, y: Any = None) -> Array:
        """Logits of p(colour | the pixels before, y), (B, H, W, K), of x (B, C, H, W)."""
        tokens = self._tokens(x)
        logits = self._logits(tokens, checked_classes(y, len(tokens), self.classes))
        back = logits[:, np.argsort(self.order)]
        return np.reshape(back, (len(tokens), *self.shape[1:], self.head.levels))

    def _tokens(self, x: Array) -> Any:
        """The colours of x (B, C, H, W) in order, (B, T)."""
        k = nearest(pixels(x, self.shape, self.levels), self.palette)
        return k.reshape(len(k), self.order.size)[:, self.order]

    def _logits(self, tokens: Any, y: Any) -> Array:
        """Of every token (B, T) given those before it, (B, T, K)."""
        h = np.concatenate([self._begun(len(tokens), y), self.embedding(tokens[:, :-1])], axis=1)
        h = self.positions(h)
        for block in self.blocks:
            h = block(h, causal())
        return self.out(self.norm(h))

    def _begun(self, n: int, y: Any) -> Array:
        """What stands before the first pixel, (n, 1, width)."""
        return self.first(np.zeros((n, 1), np.int64) if y is None else y[:, None])

    def log_prob(self, x: Array, y: Any = None) -> Array:
        """log p(x | y) in nats, (B,), of x (B, C, H, W) and labels y (B,); without y, log p(x)."""
        tokens = self._tokens(x)
        if self.classes is None or y is not None:
            return self._log_prob(tokens, checked_classes(y, len(tokens), self.classes))
        given = [self._log_prob(tokens, np.full(len(tokens), k)) for k in range(self.classes)]
        return logsumexp(np.stack(given), axis=0) - math.log(self.classes)

    def _log_prob(self, tokens: Any, y: Any) -> Array:
        return np.sum(self.head.log_prob(tokens, self._logits(tokens, y)), axis=1)

    @draws
    def sample(
        self,
        n: int,
        *,
        seed: int = 0,
        y: Any = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
    ) -> Any:
        """n draws (n, C, H, W), one pixel after another. y: the class of all or of each, (n,).

        Without y it is drawn. The rest is explained in `reference.operations.decoding`.
        """
        how: Any = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p}
        check_controls(**how)
        y = drawn_classes(y, n, self.classes, seed)
        u = uniform(seed, (n, self.order.size), dtype=self.dtype)
        first = self.head.levels + (np.zeros(n, np.int64) if y is None else y)
        E = np.concatenate([value(self.embedding.W), value(self.first.W)])
        network = E, value(self.positions.W), self.blocks, self.norm
        out, begun = (value(self.out.W), value(self.out.b)), nothing(n, self.blocks)
        k = np.empty((n, self.order.size), np.int64)
        k[:, self.order], *_ = transformer_sample(
            u[:, self.order], first[:, None], *begun, *network, *out, **how
        )
        return painted(k.reshape(n, *self.shape[1:]), self.palette).astype(self.dtype)
