"""Text to text: the transformer as it was published (Vaswani et al. 2017).

    h = blocks(E[y_s] + P[s])    each token of y sees all others    p(x | y): as in encoder_decoder

A sequence becomes another of another length in another language, as in Sutskever et al. 2014; but
no single vector has to hold all of it, since every token that is said may look at every token that
was read (Bahdanau et al. 2014). MISSION row C: numbers and dates in words, English and Russian.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from core.checks import padded_tokens, whole
from core.random import Generator
from reference.conditional.encoder_decoder import Encoded, EncoderDecoder
from reference.layers import Embedding, LayerNorm, TransformerBlock
from reference.operations.masks import padding


class Translator(EncoderDecoder):
    """p(x | y) of tokens x (B, T), given texts y of tokens 0, …, symbols − 1, Padded (B, S).

    dim, levels, end: of x, as in LanguageModel. `layers` blocks of `heads` heads and `width`
    features on either side. seed names the first parameters' draw.

    >>> from core.samples import Padded
    >>> model = Translator(8, 5, 10, end=0, layers=1, heads=2, width=16)
    >>> model
    Translator(dim=8, levels=5, symbols=10, end=0, layers=1, heads=2, width=16), 8,000 parameters
    >>> y = Padded.of([np.array([4, 1, 7]), np.array([2])])
    >>> model.log_prob(np.array([[3, 1, 0], [2, 0, 0]]), y).shape, model.greedy(y).shape
    ((2,), (2, 8))
    """

    def __init__(
        self,
        dim: int,
        levels: int,
        symbols: int,
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
        self.symbols, n = whole("symbols", symbols, 1), self.width
        self.reads = Embedding(self.symbols, n, rng, gain=n**-0.5, dtype=dtype)
        how = {"last_gain": 1 / math.sqrt(2 * self.layers), "dtype": dtype}
        self.encoder = [TransformerBlock(n, self.heads, rng, **how) for _ in range(self.layers)]
        self.encoder_norm = LayerNorm(n, dtype=dtype)

    def encode(self, y: Any, n: int) -> Encoded:
        """n texts y, Padded (n, S) → (n, S, width)."""
        y = padded_tokens(y, n, self.symbols)
        h = self._positions(self.reads(y.data) * math.sqrt(self.width))
        for block in self.encoder:
            h = block(h, padding(y.lengths))
        return Encoded(self.encoder_norm(h), y.lengths)
