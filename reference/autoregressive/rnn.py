"""A recurrent network that reads a text token by token (Elman 1990; Mikolov et al. 2010).

    h_t = tanh(W x_t + U h_{t−1} + b)          what is kept of all that was read
    p(x_{t+1} | x_1 … x_t) = softmax(V h_t + c)

The past may be of any length, but all of it must fit in h, and what is learned of the far past has
come through as many tanh as there are tokens between: `lstm` and `gru` open a way around them.
MISSION row A5.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from core import Array
from core.checks import whole
from core.random import Generator
from reference.autoregressive.language_model import LanguageModel
from reference.layers import Embedding, Linear, RNNCell, unroll


class RNN(LanguageModel):
    """A stack of `layers` cells with `hidden` units each, over rows of tokens (B, T).

    dim, levels, end: as in LanguageModel. seed names the draw of the first parameters.

    >>> model = RNN(8, 5, end=0, hidden=16)
    >>> model
    RNN(dim=8, levels=5, end=0, hidden=16, layers=1), 709 parameters
    >>> model.log_prob(np.array([[3, 1, 0, 0]])).shape, model.sample(2, seed=1).shape
    ((1,), (2, 8))
    """

    cell: Any = RNNCell

    def __init__(
        self,
        dim: int,
        levels: int,
        *,
        end: int | None = None,
        hidden: int = 128,
        layers: int = 1,
        seed: int = 0,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(dim, levels, end, dtype)
        self.hidden, self.layers = whole("hidden", hidden, 1), whole("layers", layers, 1)
        rng, n = Generator(seed, stream="init"), self.hidden
        self.embedding = Embedding(self.levels + 1, n, rng, dtype=dtype)
        self.cells = [self.cell(n, n, rng, dtype=dtype) for _ in range(self.layers)]
        self.out = Linear(n, self.levels, rng, dtype=dtype)

    def logits(self, x: Any) -> Array:
        """Of every token of x (B, T), given those before it: (B, T, V)."""
        h, _ = self._read(self.begun(x[:, :-1]), [None] * self.layers)
        return self.out(h)

    def start(self, n: int) -> Any:
        """Nothing yet."""
        return None

    def step(self, x: Any, state: Any) -> tuple[Array, Any]:
        """The logits (n, V) of what follows the tokens x (n, T), and every cell's state."""
        x, state = (self.begun(x), [None] * self.layers) if state is None else (x, state)
        h, state = self._read(x, state)
        return self.out(h[:, -1]), state

    def _read(self, x: Any, states: list[Any]) -> tuple[Array, list[Any]]:
        """h (B, T, n) of the topmost cell after each token of x (B, T), and the last states."""
        h, after = self.embedding(x), []
        for cell, state in zip(self.cells, states, strict=True):
            h, last = unroll(cell, h, state)
            after.append(last)
        return h, after
