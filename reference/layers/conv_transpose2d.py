"""The convolution of images turned round: from few pixels to many (MISSION rows L5, G2)."""

from __future__ import annotations

from typing import Any

import numpy as np

from core import Array
from core.checks import pair, shaped, whole
from core.functional import conv_transpose2d
from core.random import Generator
from reference.layers.initial import normal_weight, zeros


class ConvTranspose2d:
    """The adjoint of a Conv2d from n_out to n_in channels, and b: images grow by the stride.

    W (n_in, n_out, h, w) from N(0, gain²/fan), fan = n_in·h·w / (stride of rows · of columns), the
    mean number of weights that a pixel sums over. Dumoulin & Visin 2016, chapter 4.

    >>> layer = ConvTranspose2d(8, 1, 4, Generator(0, stream="init"), stride=2, padding=1)
    >>> layer, layer(np.ones((2, 8, 7, 7), np.float32)).shape
    (ConvTranspose2d(8 → 1, 4×4, stride 2×2), (2, 1, 14, 14))
    """

    output_axis = 1  # of W

    def __init__(
        self,
        n_in: int,
        n_out: int,
        kernel: int | tuple[int, int],
        rng: Generator,
        *,
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        gain: float = 1.0,
        dtype: Any = np.float32,
    ) -> None:
        self.n_in, self.n_out = whole("n_in", n_in, 1), whole("n_out", n_out, 1)
        self.kernel, self.stride = pair("kernel", kernel, 1), pair("stride", stride, 1)
        self.padding = pair("padding", padding, 0)
        fan_in = self.n_in * np.prod(self.kernel) / np.prod(self.stride)
        shape = (self.n_in, self.n_out, *self.kernel)
        self.W = normal_weight(shape, float(fan_in), rng, gain, dtype)
        self.b = zeros(self.n_out, dtype)

    def __call__(self, x: Array, size: tuple[int, int] | None = None) -> Array:
        """x (B, n_in, H, W) → (B, n_out, H', W'); size: (H', W') among those possible, or least."""
        return self.using(self.W, x, size)

    def weight(self) -> Array:
        """W, as the map uses it."""
        return self.W

    def using(self, W: Array, x: Array, size: tuple[int, int] | None = None) -> Array:
        """The map with another W: what a layer around this one has made of `weight()`."""
        x = shaped("x", x, ("B", self.n_in, "H", "W"), self.b.dtype)
        y = conv_transpose2d(x, W, self.stride, self.padding, size=size)
        return y + np.reshape(self.b, (-1, 1, 1))

    def __repr__(self) -> str:
        (h, w), (s, t) = self.kernel, self.stride
        return f"ConvTranspose2d({self.n_in} → {self.n_out}, {h}×{w}, stride {s}×{t})"
