"""`genzoo reproduce`: published figures, ours beside them, and what it costs to make them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reference.zoo import printing
from reference.zoo.commands import DataDir
from reference.zoo.news import say

if TYPE_CHECKING:
    from reference import Published

HEAD = ("figure", "published", "ours", "Δ", "required", "met", "time", "command")


def reproduce(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="From --list. [all]")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the runs.")] = Path("reproduce"),
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Runs to take the mean of. [the row's]")
    ] = None,
    only_list: Annotated[
        bool, typer.Option("--list", help="Only say what there is, and what is done.")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Train what is published, and set our test figures beside it.

    What is in --out is kept, and what was interrupted goes on. Figures are of test data, which are
    looked at once; epochs and settings are picked on validation data. Times are for one core and
    `genzoo --backend numba reproduce`.
    """
    from core.checkpoint import write_json
    from core.operation import chosen_backend
    from reference.zoo import reproduction as r
    from reference.zoo.progress import training_bar

    rows = r.find(names or [])
    if only_list:
        printing.print_table(HEAD, [line(row, r.kept(row, out)) for row in rows])
        return
    left = [row for row in rows if r.kept(row, out, seeds) is None]
    for row in left:
        r.read(row, data_dir, progress=sys.stderr.isatty())  # before hours of training, not after
    how = "" if chosen_backend() else "; without --backend numba some take 20 times as long"
    estimate = duration(60 * sum(r.minutes(row, seeds) for row in left))
    say(f"{len(left)} of {len(rows)} figures to make, about {estimate} on one core{how}")
    for row in left:
        say(f"{row.name}, about {duration(60 * r.minutes(row, seeds))}")
        with training_bar(r.title(row)) as tell:
            entry = r.reproduce(row, out, seeds=seeds, data_dir=data_dir, tell=tell)
        write_json(out / "results.json", {"figures": r.collected(out)})
        say(f"{row.name}: {ours(row, entry)}, required {required(row, entry) or 'nothing'}")
    printing.print_table(HEAD, [line(row, r.kept(row, out, seeds)) for row in rows])


def line(row: Published, entry: dict[str, Any] | None) -> tuple[str, ...]:
    """A row of the table, of text."""
    from reference.zoo import reproduction as r

    published = "–" if row.figure is None else f"{row.figure:.{places(row)}f}"
    if entry is None:
        about = f"about {duration(60 * r.minutes(row))}"
        return row.name, published, "–", "–", required(row), "–", about, r.command(row)
    verdict = {True: "yes", False: "no", None: "–"}[r.met(row, entry)]
    return (
        row.name,
        published,
        ours(row, entry),
        "–" if row.figure is None else f"{entry['ours'] - row.figure:+.{places(row)}f}",
        required(row, entry),
        verdict,
        duration(entry["seconds"]),
        entry["command"],
    )


def places(row: Published) -> int:
    """Digits after the point that are shown."""
    return 3 if row.characters or row.unit != "nats" else 2


def ours(row: Published, entry: dict[str, Any]) -> str:
    """Our figure and its standard error, or of a bound that it is one."""
    bound = "≤ " if "bound" in entry["figures"][0] else ""
    n = places(row)
    return f"{bound}{entry['ours']:.{n}f} ± {entry['se']:.{n}f}"


def required(row: Published, entry: dict[str, Any] | None = None) -> str:
    """What ours has to be."""
    from reference.zoo import reproduction as r

    if row.digits is not None:
        return f"= {row.figure:.{row.digits}f}"
    most = r.limit(row, entry)
    if row.beats is not None:
        return f"< {row.beats}" + ("" if most is None else f", {most:.{places(row)}f}")
    return "" if most is None else f"≤ {most:.{places(row)}f}"


def duration(seconds: float) -> str:
    """For people: 12 s, 3 min, 1.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
