"""The convolution of sequences (MISSION row A6)."""

from __future__ import annotations

from typing import Any

import numpy as np

from core import Array
from core.checks import divisor, shaped, whole
from core.functional import conv1d
from core.random import Generator
from reference.layers.initial import normal_weight, zeros
from reference.layers.kernel_mask import checked_mask


class Conv1d:
    """x (B, n_in, T) ↦ x ∗ W + b, with W (n_out, n_in / groups, kernel) and b (n_out,).

    W is drawn from N(0, gain²/fan), with fan the mean number of weights that an output sums over.
    mask: as in Conv2d; "A" sees what is before the kernel's centre, "B" the centre as well.

    >>> layer = Conv1d(2, 8, 3, Generator(0, stream="init"), padding=1)
    >>> layer, layer(np.ones((4, 2, 9), np.float32)).shape
    (Conv1d(2 → 8, 3), (4, 8, 9))
    """

    output_axis = 0  # of W

    def __init__(
        self,
        n_in: int,
        n_out: int,
        kernel: int,
        rng: Generator,
        *,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
        mask: Any = None,
        gain: float = 1.0,
        dtype: Any = np.float32,
    ) -> None:
        self.n_in, self.n_out = whole("n_in", n_in, 1), whole("n_out", n_out, 1)
        self.kernel, self.stride = whole("kernel", kernel, 1), whole("stride", stride, 1)
        self.padding, self.dilation = whole("padding", padding), whole("dilation", dilation, 1)
        self.groups = divisor("groups", groups, "n_out", self.n_out)
        divisor("groups", groups, "n_in", self.n_in)
        shape = (self.n_out, self.n_in // self.groups, self.kernel)
        self._mask = checked_mask(mask, shape)
        fan_in = max(self._mask.sum() / self.n_out, 1)
        self.W = normal_weight(shape, fan_in, rng, gain, dtype)
        self.b = zeros(self.n_out, dtype)

    def __call__(self, x: Array) -> Array:
        """x (B, n_in, T) → (B, n_out, T')."""
        return self.using(self.weight(), x)

    def weight(self) -> Array:
        """W, with 0 where the mask has no connection."""
        return self.W if self._mask.all() else np.where(self._mask, self.W, 0.0)

    def using(self, W: Array, x: Array) -> Array:
        """The convolution with another W: what a layer around this one has made of `weight()`."""
        x = shaped("x", x, ("B", self.n_in, "T"), self.b.dtype)
        y = conv1d(x, W, self.stride, self.padding, self.dilation, self.groups)
        return y + np.reshape(self.b, (-1, 1))

    def __repr__(self) -> str:
        masked = "" if self._mask.all() else ", masked"
        return f"Conv1d({self.n_in} → {self.n_out}, {self.kernel}{masked})"
