"""The README's table of training beside PyTorch, from the results of four runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.errors import InputError

Results = Mapping[str, Any]
FILES = tuple(f"training-{n}t{twins}.json" for n in (1, 2) for twins in ("", "-numba"))
"""One thread and two, each without a back end and on Numba's: made by `make bench-training`."""
_BOTH = "genzoo", "torch"
_HEAD = (
    "| a step of training | ms | ÷ PyTorch | … on two threads | peak MB, PyTorch's | "
    "doubled costs, PyTorch's |"
)


def section(results: Mapping[str, Results]) -> str:
    """Markdown, of the results by the names in `FILES`. InputError for lines that differ."""
    lines = {file: _lines(found) for file, found in results.items()}
    if len({tuple(found) for found in lines.values()}) != 1:
        raise InputError("the results of training must be of the same architectures")
    one, one_numba, two, two_numba = (lines[file] for file in FILES)
    rows = [
        f"| {row['label']} | {_ms(row)} / {_ms(one_numba[name])} | "
        f"{_ratio(row)} / {_ratio(one_numba[name])} | "
        f"{_ratio(two[name])} / {_ratio(two_numba[name])} | {_memory(row)} | "
        f"{_growth(name, results[FILES[0]])} |"
        for name, row in one.items()
    ]
    about = (
        "Training beside PyTorch eager: loss, gradients and Adam on the same cores in turns, after "
        "losses and gradients were found equal. Without a back end / on Numba's; below 1 genzoo "
        "takes less time. The last column is the time when a size is doubled, over that before."
    )
    return "\n".join([about, "", _HEAD, "|---" * 6 + "|", *rows, "", _machine(results)])


def _lines(results: Results) -> dict[str, Any]:
    """Name → line at its own sizes."""
    found = {row["name"]: row for row in results["rows"] if not row["doubled"]}
    for name, row in found.items():
        if row["wrong"]:
            raise InputError(f"{name} has no time: {row['wrong'][0]}")
    return found


def _ms(row: Results) -> str:
    return f"{row['times']['genzoo']['ms']:.3g}"


def _ratio(row: Results) -> str:
    return f"{row['against']['torch']:.2f}"


def _memory(row: Results) -> str:
    held = row["peak_mb"]
    return f"{held['genzoo']:.0f}, {held['torch']:.0f}"


def _growth(name: str, results: Results) -> str:
    """ "width 3.1, 3.3; batch 1.9, 1.8": genzoo's and PyTorch's, for each size."""
    own, *doubled = [row for row in results["rows"] if row["name"] == name]
    parts = [
        f"{row['doubled'][0]} "
        + ", ".join(f"{row['times'][w]['ms'] / own['times'][w]['ms']:.1f}" for w in _BOTH)
        for row in doubled
        if not row["wrong"]
    ]
    return "; ".join(parts)


def _machine(results: Mapping[str, Results]) -> str:
    made_on = results[FILES[0]]["machine"]
    return (
        f"{made_on['cpu']}, {made_on['cores']} cores; NumPy {made_on['numpy']} with "
        f"{made_on['blas']}; torch {made_on['packages']['torch']}, numba "
        f"{made_on['packages']['numba']}."
    )
