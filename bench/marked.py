"""Text that a command writes into a document, between two comments that name the command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from bench.command import guarded
from core.checkpoint import write_atomic
from core.errors import InputError


def replaced(document: str, text: str, command: str) -> str:
    """The document with `text` in its place. InputError unless the place is there, once."""
    start, end = f"<!-- made by {command} -->", f"<!-- end of {command} -->"
    before, found, rest = document.partition(start)
    _, closed, after = rest.partition(end)
    if not (found and closed) or start in rest:
        raise InputError(f"the document must hold {start} … {end} once")
    return f"{before}{start}\n\n{text}\n\n{end}{after}"


def main(
    arguments: list[str], command: str, about: str | None, path: Path, text: Callable[[], str]
) -> int:
    """Entry point of a command that keeps `path` up to date; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog=command, description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 if stale")
    check = parser.parse_args(arguments).check
    return guarded(command, lambda: refresh(path, text(), command, check=check))


def refresh(path: Path, text: str, command: str, *, check: bool) -> int:
    """Write the text into the file; with check only compare. Returns 1 if check finds it stale."""
    old = path.read_text(encoding="utf-8")
    new = replaced(old, text, command)
    if new == old:
        return 0
    if check:
        print(f"{path.name} is stale; run {command}", file=sys.stderr)
        return 1
    write_atomic(path, new.encode())
    return 0
