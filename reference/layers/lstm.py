"""Long short-term memory (MISSION row A5)."""

from __future__ import annotations

from typing import Any

import numpy as np

from core import Array
from core.checks import shaped, whole
from core.errors import InputError
from core.random import Generator
from core.recurrent import lstm, lstm_step
from reference.layers.initial import normal_weight, zeros

State = tuple[Array, Array]


class LSTMCell:
    """A cell with a memory c that gates write and erase: Hochreiter & Schmidhuber 1997.

        i, f, o = sigmoid(x W + h U + b)          input, forget, output
        c' = f c + i tanh(x W_g + h U_g + b_g)
        h' = o tanh(c')

    The state is (h, c), (B, n_out) each. W (n_in, 4 n_out), U (n_out, 4 n_out) and b hold the gates
    in the order i, f, g, o. The forget gate (Gers et al. 2000) starts with bias 1, so that at first
    the memory lasts (Jozefowicz et al. 2015).

    >>> cell = LSTMCell(3, 5, Generator(0, stream="init"))
    >>> h, c = cell(np.ones((2, 3), np.float32), cell.start(2))
    >>> cell, h.shape, c.shape
    (LSTMCell(3 → 5), (2, 5), (2, 5))
    """

    def __init__(
        self, n_in: int, n_out: int, rng: Generator, *, gain: float = 1.0, dtype: Any = np.float32
    ) -> None:
        self.n_in, self.n_out = whole("n_in", n_in, 1), whole("n_out", n_out, 1)
        self.W = normal_weight((self.n_in, 4 * self.n_out), self.n_in, rng, gain, dtype)
        self.U = normal_weight((self.n_out, 4 * self.n_out), self.n_out, rng, gain, dtype)
        self.b = zeros(4 * self.n_out, dtype)
        self.b[self.n_out : 2 * self.n_out] = 1.0

    def start(self, batch: int) -> State:
        """Zeros, twice (batch, n_out)."""
        h, c = np.zeros((2, whole("batch", batch), self.n_out), self.W.dtype)
        return h, c

    def output(self, state: State) -> Array:
        """h of (h, c)."""
        return state[0]

    def __call__(self, x: Array, state: State) -> State:
        """x (B, n_in), (h, c) → (h', c'), all (B, n_out) but x."""
        x = shaped("x", x, ("B", self.n_in), self.W.dtype)
        h, c = self._checked(state, len(x))
        return lstm_step(x, self.W, self.U, self.b, h, c)

    def sequence(self, x: Array, state: State) -> tuple[Array, State]:
        """x (B, T, n_in), (h, c) → h of every step (B, T, n_out), and the last state."""
        x = shaped("x", x, ("B", "T", self.n_in), self.W.dtype)
        h, c = self._checked(state, len(x))
        z = lstm(x, self.W, self.U, self.b, h, c)  # (B, T + 1, n_out)
        T = x.shape[1]
        return z[:, :T], (z[:, T - 1] if T else h, z[:, T])

    def _checked(self, state: Any, B: int) -> State:
        if not isinstance(state, tuple) or len(state) != 2:
            raise InputError(f"state must be a tuple (h, c), got {type(state).__name__}")
        h, c = (shaped("state", s, (B, self.n_out), self.W.dtype) for s in state)
        return h, c

    def __repr__(self) -> str:
        return f"LSTMCell({self.n_in} → {self.n_out})"
