"""Positions as rotations (MISSION row A7)."""

from __future__ import annotations

from typing import Any

import numpy as np

from core import Array
from core.checks import number, shaped, whole, whole_even
from core.errors import InputError
from reference.layers.positions import angles


class Rotary:
    """Turns the pair (x_2i, x_2i+1) at position t by the angle t·ω_i, ω_i = base^(−2i/n).

    Of a query at t and a key at s the product is then a function of t − s (Su et al. 2021, section
    3.2). Nothing to learn.

    >>> turn, q, k = Rotary(2), np.array([[1.0, 2.0]]), np.array([[3.0, 1.0]])
    >>> near, far = (turn(q, start=t) @ turn(k, start=t - 5).T for t in (5, 105))
    >>> bool(np.allclose(near, far))
    True
    """

    def __init__(self, n: int, *, base: float = 10000.0) -> None:
        self.n, self.base = whole_even("n", n), number("base", base, above=1)

    def __call__(self, x: Array, start: int = 0) -> Array:
        """x (…, T, n), the elements of positions start, start + 1, … → (…, T, n)."""
        T = shaped("x", x, ("…", "T", self.n), None).shape[-2]
        turn = angles(whole("start", start) + np.arange(T), self.n, self.base)  # (T, n/2)
        cos, sin = np.cos(turn).astype(x.dtype), np.sin(turn).astype(x.dtype)
        a, b = x[..., 0::2], x[..., 1::2]  # (…, T, n/2)
        turned = np.stack([a * cos - b * sin, a * sin + b * cos], axis=-1)
        return np.reshape(turned, x.shape)

    def __repr__(self) -> str:
        return f"Rotary({self.n})"


def fitting(rotary: Any, n: int) -> Any:
    """A Rotary for n features, or None; InputError for anything else."""
    if rotary is not None and (not isinstance(rotary, Rotary) or rotary.n != n):
        raise InputError(f"rotary must be a Rotary({n}), for one head, or None, got {rotary!r}")
    return rotary
