"""A small classifier of digits: its labels and its features are what judges look at.

Its features are the outputs of the last hidden layer, before the activation: there, a distance
says more than among pixels. `trained` keeps one for 8 × 8 and one for 28 × 28 digits. MISSION rows
G2, G3, L6.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from core import Array, no_grad, value
from core.checks import float_dtype, images, labels, some, whole
from core.functional import cross_entropy, relu
from core.model import Described
from core.random import Generator
from reference.layers import Conv2d, Linear


class DigitClassifier(Described):
    """p(y | x) of square images x (B, 1, side, side) in [−1, 1] and one of ten digits y.

    Two convolutions, each of half the side and twice the channels, then `features` numbers.

    >>> model = DigitClassifier(8, features=16)
    >>> model, model.predict(np.zeros((3, 1, 8, 8), np.float32)).shape
    (DigitClassifier(side=8, features=16), 15,482 parameters, (3,))
    """

    classes = 10

    def __init__(
        self, side: int, *, features: int = 32, seed: int = 0, dtype: Any = np.float32
    ) -> None:
        self.side, self.features = whole("side", side, 4), whole("features", features, 1)
        self.dtype, rng = float_dtype(dtype), Generator(seed, stream="init")
        how: dict[str, Any] = {"stride": 2, "padding": 2, "gain": math.sqrt(2), "dtype": dtype}
        self.conv = [Conv2d(1, 16, 5, rng, **how), Conv2d(16, 32, 5, rng, **how)]
        n = 32 * ((side + 3) // 4) ** 2  # two strides of 2 leave a quarter of the side
        self.hidden = Linear(n, features, rng, dtype=dtype)
        self.out = Linear(features, self.classes, rng, dtype=dtype)

    def embed(self, x: Array) -> Array:
        """The features (B, features) of x (B, 1, side, side)."""
        h = images(x, (1, self.side, self.side), self.dtype)
        for layer in self.conv:
            h = relu(layer(h))
        return self.hidden(np.reshape(h, (len(h), -1)))

    def logits(self, x: Array) -> Array:
        """log p(y | x) but for a constant, (B, 10)."""
        return self.out(relu(self.embed(x)))

    def loss(self, x: Any, y: Any = None, rng: Generator | None = None) -> Array:
        """−mean log p(y | x)."""
        return np.mean(cross_entropy(self.logits(some(x)), labels(y, len(x), self.classes)))

    def predict(self, x: Array) -> Any:
        """The most probable digit of each x (B, 1, side, side), (B,) int64."""
        return _in_parts(self.logits, x).argmax(axis=1)

    def features_of(self, x: Array) -> Any:
        """`embed`, of any number of images and without a graph."""
        return _in_parts(self.embed, x)


def _in_parts(f: Callable[[Array], Array], x: Array) -> Any:
    """f of a thousand rows at a time, as arrays."""
    with no_grad():
        parts = [np.asarray(value(f(x[i : i + 1000]))) for i in range(0, max(len(x), 1), 1000)]
    return np.concatenate(parts)
