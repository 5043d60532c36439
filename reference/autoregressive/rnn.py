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

from core import Array, value
from core.checks import tokens, whole
from core.functional import embedding, linear
from core.operation import operation
from core.random import Generator
from reference.autoregressive.language_model import LanguageModel
from reference.layers import Embedding, Linear, RNNCell, unroll
from reference.operations.decoding import one_by_one


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
        x = self.begun(x[:, :-1])
        return self.out(read(x, self._zeros(len(x)), self.embedding.W, self.cells)[0])

    def start(self, n: int) -> Any:
        """Nothing yet."""
        return None

    def step(self, x: Any, state: Any) -> tuple[Array, Any]:
        """The logits (n, V) of what follows the tokens x (n, T), and the state, as in `read`."""
        return next_logits(*self._after(x, state), *self._network())

    def draw(self, x: Any, state: Any, u: Any, **controls: Any) -> tuple[Any, Any]:
        """As in LanguageModel."""
        (E, cells, V, c), (x, state) = self._network(), self._after(x, state)
        drawn, state = rnn_sample(u, x, state, value(E), cells, value(V), value(c), **controls)
        return drawn, state

    def _network(self) -> tuple[Array, list[Any], Array, Array]:
        return self.embedding.W, self.cells, self.out.W, self.out.b

    def _after(self, x: Any, state: Any) -> tuple[Any, Any]:
        """What is to be read, and the state before it."""
        return (self.begun(x), self._zeros(len(x))) if state is None else (x, state)

    def _zeros(self, n: int) -> Any:
        return packed([cell.start(n) for cell in self.cells])


def packed(states: list[Any]) -> Array:
    """The states of all cells as one array (layers, 1, n, H), of LSTMs (layers, 2, n, H)."""
    return np.stack([np.stack(s if isinstance(s, tuple) else (s,)) for s in states])


def read(x: Any, state: Array, E: Array, cells: list[Any]) -> tuple[Array, Array]:
    """h (n, T, H) of the topmost cell after each token of x (n, T), and the last `packed` state."""
    h, after = embedding(x, E), []
    for cell, s in zip(cells, state, strict=True):
        h, last = unroll(cell, h, tuple(s) if len(s) > 1 else s[0])
        after.append(last)
    return h, packed(after)


def next_logits(
    x: Any, state: Array, E: Array, cells: list[Any], V: Array, c: Array
) -> tuple[Array, Array]:
    """The logits (n, K) of what follows the tokens x (n, T), and the state after them."""
    h, state = read(x, state, E, cells)
    return linear(h[:, -1], V, c), state


@operation
def rnn_sample(
    u: Any, x: Any, state: Any, E: Any, cells: list[Any], V: Any, c: Any, **controls: Any
) -> tuple[Any, Any]:
    """Tokens int64 (n, T) from uniforms u (n, T), and the state after all but the last of them.

    x: the tokens (n, t) to be read first, t ≥ 1, in the `packed` state. E: the tokens' vectors.
    cells: RNNCells, GRUCells or LSTMCells, the first one's input first. V, c: of the logits (K,).

    >>> cells = [RNNCell(2, 2, Generator(0, stream="init"), gain=0, dtype=np.float64)]
    >>> E, c = np.zeros((3, 2)), np.array([0.0, 0.0, 9.0])
    >>> u, x, state = np.full((1, 4), 0.4), np.array([[1]]), np.zeros((1, 1, 1, 2))
    >>> rnn_sample(u, x, state, E, cells, np.zeros((2, 3)), c)[0]
    array([[2, 2, 2, 2]])
    """

    def step(x: Any, state: Any) -> tuple[Array, Array]:
        return next_logits(x, state, E, cells, V, c)

    drawn, state = one_by_one(step, tokens(x, len(E)), state, u, **controls)
    return drawn, value(state)
