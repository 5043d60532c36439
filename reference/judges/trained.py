"""The classifiers of digits that judge samples: trained once, and kept in the user's cache.

They learn from the training part only; validation picks the epoch; the accuracy on the test part,
looked at once, stands in the file. Training is a function of the data and the recipe, up to the
rounding of BLAS.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.checkpoint import load_arrays, save_arrays
from core.checks import one_of
from core.data import Dataset, load
from core.data.homes import cache_folder
from core.errors import CheckpointError
from core.learners import GradientLearner, TrainSettings
from core.state import load_state, state
from core.train import fit
from reference.judges.digit_classifier import DigitClassifier

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Recipe:
    """How the judge of a data set is trained; `seconds`: about, on one core."""

    side: int
    features: int
    seconds: int
    train: Mapping[str, Any]


_ADAMW = {"optimiser": "adamw", "schedule": "cosine", "lr": 3e-3}
RECIPES = {
    "digits": Recipe(8, 32, 3, {**_ADAMW, "epochs": 20, "batch_size": 64, "weight_decay": 0.1}),
    "mnist": Recipe(28, 64, 45, {**_ADAMW, "epochs": 5, "batch_size": 100, "weight_decay": 0.05}),
}
"""Data set → how its judge is trained."""


@dataclass(frozen=True)
class Judge:
    """A trained classifier, how often it is right on test digits, and the file that keeps it."""

    classifier: DigitClassifier
    accuracy: float
    path: Path


def has_judge(data: Dataset) -> bool:
    """Whether samples of this data set are whole digits that one of the judges knows."""
    recipe = RECIPES.get(data.source or data.name)
    return recipe is not None and (data.image_shape or ())[-2:] == (recipe.side, recipe.side)


def judge_of(name: str, *, data_dir: Any = None, tell: Tell | None = None) -> Judge:
    """The judge of a data set: from the cache, or trained now and kept there.

    tell: hears how long that takes, before it does. Raises InputError for a data set that has no
    judge, DataError if its digits can't be found, CheckpointError if the cache can't be written to.

    >>> judge_of("fashion-mnist")
    Traceback (most recent call last):
    core.errors.InputError: name must be one of digits, mnist, got 'fashion-mnist'
    """
    recipe = RECIPES[one_of("name", name, RECIPES)]
    path = cache_folder() / "judges" / f"{name}.safetensors"
    if (kept := _kept(path, recipe)) is not None:
        return kept
    if tell is not None:
        tell(f"training a judge of {name}, once: about {recipe.seconds} s on one core; in {path}")
    path.parent.mkdir(parents=True, exist_ok=True)
    return trained(load(name, domain="continuous", shape="image", data_dir=data_dir), recipe, path)


def _kept(path: Path, recipe: Recipe) -> Judge | None:
    """The judge in the file, if it was made by this recipe; else None: it is made anew."""
    model = DigitClassifier(recipe.side, features=recipe.features)
    try:
        arrays, told = load_arrays(path)
        judge = json.loads(told["judge"])
        load_state(model, arrays)
        same = _decides(judge["recipe"]) == _decides(json.loads(json.dumps(asdict(recipe))))
        return Judge(model, float(judge["accuracy"]), path) if same else None
    except (CheckpointError, KeyError, TypeError, ValueError):
        return None


def _decides(recipe: dict[str, Any]) -> dict[str, Any]:
    """A recipe without what it costs."""
    return {key: value for key, value in recipe.items() if key != "seconds"}


def trained(data: Dataset, recipe: Recipe, path: Path) -> Judge:
    """A new judge of images (B, 1, side, side) in [−1, 1], written to `path`."""
    model = DigitClassifier(recipe.side, features=recipe.features)
    fit(GradientLearner(model, TrainSettings(**recipe.train)), data)
    accuracy = float(np.mean(model.predict(data.test.x) == data.test.y))
    told = json.dumps({"accuracy": accuracy, "recipe": asdict(recipe)})
    save_arrays(path, state(model), {"judge": told})
    return Judge(model, accuracy, path)
