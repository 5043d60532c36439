"""The convolution of images (MISSION rows A6, L5, G2)."""

from __future__ import annotations

from typing import Any

import numpy as np

from core import Array
from core.checks import divisor, pair, shaped, whole
from core.functional import conv2d
from core.random import Generator
from reference.layers.initial import normal_weight, zeros
from reference.layers.kernel_mask import checked_mask


class Conv2d:
    """x (B, n_in, H, W) ↦ x ∗ W + b, with W (n_out, n_in / groups, h, w) and b (n_out,).

    W is drawn from N(0, gain²/fan), with fan the mean number of weights that an output sums over.
    kernel, stride, padding, dilation: an int, or one for rows and one for columns.
    mask: the connections there are, bool of W's shape or what broadcasts to it; "A" and "B" are
    PixelCNN's. None: all.

    >>> layer = Conv2d(1, 8, 5, Generator(0, stream="init"), padding=2, mask="A")
    >>> layer, layer(np.ones((2, 1, 7, 7), np.float32)).shape
    (Conv2d(1 → 8, 5×5, masked), (2, 8, 7, 7))
    """

    output_axis = 0  # of W

    def __init__(
        self,
        n_in: int,
        n_out: int,
        kernel: int | tuple[int, int],
        rng: Generator,
        *,
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        mask: Any = None,
        gain: float = 1.0,
        dtype: Any = np.float32,
    ) -> None:
        self.n_in, self.n_out = whole("n_in", n_in, 1), whole("n_out", n_out, 1)
        self.kernel, self.stride = pair("kernel", kernel, 1), pair("stride", stride, 1)
        self.padding, self.dilation = pair("padding", padding, 0), pair("dilation", dilation, 1)
        self.groups = divisor("groups", groups, "n_out", self.n_out)
        divisor("groups", groups, "n_in", self.n_in)
        shape = (self.n_out, self.n_in // self.groups, *self.kernel)
        self._mask = checked_mask(mask, shape)
        fan_in = max(self._mask.sum() / self.n_out, 1)
        self.W = normal_weight(shape, fan_in, rng, gain, dtype)
        self.b = zeros(self.n_out, dtype)

    def __call__(self, x: Array) -> Array:
        """x (B, n_in, H, W) → (B, n_out, H', W')."""
        return self.using(self.weight(), x)

    def weight(self) -> Array:
        """W, with 0 where the mask has no connection."""
        return self.W if self._mask.all() else np.where(self._mask, self.W, 0.0)

    def using(self, W: Array, x: Array) -> Array:
        """The convolution with another W: what a layer around this one has made of `weight()`."""
        x = shaped("x", x, ("B", self.n_in, "H", "W"), self.b.dtype)
        y = conv2d(x, W, self.stride, self.padding, self.dilation, self.groups)
        return y + np.reshape(self.b, (-1, 1, 1))

    def __repr__(self) -> str:
        masked = "" if self._mask.all() else ", masked"
        h, w = self.kernel
        return f"Conv2d({self.n_in} → {self.n_out}, {h}×{w}{masked})"
