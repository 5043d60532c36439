"""Text under a condition: an encoder reads what is given, a decoder says it in words.

    h = encoder(y)                             (B, S, n), once
    log p(x | y) = Σ_t log p(x_t | x_<t, h)    exact, whatever y is

Vaswani et al. 2017: each block of the decoder looks back at its own text, and then, by a second
attention, at all of h. What is given enters nowhere else, so that one decoder serves translations,
captions and transcripts: a model of them is an encoder (`encode`), and this file is the rest. Where
the rows of a batch are given more or less, the rest is padding, which no query sees.

y = None gives nothing: then no query sees a key, the second attention adds a constant, and p(x) is
a distribution of its own. MISSION row C.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from core import Array, no_grad
from core.checks import tokens, whole, whole_even
from core.model import draws
from core.random import Generator
from reference.autoregressive.language_model import LanguageModel
from reference.layers import Cache, DecoderBlock, Embedding, LayerNorm, SinusoidalPositions
from reference.operations.masks import causal, padding


class Encoded(NamedTuple):
    """What an encoder has made of a batch: h (B, S, n), of which lengths (B,) count in each row."""

    h: Array
    lengths: Any


class EncoderDecoder(LanguageModel):
    """p(x | y) of rows of tokens x (B, T), by `layers` decoder blocks; a subclass gives `encode`.

    dim, levels, end: as in LanguageModel. Positions are waves: no text is too long.
    """

    def __init__(
        self,
        dim: int,
        levels: int,
        end: int | None,
        *,
        layers: int,
        heads: int,
        width: int,
        rng: Generator,
        dtype: Any,
    ) -> None:
        super().__init__(dim, levels, end, dtype)
        self.layers, self.heads = whole("layers", layers, 1), whole("heads", heads, 1)
        self.width, how = whole_even("width", width), dict[str, Any](dtype=dtype)
        self.embedding = Embedding(self.levels + 1, width, rng, gain=width**-0.5, **how)
        self._positions = SinusoidalPositions(width)
        how["last_gain"] = 1 / math.sqrt(3 * self.layers)
        self.blocks = [DecoderBlock(width, width, heads, rng, **how) for _ in range(self.layers)]
        self.norm = LayerNorm(width, dtype=dtype)

    def encode(self, y: Any, n: int) -> Encoded:
        """What the decoder is told of n things y. Raises InputError, naming y."""
        raise NotImplementedError

    def given(self, y: Any, n: int) -> Given:
        """p(· | y) of n things y, as a model of text: row b is told of thing b."""
        if y is None:
            return Given(self, Encoded(np.zeros((n, 1, self.width), self.dtype), np.zeros(n, int)))
        return Given(self, self.encode(y, n))

    def logits(self, x: Any) -> Array:
        """Of every token of x (B, T), given those before it and nothing else: (B, T, V)."""
        return self.given(None, len(x)).logits(x)

    def conditionals(self, x: Array, y: Any = None) -> Array:
        """Logits of every p(x_t | x_<t, y), (B, T, V), of x (B, T); after the end, only the end."""
        return self.given(y, len(tokens(x, self.levels))).conditionals(x)

    def log_prob(self, x: Array, y: Any = None) -> Array:
        """log p(x | y) in nats, (B,), of x (B, T)."""
        return self.given(y, len(tokens(x, self.levels))).log_prob(x)

    @draws
    def sample(
        self,
        n: int,
        *,
        seed: int = 0,
        y: Any = None,
        prompt: Any = None,
        length: int | None = None,
        stop: int | None = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
    ) -> Any:
        """n rows of tokens, int64, one for each of n things y; the rest as in LanguageModel."""
        how: Any = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p}
        how |= {"prompt": prompt, "length": length, "stop": stop}
        return self.given(y, n).sample(n, seed=seed, **how)

    def stream(self, n: int, *, seed: int = 0, y: Any = None, **how: Any) -> Iterator[Any]:
        """The tokens (n,) of `sample`, one after the other."""
        with no_grad():
            given = self.given(y, whole("n", n))
        return given.stream(n, seed=seed, **how)

    def greedy(self, y: Any) -> Any:
        """The most probable token of each place in turn, for each thing y: rows (B, dim), int64."""
        return self.sample(len(y), y=y, temperature=0)

    def embedded(self, x: Any, first: int = 0) -> Array:
        """Tokens x (B, T) as the blocks take them, the first at the place `first`: (B, T, n)."""
        return self._positions(self.embedding(x) * math.sqrt(self.width), first)

    def out(self, h: Array) -> Array:
        """The logits (…, V) of features h (…, n), by the table that embeds (Press & Wolf 2017)."""
        return self.norm(h) @ np.swapaxes(self.embedding.W[: self.levels], 0, 1)


class Given(LanguageModel):
    """What an EncoderDecoder says of one batch of things that it was given."""

    def __init__(self, model: EncoderDecoder, encoded: Encoded) -> None:
        super().__init__(model.dim, model.levels, model.end, model.dtype)
        self._model, self._encoded = model, encoded
        self._seen = padding(encoded.lengths)

    def logits(self, x: Any) -> Array:
        """Of every token of x (B, T), given those before it and thing b: (B, T, V)."""
        h = self._model.embedded(self.begun(x[:, :-1]))  # (B, T, n)
        for block in self._model.blocks:
            h = block(h, self._encoded.h, causal(), self._seen)
        return self._model.out(h)

    def start(self, n: int) -> Any:
        """The token before the first, no caches, and the keys and values of what is given."""
        memories = [block.memory(self._encoded.h) for block in self._model.blocks]
        return 0, [None] * len(memories), memories

    def step(self, x: Any, state: Any) -> tuple[Array, Any]:
        """The logits (n, V) of what follows the tokens x (n, T); state: as in `start`."""
        first, caches, memories = state
        x = self.begun(x) if first == 0 else x
        h, kept = self._model.embedded(x, first), list[Cache]()
        for block, cache, memory in zip(self._model.blocks, caches, memories, strict=True):
            h, cache = block.step(h, cache, memory, self._seen)
            kept.append(cache)
        return self._model.out(h[:, -1]), (first + x.shape[1], kept, memories)
