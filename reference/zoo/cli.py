"""The command line: `genzoo list | train | sample | score | data | ops | zoo`.

Only typer is imported here; each command imports what it needs when it runs, so that `--help`
answers at once. What a user can get wrong ends in one line on stderr and exit status 1; 130 after
Ctrl-C, as shells have it.
"""

from __future__ import annotations

import io
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from reference.zoo import printing

if TYPE_CHECKING:
    from core.data import Dataset
    from reference.zoo.runs import Opened

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
Seed = Annotated[int, typer.Option(help="Names all random numbers, 0 to 2**63 - 1.")]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A folder made by `genzoo train`.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="An argument of the model; can be repeated."),
]


def main() -> None:
    """Run the command line; the entry point `genzoo`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a console without ± shows a ? and goes on
    debug = "--debug" in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != "--debug"]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = _warn
            app(prog_name="genzoo")
    except Exception as error:
        if debug or not _is_users(error):
            raise
        _stop(error)


def _warn(message: Warning | str, *_: Any, **__: Any) -> None:
    """A warning is one line on stderr, as an error is."""
    print(f"genzoo: {' '.join(str(message).split())}", file=sys.stderr)


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
    printing.print_table(("name", "model", "kind", "can", "rows", "year"), rows)


@app.command("ops")
def list_operations() -> None:
    """Operations that have fast twins: on which back ends, and which of those are installed."""
    from core.operation import operations

    rows = []
    for op in operations().values():
        twins = [f"{name}{'' if op.installed(name) else ' (not installed)'}" for name in op.twins]
        rows.append((op.name, " ".join(op.rows), ", ".join(twins), op.definition))
    printing.print_table(("operation", "rows", "twins", "definition"), rows)


@data_app.command("list")
def list_data(data_dir: DataDir = None) -> None:
    """Every data set: its size, licence, and whether it is on this machine."""
    from core.data import catalogue

    rows = [
        (e.name, e.doc, e.licence, printing.megabytes(e.size), e.where) for e in catalogue(data_dir)
    ]
    printing.print_table(("name", "what", "licence", "download", "here"), rows)


@data_app.command("fetch")
def fetch_data(names: Annotated[list[str], typer.Argument()], data_dir: DataDir = None) -> None:
    """Download data sets, checksums verified."""
    from core.data import fetch

    for name in names:
        paths = fetch(name, data_dir=data_dir, progress=sys.stderr.isatty())
        print(f"{name}: {', '.join(map(str, paths)) or 'comes with the install'}")


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
    from reference.zoo import runs
    from reference.zoo.progress import training_bar

    row = runs.find_row(model)
    old = runs.stored_config(out, row) if resume else {}
    source = data or old.get("data", "digits")
    seed = old.get("seed", 0) if seed is None else seed
    demo = runs.find_demo(row, source)
    numbers = {"epochs": epochs, "batch_size": batch_size, "lr": lr, "patience": patience}
    given = {name: number for name, number in numbers.items() if number is not None}
    how = runs.settings(old.get("train", {"seed": seed, **demo.train}) | given, out)
    loaded = _load(source, old.get("domain", row.domain), row.shape, seed, data_dir)
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
    out: Annotated[
        Path | None, typer.Option(help="A .png, .gif, .wav, .txt, .npy or .npz file.")
    ] = None,
    settings: Settings = None,
    given: Annotated[
        str, typer.Option(help="The part whose texts, images … samples are drawn for, if for some.")
    ] = "test",
    data_dir: DataDir = None,
) -> None:
    """Draw samples: PNG of images or points, GIF of films, WAV of sounds, or text.

    A model of x given a text, an image or a sound is given those of the data set it was trained on;
    they are left beside the samples.
    """
    from reference.zoo import runs, saving

    opened = runs.open_run(run)
    how, y = parse_settings(settings or []), None
    _part("--given", given)
    if runs.needs_given(opened) and "y" not in how:
        loaded = _load_again(opened, None, opened.config["seed"], data_dir)
        how["y"] = y = runs.first_given(loaded, given, n)
    x = runs.draw(opened, n, seed, how)
    if out is not None and out.suffix in (".npy", ".npz"):
        saving.save_arrays(x, out)
        print(f"{n} samples are in {out}")
        return
    for name, picture in runs.show_run(opened, x, y).items():
        if isinstance(picture, str) and out is None:
            print(picture)
        else:
            print(f"{n} {name} are in {saving.save_picture(picture, run, name, out)}")


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

    _part("--split", split)
    opened = runs.open_run(run)
    seed = opened.config["seed"] if seed is None else seed
    loaded = _load_again(opened, data, seed, data_dir)
    if distance:
        printing.print_distance(opened.model, loaded, seed)
        return
    if opened.row.family == "samples only":
        raise InputError(
            f"{opened.row.name} is an implicit model: it has no likelihood, only samples; "
            f"their distance from data is `genzoo score {run} --distance`"
        )
    printing.print_likelihood(opened.model, loaded, split, first, seed)


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


def _part(option: str, part: str) -> str:
    from core.errors import InputError

    if part not in ("train", "validation", "test"):
        raise InputError(f"{option} must be train, validation or test, got {part!r}")
    return part


def _load(name: str, domain: str, shape: str, seed: int, data_dir: Path | None) -> Dataset:
    from core.data import load

    how: Any = {"domain": domain, "shape": shape, "progress": sys.stderr.isatty()}
    return load(name, seed=seed, data_dir=data_dir, **how)


def _load_again(opened: Opened, data: str | None, seed: int, data_dir: Path | None) -> Dataset:
    """A data set as the run's model takes it: the one that it was trained on, or another."""
    config, row = opened.config, opened.row
    name = data or config.get("data", "")
    return _load(name, config.get("domain", row.domain), row.shape, seed, data_dir)


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
