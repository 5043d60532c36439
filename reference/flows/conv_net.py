"""The network inside of a coupling of images (Kingma & Dhariwal 2018, section 3.3 and B)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from core import Array
from core.functional import relu
from core.random import Generator
from reference.layers import Conv2d


class ConvNet:
    """(B, n_in, H, W) → (B, n_out, H, W): convolutions of 3 × 3, 1 × 1 and 3 × 3, `width` between.

    The last starts at zero, so that every coupling starts as the identity.
    """

    def __init__(
        self, n_in: int, n_out: int, width: int, rng: Generator, *, dtype: Any = np.float32
    ) -> None:
        how: Any = {"gain": math.sqrt(2), "dtype": dtype}
        self.enter = Conv2d(n_in, width, 3, rng, padding=1, **how)
        self.mix = Conv2d(width, width, 1, rng, **how)
        self.leave = Conv2d(width, n_out, 3, rng, padding=1, gain=0.0, dtype=dtype)

    def __call__(self, x: Array) -> Array:
        """x (B, n_in, H, W) → (B, n_out, H, W)."""
        return self.leave(relu(self.mix(relu(self.enter(x)))))
