"""Floor and cap of a row, measured: the lines to paste into it.

python -m kernels.measure NAME [--examples N] [--backend numba] draws calls in every dtype and takes
the largest error of the twin, and the largest part of it that is beyond twice the definition's own.
Floor and cap are twice those, rounded up to one digit, and no less than two eps: another processor
may round otherwise. It ends with status 1 if a wrong twin would
pass under them: then the twin is too rough, the fault too small, or `make` draws too few calls in
which it shows.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from core.errors import GenzooError
from kernels.foreign import find_operation
from kernels.proof import errors, largest, scale
from kernels.search import complaint
from kernels.table import Op

DRAWS, REJECTED = 50, 5
"""A wrong twin must be rejected in REJECTED of DRAWS calls."""


class Measured(NamedTuple):
    """The largest error of results of size 1, and of it what twice the definition's own leaves."""

    beyond: float
    error: float


def main(arguments: list[str]) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m kernels.measure",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", help="of a row of the table")
    parser.add_argument("--examples", type=int, default=200, help="calls in each dtype (200)")
    parser.add_argument("--backend", default="numba", help="whose twin (numba)")
    given = parser.parse_args(arguments)
    try:
        return _report(find_operation(given.name), given.backend, given.examples)
    except GenzooError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1


def measured(op: Op, where: str, dtype: str, examples: int) -> Measured | None:
    """Over so many calls in this dtype; None if all results are whole numbers."""
    open_op = replace(op, floor={}, cap=dict.fromkeys(op.dtypes, 1.0), laws=())
    twin, found = op.load(where), []
    for seed in range(examples):
        call = open_op.draw(seed, (dtype,))
        with np.errstate(all="ignore"):
            result = twin(**call.arguments)
        for x, truth, limit in errors(call, result, op.load()(**call.arguments)):
            if limit is not None:
                error, size = largest(x, truth), scale(truth)
                found.append(Measured(max(error - 2 * limit.own, 0.0) / size, error / size))
    return Measured(*map(max, zip(*found, strict=True))) if found else None


def bounds(found: Measured, dtype: str) -> tuple[float, float]:
    """(floor, cap): twice what was measured or two eps, rounded up to one digit.

    >>> bounds(Measured(beyond=1.1e-7, error=2.6e-6), "float32")
    (3e-07, 6e-06)
    """
    least = float(np.finfo(dtype if np.dtype(dtype).kind == "f" else np.float64).eps)
    return round_up(2 * max(found.beyond, least)), round_up(2 * max(found.error, least))


def round_up(x: float) -> float:
    """x > 0, to one digit."""
    power = math.floor(math.log10(x))
    return float(f"{math.ceil(x / 10.0**power)}e{power}")


def rejections(op: Op) -> dict[str, int]:
    """Wrong twin → in how many of DRAWS calls the check rejects it."""
    calls = [op.draw(seed) for seed in range(DRAWS)]
    return {
        name: sum(bool(complaint(wrong, call)) for call in calls)
        for name, wrong in op.wrong.items()
    }


def _report(op: Op, where: str, examples: int) -> int:
    found = {dtype: measured(op, where, dtype, examples) for dtype in op.dtypes}
    limits = {dtype: bounds(m, dtype) for dtype, m in found.items() if m is not None}
    if not limits:
        print(f"{op.name}: whole numbers are exact; the row needs no floor and no cap")
        return 0
    print(f"{op.name}: {examples} calls of the {where} twin in each dtype; results of size 1")
    for dtype, m in found.items():
        if m is not None:
            print(f"  {dtype}: error {m.error:.2g}, beyond twice the own {m.beyond:.2g}")
    prefix = "" if where == "numba" else f"{where} "
    floor = ", ".join(f'"{prefix}{dtype}": {f:g}' for dtype, (f, _) in limits.items())
    cap = ", ".join(f'"{dtype}": {c:g}' for dtype, (_, c) in limits.items())
    print(f"\n        floor={{{floor}}},\n        cap={{{cap}}},\n")
    return _print_rejections(
        replace(
            op,
            floor={dtype: f for dtype, (f, _) in limits.items()},
            cap={**op.cap, **{dtype: c for dtype, (_, c) in limits.items()}},
        )
    )


def _print_rejections(op: Op) -> int:
    passed = False
    for name, n in rejections(op).items():
        short = n < REJECTED
        passed |= short
        print(f"  {name}: rejected in {n} of {DRAWS} calls{', too few' if short else ''}")
    return int(passed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
