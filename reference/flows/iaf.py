"""IAF: the autoregressive flow turned round (Kingma, Salimans, Jozefowicz et al. 2016).

MAF's conditionals look at the data that came before; here they look at the noise,

    x_i = u_i exp(α_i) + μ_i,      μ_i, α_i = f_i(u_<i),

so all of x comes in one pass, and it is the density of a given x that takes as many as there are
variables. Where only one's own samples are asked how likely they are, as in a VAE's encoder, that
costs nothing. It is MAF with the two directions exchanged: read `maf` first. MISSION row N1.
"""

from __future__ import annotations

from typing import Any

from core import Array
from reference.flows.maf import MAF, MaskedAffine


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


class IAF(MAF):
    """Density of x (B, dim), any reals, as `layers` inverse autoregressive maps.

    Arguments as of `MAF`.

    >>> import numpy as np
    >>> model = IAF(2, layers=2, hidden=[8])
    >>> model.sample(3, seed=0).shape, model.log_prob(np.zeros((1, 2))).shape
    ((3, 2), (1,))
    """

    @property
    def bijections(self) -> list[Any]:
        """From noise to data: MAF's, each turned round."""
        return [Inverted(model) for model in self.models]
