"""One step of a gated memory, from its gates' sums to the new state, as one operation."""

from __future__ import annotations

from typing import Any

import numpy as np

from core import special
from core.checks import shaped
from core.operation import operation
from core.tensor import Array, JointRow, Tensor


@operation(arrays=2)
def lstm_gates(a: Array, c: Array) -> Array:
    """(h', c') of an LSTM, stacked: a (B, 4n), c (B, n) → (2, B, n).

        i, f, o = sigmoid(a_i), sigmoid(a_f), sigmoid(a_o)
        c' = f c + i tanh(a_g)
        h' = o tanh(c')

    with the gates' sums a in the order i, f, g, o (Hochreiter & Schmidhuber 1997; Gers et al. 2000
    for f). Raises InputError for shapes that don't fit.

    >>> h, c = lstm_gates(np.zeros((1, 8)), np.ones((1, 2)))
    >>> c
    array([[0.5, 0.5]])
    """
    shaped("a", a, (*c.shape[:-1], 4 * c.shape[-1]), c.dtype)
    kept: list[Array] = []

    def forward(a: Any, c: Any) -> Any:
        kept[:] = _gates(a)
        i, f, g, o = kept
        new = f * c + i * g
        return np.stack([o * np.tanh(new), new])

    def backward(dz: Array, z: Array, a: Array, c: Array) -> tuple[Array, Array]:
        i, f, g, o = _gates(a) if isinstance(dz, Tensor) else kept
        t = np.tanh(z[1])
        dc = dz[1] + dz[0] * o * (1 - t * t)
        da_i, da_f, da_g = dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g * g)
        da_o = dz[0] * t * o * (1 - o)
        return np.concatenate([da_i, da_f, da_g, da_o], axis=-1), dc * f

    return JointRow("lstm_gates", forward, backward)(a, c)


def _gates(a: Array) -> list[Array]:
    """sigmoid(a_i), sigmoid(a_f), tanh(a_g), sigmoid(a_o)."""
    i, f, g, o = np.split(a, 4, axis=-1)
    return [special.expit(i), special.expit(f), np.tanh(g), special.expit(o)]
