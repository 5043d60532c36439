"""The two building blocks that several models share: an affine map and a stack of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from core import Array, Tensor
from core.functional import linear
from core.random import Generator


class Linear:
    """x ↦ x W + b, with W (n_in, n_out) drawn from N(0, gain²/n_in) and b (n_out,) at 0.

    gain 1 keeps the variance of the signal (LeCun et al. 1998, section 4.6); √2 does so before a
    ReLU (He et al. 2015, Eq. 10); 0 makes the map start at zero.
    """

    def __init__(
        self, n_in: int, n_out: int, rng: Generator, *, gain: float = 1.0, dtype: Any = np.float32
    ) -> None:
        self.W = Tensor(rng.normal((n_in, n_out), dtype=dtype) * (gain / math.sqrt(n_in)))
        self.b = Tensor(np.zeros(n_out, dtype))

    def __call__(self, x: Array) -> Array:
        """x (…, n_in) → (…, n_out)."""
        return linear(x, self.W, self.b)


class MLP:
    """Linear layers with an activation between them: sizes (n_in, hidden, …, n_out).

    last_gain: the gain of the final layer; 0 starts the network at the zero function.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        rng: Generator,
        *,
        activation: Callable[[Array], Array] = np.tanh,
        gain: float = 1.0,
        last_gain: float = 1.0,
        dtype: Any = np.float32,
    ) -> None:
        pairs = list(pairwise(sizes))
        gains = [gain] * (len(pairs) - 1) + [last_gain]
        self.layers = [
            Linear(n, m, rng, gain=g, dtype=dtype) for (n, m), g in zip(pairs, gains, strict=True)
        ]
        self.activation = activation

    def __call__(self, x: Array) -> Array:
        """x (…, n_in) → (…, n_out)."""
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return self.layers[-1](x)
