"""What calls of decoding are drawn from, and the faults that every loop over tokens may have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from kernels.calls import Arguments

Dims = Mapping[str, int]
Twin = Callable[..., Any]
FLOATS = ("float32", "float64")


KINDS = 10
"""Of controls: `controls` takes one of 0 … KINDS."""


def controls(rng: np.random.Generator, V: int, kind: int) -> Arguments:
    """None of the controls, one of them, greedy, or all."""
    heat = {"temperature": float(rng.uniform(0.5, 2))}
    k = {"top_k": int(rng.integers(1, V + 2))}
    p, least = {"top_p": float(rng.uniform(0.2, 1))}, {"min_p": float(rng.uniform(0, 0.7))}
    greedy, every = {"temperature": 0.0}, {**heat, **k, **p, **least}
    one_or_all: list[Arguments] = [{}, heat, k, k, p, p, least, greedy, greedy, every, every]
    return one_or_all[kind]


def uniforms(rng: np.random.Generator, dtype: Any, n: int, T: int) -> Any:
    """In [0, 1), (n, T), the rows or the columns contiguous."""
    u: Any = rng.random((n, T), dtype)
    return u if rng.random() < 0.5 else np.asfortranarray(u)


def given(arguments: Arguments) -> Arguments:
    """Those of the arguments that are controls."""
    names = ("temperature", "top_k", "top_p", "min_p")
    return {k: v for k, v in arguments.items() if k in names}


def without_controls(sample: Twin) -> Twin:
    """Forgets what it is asked to keep."""

    def run(**arguments: Any) -> Any:
        return sample(**{k: v for k, v in arguments.items() if k not in given(arguments)})

    return run


def one_for_all(sample: Twin) -> Twin:
    """The first text's uniforms for all."""
    return lambda u, **rest: sample(u=np.tile(u[:1], (len(u), 1)), **rest)


def late(sample: Twin) -> Twin:
    """Each token from the uniform of the one before."""
    return lambda u, **rest: sample(u=np.roll(u, 1, axis=1), **rest)
