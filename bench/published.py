"""Published figures and ours beside them, in README.md and docs/published.md.

python -m bench.published rewrites what lies between the two comments of each; --check only says
whether that would change anything (exit status 1). The figures are the committed ones; to make
some, and to commit them:

    genzoo --backend numba reproduce nade-dna
    python -m bench.published --add reproduce/results.json
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench import marked
from bench.command import guarded
from core.checkpoint import read_json, write_json
from core.errors import InputError
from reference import PUBLISHED
from reference.zoo.reproducing import line
from reference.zoo.reproduction import settings, title

ROOT = Path(__file__).resolve().parent.parent
FIGURES = ROOT / "bench/results/reference/published.json"
PAGES = (ROOT / "README.md", ROOT / "docs/published.md")
COMMAND = "python -m bench.published"
Figure = dict[str, Any]


def main(arguments: list[str]) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog=COMMAND, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 if stale")
    parser.add_argument("--add", type=Path, help="a results.json of `genzoo reproduce`")
    given = parser.parse_args(arguments)
    return guarded(COMMAND, lambda: _run(given.check, given.add))


def _run(check: bool, new: Path | None) -> int:
    if new is not None and not check:
        write_json(FIGURES, {"figures": added(read_json(FIGURES), read_json(new))})
    figures = by_name(read_json(FIGURES))
    return max(marked.refresh(path, section(figures), COMMAND, check=check) for path in PAGES)


def added(old: Figure, new: Figure) -> list[Figure]:
    """The figures of both, in the order of the table; new ones for old ones of the same name."""
    both = {figure["name"]: figure for figure in (*old["figures"], *new["figures"])}
    return [both[name] for name in PUBLISHED if name in both]


def by_name(results: Figure) -> dict[str, Figure]:
    """Figures by name. InputError for one that the table would now make in another way."""
    found = {figure["name"]: figure for figure in results["figures"]}
    for name, figure in found.items():
        if name not in PUBLISHED or figure["settings"] != settings(PUBLISHED[name]):
            raise InputError(
                f"{FIGURES.name}: {name} was made with settings that are no more; "
                f"run genzoo reproduce {name}, and --add what it leaves"
            )
    return found


def section(figures: Mapping[str, Figure]) -> str:
    """The table as Markdown."""
    head = ("model · data", "published", "ours ± se", "Δ", "required", "met", "time", "command")
    rows = [
        (title(row), *line(row, figures.get(name))[1:-1], f"`{_command(name, figures)}`")
        for name, row in PUBLISHED.items()
    ]
    made_on = sorted({_machine(figure["machine"]) for figure in figures.values()}) or ["None yet"]
    return "\n".join(
        [
            "Negative log-likelihood of test data in nats, unless it is said otherwise; less is "
            "better; se: the standard error of the mean over the test rows. Validation data "
            "picked epochs and settings.",
            "",
            *(f"| {' | '.join(cells)} |" for cells in (head, ("---",) * len(head), *rows)),
            "",
            "; ".join(made_on) + ".",
        ]
    )


def _command(name: str, figures: Mapping[str, Figure]) -> str:
    plain = f"genzoo --backend numba reproduce {name}"
    return str(figures[name]["command"]) if name in figures else plain


def _machine(made_on: Figure) -> str:
    cores, threads = made_on["cores"], made_on["threads"]
    return (
        f"{made_on.get('cpu', 'unknown')}, {cores} core{'s' * (cores > 1)}, {threads} "
        f"thread{'s' * (threads > 1)}; NumPy {made_on['numpy']}, {made_on['blas']}"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
