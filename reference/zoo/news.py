"""What is told while something takes its time, on stderr: results alone go to stdout."""

from __future__ import annotations

import sys


def say(line: str) -> None:
    """One line, at once."""
    print(line, file=sys.stderr, flush=True)
