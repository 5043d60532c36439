"""What all implicit models say when they are asked for a likelihood."""

from __future__ import annotations

from typing import NoReturn


class Implicit:
    """Samples can be drawn, and nothing can be asked about a given x."""

    def __getattr__(self, name: str) -> NoReturn:
        """Asked for something that isn't there, such as a likelihood."""
        why = ": an implicit model has samples, but no likelihood" if name == "log_prob" else ""
        raise AttributeError(f"{type(self).__name__} has no {name}{why}")
