"""The main job: train every row of `MODELS` on its data, score it, and leave a report.

    zoo/report.html            what came of it, to be read in a browser
    zoo/results.json           the same as figures
    zoo/<model>-<data>/        the run: config, model, log; pictures; result.json

A model whose result.json was made by the same configuration and code is not trained again, and one
whose training was interrupted goes on where it was: the job can be stopped and started at will.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from core import no_grad, value
from core.checkpoint import read_json, write_atomic, write_json
from core.data import Dataset, load
from core.errors import CheckpointError, GenzooError, InputError, Interrupted
from core.machine import ROOT, commit, machine, peak_memory, present
from core.train import History, TrainSettings
from reference import MODELS, Demo, Model
from reference.judges import metrics
from reference.zoo import pictures, report, runs

Entry = dict[str, Any]
SAMPLES_SHOWN = {"image": 64, "point": 1000, "text": 12}
BOUNDED_ROWS = 2000
"""Test rows on which a bound is estimated: it costs as much as many samples."""

FEWEST_ROWS = 20
"""Held-out rows below which a distance would say nothing."""


@dataclass(frozen=True)
class Job:
    """One model to be trained on one data set, with everything that decides the outcome."""

    row: Model
    data: Dataset
    held_out: metrics.HeldOut
    source: str
    config: dict[str, Any]
    settings: TrainSettings
    quick: bool

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


@dataclass(frozen=True)
class Watcher:
    """Who hears how the zoo gets on; every function may be None.

    planned(how many) before anything is trained; started(job) and finished(job, entry, kept) around
    each model; progress(…) is handed to `core.train.fit`; skipped(model, reason) says why a model
    is left out.
    """

    planned: Callable[[int], None] | None = None
    started: Callable[[Job], None] | None = None
    progress: Callable[..., None] | None = None
    finished: Callable[[Job, Entry, bool], None] | None = None
    skipped: Callable[[str, str], None] | None = None


def run(
    out: Path,
    *,
    names: Sequence[str] = (),
    data: str | None = None,
    quick: bool = False,
    seed: int = 0,
    data_dir: Path | None = None,
    watcher: Watcher | None = None,
) -> dict[str, Any]:
    """Train and score; write report.html and results.json into `out`; return the results.

    names: rows of MODELS, all if empty. data: one data set for all of them in place of their own;
    models that it does not suit are then skipped, unless they were named. Raises Interrupted when
    stopped by Ctrl-C and GenzooError if a model failed, after the report on those that are done.
    """
    watcher = watcher or Watcher()
    rows = [runs.find_row(name) for name in dict.fromkeys(names)] or list(MODELS.values())
    _make_folder(out)
    results = {
        "version": version("genzoo"),
        **commit(),
        "machine": machine(),
        "seed": seed,
        "quick": quick,
        "options": _options(names, data, quick, seed),
        "baselines": [],
        "models": [],
        "skipped": [],
        "failed": [],
    }
    if data is not None:
        load(data, data_dir=data_dir, seed=seed)  # an unknown name is no reason to skip models
    jobs = list(_plan(rows, data, quick, seed, data_dir, bool(names), results["skipped"], watcher))
    if not jobs:
        raise InputError(f"no model can be trained on {data}: {results['skipped'][0]['reason']}")
    _tell(watcher.planned, len(jobs))
    try:
        for job in jobs:
            _do(job, out, results, watcher)
    finally:
        if results["models"]:
            results["baselines"] = _baselines(jobs, results["models"], data_dir)
            write_json(out / "results.json", results)
            report.write_report(results, out)
    if failed := results["failed"]:
        reasons = "; ".join(f"{row['model']} on {row['data']}: {row['reason']}" for row in failed)
        raise GenzooError(f"{len(failed)} of {len(jobs)} models failed: {reasons}")
    return results


def _do(job: Job, out: Path, results: dict[str, Any], watcher: Watcher) -> None:
    """Train and score one model; a failure is noted, and is no reason to stop the others."""
    try:
        _do_one(job, out, results, watcher)
    except Interrupted:
        raise
    except GenzooError as error:
        reason = str(error)
        results["failed"].append({"model": job.row.name, "data": job.source, "reason": reason})
        _tell(watcher.skipped, job.title, reason)


def _do_one(job: Job, out: Path, results: dict[str, Any], watcher: Watcher) -> None:
    _tell(watcher.started, job)
    entry = _kept(job, out / job.folder)
    kept = entry is not None
    if entry is None:
        entry = _train_and_score(job, out / job.folder, watcher.progress)
    results["models"].append(entry)
    _tell(watcher.finished, job, entry, kept)


def _tell(listener: Callable[..., None] | None, *news: Any) -> None:
    if listener is not None:
        listener(*news)


# --- the plan -----------------------------------------------------------------------------------


def _plan(
    rows: Sequence[Model],
    data: str | None,
    quick: bool,
    seed: int,
    data_dir: Path | None,
    named: bool,
    skipped: list[dict[str, str]],
    watcher: Watcher,
) -> Iterator[Job]:
    """One job for each row and data set. Everything is loaded and built once before training."""
    loaded: dict[tuple[str, str], tuple[Dataset, metrics.HeldOut]] = {}
    for row in rows:
        for demo in (runs.find_demo(row, data),) if data else row.demos:
            try:
                key = demo.data, row.domain
                if key not in loaded:
                    read = _load(*key, seed, data_dir)
                    loaded[key] = read, metrics.HeldOut(read, seed=seed)
                yield plan_job(row, demo, *loaded[key], quick=quick, seed=seed)
            except InputError as error:
                if data is None or named:
                    raise
                skipped.append({"model": row.name, "data": demo.data, "reason": str(error)})
                _tell(watcher.skipped, row.name, str(error))


def _load(name: str, domain: str, seed: int, data_dir: Path | None) -> Dataset:
    return load(name, data_dir=data_dir, seed=seed, domain=domain)  # type: ignore[arg-type]


def plan_job(
    row: Model, demo: Demo, data: Dataset, held_out: metrics.HeldOut, *, quick: bool, seed: int
) -> Job:
    """The demo's settings, cut short if `quick`; InputError if they don't fit."""
    settings = TrainSettings(**{"seed": seed, **(demo.quick if quick else demo.train)})
    config = runs.configuration(
        row, data, source=demo.data, arguments=demo.arguments, settings=settings, seed=seed
    )
    config["code"] = code()
    runs.build(row, config["arguments"], seed)
    return Job(row, data, held_out, demo.data, config, settings, quick)


# --- one model ----------------------------------------------------------------------------------


def _kept(job: Job, folder: Path) -> Entry | None:
    """The result of an earlier run with the same configuration and code, or None."""
    try:
        result = read_json(folder / "result.json")
        if result["config"] == _key(job):
            return dict(result["entry"])
    except (CheckpointError, KeyError, TypeError):
        pass
    return None


@cache
def code() -> str:
    """A checksum of the code that results come from: all of core and of reference but the show."""
    show = {f"reference/zoo/{name}.py" for name in ("cli", "figures", "progress", "report")}
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
        "bound": [metrics.IMPORTANCE_SAMPLES, BOUNDED_ROWS],
    }


def _train_and_score(job: Job, folder: Path, progress: Callable[..., None] | None) -> Entry:
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
        **_likelihood(job, model),
    }
    entry |= _distance_and_pictures(job, model, folder)
    entry = present(entry)
    write_json(folder / "result.json", {"config": _key(job), "entry": entry})
    return entry


def _train(job: Job, folder: Path, progress: Callable[..., None] | None) -> tuple[Any, History]:
    """Go on with what is in the folder if it can be gone on with; else begin."""

    def train(**how: bool) -> tuple[Any, History]:
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


def _likelihood(job: Job, model: Any) -> Entry:
    if job.row.family == "samples only":
        return {}
    first = BOUNDED_ROWS if job.row.family == "bounded likelihood" else None
    score = metrics.likelihood(model, job.data, first=first, seed=job.config["seed"])
    probabilities = job.data.domain == "continuous" and score.bits_per_dim is not None
    return {
        "scored_as": "integer" if probabilities else job.data.domain,
        **figures_of(score),
    }


def figures_of(score: metrics.Likelihood) -> Entry:
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
    }


def _distance_and_pictures(job: Job, model: Any, folder: Path) -> Entry:
    seed, how = job.config["seed"], job.config["show"]
    shown = SAMPLES_SHOWN["image" if "image_shape" in how else "point" if "box" in how else "text"]
    samples = np.asarray(model.sample(max(shown, job.held_out.count), seed=seed))
    if not np.all(np.isfinite(samples)):
        raise InputError(f"{job.row.name} drew samples that are not finite; was the rate too high?")
    picture = runs.show(samples[:shown], how, density=_density(job, model))
    _save_picture(folder, "samples", picture)
    real = job.data.test.x[:shown]
    _save_picture(folder, "data", runs.show(real, how, color=pictures.PAPER))
    if "vocabulary" in how or job.held_out.count < FEWEST_ROWS:
        return {}
    distance, baseline = job.held_out.distance(samples), job.held_out.baseline
    return {"distance": {**asdict(distance), "baseline": asdict(baseline)}}


def _density(job: Job, model: Any) -> Callable[[Any], Any] | None:
    """The model's log-density at points (N, 2), for its picture; None if it has none."""
    if job.row.family != "exact likelihood" or "box" not in job.config["show"]:
        return None

    def log_density(points: Any) -> Any:
        with no_grad():
            return value(model.log_prob(points.astype(job.data.train.x.dtype)))

    return log_density


def _save_picture(folder: Path, name: str, picture: bytes | str) -> None:
    if isinstance(picture, bytes):
        write_atomic(folder / f"{name}.png", picture)
    else:
        write_atomic(folder / f"{name}.txt", picture.encode())


def _baselines(jobs: Sequence[Job], entries: Sequence[Entry], data_dir: Path | None) -> list[Entry]:
    """Baselines of every data set on which a likelihood was reported."""
    wanted = {(e["data"], e["scored_as"]) for e in entries if "scored_as" in e}
    datasets = {(job.source, job.data.domain): job.data for job in jobs}
    rows = []
    for source, domain in sorted(wanted):
        data = datasets.get((source, domain)) or _load(
            source, domain, jobs[0].config["seed"], data_dir
        )
        for name, score in metrics.baselines(data).items():
            figures = {"data": source, "scored_as": domain, "name": name, **figures_of(score)}
            rows.append(present(figures))
    return rows


def _options(names: Sequence[str], data: str | None, quick: bool, seed: int) -> list[str]:
    """The command line that does the same again."""
    options = ["--models", ",".join(names)] if names else []
    options += ["--data", data] if data else []
    options += ["--quick"] if quick else []
    return options + (["--seed", str(seed)] if seed else [])


def _slug(source: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", Path(source).stem).strip("-") or "data"


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise GenzooError(f"{out} can't be made a folder: {error.strerror}") from error
