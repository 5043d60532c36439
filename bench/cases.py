"""What there is to time: a case is one call in one size, and whoever can do it.

The cases of the table of operations are made here; other files of this room have some of their own.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.contest import Draw, Run
from bench.peers import judge, off_on_round_numbers
from core import Tensor, value
from kernels import OPS, Call, Op, check
from kernels.walk import inside

SMALL = 64
"""What sizes are cut to where nothing is timed."""
ABSENT = (ModuleNotFoundError, NotImplementedError)
"""What a contestant raises that isn't installed, or can't do this call."""
Notes = dict[str, Any]


@dataclass(frozen=True)
class Contest:
    """A case made ready.

    runs: the contestants. draw(seed): arguments. judge(who): raises AssertionError unless who is
    right, or one of ABSENT; returns what is to be noted of it. note: what is noted of all.
    """

    runs: Mapping[str, Run]
    draw: Draw
    judge: Callable[[str], Notes]
    note: Notes


@dataclass(frozen=True)
class Case:
    """One call in one size. contestants: by name. build(small): a contest, cut where small."""

    operation: str
    label: str
    contestants: tuple[str, ...]
    build: Callable[[bool], Contest]

    @property
    def id(self) -> str:
        """The label in ASCII, as `-k` finds it."""
        return ascii_id(self.label)


def by_id(cases: Iterable[Case]) -> dict[tuple[str, str], Case]:
    """(operation, id) → case. ValueError for two of one name."""
    found: dict[tuple[str, str], Case] = {}
    for case in cases:
        if found.setdefault((case.operation, case.id), case) is not case:
            raise ValueError(f"two cases of {case.operation} are {case.id}")
    return found


def ascii_id(label: str) -> str:
    """The label in letters, digits, "_", "-" and "." that say the same.

    >>> ascii_id("2-D, 10⁷ float64, 256²"), ascii_id("64 × 3 × 64, 4·10⁶")
    ('2-D_1e7_float64_256x256', '64x3x64_4e6')
    """
    text = re.sub(r"(\d+)²", r"\1x\1", label)
    text = re.sub(r"\b(?:(\d+)·)?10([⁰¹²³⁴-⁹]+)", _power, text)
    text = re.sub(r"(?<=\d) (?=\d{3}\b)", "", text)  # 65 536
    text = re.sub(r"\s*×\s*", "x", text).replace("/", "-")
    text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^\w.-]+", "_", text).strip("_")


def _power(found: re.Match[str]) -> str:
    return f"{found[1] or 1}e{unicodedata.normalize('NFKD', found[2])}"


# The table of operations


def of_operation(op: Op, label: str) -> Case:
    """The benchmark `label` of a row: our twin, the definition and every peer."""
    everyone = ("genzoo", "definition", *op.peers)
    dims = op.bench[label][0]
    cut = {k: min(n, SMALL) for k, n in dims.items()}
    return Case(
        op.name, label, everyone, lambda small: contest_of(op, label, cut if small else dims)
    )


def contest_of(op: Op, label: str, dims: Mapping[str, int]) -> Contest:
    """Benchmark `label` with these dims. Our twin must pass the check, peers be judged right."""
    dtype = op.bench[label][1]

    def draw(seed: int) -> dict[str, Any]:
        return op.make(np.random.default_rng(seed), dims, dtype)

    runs = {"genzoo": op.load("numba"), "definition": op.load(), **op.peers}
    call = Call(op, draw(0), dtype, f"{op.name}: {label}")
    note = {"dtype": dtype, "bytes": nbytes(call.arguments) + nbytes(op.load()(**call.arguments))}
    note |= {"flops": op.flops(dims)} if op.flops else {}

    def judged(who: str) -> Notes:
        notes: Notes = judge(op, who, runs[who], call.arguments) if who in op.peers else {}
        if who == "genzoo":
            check(runs[who], call)
        if "edges" in call.arguments:
            off = off_on_round_numbers(op, runs[who], call.arguments)
            assert who != "genzoo" or off == 0, f"{op.name}: {off} counts differ on round numbers"
            notes["off_on_round_numbers"] = off
        return notes

    return Contest(runs, draw, judged, note)


def nbytes(held: Any) -> int:
    """Bytes of every array in an argument or result."""
    if isinstance(held, np.ndarray | Tensor):
        return value(held).nbytes
    return sum(map(nbytes, inside(held).values()))


def operations() -> list[Case]:
    """Every benchmark of every row with a twin for this processor."""
    return [
        of_operation(op, label) for op in OPS.values() if "numba" in op.twins for label in op.bench
    ]
