"""The main job: train every row of `MODELS` on its data, score it, and leave a report.

    zoo/report.html            what came of it, to be read in a browser
    zoo/results.json           the same as figures
    zoo/<model>-<data>/        the run: config, model, log; pictures; result.json

A model whose result.json was made by the same configuration and code is not trained again, and one
whose training was interrupted goes on where it was: the job can be stopped and started at will.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from core.checkpoint import write_json
from core.data import Dataset, load
from core.errors import GenzooError, InputError, Interrupted
from core.machine import commit, machine, present
from core.train import TrainSettings
from reference import MODELS, Demo, Model
from reference.judges import likelihood, two_sample
from reference.judges.fidelity import InFeatures
from reference.judges.trained import has_judge, judge_of
from reference.zoo import choices, report, runs
from reference.zoo.entry import Entry, Job, code, figures_of, kept_entry, train_and_score


@dataclass(frozen=True)
class Watcher:
    """Who hears how the zoo gets on; every function may be None.

    planned(how many) before anything is trained; started(job) and finished(job, entry, kept) around
    each model; progress(…) is handed to `core.train.fit`; skipped(model, reason) says why a model
    is left out; told(line) of what takes time before that.
    """

    planned: Callable[[int], None] | None = None
    started: Callable[[Job], None] | None = None
    progress: Callable[..., None] | None = None
    finished: Callable[[Job, Entry, bool], None] | None = None
    skipped: Callable[[str, str], None] | None = None
    told: Callable[[str], None] | None = None


def run(
    out: Path,
    *,
    names: Sequence[str] = (),
    data: str | None = None,
    quick: bool = False,
    full: bool = False,
    seed: int = 0,
    data_dir: Path | None = None,
    watcher: Watcher | None = None,
) -> dict[str, Any]:
    """Train and score; write report.html and results.json into `out`; return the results.

    names: rows of MODELS, all if empty. data: one data set for all of them in place of their own;
    models that it does not suit are then skipped, unless they were named. full: what takes longer
    as well. Raises Interrupted when
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
        "options": _options(names, data, quick, full, seed),
        "baselines": [],
        "models": [],
        "skipped": [],
        "failed": [],
    }
    if data is not None:
        load(data, data_dir=data_dir, seed=seed)  # an unknown name is no reason to skip models
    how: Any = {"quick": quick, "full": full, "seed": seed, "named": bool(names)}
    jobs = list(_plan(rows, data, data_dir, results["skipped"], watcher, **how))
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
    entry = kept_entry(job, out / job.folder)
    kept = entry is not None
    if entry is None:
        entry = train_and_score(job, out / job.folder, watcher.progress)
    results["models"].append(entry)
    _tell(watcher.finished, job, entry, kept)


def _tell(listener: Callable[..., None] | None, *news: Any) -> None:
    if listener is not None:
        listener(*news)


# --- the plan -----------------------------------------------------------------------------------


def _plan(
    rows: Sequence[Model],
    data: str | None,
    data_dir: Path | None,
    skipped: list[dict[str, str]],
    watcher: Watcher,
    *,
    quick: bool,
    full: bool,
    seed: int,
    named: bool,
) -> Iterator[Job]:
    """One job for each row and data set. Everything is loaded and built once before training."""
    loaded: dict[tuple[str, ...], tuple[Dataset, two_sample.HeldOut, InFeatures | None]] = {}
    for row in rows:
        for demo in _demos(row, data, full, named):
            try:
                if row.family == "classifies only":
                    raise InputError(f"{row.name} has no p(x): the zoo has nothing to draw of it")
                key = demo.data, row.domain, row.shape
                if key not in loaded:
                    read = _load(*key, seed, data_dir)
                    held_out = two_sample.HeldOut(read, seed=seed)
                    loaded[key] = read, held_out, _judge(held_out, data_dir, watcher)
                if data is not None:
                    demo = choices.defaults(row, loaded[key][0], data)
                yield plan_job(row, demo, *loaded[key], quick=quick, seed=seed)
            except InputError as error:
                if data is None or named:
                    raise
                skipped.append({"model": row.name, "data": demo.data, "reason": str(error)})
                _tell(watcher.skipped, row.name, str(error))


def _demos(row: Model, data: str | None, full: bool, named: bool) -> Sequence[Demo]:
    """What the row is trained on; a row that has no demo of its own only if it is asked for."""
    if data is not None:
        return (runs.find_demo(row, data),)
    demos = tuple(demo for demo in row.demos if full or not demo.full)
    return demos or ((Demo("digits"),) if named else ())


def _load(name: str, domain: str, shape: str, seed: int, data_dir: Path | None) -> Dataset:
    how: Any = {"domain": domain, "shape": shape, "standardise": True}
    return load(name, data_dir=data_dir, seed=seed, **how)


def _judge(
    held_out: two_sample.HeldOut, data_dir: Path | None, watcher: Watcher
) -> InFeatures | None:
    """The features of a classifier of these digits; None if they are not digits."""
    if not has_judge(held_out.data):
        return None
    judge = judge_of(held_out.data.source, data_dir=data_dir, tell=watcher.told)
    return InFeatures(held_out, judge.classifier)


def plan_job(
    row: Model,
    demo: Demo,
    data: Dataset,
    held_out: two_sample.HeldOut,
    in_features: InFeatures | None = None,
    *,
    quick: bool,
    seed: int,
) -> Job:
    """The demo's settings, cut short if `quick`; InputError if they don't fit."""
    settings = TrainSettings(**{"seed": seed, **(demo.quick if quick else demo.train)})
    config = runs.configuration(
        row, data, source=demo.data, arguments=demo.arguments, settings=settings, seed=seed
    )
    config["code"] = code()
    runs.build(row, config["arguments"], seed)
    return Job(row, data, held_out, demo.data, config, settings, quick, in_features)


# --- what goes with the results --------------------------------------------------------------


def _baselines(jobs: Sequence[Job], entries: Sequence[Entry], data_dir: Path | None) -> list[Entry]:
    """Baselines of every data set on which a likelihood was reported."""
    wanted = {(e["data"], e["scored_as"]) for e in entries if "scored_as" in e}
    datasets = {(job.source, job.data.domain): job.data for job in jobs}
    rows = []
    for source, domain in sorted(wanted):
        data = datasets.get((source, domain)) or _load(
            source, domain, "flat", jobs[0].config["seed"], data_dir
        )
        for name, score in likelihood.baselines(data).items():
            figures = {"data": source, "scored_as": domain, "name": name, **figures_of(score)}
            rows.append(present(figures))
    return rows


def _options(
    names: Sequence[str], data: str | None, quick: bool, full: bool, seed: int
) -> list[str]:
    """The command line that does the same again."""
    options = ["--models", ",".join(names)] if names else []
    options += ["--data", data] if data else []
    options += ["--quick"] * quick + ["--full"] * full
    return options + (["--seed", str(seed)] if seed else [])


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise GenzooError(f"{out} can't be made a folder: {error.strerror}") from error
