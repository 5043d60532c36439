"""The convolution of sequences turned round: from few places to many (MISSION row A6)."""

from __future__ import annotations

from typing import Any

import numpy as np

from core import Array
from core.checks import shaped, whole
from core.functional import conv_transpose1d
from core.random import Generator
from reference.layers.initial import normal_weight, zeros


class ConvTranspose1d:
    """The adjoint of a Conv1d from n_out to n_in channels, and b: sequences grow by the stride.

    W (n_in, n_out, kernel) from N(0, gain²/fan), fan = n_in·kernel / stride, the mean number of
    weights that an output sums over. Dumoulin & Visin 2016, chapter 4.

    >>> layer = ConvTranspose1d(8, 1, 4, Generator(0, stream="init"), stride=2, padding=1)
    >>> layer, layer(np.ones((2, 8, 7), np.float32)).shape
    (ConvTranspose1d(8 → 1, 4, stride 2), (2, 1, 14))
    """

    output_axis = 1  # of W

    def __init__(
        self,
        n_in: int,
        n_out: int,
        kernel: int,
        rng: Generator,
        *,
        stride: int = 1,
        padding: int = 0,
        gain: float = 1.0,
        dtype: Any = np.float32,
    ) -> None:
        self.n_in, self.n_out = whole("n_in", n_in, 1), whole("n_out", n_out, 1)
        self.kernel, self.stride = whole("kernel", kernel, 1), whole("stride", stride, 1)
        self.padding = whole("padding", padding, 0)
        fan_in = self.n_in * self.kernel / self.stride
        shape = (self.n_in, self.n_out, self.kernel)
        self.W = normal_weight(shape, fan_in, rng, gain, dtype)
        self.b = zeros(self.n_out, dtype)

    def __call__(self, x: Array, size: int | None = None) -> Array:
        """x (B, n_in, T) → (B, n_out, T'); size: T' among those possible, or the least."""
        return self.using(self.W, x, size)

    def weight(self) -> Array:
        """W, as the map uses it."""
        return self.W

    def using(self, W: Array, x: Array, size: int | None = None) -> Array:
        """The map with another W: what a layer around this one has made of `weight()`."""
        x = shaped("x", x, ("B", self.n_in, "T"), self.b.dtype)
        y = conv_transpose1d(x, W, self.stride, self.padding, size=size)
        return y + np.reshape(self.b, (-1, 1))

    def __repr__(self) -> str:
        how = f"{self.kernel}, stride {self.stride}"
        return f"ConvTranspose1d({self.n_in} → {self.n_out}, {how})"
