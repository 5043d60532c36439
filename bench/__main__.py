"""Run every benchmark; write what came of it as JSON and print it as a table.

python -m bench [--threads N] [--out FILE] [--quick] [pytest arguments, such as -k histogram].
Ratios carry over to other machines; microseconds don't: --compare A.json B.json sets two such
files, of two versions or two machines, side by side by ratio, and ends with status 1 if something
became slower.
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

from bench.threads import pin_threads, pinned

HERE = Path(__file__).parent
PACKAGES = ("numba", "torch", "fast-histogram", "boost-histogram", "diffusers", "triton")


def main() -> int:
    """Entry point; returns the exit status: pytest's where it says something, else 1."""
    arguments = parser()
    own, rest = arguments.parse_known_args()
    if not 1 <= own.threads <= (os.cpu_count() or 1):
        arguments.error(f"--threads must be between 1 and the {os.cpu_count()} cores")
    pin_threads(own.threads)
    from bench.command import guarded

    if own.compare:
        return guarded(arguments.prog, lambda: _compare(*own.compare))
    return guarded(arguments.prog, lambda: _run(own, rest))


def parser() -> argparse.ArgumentParser:
    """Of our own options; those it doesn't know are pytest's."""
    options = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    options.add_argument("--threads", type=int, default=1, help="threads per library (default 1)")
    default = "bench/results/HOST-Nt.json, or -part.json if anything is left out"
    options.add_argument("--out", type=Path, help=f"the JSON (default {default})")
    options.add_argument("--quick", action="store_true", help="no compile times, no binaries")
    options.add_argument(
        "--compare", type=Path, nargs=2, metavar=("A", "B"), help="time nothing; compare two files"
    )
    options.add_argument("--machine", action="store_true", help="say what is there, and stop")
    return options


def out_of(own: argparse.Namespace, rest: list[str]) -> Path:
    """Where the results go: --out, else a name that says whether something was left out."""
    return own.out or default_out(own.threads, part=own.quick or bool(rest))


def default_out(threads: int, *, part: bool) -> Path:
    """bench/results/HOST-Nt.json, or HOST-Nt-part.json: a part must not replace the whole."""
    name = f"{platform.node() or 'machine'}-{threads}t{'-part' if part else ''}.json"
    return HERE / "results" / name


def _run(own: argparse.Namespace, rest: list[str]) -> int:
    from bench import results, show
    from core.checkpoint import write_json
    from core.errors import InputError

    out = out_of(own, rest)
    if not own.machine:
        _prepare(out)
    found = about(own.threads)
    print(show.machine(found), flush=True)
    if own.machine:
        return 0
    status, raw = _time(rest)
    ceilings = results.ceilings(raw)
    content = {**found, "ceilings": ceilings, "figures": results.figures(raw, ceilings)}
    if why := _unfit(status, content["figures"]):
        raise InputError(f"{why}; nothing is written")
    write_json(out, content)  # before what may fail to compile
    if not own.quick:
        _compile(content)
        write_json(out, content)
    print(show.table(content), f"\nwritten to {out}")
    return status


def _compare(a: Path, b: Path) -> int:
    from bench import compare

    before, after = compare.read(a), compare.read(b)
    print(compare.report(before, after))
    return int("slower" in compare.verdicts(compare.changes(before, after)).values())


def _prepare(out: Path) -> None:
    """Make the folder of the results, before anything is timed.

    InputError if `out` is there and no file, OSError if no file can be made in its folder.
    """
    from core.errors import InputError

    if out.exists() and not out.is_file():
        raise InputError(f"--out {out} is there, and is not a file")
    folder = out.resolve().parent
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):  # root may write anywhere, says os.access
        pass


def _unfit(status: int, figures: list[Any]) -> str:
    """Why what pytest did is not to be kept, or "". With status 1 some checks failed."""
    if status == 5:
        return "the arguments select no benchmark"
    if status not in (0, 1):
        return f"pytest ended with status {status}"
    return "" if figures else "nothing was timed"


def about(threads: int) -> dict[str, Any]:
    """Version, commit, and the machine with its libraries, held to `threads`."""
    from core.machine import commit, machine

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
        # That nothing was selected is said in a line, not by a warning that is an error here.
        options.append("--pythonwarnings=ignore:Not saving anything")
        files = [str(HERE), str(HERE / "test_ceilings.py"), "--keep-duplicates"]
        status = int(pytest.main([*files, *options, *arguments]))
        text = raw.read_text() if raw.exists() else ""
    return status, json.loads(text or '{"benchmarks": []}')


def _compile(content: dict[str, Any]) -> None:
    """Add the compile time to every figure of the table's, and the Triton kernels' binaries."""
    from bench.binaries import binaries, possible
    from bench.compile_time import compile_seconds
    from kernels import OPS

    for figure in content["figures"]:
        if figure["operation"] in OPS:
            figure["compile_s"] = compile_seconds(figure["operation"], figure["label"])
    if possible():
        content["binaries"] = binaries()


if __name__ == "__main__":
    sys.exit(main())
