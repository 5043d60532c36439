"""Style as the scale and shift of normalised channels (MISSION row G4)."""

from __future__ import annotations

from typing import Any

import numpy as np

from core import Array
from core.checks import number, shaped, whole
from core.functional import instance_norm
from core.random import Generator
from reference.layers.linear import Linear


class AdaIN:
    """y = (1 + s) x̂ + t, with x̂ each channel at mean 0, variance 1, and (s, t) affine in a style.

    Huang & Belongie 2017, section 5, with scale and shift learned as in Karras et al. 2018, section
    2. n_in: features of the style; n_out: channels. gain: of the affine map.

    >>> layer = AdaIN(16, 8, Generator(0, stream="init"))
    >>> layer, layer(np.ones((2, 8, 4, 4), np.float32), np.ones((2, 16), np.float32)).shape
    (AdaIN(16 → 8), (2, 8, 4, 4))
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        rng: Generator,
        *,
        eps: float = 1e-5,
        gain: float = 1.0,
        dtype: Any = np.float32,
    ) -> None:
        self.n_in, self.n_out = whole("n_in", n_in, 1), whole("n_out", n_out, 1)
        self.eps = number("eps", eps, least=0)
        self.affine = Linear(n_in, 2 * self.n_out, rng, gain=gain, dtype=dtype)

    def __call__(self, x: Array, style: Array) -> Array:
        """x (B, n_out, …) and style (B, n_in) → (B, n_out, …)."""
        dtype = self.affine.b.dtype
        x = shaped("x", x, ("B", self.n_out, "…"), dtype)
        style = shaped("style", style, (len(x), self.n_in), dtype)
        both = np.reshape(self.affine(style), (len(x), 2, self.n_out))
        return instance_norm(x, 1 + both[:, 0], both[:, 1], self.eps)

    def __repr__(self) -> str:
        return f"AdaIN({self.n_in} → {self.n_out})"
