"""Sums as text, "27+5=32": a language small enough that its distribution is known.

Both summands are uniform on 0 … 99, and the sum follows: p = 10⁻⁴ for each right line, 0 for any
other string, an entropy of ln 10⁴ = 9.2103 nats. A model that can't add has a higher loss.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

from core import random
from core.checks import tokens, whole
from core.data.dataset import Dataset, Split, encode
from core.tensor import Array

DOC = 'sums of two numbers below 100, as text: "27+5=32"'
VOCABULARY = tuple(sorted("\n+0123456789="))
END = VOCABULARY.index("\n")
LINES = 100 * 100


@cache
def _all() -> Any:
    """Every line there is, (10 000, 10)."""
    lines = [f"{a}+{b}={a + b}\n" for a in range(100) for b in range(100)]
    width = max(map(len, lines))
    return encode("".join(line.ljust(width, "\n") for line in lines), VOCABULARY).reshape(-1, width)


def sums(*, n: int = 20_000, seed: int = 0) -> Dataset:
    """n training lines, 1 000 for validation and 2 000 for test; more lines prolong the sequence.

    >>> data = sums(n=3)
    >>> print(data.decode(data.train.x))
    11+16=27
    16+7=23
    38+81=119
    """
    parts = (whole("n", n, 1), 1_000, 2_000)
    train, validation, test = (_draw(seed, size, part) for part, size in enumerate(parts))
    about: Any = {"vocabulary": VOCABULARY, "end": END, "doc": DOC}
    known: Any = {"log_density": log_density, "entropy": math.log(LINES)}
    return Dataset("sums", train, validation, test, "text", **about, **known)


def log_density(x: Array) -> Array:
    """log p(x), float64 (B,), of rows of ids x (B, 10): −ln 10⁴ or, of no right sum, −∞."""
    x = tokens(x, len(VOCABULARY))
    places = len(VOCABULARY) ** np.arange(x.shape[1])
    right = np.isin(x @ places, _all() @ places) if x.shape[1] == _all().shape[1] else False
    return np.where(right, -math.log(LINES), np.full(len(x), -np.inf))


def _draw(seed: int, n: int, part: int) -> Split:
    """Part p is step p of the stream "data": no two parts share noise."""
    lines = random.integers(seed, 0, LINES, (n,), step=part, stream="data")
    return Split(_all()[lines])
