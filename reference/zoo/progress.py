"""How long it will take: bars on a terminal, plain lines anywhere else.

Everything goes to stderr, so that what a command prints can be piped.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from core.train import Progress
    from reference.zoo.entry import Entry, Job
from reference.zoo.job import Watcher
from reference.zoo.news import say

Listener = Callable[["Progress"], None]
_SECONDS = 10.0
"""Between two plain lines about one training."""


@contextmanager
def training_bar(title: str) -> Iterator[Listener]:
    """A listener for `core.train.fit` that shows one training."""
    if not sys.stderr.isatty():
        lines = _Lines(title)
        yield lines.listen
        lines.last()
        return
    with _bars() as bars:
        task = bars.add_task(title, total=None, losses="")
        yield lambda at: bars.update(task, total=at.steps, completed=at.step, losses=_losses(at))


class _Lines:
    """A line about one training now and then."""

    def __init__(self, title: str) -> None:
        self.title, self.told = title, time.monotonic()
        self.at: Progress | None = None

    def listen(self, at: Progress) -> None:
        self.at = at
        if time.monotonic() - self.told > _SECONDS:
            self.last()

    def last(self) -> None:
        if self.at is not None:
            self.told, at = time.monotonic(), self.at
            say(f"{self.title}: epoch {at.epoch}/{at.epochs}, {at.seconds:.0f} s, {_losses(at)}")


def _losses(at: Progress) -> str:
    validation = "" if at.validation_loss is None else f"  validation {at.validation_loss:.3f}"
    return f"loss {at.train_loss:.3f}{validation}"


@contextmanager
def zoo_bars() -> Iterator[Watcher]:
    """A watcher for `job.run`: a bar for all models and one for the model in training."""
    if not sys.stderr.isatty():
        yield _ZooLines().watcher()
        return
    with _bars() as bars:
        yield _ZooBars(bars).watcher()


def _bars() -> Any:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[losses]}"),
        console=Console(stderr=True),
    )


class _ZooLines:
    """The zoo's news, one line each."""

    def __init__(self) -> None:
        self.count = self.done = 0

    def watcher(self) -> Watcher:
        from reference.zoo.job import Watcher

        return Watcher(
            self.planned, self.started, self.progress, self.finished, self.skipped, self.say
        )

    def planned(self, count: int) -> None:
        self.count = count

    def started(self, job: Job) -> None:
        self.lines = _Lines(f"  {job.title}")

    def progress(self, at: Progress) -> None:
        self.lines.listen(at)

    def finished(self, job: Job, entry: Entry, kept: bool) -> None:
        self.done += 1
        self.say(f"[{self.done}/{self.count}] {summary(job, entry, kept)}")

    def skipped(self, name: str, reason: str) -> None:
        self.say(f"skipped {name}: {reason}")

    def say(self, line: str) -> None:
        say(line)


class _ZooBars(_ZooLines):
    """The zoo's news above two bars."""

    def __init__(self, bars: Any) -> None:
        super().__init__()
        self.bars = bars
        self.whole = bars.add_task("The zoo", total=None, losses="")
        self.one = bars.add_task("", total=None, losses="", visible=False)

    def planned(self, count: int) -> None:
        super().planned(count)
        self.bars.update(self.whole, total=count)

    def started(self, job: Job) -> None:
        self.bars.reset(self.one, description=job.title, total=None, losses="", visible=True)

    def progress(self, at: Progress) -> None:
        self.bars.update(self.one, total=at.steps, completed=at.step, losses=_losses(at))

    def finished(self, job: Job, entry: Entry, kept: bool) -> None:
        super().finished(job, entry, kept)
        self.bars.update(self.one, visible=False)
        self.bars.update(self.whole, completed=self.done)

    def say(self, line: str) -> None:
        self.bars.console.print(line, highlight=False, markup=False)


def summary(job: Job, entry: Entry, kept: bool) -> str:
    """One line on a model that is done: what it is, what it cost, how good it is."""
    if "test_nats" in entry:
        bound = "≤ " if "bound" in entry else ""
        figure = f"{bound}{entry['test_nats']:.2f} nats"
    elif "distance" in entry:
        figure = f"told from data with accuracy {entry['distance']['accuracy']:.2f}"
    else:
        figure = "done"
    when = "kept from before" if kept else f"{entry['seconds']:.1f} s"
    return f"{job.title}: {figure}, {when}"
