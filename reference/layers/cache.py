"""What attention keeps of a sequence while it grows (MISSION row A7)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from core import Array
from core.errors import InputError


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


def checked_cache(cache: Any) -> Cache | None:
    """A Cache, or None for nothing yet; InputError for anything else."""
    if cache is not None and not isinstance(cache, Cache):
        raise InputError(f"cache must be a Cache or None, got {type(cache).__name__}")
    return cache
