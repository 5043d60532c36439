"""Time steps of training: `python -m bench.training [--threads 2] [--backend numba] [NAMES]`.

Every step first: the losses of three steps and the gradients of the first must agree, or there is
no number. Then the engines take turns, as everywhere in `bench`. Memory is measured in a process of
its own for each engine. --slopes times each size doubled as well.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bench.threads import pin_threads

Row = dict[str, Any]


def main(arguments: list[str] | None = None) -> int:
    """Print a line an architecture; 1 if any engine disagreed."""
    options = _options(arguments)
    pin_threads(options.threads)
    if options.memory:
        print(_memory_here(*options.memory))
        return 0
    from bench.__main__ import about
    from bench.training.measure import measured, table
    from core.checkpoint import write_json

    made = {**about(options.threads), "backend": options.backend}
    engines = _installed(options.engines)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for name, sizes in _chosen(options):
        row = measured(name, sizes, engines, options.rounds, _backend(options.backend))
        if not options.no_memory and not sizes:
            row["peak_mb"] = {who: _memory(name, who, options) for who in row["times"]}
        rows.append(row)
        print(table([row], head=len(rows) == 1), flush=True)
        if options.out:
            write_json(options.out, {**made, "rows": rows})
    return int(any(row["wrong"] for row in rows))


def _installed(engines: list[str]) -> list[str]:
    """Those whose package is there; the others are said to be skipped."""
    absent = [who for who in engines if find_spec(who.partition(".")[0]) is None]
    for who in absent:
        print(f"{who}: skipped, not installed")
    return [who for who in engines if who not in absent]


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.training", description=__doc__)
    parser.add_argument("names", nargs="*", help="architectures; all if none is named")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--backend", choices=["numba"], help="train genzoo on its twins")
    parser.add_argument("--engines", nargs="+", default=["torch", "torch.compile", "jax"])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--slopes", action="store_true", help="each size doubled as well")
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--out", type=Path, help="a .json file")
    parser.add_argument("--memory", nargs=3, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def _chosen(options: argparse.Namespace) -> Iterator[tuple[str, dict[str, int]]]:
    """(architecture, sizes that differ from its own)."""
    from bench.training.architectures import ARCHITECTURES
    from core.checks import one_of

    for name in options.names or ARCHITECTURES:
        own = ARCHITECTURES[one_of("an architecture", name, ARCHITECTURES)].sizes
        yield name, {}
        if options.slopes:
            doubled = (size for size in own if size not in ("heads", "latent"))
            yield from ((name, {size: 2 * own[size]}) for size in doubled)


def _backend(name: str | None) -> Any:
    from core import backend

    return (lambda: backend(name)) if name else nullcontext


def _memory(name: str, who: str, options: argparse.Namespace) -> float:
    """Peak MB of three steps, parameters and Adam included, in a fresh process."""
    command = [sys.executable, "-m", "bench.training", "--threads", str(options.threads)]
    command += ["--memory", name, who, options.backend or "none"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def _memory_here(name: str, who: str, backend: str) -> float:
    from bench.training.architectures import ARCHITECTURES, MLP
    from bench.training.measure import drawn, resident_mb
    from core.machine import peak_memory

    where = _backend(None if backend == "none" else backend)
    drawn(MLP.resized(batch=1, width=1), [who], where)[who].run()  # the libraries themselves
    before = resident_mb()
    with peak_memory() as memory:
        step = drawn(ARCHITECTURES[name], [who], where)[who]
        for _ in range(3):
            step.run()
    return round(max(memory.get("peak_mb", 0.0) - before, 0.0), 1)


if __name__ == "__main__":
    sys.exit(main())
