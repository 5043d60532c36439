"""Models under test, and what the laws ask of them.

A model is taken at its row's tiny size, in float64, with random (not initial) parameters.
"""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from core import no_grad, value
from core.learners import loss_of, objectives
from core.samples import Padded
from core.state import parameters
from reference import Model

__all__ = ["loss_of", "objectives"]


@dataclass(frozen=True)
class Subject:
    """A model under test, with the row of the table it belongs to."""

    row: Model
    model: Any

    @property
    def discrete(self) -> bool:
        """Whether the whole domain can be enumerated."""
        return self.row.domain in ("binary", "integer", "text")

    @property
    def levels(self) -> int:
        """Number of values of each variable, where the domain can be enumerated."""
        return int(self.row.tiny.get("levels", 2))

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a sample."""
        return shape_of(self.row)

    @property
    def dim(self) -> int:
        """Number of variables."""
        return math.prod(self.shape)


def make(row: Model, seed: int = 0) -> Subject:
    """The row's model at tiny size, in float64, away from its initial parameters."""
    model = build(row, seed)
    if row.training == "gradient":
        rng = np.random.default_rng(seed)
        for p in parameters(model).values():
            p[...] = p.data + 0.4 * rng.normal(size=p.shape)
        return Subject(row, model)
    x, y = examples(row, 300, seed)
    if row.training == "counts":
        model.fit(x, y)
    else:
        for _ in range(3):
            model.em_step(x)
    return Subject(row, model)


def build(row: Model, seed: int = 0) -> Any:
    """A new model of the row's tiny configuration."""
    cls = row.load()
    accepted = inspect.signature(cls).parameters
    extra = {"dtype": np.float64, "seed": seed}
    return cls(**row.tiny, **{k: v for k, v in extra.items() if k in accepted})


def shape_of(row: Model) -> tuple[int, ...]:
    """Of a sample of the row's tiny model: (dim,), or the `shape` that it is made for."""
    return tuple(row.tiny.get("shape") or (row.tiny["dim"],))


def in_shape(model: Any, x: np.ndarray) -> np.ndarray:
    """Flat rows (n, D) as the model takes them."""
    return x.reshape(len(x), *getattr(model, "shape", (model.dim,)))


def flat(x: np.ndarray) -> np.ndarray:
    """Samples (n, …) as rows (n, D)."""
    return x.reshape(len(x), -1)


def examples(row: Model, n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """n points of the row's domain, with dependent coordinates, and labels that go with them."""
    rng = np.random.default_rng(seed)
    shape, classes = shape_of(row), int(row.tiny.get("classes", 2))
    y = rng.integers(0, classes, n)
    centre = rng.normal(size=(classes, *shape))[y]
    x = centre + 0.5 * rng.normal(size=(n, *shape))
    if row.domain in ("integer", "text"):
        levels = int(row.tiny["levels"])
        x = np.clip(np.floor(x + levels / 2), 0, levels - 1)
        y = things(row, y, seed) if row.kind == "encoder-decoder" else y
        return ended(x, row.tiny["end"]) if row.domain == "text" else x, y
    return ((x > 0).astype(np.float64) if row.domain == "binary" else np.clip(x, -2.9, 2.9)), y


def things(row: Model, labels: np.ndarray, seed: int = 0) -> Any:
    """What is given to a row of text under a condition, in what its tiny model takes."""
    rng = np.random.default_rng(seed + 1)
    if "picture" in row.tiny:
        y = rng.normal(size=(len(labels), *row.tiny["picture"]))
        return (y + labels[:, None, None, None]).astype(np.float32)
    symbols = int(row.tiny["symbols"])
    return Padded.of([rng.integers(0, symbols, 1 + k + rng.integers(3)) for k in labels])


def ended(x: np.ndarray, end: int) -> np.ndarray:
    """Rows of tokens, filled up with the end where one has come before."""
    return np.where(np.cumsum(x == end, axis=1) > 0, end, x)


def randomise(model: Any, seed: int, scale: float = 1.0) -> Any:
    """The model with normal parameters, none of them 0."""
    rng = np.random.default_rng(seed)
    for p in parameters(model).values():
        p[...] = scale * rng.normal(size=p.shape)
    return model


def all_states(dim: int, levels: int = 2) -> np.ndarray:
    """{0, …, levels − 1}^dim, row by row: (levels^dim, dim) float64."""
    return np.array(list(itertools.product(np.arange(float(levels)), repeat=dim)))


def bits(n: int, dim: int, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).random((n, dim)) < 0.5).astype(np.float64)


def points(model: Any, n: int, seed: int = 0) -> np.ndarray:
    """n rows (n, D) of what the model is of, independent in every coordinate."""
    rng, shape = np.random.default_rng(seed), (n, model.dim)
    if is_discrete(model):
        return rng.integers(0, getattr(model, "levels", 2), shape).astype(np.float64)
    return rng.normal(size=shape)


def is_discrete(model: Any) -> bool:
    """Whether a chain's conditionals are of whole numbers, as bits' are."""
    return not hasattr(model, "head") or hasattr(model.head, "levels")


def grid(low: float, high: float, n: int) -> tuple[np.ndarray, float]:
    """Midpoints of an n × n grid over [low, high]² and the area of a cell."""
    step = (high - low) / n
    axis = low + step * (np.arange(n) + 0.5)
    return np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2), step * step


def log_prob(model: Any, x: np.ndarray, *y: Any) -> np.ndarray:
    """The model's log p(x), or log p(x | y), as an array, without a graph."""
    with no_grad():
        return np.asarray(value(model.log_prob(x, *y)))


def reconstruct(model: Any, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """What the model makes of x again, told the labels if it takes any."""
    takes = "y" in inspect.signature(model.reconstruct).parameters
    return evaluate(lambda x: model.reconstruct(x, **({"y": y} if takes else {})), x)


def evaluate(f: Callable[[Any], Any], x: np.ndarray) -> np.ndarray:
    with no_grad():
        return np.asarray(value(f(x)))
