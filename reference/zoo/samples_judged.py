"""Figures of ours that are of samples of digits: how far from data they are, of which class.

Beside the figure that a row asks for stands all that its judge says of the samples, and of fresh
real digits: the Fréchet distance alone says little.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from core.data import Dataset
from core.machine import present
from reference.judges.fidelity import InFeatures, classes_in_turn
from reference.judges.likelihood import takes_condition
from reference.judges.trained import judge_of
from reference.judges.two_sample import HeldOut
from reference.zoo.news import say

UNITS = {"frechet": "Fréchet distance", "missed": "% not of the class asked for"}
"""What a figure of samples is, for people."""
DRAWS = 5
"""Sets of samples; the standard error is that of the mean over them."""


def judged(
    unit: str, model: Any, data: Dataset, seed: int, data_dir: Path | None = None
) -> dict[str, Any]:
    """The unit's mean over DRAWS sets of samples, its standard error, and all of the first set."""
    held_out = HeldOut(data, seed=seed)
    judge = judge_of(data.source, data_dir=data_dir, tell=say)
    seen, n = InFeatures(held_out, judge.classifier), held_out.count
    y = classes_in_turn(n, data.classes) if takes_condition(model) else None
    given = {} if y is None else {"y": y}
    sets = [model.sample(n, seed=seed + i, **given) for i in range(DRAWS)]
    found = [seen.fidelity(x, y) for x in sets]
    values = [f.frechet if unit == "frechet" else 100 * (1 - (f.asked or 0.0)) for f in found]
    told = {"accuracy": held_out.distance(sets[0]).accuracy, **asdict(found[0])}
    fresh = {"accuracy": held_out.baseline.accuracy, **asdict(seen.baseline)}
    return {
        unit: float(np.mean(values)),
        "se": float(np.std(values, ddof=1) / math.sqrt(DRAWS)),
        "count": n,
        "samples": present(told),
        "fresh": present(fresh),
    }
