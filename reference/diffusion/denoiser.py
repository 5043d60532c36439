"""The network of the small diffusion models: it looks at x_t, and is told the time.

Another takes its place where the data are images (`unet`, `dit`); all that is asked of one is the
call. MISSION row D2.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from core import Array
from core.checks import whole
from core.functional import silu
from core.random import Generator
from reference.layers import Embedding, Linear

FREQUENCIES = 16


class Denoiser:
    """A residual multilayer perceptron that is told the time in every block:

    h ← h + W' silu(W h + U e(t)),    e(t) = (sin ω_i τ, cos ω_i τ)_i,    τ = 1000 t/T,

    with ω_i = 10000^(−i/16), the position embedding of Vaswani et al. 2017, section 3.5. It says
    `size` numbers for each of x_t's dim. A label adds a vector to the first h; that of no label is
    the last of `classes` + 1.

    >>> network = Denoiser(2, 1, hidden=8, blocks=1, rng=Generator(0, stream="init"))
    >>> network(np.ones((5, 2), np.float32), np.array([500.0])).shape
    (5, 2, 1)
    """

    def __init__(
        self,
        dim: int,
        size: int,
        *,
        hidden: int,
        blocks: int,
        rng: Generator,
        classes: int | None = None,
        dtype: Any = np.float32,
    ) -> None:
        whole("hidden", hidden, 1)
        self.dim, self.size = dim, size

        def layer(n_in: int, n_out: int, gain: float = 1.0) -> Linear:
            return Linear(n_in, n_out, rng, gain=gain, dtype=dtype)

        self.first = layer(dim, hidden)
        self.labels = None if classes is None else Embedding(classes + 1, hidden, rng, dtype=dtype)
        self.inner = [layer(hidden, hidden) for _ in range(whole("blocks", blocks))]
        self.time = [layer(2 * FREQUENCIES, hidden) for _ in range(blocks)]
        self.outer = [layer(hidden, hidden, gain=0.5) for _ in range(blocks)]
        self.last = layer(hidden, dim * size, gain=0.0)  # starts as the zero function

    def __call__(self, x_t: Array, tau: Any, y: Any = None) -> Array:
        """x_t (B, dim), tau (B,) or (1,), labels y (B,) if it takes some → (B, dim, size)."""
        angle = np.reshape(tau, (-1, 1)) * 10000.0 ** (-np.arange(FREQUENCIES) / FREQUENCIES)
        e = np.concatenate([np.sin(angle), np.cos(angle)], axis=1).astype(x_t.dtype)  # (B, 2·16)
        h = self.first(x_t)  # (B, hidden)
        h = h if self.labels is None else h + self.labels(y)
        for inner, time, outer in zip(self.inner, self.time, self.outer, strict=True):
            h = h + outer(silu(inner(h) + time(e)))
        return np.reshape(self.last(silu(h)), (len(x_t), self.dim, self.size))
