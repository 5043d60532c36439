"""What autoregressive models of images share: the order of pixels, and their classes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from core import Array
from core.checks import labels
from core.errors import InputError
from core.functional import sigmoid
from core.random import uniform


def raster(shape: tuple[int, int, int]) -> Any:
    """The variables of an image (C, H, W), read flat, from first to last: (C·H·W,).

    Row by row, in each from left to right, in each pixel its colours.

    >>> raster((2, 1, 3)).tolist()
    [0, 3, 1, 4, 2, 5]
    """
    return np.moveaxis(np.arange(math.prod(shape)).reshape(shape), 0, -1).ravel()


def scaled(x: Any, levels: int, dtype: Any) -> Any:
    """Whole numbers in 0 … levels − 1 as numbers in [−1, 1]."""
    return (x * (2 / (levels - 1)) - 1).astype(dtype)


def by_pixel(maps: Array, colours: int) -> Array:
    """Maps (B, P·C, H, W), of which map k is of colour k mod C, as parameters (B, C, H, W, P)."""
    B, n, H, W = maps.shape
    return np.moveaxis(np.reshape(maps, (B, n // colours, colours, H, W)), 1, -1)


def gate(a: Array) -> Array:
    """tanh(a_1) ⊙ σ(a_2), of the halves of a (B, 2p, …) (van den Oord et al. 2016b, Eq. 2)."""
    p = a.shape[1] // 2
    return np.tanh(a[:, :p]) * sigmoid(a[:, p:])


def checked_classes(y: Any, n: int, classes: int | None) -> Any:
    """y as labels (n,), of a model that has classes; None of one that has not."""
    return None if classes is None else labels(y, n, classes)


def drawn_classes(y: Any, n: int, classes: int | None, seed: int) -> Any:
    """Labels (n,) of n samples: those asked for, one for all, or drawn, each as likely.

    None of a model that has no classes: InputError if one is asked for.
    """
    if classes is None:
        if y is not None:
            raise InputError(f"y must be left out: the model has no classes, got {y!r}")
        return None
    if y is None:
        u = uniform(seed, (n,), stream="latent", dtype=np.float64)
        return (u * classes).astype(np.int64)
    return labels(y if np.ndim(y) else np.full(n, y), n, classes)
