"""Squeezing: pixels become channels (Dinh, Sohl-Dickstein & Bengio 2016, section 3.6).

An image is cut into blocks of 2 × 2 pixels, and each block becomes one pixel with four times the
channels. Nothing is computed, so the determinant is 1; but half of the channels is now a quarter of
the resolution, and what comes next sees twice as far. MISSION row N1.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from core import Array


class Squeeze:
    """From noise to data pixels are laid out again, (B, 4C, H, W) → (B, C, 2H, 2W).

    >>> x = np.arange(4.0).reshape(1, 1, 2, 2)
    >>> Squeeze().inverse(x)[0][0, :, 0, 0].tolist()  # one block, row by row
    [0.0, 1.0, 2.0, 3.0]
    """

    def forward(self, x: Array) -> tuple[Array, Array]:
        """x (B, 4C, H, W) → y (B, C, 2H, 2W) and 0 (B,)."""
        B, C, H, W = x.shape
        blocks = np.reshape(x, (B, C // 4, 2, 2, H, W))
        y = np.transpose(blocks, (0, 1, 4, 2, 5, 3))  # (B, C/4, H, 2, W, 2)
        return np.reshape(y, (B, C // 4, 2 * H, 2 * W)), nothing(x)

    def inverse(self, y: Array) -> tuple[Array, Array]:
        """y (B, C, 2H, 2W) → x (B, 4C, H, W) and 0 (B,)."""
        B, C, H, W = y.shape
        blocks = np.reshape(y, (B, C, H // 2, 2, W // 2, 2))
        x = np.transpose(blocks, (0, 1, 3, 5, 2, 4))  # (B, C, 2, 2, H/2, W/2)
        return np.reshape(x, (B, 4 * C, H // 2, W // 2)), nothing(y)


def nothing(x: Array) -> Any:
    """The log-determinant of what moves no volume: 0 for each of x (B, …)."""
    return np.zeros(len(x), x.dtype)
