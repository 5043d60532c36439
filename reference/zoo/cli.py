"""The command line: `genzoo list | train | sample | reconstruct | score | lesson | data | zoo …`.

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
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from reference.zoo import commands, compression, printing, reproducing, study, telling
from reference.zoo.commands import DataDir, Seed

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
for _entry in entry_points(group="genzoo.commands"):  # light: what a command needs, it imports
    app.command(_entry.name)(_entry.load())


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
def list_models(
    model: Annotated[str | None, typer.Argument(help="One of them: its arguments.")] = None,
) -> None:
    """Every model: its kind, what it can do, its mission rows and year. Of MODEL, its arguments."""
    from reference import MODELS
    from reference.zoo.choices import signature_of
    from reference.zoo.runs import capabilities, find_row

    if model is not None:
        row = find_row(model)
        print(f"{row.title} ({row.year}), {row.kind}: {', '.join(capabilities(row))}")
        printing.print_table(("--set", "type", "default"), signature_of(row))
        return
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
        rows.append((op.name, " ".join(op.mission), ", ".join(twins), op.definition))
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


# --- models -------------------------------------------------------------------------------------

for command in (
    commands.train,
    commands.sample,
    commands.reconstruct,
    commands.score,
    commands.judge,
    compression.compress,
    compression.decompress,
    reproducing.reproduce,
):
    app.command()(command)

# --- under a condition --------------------------------------------------------------------------

app.command()(telling.translate)

# --- study --------------------------------------------------------------------------------------

app.command()(study.lesson)
app.command()(study.scene)


# --- zoo ----------------------------------------------------------------------------------------


@app.command()
def zoo(
    out: Annotated[Path, typer.Option(help="Folder for the report and the runs.")] = Path("zoo"),
    models: Annotated[str | None, typer.Option(help="Names, with commas; default: all.")] = None,
    data: Annotated[str | None, typer.Option(help="One data set for all models.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Short training, to see it run.")] = False,
    full: Annotated[
        bool, typer.Option("--full", help="Also what takes longer than a demo.")
    ] = False,
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
            full=full,
            seed=seed,
            data_dir=data_dir,
            watcher=watcher,
        )
    print(f"The report is {out / 'report.html'}")
