"""The README's figures, from the committed results of one run on one thread and one on two.

python -m bench.readme rewrites what lies between the two comments; --check only says whether that
would change anything (exit status 1). To measure anew, on a machine with nothing else to do:

    python -m bench --threads 1 --out bench/results/cpu-1t.json
    python -m bench --threads 2 --out bench/results/cpu-2t.json
    mv bench/results/cpu-?t.json bench/results/reference/

`make bench-training` measures training and says where; its files go to the same place.

Git ignores the first folder: results written straight into the second would change the checkout,
and the run on two threads would call the commit it was made on changed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from bench import marked, show
from bench.training import shown
from core.checkpoint import read_json
from core.errors import InputError

ROOT = Path(__file__).resolve().parent.parent
PATH = ROOT / "README.md"
RESULTS = [ROOT / "bench/results/reference" / f"cpu-{n}t.json" for n in (1, 2)]
_MASK = "S = 65 536, causal & window & 100 documents"
SHOWN = {
    ("histogram", "1-D, 10⁷ float64, 100 bins"): "histogram, 10⁷ float64, 100 bins",
    ("histogram", "1-D, 10⁷ float64, 100 uneven bins"): "… 100 uneven bins",
    ("histogram_nd", "2-D, 10⁷ float64, 256²"): "… 2-D, 256² bins",
    ("histogram_nd", "2-D, 10⁷ float64, 256², by columns"): "… of two contiguous columns",
    ("nade_sample", "NADE 784/500, one stream"): "NADE 784/500, one sample",
    ("nade_sample", "NADE 784/500, 96 at once"): "… 96 samples",
    ("made_sample", "MADE 784-500-500, one stream, plan included"): "MADE 784-500-500, one sample",
    ("made_draw", "784-500-500, one stream, plan ready"): "… its units sorted beforehand",
    ("made_sample", "MADE 784-500-500, 64 at once, plan included"): "… 64 samples",
    ("made_draw", "784-500-500, 64 at once, plan ready"): "… sorted beforehand",
    ("masked_attention", "causal 1024×64, float32"): "causal attention, 8 heads, 1024 × 64",
    ("masked_attention_backward", "causal 1024×64, float32"): "… its gradient",
    ("intervals", _MASK): "mask, causal & window & 100 documents, S = 65 536",
    ("block_ranges", f"{_MASK}, blocks of 128"): "… the blocks to visit",
    ("step", "DDPM, 64 × 3 × 64 × 64"): "DDPM step, noise included, 64 × 3 × 64 × 64",
}
"""(operation, benchmark) → the name it has in the README."""

Figure = dict[str, Any]


def main(arguments: list[str]) -> int:
    """Entry point; returns the exit status."""
    command = "python -m bench.readme"
    return marked.main(arguments, command, __doc__, PATH, text)


def text() -> str:
    """Both tables; that of training as soon as its results are there."""
    operations = section([read_json(path) for path in RESULTS])
    files = {name: RESULTS[0].parent / name for name in shown.FILES}
    if not all(path.exists() for path in files.values()):
        return operations
    training = shown.section({name: read_json(path) for name, path in files.items()})
    return f"{operations}\n\n{training}"


def section(results: list[Figure]) -> str:
    """The table as Markdown; every figure reads one thread / two threads."""
    lines = [
        "Medians, one thread / two threads; × says how many times faster the twin is.",
        "",
        "| on the CPU, in Numba | twin | NumPy | others |",
        "|---|---|---|---|",
        *(_line(name, [_find(r, *key) for r in results]) for key, name in SHOWN.items()),
        "",
        _inexact(_find(results[0], *next(iter(SHOWN)))),
        "",
        _machine(results[0]),
    ]
    return "\n".join(lines)


def _find(results: Figure, operation: str, label: str) -> Figure:
    for figure in results["figures"]:
        if (figure["operation"], figure["label"]) == (operation, label):
            return dict(figure)
    raise InputError(f"the results have no figure for {operation}: {label}")


def _line(name: str, figures: list[Figure]) -> str:
    unit = show.time(figures[0]["times"]["genzoo"]["median_us"]).split()[1]
    ours = [
        show.time(figure["times"]["genzoo"]["median_us"], unit).split()[0] for figure in figures
    ]
    numpy = "numpy" if "numpy" in figures[0]["speed_against"] else "definition"
    others = [who for who in figures[0]["speed_against"] if who not in ("numpy", "definition")]
    cells = (
        name,
        f"{' / '.join(ours)} {unit}",
        _ratios(numpy, figures),
        ", ".join(f"{who} {_ratios(who, figures)}" for who in others),
    )
    return f"| {' | '.join(cells)} |"


def _ratios(who: str, figures: list[Figure]) -> str:
    """ "9.1 / 14.2×"; a dash at the number of threads at which there is none."""
    found = [figure["speed_against"].get(who) for figure in figures]
    if found == [None, None]:
        return ""
    shown = ["–" if ratio is None else show.times_faster(ratio).rstrip("×") for ratio in found]
    return " / ".join(shown) + "×"


def _inexact(figure: Figure) -> str:
    off = {who: n for who, n in figure["off_on_round_numbers"].items() if n}
    said = ", ".join(f"{who} by {n:_}".replace("_", " ") for who, n in off.items())
    return (
        "The twins count exactly as NumPy does. On values with two decimals, many of them on "
        f"edges, the counts of the first histogram above are off elsewhere: {said or 'none'}."
    )


def _machine(results: Figure) -> str:
    made_on = results["machine"]
    core = made_on["env"].get("OPENBLAS_CORETYPE")
    packages = ", ".join(f"{name} {v}" for name, v in made_on["packages"].items())
    return (
        f"{made_on['cpu']}, {made_on['cores']} cores; NumPy {made_on['numpy']} with "
        f"{made_on['blas']}{f' (OPENBLAS_CORETYPE={core})' if core else ''}; {packages}. Copying "
        f"runs at {results['ceilings']['copy_gb_per_s']:.0f} GB/s on one thread."
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
