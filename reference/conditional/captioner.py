"""Image to text: what is to be seen in a picture, said in words (Vinyals et al. 2014).

    h = blocks(silu(conv(… silu(conv(y)))) + P)    a place of h is 8 × 8 pixels and those around

Three convolutions of stride 2 see edges and colours, the blocks of the encoder what belongs
together and where; the decoder looks at all places for each word (Xu et al. 2015; with transformers
Sharma et al. 2018). MISSION row C: captions of scenes, each of which is right or wrong.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from core.checks import images, sizes
from core.errors import InputError
from core.functional import silu
from core.random import Generator
from reference.conditional.encoder_decoder import Encoded, EncoderDecoder
from reference.layers import Conv2d, LayerNorm, TransformerBlock


class Captioner(EncoderDecoder):
    """p(x | y) of tokens x (B, T), given pictures y (B, *picture) in [−1, 1].

    dim, levels, end: of x, as in LanguageModel. picture: (C, H, W), of 8 pixels at least. `layers`
    blocks of `heads` heads and `width` features on either side. seed: of the first parameters.

    >>> model = Captioner(8, 5, [3, 16, 16], end=0, layers=1, heads=2, width=16)
    >>> y = np.zeros((2, 3, 16, 16), np.float32)
    >>> model.log_prob(np.array([[3, 1, 0], [2, 0, 0]]), y).shape, model.greedy(y).shape
    ((2,), (2, 8))
    """

    def __init__(
        self,
        dim: int,
        levels: int,
        picture: Sequence[int],
        *,
        end: int | None = None,
        layers: int = 2,
        heads: int = 4,
        width: int = 64,
        seed: int = 0,
        dtype: Any = np.float32,
    ) -> None:
        rng = Generator(seed, stream="init")
        how: dict[str, Any] = {"layers": layers, "heads": heads, "width": width, "dtype": dtype}
        super().__init__(dim, levels, end, rng=rng, **how)
        self.picture, n = sizes("picture", picture), self.width
        if len(self.picture) != 3 or min(self.picture[1:]) < 8:
            raise InputError(f"picture must be (C, H, W), of 8 pixels at least, got {picture}")
        how = {"stride": 2, "padding": 1, "gain": math.sqrt(2), "dtype": dtype}
        between = (self.picture[0], n // 2, n, n)
        self.convolutions = [Conv2d(a, b, 3, rng, **how) for a, b in pairwise(between)]
        how = {"last_gain": 1 / math.sqrt(2 * self.layers), "dtype": dtype}
        self.encoder = [TransformerBlock(n, self.heads, rng, **how) for _ in range(self.layers)]
        self.encoder_norm = LayerNorm(n, dtype=dtype)

    def encode(self, y: Any, n: int) -> Encoded:
        """n pictures y (n, C, H, W) → (n, places, width)."""
        h = images(y, self.picture, self.dtype, name="y")
        if len(h) != n:
            raise InputError(f"y must have {n} rows, one for each of x, got {len(h)}")
        for convolution in self.convolutions:
            h = silu(convolution(h))
        h = np.swapaxes(np.reshape(h, (n, self.width, math.prod(h.shape[2:]))), 1, 2)
        h = self._positions(h)  # (n, S, width)
        for block in self.encoder:
            h = block(h)
        return Encoded(self.encoder_norm(h), np.full(n, h.shape[1]))
