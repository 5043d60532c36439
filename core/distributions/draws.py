"""What can draw: the protocol of all distributions, and the random numbers behind a draw."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np

from core.errors import InputError
from core.random import Generator
from core.tensor import Array

Shape = int | tuple[int, ...]


@runtime_checkable
class Distribution(Protocol):
    """What every distribution can do."""

    batch_shape: tuple[int, ...]
    event_shape: tuple[int, ...]

    def log_prob(self, x: Array) -> Array:
        """Log-probability or log-density in nats."""

    def sample(self, shape: Shape, rng: Generator | int) -> Any:
        """Independent draws, without gradient."""


def draw(kind: str, d: Distribution, shape: Shape, rng: Generator | int, dtype: Any) -> Any:
    """Uniforms or normals, (*shape, *batch_shape, *event_shape)."""
    lead = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
    numbers = getattr(generator(rng), kind)
    return numbers((*lead, *d.batch_shape, *d.event_shape), dtype=dtype or np.float32)


def generator(rng: Generator | int) -> Generator:
    """The generator, or the one that a seed names."""
    return rng if isinstance(rng, Generator) else Generator(rng, "sample")


def reparametrised(d: Any) -> Any:
    """d; InputError if its draws have no derivative."""
    if not hasattr(d, "rsample"):
        raise InputError(f"{type(d).__name__} has no reparametrised sample; use sample")
    return d
