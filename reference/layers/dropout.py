"""Noise that removes features at random."""

from __future__ import annotations

from core import Array
from core.checks import number, shaped
from core.functional import dropout
from core.random import Generator, checked_generator


class Dropout:
    """x with every entry 0 with probability `rate`, the others divided by 1 − rate.

    Srivastava et al. 2014, section 10. Without an rng, x itself.

    >>> import numpy as np
    >>> layer, x = Dropout(0.5), np.ones((2, 4), np.float32)
    >>> layer(x, Generator(0, stream="dropout"))
    array([[0., 0., 0., 2.],
           [2., 2., 0., 0.]], dtype=float32)
    """

    def __init__(self, rate: float) -> None:
        self.rate = number("rate", rate, least=0, below=1)

    def __call__(self, x: Array, rng: Generator | None = None) -> Array:
        """x of any shape → the same shape; rng: the source of the noise, None for none."""
        source = None if rng is None else checked_generator(rng)
        return dropout(shaped("x", x, ("…",), None), self.rate, source)

    def __repr__(self) -> str:
        return f"Dropout({self.rate:g})"
