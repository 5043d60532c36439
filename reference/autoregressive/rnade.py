"""RNADE: NADE for real numbers (Uria, Murray & Larochelle 2013).

The hidden layer of `nade`, shared by all conditionals and computed by the same recursion,

    a_1 = c,      a_{d+1} = a_d + W_{·,d} x_d,      h_d = max(0, ρ_d a_d)

(ρ_d is learned: sums of more terms are larger), and for each variable as many outputs as its
conditional has parameters, in place of one logit:

    θ_d = b_d + V_d h_d,      p(x_d | x_<d) = Σ_k π_k N(x_d; μ_k, σ_k²)

a mixture of Gaussians, or of logistics. With one Gaussian of a constant σ the likeliest weights are
those of least squares. MISSION rows A2, A8.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from core import Array, Tensor, value
from core.checks import float_dtype, number, one_of, ordering, real, whole
from core.errors import InputError
from core.functional import relu
from core.model import Described, draws
from core.random import Generator, uniform
from reference.autoregressive.heads import Gaussians, LeastSquares, Logistics

MIXTURES = {"gaussian": Gaussians, "logistic": Logistics}


class RNADE(Described):
    """Distribution of real x (B, dim) with `hidden` units and `components` in each conditional.

    kind: of the components, "gaussian" or "logistic". std: a constant width of one Gaussian, for
    least squares; None: widths are learned. order: the variables from first to last.

    >>> model = RNADE(2, hidden=8, components=3)
    >>> model
    RNADE(dim=2, hidden=8, components=3, kind='gaussian', std=None), 188 parameters
    >>> model.log_prob(np.array([[0.5, -1.0]])).shape, model.sample(2, seed=1).shape
    ((1,), (2, 2))
    """

    def __init__(
        self,
        dim: int,
        *,
        hidden: int = 100,
        components: int = 10,
        kind: str = "gaussian",
        std: float | None = None,
        order: Sequence[int] | None = None,
        seed: int = 0,
        dtype: Any = np.float32,
    ) -> None:
        self.dim, self.hidden = whole("dim", dim, 1), whole("hidden", hidden, 1)
        self.components = whole("components", components, 1)
        self.kind = one_of("kind", kind, MIXTURES)
        self.std = None if std is None else number("std", std, above=0)
        self.dtype, self.order = float_dtype(dtype), ordering("order", order, dim)  # (D,)
        self.head = self._made_head()
        P, rng = self.head.size, Generator(seed, stream="init")
        self.W = Tensor(rng.normal((dim, hidden), dtype=dtype) / math.sqrt(dim))
        self.V = Tensor(rng.normal((dim, hidden, P), dtype=dtype) / math.sqrt(hidden))
        self.b = Tensor(rng.normal((dim, P), dtype=dtype))  # components begin apart
        self.c = Tensor(np.zeros(hidden, dtype))
        self.rho = Tensor(np.ones(dim, dtype))

    def _made_head(self) -> Any:
        if self.std is None:
            return MIXTURES[self.kind](self.components)
        if self.kind != "gaussian" or self.components != 1:
            raise InputError(
                "std must be None but for one Gaussian, "
                f"got {self.std} for {self.components} of kind {self.kind}"
            )
        return LeastSquares(self.std)

    def conditionals(self, x: Array) -> Array:
        """Parameters θ of every p(x_d | x_<d), (B, dim, P), of x (B, dim); see `head`."""
        x = real(x, self.dim, self.dtype)[:, self.order]
        first = np.ones_like(value(x[:, :1]))  # whose weights are c
        x = np.concatenate([first, x[:, :-1]], axis=1)  # (B, D)
        W = np.concatenate([self.c[None, :], self.W[:-1]])  # (D, H)
        a = np.cumsum(x[:, :, None] * W, axis=1)  # (B, D, H)
        h = np.swapaxes(relu(self.rho[:, None] * a), 0, 1)  # (D, B, H)
        theta = np.swapaxes(h @ self.V, 0, 1) + self.b  # (B, D, P)
        return theta[:, np.argsort(self.order)]

    def log_prob(self, x: Array) -> Array:
        """log p(x) in nats, (B,), of x (B, dim)."""
        x = real(x, self.dim, self.dtype)
        return np.sum(self.head.log_prob(x, self.conditionals(x)), axis=-1)

    @draws
    def sample(self, n: int, *, seed: int = 0) -> Any:
        """n draws (n, dim), one variable after another."""
        u = uniform(seed, (n, self.dim, self.head.uniforms), dtype=self.dtype)
        W, V, b, c, rho = (value(p) for p in (self.W, self.V, self.b, self.c, self.rho))
        x, a = np.zeros((n, self.dim), self.dtype), np.tile(c, (n, 1))  # (n, H)
        for d, i in enumerate(self.order):
            theta = relu(rho[d] * a) @ V[d] + b[d]  # (n, P)
            x[:, i] = self.head.draw(theta, u[:, i])
            a += x[:, i : i + 1] * W[d]
        return x
