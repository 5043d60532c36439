"""A table of vectors, looked up by number."""

from __future__ import annotations

from typing import Any

import numpy as np

from core import Array
from core.checks import whole
from core.functional import embedding
from core.random import Generator
from reference.layers.initial import normal_weight


class Embedding:
    """i ↦ row i of W (n_in, n_out), which is drawn from N(0, gain²): labels, tokens, codes.

    >>> Embedding(10, 4, Generator(0, stream="init"))(np.array([[3, 1, 3]])).shape
    (1, 3, 4)
    """

    def __init__(
        self, n_in: int, n_out: int, rng: Generator, *, gain: float = 1.0, dtype: Any = np.float32
    ) -> None:
        self.n_in, self.n_out = whole("n_in", n_in, 1), whole("n_out", n_out, 1)
        self.W = normal_weight((self.n_in, self.n_out), 1, rng, gain, dtype)

    def __call__(self, ids: Any) -> Array:
        """Integers (…) in 0 … n_in − 1 → (…, n_out). Raises InputError for others."""
        return embedding(ids, self.W)

    def __repr__(self) -> str:
        return f"Embedding({self.n_in} → {self.n_out})"
