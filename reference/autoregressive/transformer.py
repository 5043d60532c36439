"""A transformer that reads a text and predicts its next token (Vaswani et al. 2017; Radford 2018).

    h_t = E[x_{t−1}] + P[t],    then `layers` blocks over h_1 … h_t,    p(x_t | x_<t) = softmax(E h)

Attention to every earlier token takes the place of a state: nothing has to fit into h, but what is
seen is a window, of `dim` places. A later token is predicted in the last of them from the dim − 1
tokens before it, as if the text began with those: no place is used that training rows don't have.
So the probability of a longer text needs a pass for each token beyond the window, and drawing one
computes the window again for each. Until it is full, what was computed of a token (its keys and
values) is kept: a step costs one token, not all.

The first layer's and the last one's table E are the same (Press & Wolf 2017). MISSION row A7.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from core import Array
from core.checks import whole
from core.random import Generator
from reference.autoregressive.language_model import LanguageModel
from reference.layers import Embedding, LayerNorm, LearnedPositions, TransformerBlock
from reference.operations.masks import causal


class Transformer(LanguageModel):
    """`layers` blocks of `heads` heads and `width` features, over rows of tokens (B, T).

    dim: the window too. levels, end: as in LanguageModel. seed names the first parameters' draw.

    >>> model = Transformer(8, 5, end=0, layers=2, heads=2, width=16)
    >>> model
    Transformer(dim=8, levels=5, end=0, layers=2, heads=2, width=16), 6,816 parameters
    >>> model.log_prob(np.array([[3, 1, 0, 0]])).shape, model.sample(2, seed=1).shape
    ((1,), (2, 8))
    """

    def __init__(
        self,
        dim: int,
        levels: int,
        *,
        end: int | None = None,
        layers: int = 4,
        heads: int = 4,
        width: int = 128,
        seed: int = 0,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(dim, levels, end, dtype)
        self.layers, self.heads = whole("layers", layers, 1), whole("heads", heads, 1)
        self.width, rng = whole("width", width, 1), Generator(seed, stream="init")
        how: dict[str, Any] = {"last_gain": 1 / math.sqrt(2 * self.layers), "dtype": dtype}
        self.embedding = Embedding(self.levels + 1, width, rng, gain=0.02, dtype=dtype)
        self.positions = LearnedPositions(self.dim, width, rng, dtype=dtype)
        self.blocks = [TransformerBlock(width, heads, rng, **how) for _ in range(self.layers)]
        self.norm = LayerNorm(width, dtype=dtype)

    def logits(self, x: Any) -> Array:
        """Of every token of x (B, T), given the dim − 1 before it: (B, T, V)."""
        n, T = self.dim, x.shape[1]
        inside = self._read(x[:, :n])
        beyond = [self._read(x[:, t + 1 - n : t + 1])[:, -1:] for t in range(n, T)]
        return np.concatenate([inside, *beyond], axis=1)

    def _read(self, x: Any) -> Array:
        h = self.positions(self.embedding(self.begun(x[:, :-1])))  # (B, T, n)
        for block in self.blocks:
            h = block(h, causal())
        return self._out(h)

    def _out(self, h: Array) -> Array:
        return self.norm(h) @ np.swapaxes(self.embedding.W[: self.levels], 0, 1)

    def start(self, n: int) -> Any:
        """No tokens, and no cache."""
        return np.zeros((n, 0), np.int64), None

    def step(self, x: Any, state: Any) -> tuple[Array, Any]:
        """The logits (n, V) of what follows the tokens x (n, T); state: the window, its caches."""
        window, caches = np.concatenate([state[0], x], axis=1), state[1]
        first = 1 + window.shape[1] - x.shape[1]
        if caches is None or window.shape[1] >= self.dim:
            window, first, caches = self._last(window), 0, [None] * self.layers
            x = self.begun(window)
        h, kept = self.positions(self.embedding(x), first), []
        for block, cache in zip(self.blocks, caches, strict=True):
            h, cache = block.step(h, cache)
            kept.append(cache)
        return self._out(h[:, -1]), (window, kept)

    def _last(self, x: Any) -> Any:
        """What can be seen of the tokens x (n, T)."""
        return x[:, max(x.shape[1] + 1 - self.dim, 0) :]
