"""One block of a decoder that is told something (MISSION row A7, C)."""

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


class DecoderBlock:
    """x ↦ x + attention(norm(x)), x ↦ x + attention(norm(x), u), then x ↦ x + MLP(norm(x)).

    The second attention is over a context u (B, K, n_context), what an encoder makes of what is
    given: Vaswani et al. 2017, section 3.1, with the norms where TransformerBlock has them. Gains
    and width are as there.

    >>> block = DecoderBlock(16, 8, 4, Generator(0, stream="init"))
    >>> from reference.operations.masks import causal
    >>> x, u = np.ones((2, 5, 16), np.float32), np.ones((2, 3, 8), np.float32)
    >>> y, cache = block.step(x, None, block.memory(u))
    >>> block, bool(np.allclose(y.data, block(x, u, causal()).data, atol=1e-6)), cache.length
    (DecoderBlock(16 of 8, 4 heads), True, 5)
    """

    def __init__(
        self,
        n: int,
        n_context: int,
        heads: int,
        rng: Generator,
        *,
        width: int = 4,
        gain: float = 1.0,
        last_gain: float = 1.0,
        dtype: Any = np.float32,
    ) -> None:
        self.n, self.width = whole("n", n, 1), whole("width", width, 1)
        self.n_context = whole("n_context", n_context, 1)
        how: dict[str, Any] = {"gain": gain, "last_gain": last_gain, "dtype": dtype}
        self.norm_1, self.norm_2 = LayerNorm(self.n, dtype=dtype), LayerNorm(self.n, dtype=dtype)
        self.norm_3 = LayerNorm(self.n, dtype=dtype)
        self.attention = Attention(self.n, self.n, heads, rng, **how)
        self.cross = Attention(self.n, self.n, heads, rng, n_context=self.n_context, **how)
        self.mlp = MLP((self.n, self.width * self.n, self.n), rng, activation=gelu, **how)

    def __call__(
        self,
        x: Array,
        context: Array,
        mask: Mask | Any = None,
        context_mask: Mask | Any = None,
    ) -> Array:
        """x (B, T, n) and context (B, K, n_context) → (B, T, n).

        mask: which elements of x each one sees; context_mask: which of the context. None: all.
        """
        x = x + self.attention(self.norm_1(x), mask)
        return self._told(x, self.memory(context), context_mask)

    def memory(self, context: Array) -> Cache:
        """The keys and values of a context (B, K, n_context), which stay while x grows."""
        return self.cross.memory(context)

    def step(
        self, x: Array, cache: Cache | None, memory: Cache, context_mask: Mask | Any = None
    ) -> tuple[Array, Cache]:
        """The next elements x (B, Q, n), as `Attention.step`; → (B, Q, n), and the longer cache."""
        h, cache = self.attention.step(self.norm_1(x), cache)
        return self._told(x + h, memory, context_mask), cache

    def _told(self, x: Array, memory: Cache, context_mask: Mask | Any) -> Array:
        x = x + self.cross.attend(self.norm_2(x), memory, context_mask)
        return x + self.mlp(self.norm_3(x))

    def __repr__(self) -> str:
        return f"DecoderBlock({self.n} of {self.n_context}, {self.attention.heads} heads)"
