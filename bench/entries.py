"""The cases as entries of pytest-benchmark: one for each operation, case and contestant.

A group's contest is played once, by the contestants that were selected, when the first of them is
due; then each entry is told its own samples, by a clock that shows what was measured before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from itertools import chain
from typing import Any

import pytest

from bench.cases import ABSENT, Case, Notes
from bench.contest import Samples, Timer, play


class Replay:
    """A clock whose readings are known: 0 where a turn starts, its seconds where it ends."""

    def __init__(self) -> None:
        self._readings: Iterator[float] = iter(())

    def set(self, samples: Samples) -> None:
        """Show these turns next."""
        turns = ((0.0, seconds * samples.calls) for seconds in samples.seconds)
        self._readings = chain.from_iterable(turns)

    def read(self) -> float:
        """The next reading."""
        return next(self._readings)


CLOCK = Replay()


def entries(cases: Mapping[tuple[str, str], Case]) -> Callable[[Any], Any]:
    """Parametrise a test by operation, case and contestant; a group is an operation and case."""
    return pytest.mark.parametrize(
        ("operation", "case", "contestant"),
        [
            pytest.param(
                operation,
                name,
                who,
                marks=pytest.mark.benchmark(group=f"{operation} {name}", timer=CLOCK.read),
                id=f"{operation}-{name}-{who.replace(' ', '_').replace(',', '')}",
            )
            for (operation, name), case in cases.items()
            for who in case.contestants
        ],
    )


@dataclass
class Session:
    """The contests of one run of pytest, each played when it is needed."""

    timer: Timer
    _played: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)

    def enter(self, benchmark: Any, case: Case, who: str, rivals: Iterable[str]) -> None:
        """Report who's samples to the fixture. Once, on little, where timing is off.

        Skips who is absent; AssertionError if who is wrong. rivals: whoever was selected.
        """
        if benchmark.disabled:
            contest = case.build(True)
            _or_skip(who, lambda: contest.judge(who))
            benchmark.pedantic(contest.runs[who], kwargs=contest.draw(1))
            return
        samples, notes = _or_skip(who, lambda: self._outcome(case, who, rivals))
        benchmark.extra_info |= {"operation": case.operation, "label": case.label, **notes}
        benchmark.extra_info["contestant"] = who
        CLOCK.set(samples)
        benchmark.pedantic(_nothing, rounds=len(samples.seconds), iterations=samples.calls)

    def _outcome(self, case: Case, who: str, rivals: Iterable[str]) -> tuple[Samples, Notes]:
        """Samples and notes, told once: asked again, the contest is played again."""
        key = case.operation, case.id
        if who not in self._played.get(key, {}):
            self._played[key] = played(case, rivals, self.timer)
        outcome = self._played[key].pop(who)
        if isinstance(outcome, Exception):
            raise outcome
        found: tuple[Samples, Notes] = outcome
        return found


def played(case: Case, rivals: Iterable[str], timer: Timer) -> dict[str, Any]:
    """Who → samples and notes, or the exception that says why who may not play."""
    contest = case.build(False)
    outcomes: dict[str, Any] = {}
    for who in rivals:
        try:
            outcomes[who] = contest.judge(who)
        except (AssertionError, *ABSENT) as error:
            outcomes[who] = error
    fit = {who: contest.runs[who] for who, o in outcomes.items() if not isinstance(o, Exception)}
    samples = play(fit, contest.draw, timer)
    return outcomes | {w: (s, {**contest.note, **outcomes[w]}) for w, s in samples.items()}


def timer_of(name: str) -> Timer:
    """The timer that `--benchmark-timer` names, as "time.process_time"."""
    module, _, function = name.rpartition(".")
    found: Timer = getattr(import_module(module), function)
    return found


def _or_skip(who: str, ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except ABSENT as absent:
        pytest.skip(f"{who}: {absent}")


def _nothing() -> None:
    """What pytest-benchmark believes that it times."""
