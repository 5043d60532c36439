"""From Python: `fit` leaves a run that `open_run` and the command line open."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.checkpoint import PathLike
from core.data import Dataset
from core.errors import InputError
from core.state import state
from core.train import History, TrainSettings
from core.train import fit as fit_in
from reference import MODELS, Model
from reference.zoo.choices import defaults
from reference.zoo.runs import build, configuration, prepared

_ABSENT = object()


def fit(
    model: Any,
    data: Dataset,
    *,
    settings: TrainSettings | None = None,
    out: PathLike | None = None,
    arguments: Mapping[str, Any] | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> History:
    """Train a model on a data set; what happened. `out`: the run's folder, if one is to be left.

    settings: the zoo's for this model and data, unless given. arguments: what the model was built
    with, where it doesn't keep that itself (an error says so). A run of a class that is in no row
    of MODELS is read back by `core.checkpoint.Run.open(out).load_model(model)`.

    Raises InputError for arguments that build another model, and whatever core.train.fit raises.
    """
    row = next((row for row in MODELS.values() if row.load() is type(model)), None)
    if settings is None and row is not None:
        settings = TrainSettings(**defaults(row, data, data.source).train)
    settings = settings or TrainSettings()
    if row is not None and out is not None:
        built = _arguments(row, model, arguments or {})
        config = configuration(
            row,
            data,
            source=data.source or data.name,
            arguments=built,
            settings=settings,
            seed=data.seed,
            label=data.label or None,
            missing=data.missing,
        )
        prepared(Path(out), config, resume=resume, overwrite=overwrite)
    return fit_in(model, data, settings=settings, out=out, resume=resume)


def _arguments(row: Model, model: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """What the model was built with: its public attributes of these names, and what is given."""
    parameters = inspect.signature(type(model)).parameters
    names = [name for name in parameters if name not in ("seed", "dtype")]
    kept: dict[str, Any] = {name: _as_json(getattr(model, name, _ABSENT)) for name in names}
    kept |= given
    if lost := [name for name, value in kept.items() if value is _ABSENT]:
        example = ", ".join(f"{name!r}: …" for name in lost)
        raise InputError(
            f"arguments must say what {row.name} was built with and doesn't keep, {{{example}}}"
        )
    twin, shapes = build(row, kept, 0), {k: v.shape for k, v in state(model).items()}
    if {k: v.shape for k, v in state(twin).items()} != shapes:
        raise InputError(f"arguments must be those that {row.name} was built with, got {kept}")
    return kept


def _as_json(value: Any) -> Any:
    """A value that config.json can hold, or _ABSENT."""
    value = value.tolist() if hasattr(value, "tolist") else value
    try:
        return json.loads(json.dumps(value))
    except TypeError:
        return _ABSENT
