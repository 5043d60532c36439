"""Published figures and ours beside them: trained, picked on validation, tested once.

    reproduce/<name>/seed0/         the run of each seed, and of each value that is to choose from
    reproduce/<name>/result.json    what came of it
    reproduce/results.json          all that came of all of them, for `python -m bench.published`

What is here already is kept and what was interrupted goes on, if it was begun with the same
settings; a run of other settings is never overwritten.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from core.checkpoint import read_json, write_json
from core.data import Dataset, Split, load
from core.errors import CheckpointError, InputError
from core.machine import commit, machine, present
from core.operation import chosen_backend
from core.samples import Padded
from core.train import History, TrainSettings
from reference import MODELS, PUBLISHED, Published
from reference.judges.exact import exact
from reference.judges.likelihood import Likelihood, baselines, likelihood
from reference.zoo import runs, samples_judged

Entry = dict[str, Any]
Tell = Callable[..., None] | None
DECIDES = (
    *("model", "data", "arguments", "train", "choose", "domain", "block", "centre", "whole"),
    *("parts", "characters"),
)
"""What a figure of ours depends on; the rest of a row only judges it."""
UNITS = {"nats": "", "bits": "bits a dimension", "gap": "nats above the truth"}
"""What a likelihood's figure is in, for people."""
ANSWERED = {"wrong": "% of answers that are wrong"}
"""The same of what a model says of what is given."""


def find(names: Sequence[str]) -> list[Published]:
    """Rows of PUBLISHED by name, all if there are no names. Raises InputError for unknown ones."""
    for name in names:
        if name not in PUBLISHED:
            close = difflib.get_close_matches(name, PUBLISHED, cutoff=0.5)
            hint = f"did you mean {' or '.join(close)}?" if close else "--list names them"
            raise InputError(f"unknown figure {name!r}; {hint}")
    return [PUBLISHED[name] for name in dict.fromkeys(names)] or list(PUBLISHED.values())


def settings(row: Published) -> Entry:
    """What the row's figure of ours depends on, as JSON has it."""
    described = asdict(row)
    keys = DECIDES if row.samples is None else (*DECIDES, "samples")
    return dict(json.loads(json.dumps({key: described[key] for key in keys})))


def kept(row: Published, out: Path, seeds: int | None = None) -> Entry | None:
    """The figure that is in `out` already, made by these settings; None if there is none."""
    try:
        entry = read_json(out / row.name / "result.json")
        figures = entry["figures"]
        same = entry["settings"] == settings(row) and len(figures) >= (seeds or row.seeds)
        return dict(entry) if same and row.unit in figures[0] else None
    except (CheckpointError, KeyError, TypeError, IndexError):
        return None


def collected(out: Path) -> list[Entry]:
    """Every figure in `out` that the table still asks for, in its order."""
    return [entry for row in PUBLISHED.values() if (entry := kept(row, out, 1)) is not None]


# --- the data -----------------------------------------------------------------------------------


def read(row: Published, data_dir: Path | None = None, progress: bool = False) -> Dataset:
    """The row's data as its model takes them. Raises DataError, which says how to get them."""
    model = runs.find_row(row.model)
    how: Any = {"domain": row.domain or model.domain, "shape": model.shape, "block": row.block}
    data = load(row.data, data_dir=data_dir, progress=progress, standardise=True, **how)
    if row.centre is not None:
        data = centre(data, row.centre)
    return whole(data) if row.whole else data


def centre(data: Dataset, size: int) -> Dataset:
    """The size × size pixels in the middle of flat grey images."""
    if data.image_shape is None or len(data.image_shape) != 2 or min(data.image_shape) < size:
        raise InputError(f"centre must fit grey images, got {size} of {data.image_shape}")
    H, W = data.image_shape
    at = np.arange(H * W).reshape(H, W)
    top, left = (H - size) // 2, (W - size) // 2
    pixels = at[top : top + size, left : left + size].ravel()
    parts = [Split(part.x[:, pixels], part.y) for part in data.parts]
    names = ("train", "validation", "test")
    changed: Any = dict(zip(names, parts, strict=True))
    return replace(data, image_shape=(size, size), **changed)


def whole(data: Dataset) -> Dataset:
    """All rows, to train on and to score; none to validate on."""
    x = np.concatenate([part.x for part in data.parts])
    return replace(data, train=Split(x), validation=Split(x[:0]), test=Split(x))


def characters(data: Dataset, part: str) -> int:
    """How many characters are predicted: all, and of separate strings the end of each."""
    x = getattr(data, part).x
    if isinstance(x, Padded):
        return int(np.sum(x.lengths)) + (len(x) if data.end is not None else 0)
    if data.end is None:
        return int(x.size)
    return int(np.sum(x != data.end)) + len(x)


# --- one figure ---------------------------------------------------------------------------------


def reproduce(
    row: Published,
    out: Path,
    *,
    seeds: int | None = None,
    data_dir: Path | None = None,
    tell: Tell = None,
) -> Entry:
    """Train or go on, score the test part, and leave result.json in out/<name>.

    seeds: how many, if not the row's. tell: for `core.train.fit`. Raises Interrupted as that does,
    and CheckpointError if a run of other settings is in the way.
    """
    data, folder = read(row, data_dir), out / row.name
    how = (data_dir, tell)
    figures = [_figure(row, data, folder, seed, *how) for seed in range(seeds or row.seeds)]
    unfit = row.characters or row.whole or row.unit not in UNITS
    floors = {} if unfit else baselines(data)
    entry: Entry = {
        "name": row.name,
        "settings": settings(row),
        "ours": float(np.mean([figure[row.unit] for figure in figures])),
        "se": float(np.mean([figure["se"] for figure in figures])),
        "figures": figures,
        "seconds": round(sum(figure["seconds"] for figure in figures), 1),
        "baselines": {name: floor.nats for name, floor in floors.items()},
        "command": command(row, seeds),
        "version": version("genzoo"),
        **commit(),
        "machine": machine(),
    }
    write_json(folder / "result.json", entry)
    return entry


def command(row: Published, seeds: int | None = None) -> str:
    """What makes the figure again."""
    on = f" --backend {name}" if (name := chosen_backend()) else ""
    return f"genzoo{on} reproduce {row.name}" + (f" --seeds {seeds}" if seeds else "")


def _figure(
    row: Published, data: Dataset, folder: Path, seed: int, data_dir: Path | None, tell: Tell
) -> Entry:
    """One seed: a run for each choice, and the test part scored by what validated best."""
    tried = []
    for name, arguments in choices(row, seed):
        out = folder / name
        model, history = _train(row, data, out, arguments, seed, data_dir, tell)
        tried.append((_validation(history), history, arguments, model))
    validation, history, arguments, model = min(tried, key=lambda one: one[0])
    seconds = sum(one[1].entries[-1]["seconds"] for one in tried)
    figure = {
        "seed": seed,
        **score(row, model, data, seed, data_dir),
        "validation": None if math.isinf(validation) else validation,
        "chosen": {name: arguments[name] for name in row.choose},
        "epoch": history.best_epoch,
        "parameters": runs.count_parameters(model),
        "seconds": round(seconds, 1),
    }
    return present(figure)


def choices(row: Published, seed: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """The folder of each run, and the model's arguments in it."""
    for values in product(*row.choose.values()):
        chosen = dict(zip(row.choose, values, strict=True))
        words = [f"seed{seed}", *(f"{name}-{value}" for name, value in chosen.items())]
        yield "-".join(words), {**row.arguments, **chosen}


def _train(
    row: Published,
    data: Dataset,
    out: Path,
    arguments: Mapping[str, Any],
    seed: int,
    data_dir: Path | None,
    tell: Tell,
) -> tuple[Any, History]:
    how = TrainSettings(**{"seed": seed, **row.train})
    config = runs.configuration(
        runs.find_row(row.model),
        data,
        source=row.data,
        arguments=arguments,
        settings=how,
        seed=seed,
    )
    begun = (out / "state.safetensors").exists()
    told: Any = {"on_progress": tell, "data_dir": data_dir}
    return runs.train(config, data, how, out, resume=begun, **told)


def _validation(history: History) -> float:
    """The validation loss of the epoch that was kept; infinite where there is none."""
    loss = history.validation[history.best_epoch - 1]
    return math.inf if loss is None else loss


def score(
    row: Published, model: Any, data: Dataset, seed: int, data_dir: Path | None = None
) -> Entry:
    """The row's unit and its standard error over its parts together, by sample or by character.

    Of a unit of samples, what `samples_judged` says; of answers, how many of the test part err.
    """
    if row.unit in samples_judged.UNITS:
        return samples_judged.judged(row.unit, model, data, seed, data_dir)
    if row.unit in ANSWERED:
        right = exact(model, data)
        return {"wrong": 100 * (1 - right.share), "se": 100 * right.se, "count": right.count}
    how = {} if row.samples is None else {"samples": row.samples}
    scores = [likelihood(model, data, part, seed=seed, **how) for part in row.parts]
    found = [(s.count, *in_unit(row.unit, s, data.dim)) for s in scores]
    over = sum(count for count, _, _ in found)
    if row.characters:
        over = sum(characters(data, part) for part in row.parts)
    return {
        row.unit: math.fsum(count * mean for count, mean, _ in found) / over,
        "se": math.hypot(*(count * se for count, _, se in found)) / over,
        "count": over,
        "bound": scores[0].bound,
    }


def in_unit(unit: str, score: Likelihood, dim: int) -> tuple[float, float]:
    """Mean and standard error of a sample's nats, of a dimension's bits, or of the gap."""
    if unit == "gap":
        if score.gap is None or score.gap_se is None:
            raise InputError("unit must be nats or bits where the true density is not known")
        return score.gap, score.gap_se
    each = dim * math.log(2) if unit == "bits" else 1.0
    return score.nats / each, score.se / each


# --- the verdict --------------------------------------------------------------------------------


def limit(row: Published, entry: Entry | None = None) -> float | None:
    """What ours may be at most; None if nothing is required, or what is can't be known yet."""
    if row.most is not None:
        return row.most
    if row.within is not None and row.figure is not None:
        return row.figure * (1 + row.within)
    if row.beats is not None and entry is not None:
        return float(entry["baselines"][row.beats])
    return None


def met(row: Published, entry: Entry) -> bool | None:
    """Whether ours is what is required; None if nothing is."""
    if row.digits is not None:
        return bool(round(entry["ours"], row.digits) == row.figure)
    if (most := limit(row, entry)) is None:
        return None
    return bool(entry["ours"] < most if row.beats else entry["ours"] <= most)


def minutes(row: Published, seeds: int | None = None) -> float:
    """About what the row takes."""
    return row.minutes * (seeds or row.seeds) / row.seeds


def title(row: Published) -> str:
    """For people: the model, its data, what is special, and what the figure is if not nats."""
    special = f"centre {row.centre} × {row.centre}" if row.centre else row.variant.replace("-", " ")
    words = filter(None, (special, {**UNITS, **ANSWERED, **samples_judged.UNITS}[row.unit]))
    return ", ".join((f"{MODELS[row.model].title} · {row.data}", *words))
