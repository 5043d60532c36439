"""The affine map."""

from __future__ import annotations

from typing import Any

import numpy as np

from core import Array
from core.checks import shaped, whole
from core.functional import linear
from core.random import Generator
from reference.layers.initial import normal_weight, zeros


class Linear:
    """x ↦ x W + b, with W (n_in, n_out) drawn from N(0, gain²/n_in) and b (n_out,) at 0.

    gain 1 keeps the variance of the signal (LeCun et al. 1998, section 4.6); √2 does so before a
    ReLU (He et al. 2015, Eq. 10); 0 makes the map start at zero.

    >>> layer = Linear(3, 2, Generator(0, stream="init"))
    >>> layer, layer(np.ones((5, 3), np.float32)).shape
    (Linear(3 → 2), (5, 2))
    """

    output_axis = 1  # of W

    def __init__(
        self, n_in: int, n_out: int, rng: Generator, *, gain: float = 1.0, dtype: Any = np.float32
    ) -> None:
        self.n_in, self.n_out = whole("n_in", n_in, 1), whole("n_out", n_out, 1)
        self.W = normal_weight((self.n_in, self.n_out), self.n_in, rng, gain, dtype)
        self.b = zeros(self.n_out, dtype)

    def __call__(self, x: Array) -> Array:
        """x (…, n_in) → (…, n_out)."""
        return self.using(self.W, x)

    def weight(self) -> Array:
        """W, as the map uses it."""
        return self.W

    def using(self, W: Array, x: Array) -> Array:
        """x W + b with another W: what a layer around this one has made of `weight()`."""
        return linear(shaped("x", x, ("…", self.n_in), self.W.dtype), W, self.b)

    def __repr__(self) -> str:
        return f"Linear({self.n_in} → {self.n_out})"
