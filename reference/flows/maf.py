"""MAF: an autoregressive model, read as a flow (Papamakarios, Pavlakou & Murray 2017).

Gaussian conditionals, each with a mean and a scale that look at the variables before,

    x_i = u_i exp(α_i) + μ_i,      μ_i, α_i = f_i(x_<i),      u_i ~ N(0, 1)                   Eq. 3

are a bijection between u and x, with a triangular Jacobian:

    u_i = (x_i − μ_i) exp(−α_i),      log |det ∂u/∂x| = −Σ_i α_i                       Eqs. 4 and 5

One Gaussian autoregressive model can't be much; but its u may be modelled by another, in another
order, and so on: a stack of them is as good as the stack is deep. All f_i are one masked network
(MADE's), so a density takes one pass a layer, and a sample takes as many as there are variables.
The batch normalisation between the paper's layers is left out. MISSION row N1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from core import Array, Tensor
from core.checks import float_dtype, whole
from core.checks import sizes as widths
from core.random import Generator
from reference.flows.flow import Flow
from reference.flows.masked_mlp import MaskedMLP


class MaskedAffine:
    """One autoregressive model. forward: u → x, one variable after another; inverse: x → u."""

    def __init__(self, order: Any, hidden: Sequence[int], rng: Generator, dtype: Any) -> None:
        self.network = MaskedMLP(
            len(order), hidden, 2, rng, order=order, last_gain=0.0, dtype=dtype
        )
        self.scale = Tensor(np.ones(len(order), dtype))
        self._order = order

    def forward(self, u: Array) -> tuple[Array, Array]:
        """u (B, D) → x (B, D) and Σ α (B,), Eq. 3: D passes, the i-th of which decides x_i."""
        x = u * 0.0
        for i in self._order:
            mu, alpha = self._mu_and_alpha(x)
            here = np.arange(u.shape[1]) == i
            x = np.where(here, u * np.exp(alpha) + mu, x)
        return x, np.sum(self._mu_and_alpha(x)[1], axis=-1)

    def inverse(self, x: Array) -> tuple[Array, Array]:
        """x (B, D) → u (B, D) and −Σ α (B,), Eqs. 4 and 5: one pass."""
        mu, alpha = self._mu_and_alpha(x)
        return (x - mu) * np.exp(-alpha), -np.sum(alpha, axis=-1)

    def _mu_and_alpha(self, x: Array) -> tuple[Array, Array]:
        """μ and α (B, D), of the variables before each; |α| is bounded by a learned scale."""
        h = self.network(x)  # (B, 2, D)
        return h[:, 0], self.scale * np.tanh(h[:, 1])


class MAF(Flow):
    """Density of x (B, dim), any reals, as `layers` autoregressive models in alternating orders.

    hidden: widths of each masked network.

    >>> model = MAF(2, layers=4, hidden=[8])
    >>> model
    MAF(dim=2, layers=4, hidden=(8,)), 248 parameters
    >>> z = np.ones((1, 2), np.float32)
    >>> x, log_det = model.forward(z)
    >>> bool(np.allclose(model.inverse(x)[0].data, z))
    True
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
        self.models = [MaskedAffine(order, self.hidden, rng, self.dtype) for order in orders]

    @property
    def bijections(self) -> list[Any]:
        """From noise to data."""
        return self.models
