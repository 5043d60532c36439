"""Registers, shared memory and spills of the Triton kernels, compiled without a GPU.

python -m bench.binaries prints them as JSON. A process of its own, without Triton's interpreter.
python -m bench.binaries --table FILE… prints, as docs/binaries.md has it, the instructions for a
pair of a query and a key in each of several outputs of `python -m kernels.binaries`, side by side.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bench.command import guarded
from core.errors import InputError

Entry = dict[str, Any]
SHOWN = re.compile(
    r"(forward|dq|dkv),sm_90,(bf16|fp32),(64|128),.*"
    r"|step,sm_90,(bf16|fp32),.* even|draw,sm_90,fp32,.*,normal even"
)
"""Names of the cells of `kernels.binaries` that are compiled here; the tests compile more."""


def main(arguments: list[str]) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.binaries", description=__doc__)
    parser.add_argument("--table", nargs="+", type=Path, metavar="FILE", help="to be compared")
    files = parser.parse_args(arguments).table
    return guarded(parser.prog, (lambda: _compare(files)) if files else _print)


def binaries() -> list[Entry]:
    """An entry for each cell SHOWN. RuntimeError with what the compiler says if one fails."""
    env = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "bench.binaries"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the kernels don't compile:\n{done.stderr}")
    found: list[Entry] = json.loads(done.stdout)
    return found


def possible() -> bool:
    """Whether Triton is installed."""
    return find_spec("triton") is not None


def table(found: list[Entry]) -> str:
    """For the terminal; the columns are whatever the entries have."""
    names = list(dict.fromkeys(name for entry in found for name in entry))
    lines = [names, *([str(entry.get(name, "")) for name in names] for entry in found)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(names))]
    return "\n".join(
        "  ".join(f"{cell:{width}s}" for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def per_pair(outputs: dict[str, str]) -> str:
    """Markdown: a row for each bfloat16 cell of sm_90 with intervals, a column for each output.

    outputs: by name, the lines that `python -m kernels.binaries` prints. InputError for others.

    >>> from bench.binaries import per_pair
    >>> line = "dq,sm_90,bf16,64,intervals,198,0,0,0,HGMMA,64x64x16,0,392,16,6.12,fit"
    >>> line = "dq,sm_90,bf16,64,intervals" + line[26:].replace(",", "\\t")
    >>> print(per_pair({"3.7": line}))
    | kernel | head | 3.7 |
    |---|---|---|
    | dq | 64 | 6.12 (198 registers, 64x64x16) |
    """
    found = {name: _cells(name, text) for name, text in outputs.items()}
    rows = sorted({key for cells in found.values() for key in cells})
    lines = [["kernel", "head", *found], ["---"] * (2 + len(found))]
    lines += [
        [kernel, str(head), *(cells.get((kernel, head), "") for cells in found.values())]
        for kernel, head in rows
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines).replace(" --- ", "---")


def _cells(name: str, text: str) -> dict[tuple[str, int], str]:
    """(kernel, head) → what the table says of it."""
    shown = {}
    for line in text.splitlines():
        told = line.split("\t")
        if len(told) != 12 or told[0].count(",") != 4:
            raise InputError(f"{name} must hold what `python -m kernels.binaries` prints")
        kernel, target, dtype, head, variant = told[0].split(",")
        if (target, dtype, variant) == ("sm_90", "bf16", "intervals") and told[10]:
            unfit = "" if told[11] == "fit" else f", {told[11]}"
            shown[kernel, int(head)] = f"{told[10]} ({told[1]} registers, {told[6]}{unfit})"
    return shown


def _compare(files: list[Path]) -> int:
    print(per_pair({path.stem: path.read_text() for path in files}))
    return 0


def _print() -> int:
    if not possible():
        raise InputError("triton is not installed")
    print(json.dumps(_build()))
    return 0


def _build() -> list[Entry]:
    from kernels.binaries import build, cells, fault

    found = []
    for cell in (cell for cell in cells() if SHOWN.fullmatch(cell.name)):
        binary = build(cell)
        verdict = fault(cell, binary) or "fit"
        found.append({**cell._asdict(), **binary._asdict(), "verdict": verdict})
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
