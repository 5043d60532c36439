"""The command line: `genzoo list | train | sample | score | data | ops | zoo`.

Only typer is imported here; each command imports what it needs when it runs, so that `--help`
answers at once. What a user can get wrong ends in one line on stderr and exit status 1; 130 after
Ctrl-C, as shells have it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from core.data import Dataset

app = typer.Typer(
    help="Generative models from scratch: train them, draw from them, ask how likely data are.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: half the time to --help
    context_settings={"help_option_names": ["-h", "--help"]},
)
data_app = typer.Typer(
    help="Data sets: what there is, and fetching it.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(data_app, name="data")

DataDir = Annotated[
    Path | None, typer.Option(help="Folder with downloaded data sets (else $GENZOO_DATA).")
]
Seed = Annotated[int, typer.Option(help="Names all random numbers, 0 … 2⁶³−1.")]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A folder made by `genzoo train`.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="An argument of the model; can be repeated."),
]


def main() -> None:
    """Run the command line; the entry point `genzoo`."""
    debug = "--debug" in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != "--debug"]
    try:
        app(prog_name="genzoo")
    except Exception as error:
        if debug or not _is_users(error):
            raise
        _stop(error)


def _is_users(error: Exception) -> bool:
    """Whether an error is one a user can cause and mend."""
    from core.errors import GenzooError

    return isinstance(error, GenzooError | OSError)


def _stop(error: Exception) -> NoReturn:
    from core.errors import Interrupted

    message = str(error) or type(error).__name__
    print(f"genzoo: {' '.join(message.split())}", file=sys.stderr)
    raise SystemExit(130 if isinstance(error, Interrupted) else 1)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"genzoo {version('genzoo')}")
        raise typer.Exit()


@app.callback()
def _options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of errors.")] = False,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Threads of BLAS (else $OPENBLAS_NUM_THREADS, else 1)."),
    ] = None,
    backend: Annotated[
        str | None, typer.Option(help="Fast twins instead of the definitions: numba or triton.")
    ] = None,
) -> None:
    """Options that come before any command."""
    _pin_threads(threads)
    if backend is not None:
        context.with_resource(_on(backend))


@contextmanager
def _on(name: str) -> Iterator[None]:
    """A back end for one command, which says so if the command never needed it."""
    from core.operation import backend

    with backend(name) as used:
        yield
    if not used:
        print(f"genzoo: nothing in this has a {name} twin; the definitions ran", file=sys.stderr)


def _pin_threads(n: int | None) -> None:
    """Must come before NumPy is imported, for BLAS reads this once.

    One thread by default: the zoo's matrices are small, and two threads on them take many times as
    long as one when another process wants the second core.
    """
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        if n is not None:
            os.environ[name] = str(n)
        else:
            os.environ.setdefault(name, "1")


# --- list and data ------------------------------------------------------------------------------


@app.command("list")
def list_models() -> None:
    """Every model: its kind, what it can do, its mission rows and year."""
    from reference import MODELS
    from reference.zoo.runs import capabilities

    rows = [
        (m.name, m.title, m.kind, ", ".join(capabilities(m)), " ".join(m.rows), str(m.year))
        for m in MODELS.values()
    ]
    _print_table(("name", "model", "kind", "can", "rows", "year"), rows)


@app.command("ops")
def list_operations() -> None:
    """Operations that have fast twins: on which back ends, and which of those are installed."""
    from core.operation import operations

    rows = []
    for op in operations().values():
        twins = [f"{name}{'' if op.installed(name) else ' (not installed)'}" for name in op.twins]
        rows.append((op.name, " ".join(op.rows), ", ".join(twins), op.definition))
    _print_table(("operation", "rows", "twins", "definition"), rows)


@data_app.command("list")
def list_data(data_dir: DataDir = None) -> None:
    """Every data set: its size, licence, and whether it is on this machine."""
    from core.data import catalogue

    rows = [(e.name, e.doc, e.licence, _megabytes(e.size), e.where) for e in catalogue(data_dir)]
    _print_table(("name", "what", "licence", "download", "here"), rows)


@data_app.command("fetch")
def fetch_data(names: Annotated[list[str], typer.Argument()], data_dir: DataDir = None) -> None:
    """Download data sets, checksums verified."""
    from core.data import fetch

    for name in names:
        paths = fetch(name, data_dir=data_dir, progress=sys.stderr.isatty())
        print(f"{name}: {', '.join(map(str, paths)) or 'comes with the install'}")


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size else "–"


def _print_table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """A table for a terminal; tab-separated values for a pipe."""
    if not sys.stdout.isatty():
        for row in (head, *rows):
            print("\t".join(row))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(*head, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    Console().print(table)


# --- train, sample, score -----------------------------------------------------------------------


@app.command()
def train(
    model: Annotated[str, typer.Argument(help="A name from `genzoo list`.")],
    out: Annotated[Path, typer.Option(help="Folder for the run.")],
    data: Annotated[
        str | None, typer.Option(help="A name from `genzoo data list`, or a file. [digits]")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the data.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Rows in a step.")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate.")] = None,
    patience: Annotated[
        int | None, typer.Option(help="Stop after so many epochs without improvement.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Names all random numbers. [0]")] = None,
    settings: Settings = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --out, as it was begun.")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Train MODEL on a data set and keep it in the folder --out.

    For what is not given the zoo's settings for this model and data are taken, if it has some.
    """
    from core.train import TrainSettings
    from reference.zoo import runs
    from reference.zoo.progress import training_bar

    row = runs.find_row(model)
    old = runs.stored_config(out, row) if resume else {}
    source = data or old.get("data", "digits")
    seed = old.get("seed", 0) if seed is None else seed
    demo = runs.find_demo(row, source)
    numbers = {"epochs": epochs, "batch_size": batch_size, "lr": lr, "patience": patience}
    given = {name: number for name, number in numbers.items() if number is not None}
    how = TrainSettings(**(old.get("train", {"seed": seed, **demo.train}) | given))
    loaded = _load(source, old.get("domain", row.domain), seed, data_dir)
    arguments = {**old.get("arguments", demo.arguments), **parse_settings(settings or [])}
    config = runs.configuration(
        row, loaded, source=source, arguments=arguments, settings=how, seed=seed
    )
    with training_bar(f"{row.title} · {loaded.name}") as on_progress:
        runs.train(config, loaded, how, out, resume=resume, on_progress=on_progress)
    print(f"{row.title}, trained on {loaded.name}, is in {out}")


@app.command()
def sample(
    run: RunFolder,
    n: Annotated[int, typer.Option("-n", min=1, help="How many.")] = 64,
    seed: Seed = 0,
    out: Annotated[Path | None, typer.Option(help="A .png, .txt or .npy file.")] = None,
    settings: Settings = None,
) -> None:
    """Draw samples: a PNG of images or points in the plane, or text."""
    from core.checkpoint import write_atomic
    from reference.zoo import runs

    opened = runs.open_run(run)
    x = runs.draw(opened, n, seed, parse_settings(settings or []))
    if out is not None and out.suffix == ".npy":
        write_atomic(out, _npy(x))
    else:
        picture = runs.show_run(opened, x)
        if isinstance(picture, str) and out is None:
            print(picture)
            return
        out = out or run / "samples.png"
        write_atomic(out, picture if isinstance(picture, bytes) else f"{picture}\n".encode())
    print(f"{n} samples are in {out}")


@app.command()
def score(
    run: RunFolder,
    data: Annotated[str | None, typer.Option(help="Default: what it was trained on.")] = None,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    first: Annotated[
        int | None, typer.Option("-n", min=1, help="Only the first rows; a bound takes its time.")
    ] = None,
    distance: Annotated[
        bool, typer.Option("--distance", help="Compare samples with held-out data instead.")
    ] = False,
    seed: Annotated[int | None, typer.Option(help="Default: the seed of the run.")] = None,
    data_dir: DataDir = None,
) -> None:
    """The log-likelihood of a data set, in nats per sample; or the distance of samples from it."""
    from core.errors import InputError
    from reference.zoo import runs

    if split not in ("train", "validation", "test"):
        raise InputError(f"--split must be train, validation or test, got {split!r}")
    opened = runs.open_run(run)
    seed = opened.config["seed"] if seed is None else seed
    name = data or opened.config.get("data", "")
    loaded = _load(name, opened.config.get("domain", opened.row.domain), seed, data_dir)
    if distance:
        _print_distance(opened.model, loaded, seed)
        return
    if opened.row.family == "samples only":
        raise InputError(
            f"{opened.row.name} is an implicit model: it has no likelihood, only samples; "
            f"their distance from data is `genzoo score {run} --distance`"
        )
    _print_likelihood(opened.model, loaded, split, first, seed)


def _print_likelihood(model: Any, data: Dataset, split: str, first: int | None, seed: int) -> None:
    from reference.judges.likelihood import likelihood

    s = likelihood(model, data, split, first=first, seed=seed)
    print(f"{data.name}, {split}, {s.count} samples")
    if s.bound is not None:
        print(f"an upper bound ({s.bound}): the exact figures are at most these")
    at_most = "≤ " if s.bound is not None else ""
    print(f"nats per sample     {at_most}{s.nats:.3f} ± {s.se:.3f}")
    if s.bits_per_dim is not None:
        print(f"bits per dimension  {at_most}{s.bits_per_dim:.4f}")
    if s.gap is not None:
        print(f"gap to the truth    {at_most}{s.gap:.4f} ± {s.gap_se:.4f}")
    if s.impossible:
        print(f"impossible samples  {s.impossible}, which the model gives probability 0")


def _print_distance(model: Any, data: Dataset, seed: int) -> None:
    from reference.judges.two_sample import HeldOut

    held_out = HeldOut(data, seed=seed)
    n = held_out.count
    print(f"{data.name}: {n} samples, and {n} fresh real rows, against {n} held-out rows")
    samples = held_out.distance(model.sample(n, seed=seed))
    for who, d in (("samples", samples), ("fresh rows", held_out.baseline)):
        print(
            f"{who:10}  MMD² × 1000 {1000 * d.mmd2:7.2f} (95 % of its null: {1000 * d.null_95:.2f})"
            f"   told apart with accuracy {d.accuracy:.3f} ± {d.accuracy_se:.3f}"
        )


def parse_settings(pairs: list[str]) -> dict[str, Any]:
    """["hidden=[64, 64]", "loss=minimax"] → {"hidden": [64, 64], "loss": "minimax"}."""
    import json

    from core.errors import InputError

    parsed = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not (equals and key.isidentifier()):
            raise InputError(f"--set must be KEY=VALUE, got {pair!r}")
        try:
            parsed[key] = json.loads(value)
        except ValueError:
            parsed[key] = value
    return parsed


def _load(name: str, domain: str, seed: int, data_dir: Path | None) -> Dataset:
    from core.data import load

    progress = sys.stderr.isatty()
    return load(name, domain=domain, seed=seed, data_dir=data_dir, progress=progress)  # type: ignore[arg-type]


def _npy(x: Any) -> bytes:
    import io

    import numpy as np

    out = io.BytesIO()
    np.save(out, np.asarray(x), allow_pickle=False)
    return out.getvalue()


# --- zoo ----------------------------------------------------------------------------------------


@app.command()
def zoo(
    out: Annotated[Path, typer.Option(help="Folder for the report and the runs.")] = Path("zoo"),
    models: Annotated[str | None, typer.Option(help="Names, with commas; default: all.")] = None,
    data: Annotated[str | None, typer.Option(help="One data set for all models.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Short training, to see it run.")] = False,
    seed: Seed = 0,
    data_dir: DataDir = None,
) -> None:
    """Train every model and leave a report: the main job. Stopped, it goes on where it was."""
    from reference.zoo import job as main_job
    from reference.zoo.progress import zoo_bars

    names = [name.strip() for name in models.split(",") if name.strip()] if models else []
    with zoo_bars() as watcher:
        main_job.run(
            out,
            names=names,
            data=data,
            quick=quick,
            seed=seed,
            data_dir=data_dir,
            watcher=watcher,
        )
    print(f"The report is {out / 'report.html'}")
