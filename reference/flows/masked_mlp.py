"""A multilayer perceptron whose outputs for variable i see only the variables before i."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from core import Array, Tensor
from core.checks import number, ordering, whole
from core.checks import sizes as widths
from core.functional import linear, relu
from core.random import Generator


class MaskedMLP:
    """x (B, n) → (B, outputs, n): entry (·, ·, i) depends on the x_j that come before x_i alone.

    hidden: widths of the layers between. order: the variables from first to last; 0, 1, …, n − 1 if
    not given. A unit of degree m sees the first m variables; degrees are dealt out evenly, so with
    at least n − 1 units no path is lost. Germain et al. 2015, Eqs. 12 and 13. MISSION rows A3, N1.

    last_gain: of the final layer; 0 starts the network at the zero function.

    >>> net = MaskedMLP(3, [8], 2, Generator(0, stream="init"))
    >>> net(np.ones((1, 3), np.float32)).shape
    (1, 2, 3)
    """

    def __init__(
        self,
        n: int,
        hidden: Sequence[int],
        outputs: int,
        rng: Generator,
        *,
        order: Sequence[int] | None = None,
        activation: Callable[[Array], Array] = relu,
        last_gain: float = 1.0,
        dtype: Any = np.float32,
    ) -> None:
        self.n, self.outputs = whole("n", n, 1), whole("outputs", outputs, 1)
        sizes, self.activation = (n, *widths("hidden", hidden)), activation
        self._order = ordering("order", order, n)
        gains = [math.sqrt(2 / m) for m in sizes[:-1]]
        gains.append(number("last_gain", last_gain, least=0) / math.sqrt(sizes[-1]))
        shapes = [*pairwise(sizes), (sizes[-1], outputs * n)]
        self.W = [
            Tensor(rng.normal(shape, dtype=dtype) * gain)
            for shape, gain in zip(shapes, gains, strict=True)
        ]
        self.b = [Tensor(np.zeros(shape[1], dtype)) for shape in shapes]
        for b in self.b[:-1][:1]:  # spread the first ReLUs' kinks: else they all meet at x = 0
            b[...] = 4 * rng.uniform(b.shape, dtype=dtype) - 2
        self._masks = [mask.astype(dtype) for mask in self._paths(sizes)]

    def _paths(self, sizes: tuple[int, ...]) -> list[Any]:
        """M of each W, (inputs, outputs): 1 where the unit above may see the one below."""
        place = 1 + np.argsort(self._order)  # of every variable, (n,)
        degrees = [place, *(1 + np.arange(m) % max(self.n - 1, 1) for m in sizes[1:])]
        inner = [above >= below[:, None] for below, above in pairwise(degrees)]
        return [*inner, np.tile(place > degrees[-1][:, None], self.outputs)]

    def __call__(self, x: Array) -> Array:
        """x (B, n) → (B, outputs, n)."""
        *inner, (V, M_V, c) = zip(self.W, self._masks, self.b, strict=True)
        for W, M, b in inner:
            x = self.activation(linear(x, W * M, b))
        return np.reshape(linear(x, V * M_V, c), (len(x), self.outputs, self.n))
