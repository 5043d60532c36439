"""Samples of digits in the eyes of a classifier, beside fresh real digits in the same eyes.

`HeldOut` says whether samples can be told from data at all; this says what is wrong with them. Are
they digits (precision, density)? All kinds of digits (recall, coverage, classes)? Copies of what
was trained on? Of the class that was asked for? MISSION rows G2, G3, L6.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from core import Array
from core.data import Dataset
from core.samples import rows
from reference.judges.classes import asked_class, class_coverage
from reference.judges.digit_classifier import DigitClassifier
from reference.judges.frechet import frechet_distance
from reference.judges.neighbours import copying, density_coverage, precision_recall
from reference.judges.two_sample import HeldOut

_TRAINED_ON = 10_000
"""Training rows among which copies are looked for, at most."""


@dataclass(frozen=True)
class Fidelity:
    """`count` samples against as many held-out digits, in the features of a classifier.

    frechet, precision, recall, density, coverage: of `frechet` and `neighbours`. classes: how many
    appear; entropy: of their shares, in nats. copied: how often a sample is nearer to the training
    data than held-out data are, ½ where it knows them no better, with copied_z standard errors from
    that. asked: share of samples that are of the class asked for; None if none was.
    """

    count: int
    frechet: float
    precision: float
    recall: float
    density: float
    coverage: float
    classes: int
    entropy: float
    copied: float
    copied_z: float
    asked: float | None = None


class InFeatures:
    """The two halves of held-out digits, and what was trained on, in a classifier's features."""

    def __init__(self, held_out: HeldOut, classifier: DigitClassifier) -> None:
        self.held_out, self.classifier = held_out, classifier
        self.real = self._features(held_out.real)
        train = rows(held_out.data.train.x)[:_TRAINED_ON]
        self.train = self._features(train.astype(np.float64))

    @cached_property
    def baseline(self) -> Fidelity:
        """Fresh real digits against real digits: what a perfect model reaches."""
        return self._judged(self.held_out.fresh)

    def fidelity(self, samples: Array, asked: Array | None = None) -> Fidelity:
        """Of samples (N, …), N ≥ held_out.count, as the model draws them.

        asked: the class (N,) that each was drawn for, if it was drawn for one.
        """
        x = self.held_out.comparable(samples)
        found = self._judged(x)
        if asked is None:
            return found
        return replace(found, asked=self.asked(x, asked[: len(x)]))

    def asked(self, samples: Array, y: Array) -> float:
        """Share of samples (N, …) that the classifier takes for the class y (N,) asked for."""
        x = as_images(self.held_out.data, rows(samples))
        return asked_class(self.classifier.predict(x), y, self.classifier.classes)

    def _features(self, x: Array) -> Any:
        return self.classifier.features_of(as_images(self.held_out.data, x)).astype(np.float64)

    def _judged(self, x: Array) -> Fidelity:
        images = as_images(self.held_out.data, x)
        own, real = self._features(x), self.real
        balls, mass = precision_recall(own, real), density_coverage(own, real)
        spread = class_coverage(self.classifier.predict(images), self.classifier.classes)
        copies = copying(own, self.train, real)
        return Fidelity(
            len(x),
            frechet_distance(own, real),
            balls.precision,
            balls.recall,
            mass.density,
            mass.coverage,
            spread.seen,
            spread.entropy,
            copies.share,
            copies.z,
        )


def classes_in_turn(n: int, classes: int) -> Any:
    """0, 1, …, classes − 1, 0, 1, … (n,): as many of each as can be."""
    return np.arange(n) % classes


def as_images(data: Dataset, x: Array) -> Any:
    """Rows x (N, side²) of this data set as images (N, 1, side, side) in [−1, 1], float32."""
    H, W = (data.image_shape or ())[-2:]
    in_range = x if data.levels is None else x * (2 / (data.levels - 1)) - 1
    return np.clip(in_range, -1, 1).astype(np.float32).reshape(len(x), 1, H, W)
