"""What a denoiser is told besides x_t: the time, and perhaps a label. MISSION rows D4, D7."""

from __future__ import annotations

from typing import Any

import numpy as np

from core import Array
from core.checks import whole
from core.random import Generator
from reference.layers import Embedding, TimeEmbedding


class Condition:
    """c = time(τ) + row y of a table; its last row, y = classes, stands for no label.

    n: features of c. classes: None if there are no labels.

    >>> told = Condition(8, 3, Generator(0, stream="init"))
    >>> told(np.array([500.0]), np.array([0, 3])).shape
    (2, 8)
    """

    def __init__(
        self, n: int, classes: int | None, rng: Generator, dtype: Any = np.float32
    ) -> None:
        self.time = TimeEmbedding(2 * whole("n", n, 1), n, rng, dtype=dtype)
        self.labels = None if classes is None else Embedding(classes + 1, n, rng, dtype=dtype)

    def __call__(self, tau: Any, y: Any) -> Array:
        """τ (B,) or (1,), y (B,) or None where there are no labels → (B or 1, n)."""
        c = self.time(tau)
        return c if self.labels is None else c + self.labels(y)
