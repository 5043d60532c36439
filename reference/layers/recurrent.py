"""Networks that read a sequence one step at a time (MISSION row A5).

    h_t = f(x_t, h_{t−1}),    every f with the same weights

A cell is f. `unroll` runs one over a sequence, as one operation; so does a loop of calls, as
sampling needs.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from core import Array
from core.checks import shaped, whole
from core.random import Generator
from core.recurrent import rnn, rnn_step
from reference.layers.initial import normal_weight, zeros


class Cell(Protocol):
    """One step: of x (B, n_in) and a state the next state, whose `output` is (B, n_out)."""

    n_in: int
    n_out: int

    def start(self, batch: int) -> Any:
        """The state before the first step: zeros."""

    def output(self, state: Any) -> Array:
        """What of a state the layers above see, (B, n_out)."""

    def __call__(self, x: Array, state: Any) -> Any:
        """x (B, n_in) and a state → the next state."""

    def sequence(self, x: Array, state: Any) -> tuple[Array, Any]:
        """As many calls: x (B, T, n_in) and a state → the outputs (B, T, n_out), the last state."""


class RNNCell:
    """h' = tanh(x W + h U + b): Elman 1990. W from N(0, gain²/n_in), U from N(0, gain²/n_out).

    The state is h (B, n_out).

    >>> cell = RNNCell(3, 5, Generator(0, stream="init"))
    >>> cell, cell(np.ones((2, 3), np.float32), cell.start(2)).shape
    (RNNCell(3 → 5), (2, 5))
    """

    def __init__(
        self, n_in: int, n_out: int, rng: Generator, *, gain: float = 1.0, dtype: Any = np.float32
    ) -> None:
        self.n_in, self.n_out = whole("n_in", n_in, 1), whole("n_out", n_out, 1)
        self.W = normal_weight((self.n_in, self.n_out), self.n_in, rng, gain, dtype)
        self.U = normal_weight((self.n_out, self.n_out), self.n_out, rng, gain, dtype)
        self.b = zeros(self.n_out, dtype)

    def start(self, batch: int) -> Any:
        """Zeros (batch, n_out)."""
        return np.zeros((whole("batch", batch), self.n_out), self.W.dtype)

    def output(self, state: Array) -> Array:
        """All of it."""
        return state

    def __call__(self, x: Array, state: Array) -> Array:
        """x (B, n_in), h (B, n_out) → h' (B, n_out)."""
        x = shaped("x", x, ("B", self.n_in), self.W.dtype)
        h = shaped("state", state, (len(x), self.n_out), self.W.dtype)
        return rnn_step(x, self.W, self.U, self.b, h)

    def sequence(self, x: Array, state: Array) -> tuple[Array, Array]:
        """x (B, T, n_in), h (B, n_out) → h of every step (B, T, n_out), and the last."""
        x = shaped("x", x, ("B", "T", self.n_in), self.W.dtype)
        h = shaped("state", state, (len(x), self.n_out), self.W.dtype)
        z = rnn(x, self.W, self.U, self.b, h)
        return z, z[:, -1] if x.shape[1] else h

    def __repr__(self) -> str:
        return f"RNNCell({self.n_in} → {self.n_out})"


def unroll(cell: Cell, x: Array, state: Any = None) -> tuple[Array, Any]:
    """A cell over x (B, T, n_in): its outputs (B, T, n_out), and the last state, to go on from.

    state: that of before the first step; the cell's `start` if None.

    >>> h, last = unroll(RNNCell(3, 5, Generator(0)), np.ones((2, 7, 3), np.float32))
    >>> h.shape, last.shape
    ((2, 7, 5), (2, 5))
    """
    x = shaped("x", x, ("B", "T", cell.n_in), None)
    return cell.sequence(x, cell.start(len(x)) if state is None else state)
