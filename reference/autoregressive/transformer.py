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

from core import Array, value
from core.checks import shaped, tokens, whole
from core.functional import embedding, linear
from core.operation import operation
from core.random import Generator
from reference.autoregressive.language_model import LanguageModel
from reference.layers import Cache, Embedding, LayerNorm, LearnedPositions, TransformerBlock
from reference.operations.decoding import one_by_one
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
        """Nothing yet."""
        return None

    def step(self, x: Any, state: Any) -> tuple[Array, Any]:
        """The logits (n, V) of what follows the tokens x (n, T); state: (seen, cache)."""
        logits, *state = next_logits(*self._after(x, state), *self._network())
        return logits, state

    def draw(self, x: Any, state: Any, u: Any, **controls: Any) -> tuple[Any, Any]:
        """As in LanguageModel."""
        E, P, blocks, norm, V, c = self._network()
        network = value(E), value(P), blocks, norm, value(V), c
        drawn, *state = transformer_sample(u, *self._after(x, state), *network, **controls)
        return drawn, state

    def _network(self) -> tuple[Any, ...]:
        """As `next_logits` takes it; a logit has no bias."""
        E, V = self.embedding.W, np.swapaxes(self.embedding.W[: self.levels], 0, 1)
        return E, self.positions.W, self.blocks, self.norm, V, np.zeros(self.levels, self.dtype)

    def _after(self, x: Any, state: Any) -> tuple[Any, ...]:
        """What is to be read, what was seen before it, and its cache."""
        return (self.begun(x), *nothing(len(x), self.blocks)) if state is None else (x, *state)


def nothing(n: int, blocks: list[TransformerBlock]) -> tuple[Any, Any]:
    """n texts of which nothing was seen, and its cache (layers, 2, n, heads, 0, D)."""
    a = blocks[0].attention
    cache = np.zeros((len(blocks), 2, n, a.key_heads, 0, a.D), a.q.W.dtype)
    return np.zeros((n, 0), np.int64), cache


def next_logits(
    x: Any, seen: Any, cache: Array, E: Array, P: Array, blocks: Any, norm: Any, V: Array, c: Array
) -> tuple[Array, Any, Array]:
    """The logits (n, K) of what follows x (n, t), and what was seen and its cache after it.

    seen: the tokens before x (n, s), of which the cache (layers, 2, n, heads, s, D) holds keys and
    values. Where both are more than P has places, all but the first and the last are forgotten.
    """
    seen, places = np.concatenate([seen, x], axis=1), len(P)
    if seen.shape[1] > places:
        seen = np.concatenate([seen[:, :1], seen[:, seen.shape[1] + 1 - places :]], axis=1)
        x, cache = seen, cache[..., :0, :]
    h, after = embedding(x, E) + P[seen.shape[1] - x.shape[1] : seen.shape[1]], []
    for block, of_block in zip(blocks, cache, strict=True):
        h, longer = block.step(h, Cache(*of_block))
        after.append(np.stack(longer))
    return linear(norm(h[:, -1]), V, c), seen, np.stack(after)


@operation
def transformer_sample(
    u: Any, x: Any, seen: Any, cache: Any,
    E: Any, P: Any, blocks: Any, norm: Any, V: Any, c: Any, **controls: Any,
) -> tuple[Any, Any, Any]:  # fmt: skip
    """Tokens int64 (n, T) from uniforms u (n, T); what was seen before the last, and its cache.

    x: the tokens (n, t) to be read first, t ≥ 1. E, P: the vectors of tokens and of places. blocks,
    norm: TransformerBlocks, and the LayerNorm after them. V, c: of the logits (K,). The rest as in
    `next_logits`. A token costs one place's work, and beyond the last place that of all.

    >>> blocks = [TransformerBlock(2, 1, Generator(0, stream="init"), dtype=np.float64)]
    >>> E, P, norm, c = np.eye(3, 2), np.zeros((5, 2)), LayerNorm(2, dtype=np.float64), np.zeros(3)
    >>> c[2], u, x = 9.0, np.full((1, 7), 0.4), np.array([[1]])
    >>> transformer_sample(u, x, *nothing(1, blocks), E, P, blocks, norm, np.zeros((2, 3)), c)[0]
    array([[2, 2, 2, 2, 2, 2, 2]])
    """
    a = blocks[0].attention
    shaped("cache", cache, (len(blocks), 2, len(x), a.key_heads, seen.shape[1], a.D), P.dtype)

    def step(x: Any, state: tuple[Any, Any]) -> tuple[Array, Any]:
        logits, seen, cache = next_logits(x, *state, E, P, blocks, norm, V, c)
        return logits, (seen, cache)

    drawn, (seen, cache) = one_by_one(step, tokens(x, len(E)), (seen, cache), u, **controls)
    return drawn, seen, value(cache)
