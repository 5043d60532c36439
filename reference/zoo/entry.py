"""One model of the zoo: trained, or kept from before, scored, and pictured in its run's folder."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from core import no_grad, value
from core.checkpoint import read_json, write_atomic, write_json
from core.data import Dataset
from core.errors import CheckpointError
from core.machine import ROOT, peak_memory, present
from core.train import History, TrainSettings
from reference import Model
from reference.judges import likelihood, two_sample
from reference.judges.fidelity import InFeatures, classes_in_turn
from reference.judges.reconstruction import reconstructed, reconstruction
from reference.zoo import pictures, runs, showing

Entry = dict[str, Any]
SAMPLES_SHOWN = {"image_shape": 64, "box": 1000, "rate": 4, "fps": 9, "given": 9}
"""By what `showing` knows of the data; the fewest that apply, else 12."""

BOUNDED_ROWS = 2000
"""Test rows on which a bound is estimated: it costs as much as many samples."""

LINES, STEPS = 8, 8
"""Of codes: how many lines and walks are drawn, and of how many images."""

FEWEST_ROWS = 20
"""Held-out rows below which a distance would say nothing."""


@dataclass(frozen=True)
class Job:
    """One model to be trained on one data set, with everything that decides the outcome."""

    row: Model
    data: Dataset
    held_out: two_sample.HeldOut
    source: str
    config: dict[str, Any]
    settings: TrainSettings
    quick: bool
    in_features: InFeatures | None = None

    @property
    def folder(self) -> str:
        """Name of the run's folder, and of the model's card in the report."""
        seed = self.config["seed"]
        variant = ("-quick" if self.quick else "") + (f"-seed{seed}" if seed else "")
        return f"{self.row.name}-{_slug(self.source)}{variant}"

    @property
    def title(self) -> str:
        """For people: the model and its data."""
        return f"{self.row.title} · {self.data.name}"


def kept_entry(job: Job, folder: Path) -> Entry | None:
    """The result of an earlier run with the same configuration and code, or None."""
    try:
        result = read_json(folder / "result.json")
        if result["config"] == _key(job):
            return dict(result["entry"])
    except (CheckpointError, KeyError, TypeError):
        pass
    return None


SHOW = (
    *("cards", "figures", "report", "tables", "words"),
    *("cli", "commands", "news", "printing", "progress", "reproducing", "saving", "texts"),
)
"""Files of this folder that no result depends on."""


@cache
def code() -> str:
    """A checksum of the code that results come from: all of core and of reference but the show."""
    show = {f"reference/zoo/{name}.py" for name in SHOW}
    digest = hashlib.sha256()
    for file in sorted(
        path for room in ("core", "reference") for path in (ROOT / room).rglob("*.py")
    ):
        name = file.relative_to(ROOT).as_posix()
        if name not in show:
            digest.update(name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _key(job: Job) -> dict[str, Any]:
    """What a result depends on."""
    return {
        **job.config,
        "version": version("genzoo"),
        "bound": [likelihood.IMPORTANCE_SAMPLES, BOUNDED_ROWS],
    }


def train_and_score(job: Job, folder: Path, progress: Callable[..., None] | None) -> Entry:
    """Train or go on, score, draw pictures; what results.json says of it."""
    with peak_memory() as memory:
        model, history = _train(job, folder, progress)
    entry = {
        "model": job.row.name,
        "title": job.row.title,
        "kind": job.row.kind,
        "rows": list(job.row.rows),
        "data": job.source,
        "domain": job.data.domain,
        "image": job.data.image_shape is not None,
        "seed": job.config["seed"],
        "folder": job.folder,
        "parameters": runs.count_parameters(model),
        "seconds": round(history.entries[-1]["seconds"], 3),
        "epoch": history.best_epoch,
        **memory,
        **_score(job, model),
    }
    entry |= _pictures(job, model, folder)
    entry = present(entry)
    write_json(folder / "result.json", {"config": _key(job), "entry": entry})
    return entry


def _train(job: Job, folder: Path, progress: Callable[..., None] | None) -> tuple[Any, History]:
    """Go on with what is in the folder if it can be gone on with; else begin."""

    def train(**how: Any) -> tuple[Any, History]:
        return runs.train(job.config, job.data, job.settings, folder, on_progress=progress, **how)

    if _holds(job, folder):
        with suppress(CheckpointError):  # damaged, or of an older version of the model
            return train(resume=True)
    return train(overwrite=True)


def _holds(job: Job, folder: Path) -> bool:
    """Whether the folder holds the beginning of this very job, to be continued."""
    with suppress(CheckpointError, TypeError):
        config = read_json(folder / "config.json")
        same = all(config.get(key) == value for key, value in job.config.items())
        return same and (folder / "state.safetensors").exists()
    return False


def _score(job: Job, model: Any) -> Entry:
    if job.row.family == "samples only":
        return {}
    if job.row.family == "reconstructs only":
        return {"reconstruction": asdict(reconstruction(model, job.data))}
    first = BOUNDED_ROWS if job.row.family == "bounded likelihood" else None
    score = likelihood.likelihood(model, job.data, first=first, seed=job.config["seed"])
    probabilities = job.data.domain == "continuous" and score.bits_per_dim is not None
    return {
        "scored_as": "integer" if probabilities else job.data.domain,
        **figures_of(score),
    }


def figures_of(score: likelihood.Likelihood) -> Entry:
    """A score under the names of results.json."""
    return {
        "test_nats": score.nats,
        "test_nats_se": score.se,
        "test_count": score.count,
        "bits_per_dim": score.bits_per_dim,
        "bound": score.bound,
        "impossible": score.impossible or None,
        "gap": score.gap,
        "gap_se": score.gap_se,
        "terms": None if score.terms is None else [round(nats, 4) for nats in score.terms],
    }


def _pictures(job: Job, model: Any, folder: Path) -> Entry:
    """Pictures of data and of what the model has to show; and how far samples are from data."""
    if job.row.family == "reconstructs only":
        _reconstructions(job, model, folder)
        return {}
    return _distance_and_samples(job, model, folder)


def _reconstructions(job: Job, model: Any, folder: Path) -> None:
    how = job.config["show"]
    shown = min((n for key, n in SAMPLES_SHOWN.items() if key in how), default=12)
    part = job.data.test.subset(shown)
    _save_picture(folder, "data", showing.show(part.x, how, color=pictures.PAPER))
    _save_picture(folder, "reconstructions", showing.show(reconstructed(model, part), how))


def _distance_and_samples(job: Job, model: Any, folder: Path) -> Entry:
    seed, how = job.config["seed"], job.config["show"]
    shown = min((n for key, n in SAMPLES_SHOWN.items() if key in how), default=12)
    count, given = max(shown, job.held_out.count), {}
    opened = runs.Opened(job.row, model, job.config)
    if conditional := runs.needs_given(opened):
        count = min(count, len(job.data.test))
        given = {"y": runs.first_given(job.data, "test", count)}
    samples = runs.draw(opened, count, seed, given)
    picture = showing.show(samples[:shown], how, density=_density(job, model))
    _save_picture(folder, "samples", picture)
    real = job.data.test.subset(shown)
    _save_picture(folder, "data", showing.show(real.x, how, color=pictures.PAPER))
    beside = showing.show_given(real.y, how) if conditional else {}
    for name, thing in beside.items():
        _save_picture(folder, f"given-{name}", thing)
    _codes(job, model, folder)
    if "vocabulary" in how or not FEWEST_ROWS <= job.held_out.count <= count:
        return {}
    distance, baseline = job.held_out.distance(samples), job.held_out.baseline
    found = {"distance": {**asdict(distance), "baseline": asdict(baseline)}}
    return found | _fidelity(job, model, samples)


def _codes(job: Job, model: Any, folder: Path) -> None:
    """Of images by a model with codes: lines between two of them, and walks along dimensions."""
    if "image_shape" not in job.config["show"] or not hasattr(model, "traverse"):
        return
    part, how = job.data.test.subset(2 * LINES), job.config["show"]
    y = None if part.y is None else part.y[:LINES]
    line = model.interpolate(part.x[:LINES], part.x[LINES:], STEPS, y=y)  # (STEPS, LINES, …)
    first, label = part.x[:1], None if y is None else y[:1]
    with no_grad():
        spread = value(model.encode(job.data.validation.x, job.data.validation.y)[0]).std(axis=0)
    most = spread.argsort()[::-1][:LINES]  # the dimensions that say most
    at = [4.0 * i / (STEPS - 1) - 2.0 for i in range(STEPS)]
    walks = [model.traverse(first, int(j), at, y=label)[:, 0] for j in most]
    for name, rows in (("line", line.swapaxes(0, 1)), ("walk", np.stack(walks))):
        x = rows.reshape(-1, *rows.shape[2:])
        _save_picture(folder, name, showing.show(x, how, columns=STEPS))


def _fidelity(job: Job, model: Any, samples: Any) -> Entry:
    """Of digits: what their judge says of samples, and of samples drawn for each class in turn."""
    if (judge := job.in_features) is None:
        return {}
    found, baseline = asdict(judge.fidelity(samples)), asdict(judge.baseline)
    if likelihood.takes_condition(model):
        y = classes_in_turn(job.held_out.count, job.data.classes)
        found["asked"] = judge.asked(model.sample(len(y), seed=job.config["seed"], y=y), y)
    return {"fidelity": {**present(found), "baseline": present(baseline)}}


def _density(job: Job, model: Any) -> Callable[[Any], Any] | None:
    """The model's log-density at points (N, 2), for its picture; None if it has none."""
    show = job.config["show"]
    if job.row.family != "exact likelihood" or "box" not in show or "given" in show:
        return None

    def log_density(points: Any) -> Any:
        with no_grad():
            return value(model.log_prob(points.astype(job.data.train.x.dtype)))

    return log_density


def _save_picture(folder: Path, name: str, picture: bytes | str) -> None:
    content = picture if isinstance(picture, bytes) else picture.encode()
    write_atomic(folder / f"{name}{pictures.suffix(picture)}", content)


def _slug(source: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", Path(source).stem).strip("-") or "data"
