"""Run every benchmark; write what came of it as JSON and print it as a table.

python -m bench [--threads N] [--out FILE] [--quick] [pytest arguments, such as -k histogram].
Ratios carry over to other machines; microseconds don't.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bench.machine import pin_threads, pinned

HERE = Path(__file__).parent
PACKAGES = ("numba", "torch", "fast-histogram", "boost-histogram", "diffusers", "triton")


def main() -> int:
    """Entry point; returns pytest's exit status."""
    parser = _parser()
    own, rest = parser.parse_known_args()
    if not 1 <= own.threads <= (os.cpu_count() or 1):
        parser.error(f"--threads must be between 1 and the {os.cpu_count()} cores")
    pin_threads(own.threads)
    from bench import results, show
    from core.checkpoint import write_json

    about = _about(own.threads)
    print(show.machine(about), flush=True)
    if own.machine:
        return 0
    status, raw = _time(rest)
    ceilings = results.ceilings(raw)
    content = {**about, "ceilings": ceilings, "rows": results.rows(raw, ceilings)}
    out = own.out or HERE / "results" / f"{platform.node() or 'machine'}-{own.threads}t.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    write_json(out, content)  # before what may fail to compile
    if not own.quick:
        _compile(content)
        write_json(out, content)
    print(show.table(content), f"\nwritten to {out}")
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--threads", type=int, default=1, help="threads per library (default 1)")
    parser.add_argument("--out", type=Path, help="the JSON (default bench/results/HOST-Nt.json)")
    parser.add_argument("--quick", action="store_true", help="no compile times, no binaries")
    parser.add_argument("--machine", action="store_true", help="say what is there, and stop")
    return parser


def _about(threads: int) -> dict[str, Any]:
    from reference.zoo import commit, machine

    made_on = {**machine(), "libraries": pinned(threads), "packages": _packages()}
    return {"version": version("genzoo"), **commit(), "machine": made_on}


def _packages() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _time(arguments: list[str]) -> tuple[int, dict[str, Any]]:
    """pytest's exit status and pytest-benchmark's samples; ceilings before and after the rest."""
    import pytest

    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "raw.json"
        options = ["-q", "--benchmark-quiet", "--benchmark-disable-gc", f"--benchmark-json={raw}"]
        files = [str(HERE), str(HERE / "test_ceilings.py"), "--keep-duplicates"]
        status = int(pytest.main([*files, *options, *arguments]))
        text = raw.read_text() if raw.exists() else ""
    return status, json.loads(text or '{"benchmarks": []}')


def _compile(content: dict[str, Any]) -> None:
    """Add the compile time to every row of the table, and the Triton kernels' binaries."""
    from bench.binaries import binaries, possible
    from bench.compile_time import compile_seconds
    from kernels import OPS

    for row in content["rows"]:
        if row["operation"] in OPS:
            row["compile_s"] = compile_seconds(row["operation"], row["label"])
    if possible():
        content["binaries"] = binaries()


if __name__ == "__main__":
    sys.exit(main())
