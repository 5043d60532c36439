"""A model of the table as a run on disk: built, trained, opened again, shown.

What a run needs to be sampled from later, without its data set, is kept in its config.json.
"""

from __future__ import annotations

import difflib
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.checkpoint import PathLike, Run, write_json
from core.checks import is_whole
from core.data import Dataset, Units
from core.errors import CheckpointError, GenzooError, InputError, Interrupted
from core.learners import CountLearner, EMLearner, GradientLearner, TrainSettings
from core.samples import Batch, Padded, take
from core.state import parameters, state
from core.train import History, Progress, fit
from reference import MODELS, Demo, Model
from reference.judges.likelihood import takes_condition
from reference.zoo.remember import remembered
from reference.zoo.showing import How, how_to_show, show, show_given
from reference.zoo.watching import watcher_of

LEARNERS = {"counts": CountLearner, "em": EMLearner, "gradient": GradientLearner}
"""What takes a model's training steps, by `Model.training`."""

_LARGEST = 10_000
"""An argument of a stored model may be this large whatever its file holds."""


def find_row(name: str) -> Model:
    """The row of MODELS called `name`. Raises InputError, with the names that are close."""
    if name in MODELS:
        return MODELS[name]
    close = difflib.get_close_matches(name.lower(), MODELS)
    hint = f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(MODELS)}"
    raise InputError(f"unknown model {name!r}; {hint}")


def find_demo(row: Model, data: str) -> Demo:
    """The row's settings for the data set called `data`; plain ones if it has none."""
    return next((demo for demo in row.demos if demo.data == data), Demo(data))


def capabilities(row: Model) -> tuple[str, ...]:
    """What can be asked of the model: "log p" or "bound", "sample", "classify", "reconstruct"."""
    cls = row.load()
    likelihood = {"exact likelihood": ("log p",), "bounded likelihood": ("bound",)}
    does = {"sample": "sample", "predict": "classify", "reconstruct": "reconstruct"}
    can = (said for method, said in does.items() if hasattr(cls, method))
    return (*likelihood.get(row.family, ()), *can)


# --- building and training ----------------------------------------------------------------------


def complete(row: Model, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """`arguments` and the defaults of all others but seed and dtype: what a run must remember.

    Raises InputError for arguments that the row's class does not take.
    """
    accepted = inspect.signature(row.load()).parameters
    takes = [name for name in accepted if name not in ("seed", "dtype")]
    for name in arguments:
        if name not in takes:
            raise InputError(f"{row.name} has no argument {name!r}; it takes {', '.join(takes)}")
    lists = {name for name in takes if _is_list(accepted[name])}
    arguments = {k: [v] if k in lists and is_whole(v) else v for k, v in arguments.items()}
    given = {name: accepted[name].default for name in takes} | arguments
    return {k: v for k, v in given.items() if v is not inspect.Parameter.empty}


def _is_list(parameter: inspect.Parameter) -> bool:
    """Whether an argument takes several numbers only, so that 500 means [500]."""
    return str(parameter.annotation).startswith(("Sequence[", "list[", "tuple["))


def build(row: Model, arguments: Mapping[str, Any], seed: int) -> Any:
    """A new model of the row. Raises InputError for arguments that its class does not take."""
    arguments, cls = complete(row, arguments), row.load()
    named = {"seed": seed} if "seed" in inspect.signature(cls).parameters else {}
    try:
        return cls(**arguments, **named)
    except (TypeError, ValueError, OverflowError, MemoryError) as error:
        if isinstance(error, InputError):
            raise
        given = ", ".join(f"{k}={v!r}" for k, v in arguments.items())
        raise InputError(f"{row.name} can't be built from {given}: {error}") from error


def configuration(
    row: Model,
    data: Dataset,
    *,
    source: str,
    arguments: Mapping[str, Any],
    settings: TrainSettings,
    seed: int,
    label: str | None = None,
    missing: str = "error",
) -> dict[str, Any]:
    """What config.json says of a run.

    source, label, missing: the name or path that the data were loaded by, and how.
    """
    if row.kind in ("class-conditional", "discriminative") and data.train.y is None:
        raise InputError(f"{row.name} needs labels, and {data.name} has none")
    config = {
        "model": row.name,
        "arguments": complete(row, {**row.arguments(data), **arguments}),
        **remembered(source),
        **({} if label is None else {"label": label}),
        **({} if missing == "error" else {"missing": missing}),
        **({"classes": [data.label or "y", *data.class_names]} if data.class_names else {}),
        "domain": data.domain,
        "seed": seed,
        "train": asdict(settings),
        "show": how_to_show(data),
    }
    try:
        return dict(json.loads(json.dumps(config)))  # a run read back is built from the same
    except TypeError as error:
        raise InputError(f"the arguments of {row.name} must be JSON: {error}") from error


def train(
    config: Mapping[str, Any],
    data: Dataset,
    settings: TrainSettings,
    out: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
    data_dir: Path | None = None,
) -> tuple[Any, History]:
    """Build and train the model that `config` describes, in the run folder `out`.

    resume: go on with the run that is there, with as many epochs as `settings` has now.
    overwrite: replace whatever run is there. data_dir: where an adversary's judge finds its digits.
    Raises CheckpointError if `out` holds another run.
    """
    row = find_row(config["model"])
    model = build(row, config["arguments"], config["seed"])
    learner = LEARNERS[row.training](model, settings)
    run = prepared(out, config, resume=resume, overwrite=overwrite)
    watch = watcher_of(row, model, data, out, settings.epochs, data_dir)
    try:
        history = fit(learner, data, out=out, resume=resume, on_progress=on_progress, watch=watch)
    except Interrupted:
        _remember(run, config)
        raise
    _remember(run, config)
    return model, history


def prepared(out: Path, config: Mapping[str, Any], *, resume: bool, overwrite: bool) -> Run:
    """The run folder to train in: continued, replaced or new; CheckpointError if it is taken."""
    if resume:
        return _continued(out, config)
    if not overwrite and any((out / f"{part}.safetensors").exists() for part in ("model", "state")):
        raise CheckpointError(
            f"{out} already holds a run: resume it, overwrite it, or choose another folder"
        )
    return Run.create(out, config, overwrite=overwrite)


def _remember(run: Run, config: Mapping[str, Any]) -> None:
    """Training went on with these settings: they are the run's from now on."""
    if run.config["train"] != config["train"]:
        write_json(run.path / "config.json", {**run.config, "train": config["train"]})


def _continued(out: Path, config: Mapping[str, Any]) -> Run:
    """The run in `out`, if it is the one of `config`; `fit` compares the training settings."""
    run = Run.open(out)
    for key in ("model", "arguments", "data", "domain", "seed"):
        theirs = run.config.get(key)
        if key == "data" and isinstance(theirs, str):
            theirs = remembered(theirs)["data"]  # older runs may have a relative path
        if theirs != config[key]:
            raise CheckpointError(
                f"{out} holds another run: {key} = {theirs!r}, not {config[key]!r}"
            )
    return run


def count_parameters(model: Any) -> int:
    """Free parameters as the model counts them; else the numbers in its Tensors or arrays."""
    if hasattr(model, "num_parameters"):
        return int(model.num_parameters)
    return sum(p.size for p in (parameters(model) or state(model)).values())


# --- opening ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Opened:
    """A run that was read back: its row of the table, its model with parameters, its config."""

    row: Model
    model: Any
    config: dict[str, Any]


def units_of(config: Mapping[str, Any]) -> Units | None:
    """Of the table that a run was trained on; None if it was none. CheckpointError if damaged."""
    show = config.get("show")
    stored = show.get("units") if isinstance(show, dict) else None
    try:
        return None if stored is None else Units.from_json(stored)
    except InputError as error:
        raise CheckpointError(f"config.json: {error}") from error


def open_run(path: PathLike) -> Opened:
    """The model stored in the run folder `path`.

    Raises CheckpointError if the folder is not a run, is damaged, or was made to harm.
    """
    run = Run.open(path)
    row, arguments, seed = _read_config(run)
    model = _rebuild(run, row, arguments, seed)
    run.load_model(model)
    return Opened(row, model, run.config)


def _read_config(run: Run) -> tuple[Model, dict[str, Any], int]:
    file, config = run.path / "config.json", run.config
    name, arguments, seed = (config.get(key) for key in ("model", "arguments", "seed"))
    if not isinstance(name, str) or name not in MODELS:
        raise CheckpointError(
            f"{file} names no known model, got {name!r}; core.checkpoint.Run.open(path)"
            ".load_model(model) reads one of your own class"
        )
    if not isinstance(arguments, dict) or type(seed) is not int or not 0 <= seed < 2**63:
        raise CheckpointError(f"{file} must hold arguments, an object, and seed, an int ≥ 0")
    return MODELS[name], arguments, seed


def _rebuild(run: Run, row: Model, arguments: dict[str, Any], seed: int) -> Any:
    """Build the model, but never a much larger one than the file beside it can fill."""
    file = run.path / "model.safetensors"
    if not file.exists():
        raise CheckpointError(f"{run.path} has no model yet: its training was not finished")
    largest = max(_LARGEST, file.stat().st_size)
    for name, value in arguments.items():
        if any(abs(n) > largest for n in _integers(value)):
            raise CheckpointError(f"{run.path}: {name} = {value!r} does not fit {file.name}")
    try:
        return build(row, arguments, seed)
    except InputError as error:
        raise CheckpointError(f"{run.path / 'config.json'}: {error}") from error


def _integers(value: Any) -> list[int]:
    if isinstance(value, list):
        return [n for item in value for n in _integers(item)]
    return [value] if isinstance(value, int) and not isinstance(value, bool) else []


def stored_config(path: Path, row: Model) -> dict[str, Any]:
    """config.json of a run that is to be continued; CheckpointError if it isn't one of the row."""
    run = Run.open(path)
    found, _, _ = _read_config(run)
    if found is not row:
        raise CheckpointError(f"{path} holds a run of {found.name}, not of {row.name}")
    for key, kind in (("data", str), ("domain", str), ("train", dict)):
        if not isinstance(run.config.get(key), kind):
            raise CheckpointError(f"{run.path / 'config.json'} must hold {key}")
    return run.config


def epochs_done(path: Path) -> int:
    """How many epochs the log of a run has."""
    return len(Run.open(path).read_log())


def show_run(opened: Opened, x: Batch, y: Batch = None) -> dict[str, bytes | str]:
    """Samples of a run and what came with them, as `show` has them: "samples", "given-caption", …

    Raises CheckpointError if its config.json doesn't say how.
    """
    try:
        how: How = opened.config["show"]
        given = {} if y is None else show_given(y, how, scale=8)
        shown = {f"given-{name}": one for name, one in given.items()}
        return {"samples": show(x, how, scale=8), **shown}
    except (
        AttributeError,
        KeyError,
        TypeError,
        ValueError,
        IndexError,
        ZeroDivisionError,
    ) as error:
        raise CheckpointError(f"config.json doesn't say how to show samples: {error}") from error


def draw(opened: Opened, n: int, seed: int, how: Mapping[str, Any]) -> Batch:
    """n samples (n, …) of a run; `how` goes to the model's `sample`: a temperature, y."""
    if not hasattr(opened.model, "sample"):
        instead = {
            "classifies only": "learns p(y | x) and no p(x): it has no samples",
            "reconstructs only": "has no p(z) to draw codes from, and so no samples; "
            "`genzoo reconstruct` shows what it makes of data",
        }
        raise InputError(f"{opened.row.name} {instead[opened.row.family]}")
    accepted = inspect.signature(opened.model.sample).parameters
    for name in how:
        if name not in accepted or name in ("n", "seed"):
            takes = ", ".join(p for p in accepted if p not in ("n", "seed")) or "none"
            raise InputError(
                f"sample of {opened.row.name} has no argument {name!r}; it has {takes}"
            )
    try:
        x = opened.model.sample(n, seed=seed, **how)
    except (TypeError, ValueError) as error:
        if isinstance(error, GenzooError):
            raise
        raise InputError(f"{opened.row.name} can't sample: {error}") from error
    x = x if isinstance(x, Padded) else np.asarray(x)
    if not np.all(np.isfinite(x.data if isinstance(x, Padded) else x)):
        raise InputError(
            f"{opened.row.name} drew samples that are not finite; was the rate too high?"
        )
    return x


def needs_given(opened: Opened) -> bool:
    """Whether the model draws samples for something that is given and is no label."""
    show = opened.config.get("show")
    return isinstance(show, dict) and bool(show.get("given")) and takes_condition(opened.model)


def first_given(data: Dataset, split: str, n: int) -> Batch:
    """What comes with the first n samples of a part; InputError if there are not so many."""
    part = getattr(data, split)
    if len(part) < n:
        raise InputError(f"n must be at most {len(part)}, the {split} rows of {data.name}, got {n}")
    return take(part.y, slice(n))
