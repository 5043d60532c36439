"""The gated recurrent unit (MISSION row A5)."""

from __future__ import annotations

from typing import Any

import numpy as np

from core import Array
from core.checks import shaped, whole
from core.random import Generator
from core.recurrent import gru, gru_step
from reference.layers.initial import normal_weight, zeros


class GRUCell:
    """A cell that decides how much of its state to replace: Cho et al. 2014, section 2.3.

        r, z = sigmoid(x W + h U + b)             reset, update
        n = tanh(x W_n + b_n + r (h U_n + c_n))   the candidate
        h' = (1 − z) n + z h

    W (n_in, 3 n_out), U (n_out, 3 n_out) in the order r, z, n. In the paper r resets h before the
    product with U_n; here the product, as cuDNN and PyTorch do it: one product for all gates.

    >>> cell = GRUCell(3, 5, Generator(0, stream="init"))
    >>> cell, cell(np.ones((2, 3), np.float32), cell.start(2)).shape
    (GRUCell(3 → 5), (2, 5))
    """

    def __init__(
        self, n_in: int, n_out: int, rng: Generator, *, gain: float = 1.0, dtype: Any = np.float32
    ) -> None:
        self.n_in, self.n_out = whole("n_in", n_in, 1), whole("n_out", n_out, 1)
        self.W = normal_weight((self.n_in, 3 * self.n_out), self.n_in, rng, gain, dtype)
        self.U = normal_weight((self.n_out, 3 * self.n_out), self.n_out, rng, gain, dtype)
        self.b = zeros(3 * self.n_out, dtype)
        self.c_n = zeros(self.n_out, dtype)

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
        return gru_step(x, self.W, self.U, self.b, self.c_n, h)

    def sequence(self, x: Array, state: Array) -> tuple[Array, Array]:
        """x (B, T, n_in), h (B, n_out) → h of every step (B, T, n_out), and the last."""
        x = shaped("x", x, ("B", "T", self.n_in), self.W.dtype)
        h = shaped("state", state, (len(x), self.n_out), self.W.dtype)
        z = gru(x, self.W, self.U, self.b, self.c_n, h)
        return z, z[:, -1] if x.shape[1] else h

    def __repr__(self) -> str:
        return f"GRUCell({self.n_in} → {self.n_out})"
