"""Drawn arrays whose memory lies in any way that a caller's may."""

from __future__ import annotations

from typing import Any

import numpy as np


def laid(rng: np.random.Generator, x: Any) -> Any:
    """The same values: in order, axes permuted in memory, or every other entry of more.

    Large arrays, which are timed, lie in order.
    """
    how = rng.integers(3) if x.ndim > 0 and x.size < 3000 else 0
    if how == 1:
        axes = rng.permutation(x.ndim)
        return np.ascontiguousarray(x.transpose(axes)).transpose(np.argsort(axes))
    if how == 2:
        return np.repeat(x, 2, axis=-1)[..., ::2]
    return x


def normal(rng: np.random.Generator, dtype: str, *shape: int, scale: float = 1.0) -> Any:
    """Normal numbers, laid in any way."""
    return laid(rng, (scale * rng.normal(size=shape)).astype(dtype))
