"""Registers, shared memory and spills of the Triton kernels, compiled without a GPU.

python -m bench.binaries prints them as JSON. A process of its own, without Triton's interpreter.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
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
    parser.parse_args(arguments)
    return guarded(parser.prog, _print)


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
