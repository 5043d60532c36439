"""Multi-head attention (MISSION row A7).

    y = concat(head_1, …, head_H) W_o,    head_i = attention(x W_q,i, u W_k,i, u W_v,i)

with u = x, or another sequence (cross-attention). In the masks of `reference.operations.masks`
queries and keys end together: `causal()` is right for a whole sequence and for its last elements.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from core import Array
from core.checks import divisor, number, shaped, whole
from core.random import Generator
from reference.layers.cache import Cache, checked_cache
from reference.layers.linear import Linear
from reference.layers.rotary import Rotary, fitting
from reference.operations.attention import masked_attention
from reference.operations.masks import Mask, as_mask, causal


class Attention:
    """Vaswani et al. 2017, section 3.2.2, with `heads` heads of D = n_out / heads features.

    key_heads: how many heads keys and values have, each for heads / key_heads of the queries'
    (Ainslie et al. 2023); heads if None. n_context: features of what is attended to, if not n_in.
    rotary: how queries and keys are turned by their positions, if at all. last_gain: of W_o. The
    `mask` of a call says which keys a query sees; None: all.

    >>> attention = Attention(16, 16, 4, Generator(0, stream="init"), key_heads=2)
    >>> x, cache = np.ones((1, 5, 16), np.float32), None
    >>> for t in range(5):
    ...     y, cache = attention.step(x[:, t : t + 1], cache)
    >>> attention, bool(np.allclose(y.data, attention(x, causal())[:, -1:].data, atol=1e-6))
    (Attention(16 → 16, 4 heads, 2 of keys), True)
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        heads: int,
        rng: Generator,
        *,
        key_heads: int | None = None,
        n_context: int | None = None,
        rotary: Rotary | None = None,
        gain: float = 1.0,
        last_gain: float = 1.0,
        dtype: Any = np.float32,
    ) -> None:
        self.n_in, self.n_out = whole("n_in", n_in, 1), whole("n_out", n_out, 1)
        self.heads = divisor("heads", heads, "n_out", self.n_out)
        key_heads = heads if key_heads is None else key_heads
        self.key_heads = divisor("key_heads", key_heads, "heads", self.heads)
        self.n_context = whole("n_context", n_in if n_context is None else n_context, 1)
        self.D, how = self.n_out // self.heads, dict[str, Any](gain=gain, dtype=dtype)
        self.rotary = fitting(rotary, self.D)
        self.q = Linear(n_in, n_out, rng, **how)
        self.k = Linear(self.n_context, self.key_heads * self.D, rng, **how)
        self.v = Linear(self.n_context, self.key_heads * self.D, rng, **how)
        how["gain"] = number("last_gain", last_gain, least=0)
        self.o = Linear(n_out, n_out, rng, **how)

    def __call__(self, x: Array, mask: Mask | Any = None, context: Array | None = None) -> Array:
        """x (B, Q, n_in) over itself, or over a context (B, K, n_context) → (B, Q, n_out)."""
        return self.attend(x, self.memory(x if context is None else context), mask)

    def step(self, x: Array, cache: Cache | None, mask: Any = None) -> tuple[Array, Cache]:
        """The next elements x (B, Q, n_in), over those in the cache (None: none) and themselves,
        but none later; → (B, Q, n_out), and the longer cache."""
        cache = checked_cache(cache)
        later = self.memory(x, cache.length if cache else 0)
        cache = cache.extended(later) if cache else later
        return self.attend(x, cache, causal() & as_mask(mask)), cache

    def memory(self, context: Array, start: int = 0) -> Cache:
        """Keys and values of a context (B, K, n_context) whose first position is `start`."""
        shaped("context", context, ("B", "K", self.n_context), self.k.W.dtype)
        k, v = (self._split(a(context), self.key_heads) for a in (self.k, self.v))
        return Cache(self.rotary(k, start) if self.rotary else k, v)

    def attend(self, x: Array, cache: Cache, mask: Mask | Any = None) -> Array:
        """x (B, Q, n_in) over keys and values (B, key_heads, K, D) → (B, Q, n_out)."""
        B, Q, _ = shaped("x", x, ("B", "Q", self.n_in), self.q.W.dtype).shape
        q = self._split(self.q(x), self.heads)  # (B, heads, Q, D)
        if self.rotary:
            q = self.rotary(q, cache.length - Q)  # both end at the same position
        h = masked_attention(q, *cache, mask)  # (B, heads, Q, D)
        return self.o(np.reshape(np.swapaxes(h, 1, 2), (B, Q, self.n_out)))

    def _split(self, a: Array, heads: int) -> Array:
        return np.swapaxes(np.reshape(a, (*a.shape[:2], heads, self.D)), 1, 2)  # (B, heads, T, D)

    def __repr__(self) -> str:
        keys = "" if self.key_heads == self.heads else f", {self.key_heads} of keys"
        return f"Attention({self.n_in} → {self.n_out}, {self.heads} heads{keys})"
