"""A flow of spline couplings (Durkan, Bekasov, Murray & Papamakarios 2019).

A coupling leaves half of the coordinates as they are and changes the others one by one. RealNVP
changes them by a scale and a shift; here each goes through a monotone spline of its own, whose
knots and slopes are a function of the half that passed: the map of one coordinate can then have as
many bends as there are bins, and a few couplings do what took RealNVP many. MISSION row N1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from core import Array, Tensor
from core.checks import float_dtype, number, whole
from core.checks import sizes as widths
from core.functional import relu
from core.random import Generator
from reference.flows.flow import Flow
from reference.flows.rational_quadratic import Spline, spline
from reference.layers import MLP


class SplineCoupling:
    """y = x where `passed`; elsewhere a spline of x whose parameters are a function of the rest."""

    def __init__(
        self,
        passed: Any,
        hidden: Sequence[int],
        bins: int,
        bound: float,
        rng: Generator,
        dtype: Any,
    ) -> None:
        self.passed, self.bins, self.bound = passed, bins, bound
        self._first, self._second = np.flatnonzero(passed), np.flatnonzero(~passed)
        self._back = np.argsort(np.concatenate([self._first, self._second]))
        sizes = (len(self._first), *hidden, (len(passed) - len(self._first)) * (3 * bins - 1))
        self.network = MLP(sizes, rng, activation=relu, last_gain=0.0, dtype=dtype)
        self.scale = Tensor(np.ones(3 * bins - 1, dtype))
        first = self.network.layers[0].b  # kinks spread over the data, as in RealNVP
        first[...] = 4 * rng.uniform(first.shape, dtype=dtype) - 2

    def forward(self, x: Array) -> tuple[Array, Array]:
        """x (B, D) → y (B, D) and log |det ∂y/∂x| (B,)."""
        kept, changed = x[:, self._first], x[:, self._second]
        changed, log_slope = self._spline(kept).forward(changed)
        return self._joined(kept, changed), np.sum(log_slope, axis=-1)

    def inverse(self, y: Array) -> tuple[Array, Array]:
        """y (B, D) → x (B, D) and log |det ∂x/∂y| (B,)."""
        kept, changed = y[:, self._first], y[:, self._second]
        changed, log_slope = self._spline(kept).inverse(changed)
        return self._joined(kept, changed), np.sum(log_slope, axis=-1)

    def _spline(self, kept: Array) -> Spline:
        """Parameters within a learned scale, as RealNVP's s: no bin all but vanishes."""
        shape = (len(kept), len(self._second), 3 * self.bins - 1)
        h = np.reshape(self.network(kept), shape)
        return spline(self.scale * np.tanh(h), self.bound)

    def _joined(self, kept: Array, changed: Array) -> Array:
        return np.concatenate([kept, changed], axis=1)[:, self._back]


class SplineFlow(Flow):
    """Density of x (B, dim), any reals, as `layers` spline couplings from a standard normal.

    bins: of each spline. bound: beyond ±bound the splines are the identity; data should lie within.
    hidden: widths of the network of each coupling.

    >>> model = SplineFlow(2, layers=2, bins=4, hidden=[8])
    >>> round(model.log_prob(np.zeros((1, 2))).item(), 4)  # a new flow is the identity: −ln 2π
    -1.8379
    """

    def __init__(
        self,
        dim: int,
        *,
        layers: int = 6,
        bins: int = 8,
        bound: float = 5.0,
        hidden: Sequence[int] = (64, 64),
        seed: int = 0,
        dtype: Any = np.float32,
    ) -> None:
        self.dim, self.dtype = whole("dim", dim, 2), float_dtype(dtype)
        self.layers, self.bins = whole("layers", layers, 1), whole("bins", bins, 2, 500)
        self.bound, self.hidden = number("bound", bound, above=0), widths("hidden", hidden)
        rng = Generator(seed, stream="init")
        sides = [np.arange(dim) % 2 == k % 2 for k in range(layers)]
        how = (self.hidden, self.bins, self.bound, rng, self.dtype)
        self.couplings = [SplineCoupling(passed, *how) for passed in sides]

    @property
    def bijections(self) -> list[SplineCoupling]:
        """From noise to data."""
        return self.couplings
