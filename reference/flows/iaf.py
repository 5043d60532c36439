"""IAF: the autoregressive flow turned round (Kingma, Salimans, Jozefowicz et al. 2016).

MAF's conditionals look at the data that came before; here they look at the noise,

    x_i = u_i exp(α_i) + μ_i,      μ_i, α_i = f_i(u_<i),

so all of x comes in one pass, and it is the density of a given x that takes as many as there are
variables. Where only one's own samples are asked how likely they are, as in a VAE's encoder, that
costs nothing. It is MAF with the two directions exchanged: read `maf` first. MISSION row N1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from core import Array
from core.checks import float_dtype, whole
from core.checks import sizes as widths
from core.random import Generator
from reference.flows.flow import Flow
from reference.flows.maf import MaskedAffine


class Inverted:
    """A bijection, the other way round."""

    def __init__(self, bijection: MaskedAffine) -> None:
        self.bijection = bijection

    def forward(self, x: Array) -> tuple[Array, Array]:
        """What the other's inverse is."""
        return self.bijection.inverse(x)

    def inverse(self, y: Array) -> tuple[Array, Array]:
        """What the other's forward is."""
        return self.bijection.forward(y)


class IAF(Flow):
    """Density of x (B, dim), any reals, as `layers` inverse autoregressive maps.

    hidden: widths of each masked network.

    >>> model = IAF(2, layers=2, hidden=[8])
    >>> model.sample(3, seed=0).shape, model.log_prob(np.zeros((1, 2))).shape
    ((3, 2), (1,))
    """

    def __init__(
        self,
        dim: int,
        *,
        layers: int = 8,
        hidden: Sequence[int] = (64, 64),
        seed: int = 0,
        dtype: Any = np.float32,
    ) -> None:
        self.dim, self.dtype = whole("dim", dim, 1), float_dtype(dtype)
        self.layers, self.hidden = whole("layers", layers, 1), widths("hidden", hidden)
        rng = Generator(seed, stream="init")
        orders = [np.arange(dim)[:: 1 if k % 2 == 0 else -1] for k in range(layers)]
        self.maps = [Inverted(MaskedAffine(o, self.hidden, rng, self.dtype)) for o in orders]

    @property
    def bijections(self) -> list[Inverted]:
        """From noise to data."""
        return self.maps
