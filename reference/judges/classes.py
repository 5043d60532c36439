"""Which classes do samples come from? A classifier says; a model that lost a mode is found out.

MISSION rows G2 (all classes appear), G3 and L6 (samples are of the class that was asked for).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from core import Array
from core.checks import labels, some, whole
from core.errors import InputError


@dataclass(frozen=True)
class ClassCoverage:
    """How samples spread over classes.

    counts: of each class; seen: how many classes have any; entropy: of the shares, in nats, at most
    ln classes; share: exp(entropy) / classes, 1 if all classes are equally many.
    """

    counts: tuple[int, ...]
    seen: int
    entropy: float
    share: float


def class_coverage(y: Array, classes: int) -> ClassCoverage:
    """Of the classes y (N,) in 0 … classes − 1 that a classifier gives samples, N ≥ 1.

    >>> class_coverage(np.array([0, 0, 2, 2]), 3)
    ClassCoverage(counts=(2, 0, 2), seen=2, entropy=0.6931471805599453, share=0.6666666666666666)
    """
    y = _classes(y, classes)
    counts = np.bincount(y, minlength=classes)
    p = counts[counts > 0] / len(y)
    entropy = float(-np.sum(p * np.log(p)))
    return ClassCoverage(tuple(counts.tolist()), len(p), entropy + 0.0, math.exp(entropy) / classes)


def asked_class(found: Array, asked: Array, classes: int) -> float:
    """Share of samples whose class, found by a classifier (N,), is the one asked for (N,).

    >>> asked_class(np.array([0, 1, 2, 2]), np.array([0, 1, 2, 1]), 3)
    0.75
    """
    found, asked = _classes(found, classes), np.asarray(asked)
    return float(np.mean(found == labels(asked, len(found), classes)))


def _classes(y: Array, classes: int) -> Array:
    y, classes = np.asarray(y), whole("classes", classes, 1)
    if y.ndim != 1:
        raise InputError(f"y must be labels (N,), got shape {y.shape}")
    return labels(some(y), len(y), classes)
