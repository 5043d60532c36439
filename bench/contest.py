"""Time several implementations of one call against each other, fairly.

Noise on a shared machine comes in bursts. So the contestants take turns, in a new order and on new
arguments each round, and a burst hits them all. Each runs often enough in its turn to take about
TURN seconds; the time of its turn over the number of calls is one sample.

The threads of BLAS and OpenMP go on spinning for a while after their work is done, on the cores
that the next contestant needs. Where libraries may have more than one thread, each turn begins
with a PAUSE in which they fall asleep.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import perf_counter, sleep
from typing import Any, NamedTuple

import numpy as np

from bench.threads import threads

Run = Callable[..., Any]
Draw = Callable[[int], dict[str, Any]]
Timer = Callable[[], float]
ROUNDS = 15
TURN, PAUSE = 0.02, 0.1
SLOW, SELDOM = 0.5, 3
"""Whoever needs more than SLOW seconds a call plays in every third round only."""


class Samples(NamedTuple):
    """Seconds of one call, a sample a turn, and the calls in a turn."""

    seconds: list[float]
    calls: int


class Player(NamedTuple):
    """A contestant, its calls in a turn, and how many rounds it waits from turn to turn."""

    run: Run
    calls: int
    every: int


def play(contestants: Mapping[str, Run], draw: Draw, timer: Timer = perf_counter) -> dict[str, Any]:
    """Samples of each contestant, from ROUNDS rounds on the arguments draw(1), draw(2) …

    Whoever comes has run before: first calls compile.
    """
    first = draw(0)
    players = {who: _player(run, first, timer) for who, run in contestants.items()}
    seconds: dict[str, list[float]] = {who: [] for who in players}
    shuffle = np.random.default_rng(0)
    for number in range(ROUNDS):
        arguments = draw(1 + number)
        for who in shuffle.permutation(list(players)):
            run, calls, every = players[who]
            if number % every == 0:
                sleep(PAUSE if threads() > 1 else 0)
                seconds[who].append(_seconds(run, arguments, calls, timer))
    return {who: Samples(seconds[who], player.calls) for who, player in players.items()}


def _seconds(run: Run, arguments: dict[str, Any], calls: int, timer: Timer) -> float:
    start = timer()
    for _ in range(calls):
        run(**arguments)
    return (timer() - start) / calls


def _player(run: Run, arguments: dict[str, Any], timer: Timer) -> Player:
    once = _seconds(run, arguments, 1, timer)
    if once < TURN:  # a first call in cold caches tells too little
        once = _seconds(run, arguments, _calls(once), timer)
    return Player(run, _calls(once), SELDOM if once > SLOW else 1)


def _calls(once: float) -> int:
    """How many take about a turn; a coarse timer may say that one takes no time."""
    return min(max(round(TURN / max(once, 1e-9)), 1), 10_000)
