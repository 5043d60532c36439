"""How a command ends when what it was given can't be used: one line on stderr, no traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable

from core.errors import GenzooError


def guarded(command: str, run: Callable[[], int]) -> int:
    """The exit status of run(); 1 for a GenzooError or OSError, said in one line on stderr."""
    try:
        return run()
    except (GenzooError, OSError) as error:
        print(f"{command}: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
