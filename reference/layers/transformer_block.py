"""One block of a transformer (MISSION row A7)."""

from __future__ import annotations

from typing import Any

import numpy as np

from core import Array
from core.checks import whole
from core.functional import gelu
from core.random import Generator
from reference.layers.attention import Attention
from reference.layers.cache import Cache
from reference.layers.mlp import MLP
from reference.layers.norm import LayerNorm
from reference.operations.masks import Mask


class TransformerBlock:
    """x ↦ x + attention(norm(x)), then x ↦ x + MLP(norm(x)).

        MLP(x) = gelu(x W_1 + b_1) W_2 + b_2,     W_1 (n, width · n)

    Vaswani et al. 2017, section 3, with the norms where GPT-2 has them (Radford et al. 2019). gain:
    of all weights but the two matrices that end in a sum with x, whose gain is last_gain.

    >>> block = TransformerBlock(16, 4, Generator(0, stream="init"))
    >>> from reference.operations.masks import causal
    >>> x = np.ones((2, 5, 16), np.float32)
    >>> y, cache = block.step(x, None)
    >>> block, bool(np.allclose(y.data, block(x, causal()).data, atol=1e-6)), cache.length
    (TransformerBlock(16, 4 heads), True, 5)
    """

    def __init__(
        self,
        n: int,
        heads: int,
        rng: Generator,
        *,
        width: int = 4,
        gain: float = 1.0,
        last_gain: float = 1.0,
        dtype: Any = np.float32,
    ) -> None:
        self.n, self.width = whole("n", n, 1), whole("width", width, 1)
        how: dict[str, Any] = {"gain": gain, "last_gain": last_gain, "dtype": dtype}
        self.norm_1, self.norm_2 = LayerNorm(self.n, dtype=dtype), LayerNorm(self.n, dtype=dtype)
        self.attention = Attention(self.n, self.n, heads, rng, **how)
        self.mlp = MLP((self.n, self.width * self.n, self.n), rng, activation=gelu, **how)

    def __call__(self, x: Array, mask: Mask | Any = None) -> Array:
        """x (B, T, n) → (B, T, n); mask: which elements each one sees, None: all."""
        return self._transformed(x + self.attention(self.norm_1(x), mask))

    def step(self, x: Array, cache: Cache | None, mask: Any = None) -> tuple[Array, Cache]:
        """The next elements x (B, Q, n), as `Attention.step`; → (B, Q, n), and the longer cache."""
        h, cache = self.attention.step(self.norm_1(x), cache, mask)
        return self._transformed(x + h), cache

    def _transformed(self, x: Array) -> Array:
        return x + self.mlp(self.norm_2(x))

    def __repr__(self) -> str:
        return f"TransformerBlock({self.n}, {self.attention.heads} heads)"
