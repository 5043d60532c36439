"""A function from outside beside ours, the definition and the peers: what `genzoo bench` prints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bench import results, show
from bench.cases import ABSENT, contest_of
from bench.contest import Samples, play
from core.checks import one_of
from kernels import Call, Op, check

_WIDTH = 20


def beside(function: Callable[..., Any], op: Op, label: str, dims: Mapping[str, int]) -> str:
    """The times of everyone in benchmark `label`, its dims changed by `dims`.

    Who is wrong gets no number but what is wrong. AssertionError if it is the function itself;
    InputError for dims that the benchmark doesn't have.
    """
    size, dtype = op.bench[label]
    for name in dims:
        one_of(f"dims of {op.name}", name, size)
    contest = contest_of(op, label, {**size, **dims})
    check(function, Call(op, contest.draw(0), dtype, f"{op.name}: {label}"))
    runs, faults = {"yours": function}, {}
    for who, run in contest.runs.items():
        try:
            contest.judge(who)
        except (AssertionError, *ABSENT) as error:
            faults[who] = str(error).split("\n")[0]
        else:
            runs[who] = run
    times = play(runs, contest.draw)
    lines = [_line(who, samples, times["yours"]) for who, samples in times.items()]
    lines += [f"  {who:{_WIDTH}s}not timed: {why}" for who, why in faults.items()]
    changed = "".join(f", {name}={n}" for name, n in dims.items())
    return "\n".join([f"{op.name}: {label}{changed}", *lines])


def _line(who: str, samples: Samples, yours: Samples) -> str:
    found, mine = results.quantiles(samples.seconds), results.quantiles(yours.seconds)
    times = f"  {who:{_WIDTH}s}{show.spread(found):26s}"
    if samples is yours:
        return times.rstrip()
    return f"{times}yours is {show.times_faster(found['median_us'] / mine['median_us'])} as fast"
