"""How a network is told the time of a diffusion (MISSION row D4)."""

from __future__ import annotations

from typing import Any

import numpy as np

from core import Array
from core.checks import whole, whole_even
from core.errors import InputError
from core.functional import silu
from core.random import Generator
from reference.layers.mlp import MLP
from reference.layers.positions import sinusoidal


class TimeEmbedding:
    """t ↦ U silu(W e(t) + b) + c, with e the n_in waves of `sinusoidal`: Ho et al. 2020, app. B.

    The longest wave is 2π·10⁴ long: a time that runs from 0 to 1 should be scaled to 1000.

    >>> TimeEmbedding(32, 64, Generator(0, stream="init"))(np.array([1, 500, 1000])).shape
    (3, 64)
    """

    def __init__(
        self, n_in: int, n_out: int, rng: Generator, *, gain: float = 1.0, dtype: Any = np.float32
    ) -> None:
        self.n_in, self.n_out = whole_even("n_in", n_in), whole("n_out", n_out, 1)
        sizes, how = (self.n_in, self.n_out, self.n_out), {"gain": gain, "last_gain": gain}
        self.network = MLP(sizes, rng, activation=silu, dtype=dtype, **how)

    def __call__(self, t: Any) -> Array:
        """Times t (…), finite numbers → (…, n_out)."""
        t = np.asarray(t)
        if t.dtype.kind not in "iuf" or not np.isfinite(t).all():
            raise InputError(f"t must hold finite numbers, got {t.dtype} {t.ravel()[:3].tolist()}")
        return self.network(sinusoidal(t, self.n_in).astype(self.network.layers[0].W.dtype))

    def __repr__(self) -> str:
        return f"TimeEmbedding({self.n_in} → {self.n_out})"
