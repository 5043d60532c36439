"""RealNVP: an invertible network made of affine couplings (Dinh, Sohl-Dickstein & Bengio 2016).

A standard normal z is turned into x = g(z), step by step, each step invertible in closed form with
a triangular Jacobian. With f = g⁻¹ the change of variables gives the density exactly:

    log p(x) = log N(f(x); 0, I) + log |det ∂f/∂x|                                            Eq. 3

A coupling leaves the coordinates with b = 1 as they are, and scales and shifts the others by any
function of those: it needs no inverse of s and t. The mask alternates from layer to layer.

The paper composes f, from data to noise, of couplings as in its Eq. 9, and samples by their
inverse, Eq. 8. Here g, from noise to data, is composed of Eq. 9, and f of Eq. 8: the same family,
for a coupling's inverse is a coupling too, with −s and −t⊙exp(−s) for s and t. MISSION row N1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from core import Array, Tensor
from core.checks import float_dtype, whole
from core.checks import sizes as widths
from core.functional import relu
from core.random import Generator
from reference.flows.flow import Flow
from reference.layers import MLP


class Coupling:
    """Affine coupling: y = b⊙x + (1 − b)⊙(x⊙exp(s(b⊙x)) + t(b⊙x)), Eq. 9.

    b (D,), of images (C, H, W): 1 where the input passes unchanged, 0 where it is changed. network:
    from what passes to s and t, one after the other along axis 1.
    """

    def __init__(self, b: Any, network: Callable[[Array], Array]) -> None:
        self.b = b
        self.scale = Tensor(np.ones((len(b), *(1,) * (b.ndim - 1)), b.dtype))
        self.network = network
        self._within = tuple(range(1, b.ndim + 1))

    def forward(self, x: Array) -> tuple[Array, Array]:
        """x (B, D) → y (B, D) and log |det ∂y/∂x| (B,), Eqs. 9 and 6."""
        s, t = self._s_and_t(self.b * x)
        return x * np.exp(s) + t, np.sum(s, axis=self._within)

    def inverse(self, y: Array) -> tuple[Array, Array]:
        """y (B, D) → x (B, D) and log |det ∂x/∂y| (B,), Eq. 8."""
        s, t = self._s_and_t(self.b * y)  # y = x where b = 1, so s and t are the same as forward
        return (y - t) * np.exp(-s), -np.sum(s, axis=self._within)

    def _s_and_t(self, passed: Array) -> tuple[Array, Array]:
        """Log-scale s and shift t (B, D), 0 where b = 1; |s| is bounded by a learned scale."""
        s, t = np.split(self.network(passed), 2, axis=1)
        changed = 1.0 - self.b
        return changed * (self.scale * np.tanh(s)), changed * t


def perceptron(dim: int, hidden: Sequence[int], outputs: int, rng: Generator, dtype: Any) -> MLP:
    """The ReLU network of a coupling of vectors; it starts as the zero function."""
    gain = math.sqrt(2)
    network = MLP(
        (dim, *hidden, outputs), rng, activation=relu, gain=gain, last_gain=0.0, dtype=dtype
    )
    # Spread the kinks of the first ReLUs over the data: with biases 0 they all meet at x = 0.
    first = network.layers[0].b
    first[...] = 4 * rng.uniform(first.shape, dtype=dtype) - 2
    return network


class RealNVP(Flow):
    """Density of x (B, dim), any reals, as a chain of `layers` couplings from a standard normal.

    hidden: widths of the ReLU network that gives each coupling its s and t. The paper's batch
    normalisation between the layers is left out.

    Raises InputError for dim < 2, where a coupling has nothing to condition on.

    >>> model = RealNVP(2, layers=4, hidden=[8])
    >>> model
    RealNVP(dim=2, layers=4, hidden=(8,)), 248 parameters
    >>> model.log_prob(np.zeros((1, 2)))  # a new flow is the identity: −ln 2π
    Tensor([-1.837877], dtype=float32)
    >>> z = np.ones((1, 2), np.float32)
    >>> x, log_det = model.forward(z)
    >>> bool(np.allclose(model.inverse(x)[0].data, z))
    True
    """

    def __init__(
        self,
        dim: int,
        *,
        layers: int = 12,
        hidden: Sequence[int] = (64, 64),
        seed: int = 0,
        dtype: Any = np.float32,
    ) -> None:
        self.dim, self.dtype = whole("dim", dim, 2), float_dtype(dtype)
        self.layers, self.hidden = whole("layers", layers, 1), widths("hidden", hidden)
        rng = Generator(seed, stream="init")
        sides = [np.arange(dim) % 2 == k % 2 for k in range(layers)]
        self.couplings = [
            Coupling(b.astype(dtype), perceptron(dim, self.hidden, 2 * dim, rng, self.dtype))
            for b in sides
        ]

    @property
    def bijections(self) -> list[Coupling]:
        """From noise to data."""
        return self.couplings
