"""What attention keeps of a sequence while it grows (MISSION row A7)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from core import Array


class Cache(NamedTuple):
    """Keys and values of what came before, (B, heads, T, D) each: a value, never written to.

    >>> import numpy as np
    >>> one = Cache(np.zeros((1, 2, 1, 4)), np.zeros((1, 2, 1, 4)))
    >>> one.extended(one).length
    2
    """

    k: Array
    v: Array

    @property
    def length(self) -> int:
        """T."""
        return int(self.k.shape[2])

    def extended(self, later: Cache) -> Cache:
        """These, and then later ones."""
        k, v = (np.concatenate(pair, axis=2) for pair in zip(self, later, strict=True))
        return Cache(k, v)
