"""The convolution of sequences that doesn't look ahead (MISSION row A6)."""

from __future__ import annotations

from typing import Any

import numpy as np

from core import Array
from core.checks import shaped
from core.functional import causal_conv1d
from core.random import Generator
from reference.layers.conv1d import Conv1d


class CausalConv1d(Conv1d):
    """The convolution whose output at t sees x at t, t − dilation, t − 2·dilation, …, and no other.

    Zeros stand before the beginning, and the length stays (van den Oord et al. 2016, WaveNet,
    section 2.1).

    >>> CausalConv1d(2, 8, 2, Generator(0, stream="init"), dilation=4)
    CausalConv1d(2 → 8, 2, dilation 4)
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        kernel: int,
        rng: Generator,
        *,
        dilation: int = 1,
        groups: int = 1,
        gain: float = 1.0,
        dtype: Any = np.float32,
    ) -> None:
        how: dict[str, Any] = {"dilation": dilation, "groups": groups, "gain": gain}
        super().__init__(n_in, n_out, kernel, rng, dtype=dtype, **how)

    def using(self, W: Array, x: Array) -> Array:
        """x (B, n_in, T) → (B, n_out, T), with another W."""
        x = shaped("x", x, ("B", self.n_in, "T"), self.b.dtype)
        return causal_conv1d(x, W, self.dilation, self.groups) + np.reshape(self.b, (-1, 1))

    def __repr__(self) -> str:
        how = f"{self.kernel}, dilation {self.dilation}"
        return f"CausalConv1d({self.n_in} → {self.n_out}, {how})"
