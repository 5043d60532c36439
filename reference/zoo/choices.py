"""What is chosen where the user says nothing, and what there is to choose."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from core.data import Dataset
from core.errors import CheckpointError
from core.train import TrainSettings
from reference import Demo, Model
from reference.zoo.runs import find_demo

STEPS = 600
"""Steps of gradient that a model gets on data that the zoo has no settings for."""


def defaults(row: Model, data: Dataset, source: str) -> Demo:
    """The row's settings for this data set; for one it doesn't know, those of a like one.

    Then steps are smaller where rows are few, and as many as are done in a minute.
    """
    if not row.demos or any(demo.data == source for demo in row.demos):
        return find_demo(row, source)
    how: dict[str, Any] = dict(row.demos[-1 if data.image_shape is None else 0].train)
    if row.training == "gradient":
        size = min(how.get("batch_size", 100), max(16, len(data.train) // 8))
        epochs = -(-STEPS // -(-len(data.train) // size))
        how |= {"batch_size": size, "epochs": epochs, "warmup": min(20, how.get("warmup", 0))}
    return Demo(source, {}, how)


def signature_of(row: Model) -> list[tuple[str, str, str]]:
    """Name, type and default of each argument of the row's class, but for seed and dtype."""
    cls = row.load()
    found = []
    for name, parameter in inspect.signature(cls).parameters.items():
        if name not in ("seed", "dtype"):
            needed = parameter.default is inspect.Parameter.empty
            default = "from the data" if needed else _plainly(parameter.default)
            found.append((name, str(parameter.annotation), default))
    return found


def _plainly(default: Any) -> str:
    """A default as --set takes it."""
    return json.dumps(default)


def settings(given: Mapping[str, Any], run: Path) -> TrainSettings:
    """TrainSettings; CheckpointError if the run's config.json has one that there isn't."""
    known = {field.name for field in fields(TrainSettings)}
    if unknown := sorted(given.keys() - known):
        raise CheckpointError(
            f"{run / 'config.json'}: train must have the keys {', '.join(sorted(known))}, "
            f"got {', '.join(unknown)} too"
        )
    return TrainSettings(**given)
