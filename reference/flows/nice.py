"""NICE: additive couplings, that move no volume (Dinh, Krueger & Bengio 2014).

    y = b⊙x + (1 − b)⊙(x + m(b⊙x)),      det ∂y/∂x = 1                                 Section 3.2

The first of the flows: each half of x in turn is shifted by a function of the other, of any form.
What a shift can't do, to stretch, is left to one scale for each coordinate, next to the data:

    x = h ⊙ exp(s),      log |det ∂x/∂h| = Σ_i s_i                                     Section 3.3

The paper counts from data to noise, so its S_ii is exp(−s_i). RealNVP made s a function, too.
MISSION row N1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from core import Array, Tensor
from core.checks import float_dtype, whole
from core.checks import sizes as widths
from core.random import Generator
from reference.flows.flow import Bijection, Flow
from reference.flows.real_nvp import perceptron
from reference.flows.squeeze import nothing


class AdditiveCoupling:
    """y = x where b = 1, elsewhere x + m(b⊙x); m: any function of rows (B, D)."""

    def __init__(self, b: Any, m: Callable[[Array], Array]) -> None:
        self.b, self.m = b, m

    def forward(self, x: Array) -> tuple[Array, Array]:
        """x (B, D) → y (B, D) and 0 (B,)."""
        return x + (1.0 - self.b) * self.m(self.b * x), nothing(x)

    def inverse(self, y: Array) -> tuple[Array, Array]:
        """y (B, D) → x (B, D) and 0 (B,)."""
        return y - (1.0 - self.b) * self.m(self.b * y), nothing(y)


class Scale:
    """x = h ⊙ exp(s), with one s for each of `dim` coordinates."""

    def __init__(self, dim: int, dtype: Any) -> None:
        self.s = Tensor(np.zeros(dim, dtype))

    def forward(self, h: Array) -> tuple[Array, Array]:
        """h (B, D) → x (B, D) and Σ s (B,)."""
        return h * np.exp(self.s), np.sum(self.s) + nothing(h)

    def inverse(self, x: Array) -> tuple[Array, Array]:
        """x (B, D) → h (B, D) and −Σ s (B,)."""
        return x * np.exp(-self.s), nothing(x) - np.sum(self.s)


class NICE(Flow):
    """Density of x (B, dim), any reals, as `layers` additive couplings and a scale.

    hidden: widths of the ReLU network of each coupling. The noise is normal.

    >>> model = NICE(2, layers=4, hidden=[8])
    >>> model
    NICE(dim=2, layers=4, hidden=(8,)), 170 parameters
    >>> z = np.ones((1, 2), np.float32)
    >>> bool(np.allclose(model.inverse(model.forward(z)[0])[0].data, z))
    True
    """

    def __init__(
        self,
        dim: int,
        *,
        layers: int = 8,
        hidden: Sequence[int] = (64, 64),
        seed: int = 0,
        dtype: Any = np.float32,
    ) -> None:
        self.dim, self.dtype = whole("dim", dim, 2), float_dtype(dtype)
        self.layers, self.hidden = whole("layers", layers, 1), widths("hidden", hidden)
        rng = Generator(seed, stream="init")
        sides = [np.arange(dim) % 2 == k % 2 for k in range(layers)]
        self.couplings = [
            AdditiveCoupling(b.astype(dtype), perceptron(dim, self.hidden, dim, rng, self.dtype))
            for b in sides
        ]
        self.scale = Scale(dim, self.dtype)

    @property
    def bijections(self) -> list[Bijection]:
        """From noise to data."""
        return [*self.couplings, self.scale]
