"""Time several implementations of one call against each other, fairly.

Noise on a shared machine comes in bursts. So the contestants take turns, in a new order and on new
arguments each round, and a burst hits them all. Each runs often enough in its turn to take about
TURN seconds; the time of its turn over the number of calls is one sample. pytest-benchmark runs
the rounds and keeps the samples.

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

Call = Callable[..., Any]
ROUNDS = 15
TURN, PAUSE = 0.02, 0.1
SLOW, SELDOM = 0.5, 3
"""Whoever needs more than SLOW seconds a call plays in every third round only."""


class Player(NamedTuple):
    """A contestant, its calls in a turn, and how many rounds it waits from turn to turn."""

    run: Call
    calls: int
    every: int


def contest(
    benchmark: Any, contestants: Mapping[str, Call], draw: Callable[[int], dict[str, Any]]
) -> None:
    """Play ROUNDS rounds on the arguments draw(1), draw(2) …

    The samples go to extra_info["seconds"], the calls in a turn to extra_info["calls"]. Whoever
    comes has run before: first calls compile.
    """
    first = draw(0)
    players = {
        who: Player(run, 1, 1) if benchmark.disabled else _player(run, first)
        for who, run in contestants.items()
    }
    seconds: dict[str, list[float]] = {who: [] for who in players}
    shuffle, numbers = np.random.default_rng(0), iter(range(ROUNDS))

    def play(number: int, arguments: dict[str, Any]) -> None:
        for who in shuffle.permutation(list(players)):
            run, calls, every = players[who]
            if number % every == 0:
                sleep(PAUSE if threads() > 1 else 0)
                seconds[who].append(_seconds(run, arguments, calls))

    def deal() -> Any:
        number = next(numbers)
        return (number, draw(1 + number)), {}

    benchmark.pedantic(play, setup=deal, rounds=ROUNDS)
    benchmark.extra_info["seconds"] = seconds
    benchmark.extra_info["calls"] = {who: player.calls for who, player in players.items()}


def _seconds(run: Call, arguments: dict[str, Any], calls: int) -> float:
    start = perf_counter()
    for _ in range(calls):
        run(**arguments)
    return (perf_counter() - start) / calls


def _player(run: Call, arguments: dict[str, Any]) -> Player:
    once = _seconds(run, arguments, 1)
    return Player(run, min(max(round(TURN / once), 1), 10_000), SELDOM if once > SLOW else 1)
