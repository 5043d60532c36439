"""How a layer that sees a set learns where each element stands (MISSION row A7).

Attention gives the same answer for its keys in any order. The position enters by an addition, of a
learned vector or of waves of many lengths, or by turning queries and keys, so that their product
depends on the distance between them alone. start: the position of the first element.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from core import Array
from core.checks import number, shaped, whole, whole_even
from core.random import Generator
from reference.layers.initial import normal_weight


def angles(positions: Any, n: int, base: float = 10000.0) -> Any:
    """p · base^(−2i/n), float64 (…, n/2), of positions p (…); i = 0, …, n/2 − 1."""
    return np.asarray(positions)[..., None] * base ** (-np.arange(0, n, 2) / n)


def sinusoidal(positions: Any, n: int, base: float = 10000.0) -> Any:
    """sin and cos of `angles` in turn, float64 (…, n): Vaswani et al. 2017, section 3.5.

    >>> sinusoidal([0, 1], 4).round(2)
    array([[0.  , 1.  , 0.  , 1.  ],
           [0.84, 0.54, 0.01, 1.  ]])
    """
    a = angles(positions, n, base)
    return np.stack([np.sin(a), np.cos(a)], axis=-1).reshape(*a.shape[:-1], n)


class LearnedPositions:
    """x_t ↦ x_t + W_t, with W (length, n) drawn from N(0, gain²).

    >>> LearnedPositions(128, 16, Generator(0, stream="init"))
    LearnedPositions(128 × 16)
    """

    def __init__(
        self, length: int, n: int, rng: Generator, *, gain: float = 0.02, dtype: Any = np.float32
    ) -> None:
        self.length, self.n = whole("length", length, 1), whole("n", n, 1)
        self.W = normal_weight((self.length, self.n), 1, rng, gain, dtype)

    def __call__(self, x: Array, start: int = 0) -> Array:
        """x (…, T, n) → (…, T, n); start + T ≤ length."""
        T = shaped("x", x, ("…", "T", self.n), self.W.dtype).shape[-2]
        whole("start + T", whole("start", start) + T, 0, self.length)
        return x + self.W[start : start + T]

    def __repr__(self) -> str:
        return f"LearnedPositions({self.length} × {self.n})"


class SinusoidalPositions:
    """x_t ↦ x_t + (sin ω_i t, cos ω_i t)_i, ω_i = base^(−2i/n): nothing to learn, no last position.

    >>> SinusoidalPositions(4)(np.zeros((1, 4), np.float32), start=0)
    array([[0., 1., 0., 1.]], dtype=float32)
    """

    def __init__(self, n: int, *, base: float = 10000.0) -> None:
        self.n, self.base = whole_even("n", n), number("base", base, above=1)

    def __call__(self, x: Array, start: int = 0) -> Array:
        """x (…, T, n) → (…, T, n)."""
        T = shaped("x", x, ("…", "T", self.n), None).shape[-2]
        p = whole("start", start) + np.arange(T)
        return x + sinusoidal(p, self.n, self.base).astype(x.dtype)

    def __repr__(self) -> str:
        return f"SinusoidalPositions({self.n})"
