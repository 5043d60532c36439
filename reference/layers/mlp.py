"""The multilayer perceptron: affine maps with an activation between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from core import Array
from core.checks import number
from core.checks import sizes as checked_sizes
from core.errors import InputError
from core.random import Generator
from reference.layers.linear import Linear


class MLP:
    """Linear layers with an activation between them: sizes (n_in, hidden, …, n_out).

    last_gain: the gain of the final layer; 0 starts the network at the zero function.

    >>> MLP((784, 500, 10), Generator(0, stream="init"))
    MLP(784 → 500 → 10, tanh)
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
        if len(sizes := checked_sizes("sizes", sizes)) < 2:
            raise InputError(f"sizes must be at least an input's and an output's, got {sizes}")
        if not callable(activation):
            raise InputError(f"activation must be a function, got {activation!r}")
        gains = [("gain", gain)] * (len(sizes) - 2) + [("last_gain", last_gain)]
        self.layers: list[Any] = [
            Linear(n, m, rng, gain=number(*g, least=0), dtype=dtype)
            for (n, m), g in zip(pairwise(sizes), gains, strict=True)
        ]
        self.activation, self._sizes = activation, sizes

    def __call__(self, x: Array) -> Array:
        """x (…, n_in) → (…, n_out)."""
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return self.layers[-1](x)

    def __repr__(self) -> str:
        widths = self._sizes
        name = getattr(self.activation, "__name__", repr(self.activation))
        return f"MLP({' → '.join(map(str, widths))}, {name})"
