"""Pages that run: a claim, its numbers, its law.

A lesson is a module whose docstring states the claim and its equation, and whose `run(seed=0)`
gives the numbers that bear it out; where something is to be seen, `picture(result)` shows it. What
it claims is a test. `LESSONS` lists them; nothing is imported until a lesson is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from types import ModuleType


@dataclass(frozen=True)
class Lesson:
    """One lesson: its name, where it lives, the rows of MISSION.md that it teaches, its title."""

    name: str
    module: str
    rows: tuple[str, ...]
    title: str

    def load(self) -> ModuleType:
        """Import and return the module."""
        return import_module(self.module)


LESSONS: dict[str, Lesson] = {
    lesson.name: lesson
    for lesson in (
        Lesson(
            "backprop",
            "reference.lessons.backprop",
            ("F7",),
            "All derivatives of a number in one walk backwards",
        ),
    )
}
