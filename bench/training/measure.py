"""Steps of several engines: made, compared, and timed in turns."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from time import perf_counter, process_time, sleep
from typing import Any, NamedTuple

import numpy as np

from bench.threads import threads
from bench.training.architectures import ARCHITECTURES, Architecture
from bench.training.engines import ENGINES, Sides

Row = dict[str, Any]
Backend = Callable[[], AbstractContextManager[Any]]
TURN, PAUSE = 0.02, 0.1
LOSS_RTOL = 1e-4  # JAX's Adam takes powers of β in float32, which shows in the third loss
GRADIENT_RTOL = 2e-5  # of the largest entry; float32 alone makes up to 7e-6


class Contestant(NamedTuple):
    """A step of one engine, and the gradients of its first loss."""

    run: Callable[[], float]
    gradients: dict[str, Any]


def drawn(a: Architecture, engines: Sequence[str], backend: Backend) -> dict[str, Contestant]:
    """The same parameters and batch for every engine; genzoo's steps run on the back end.

    If genzoo comes first, the others' gradients are taken with their ReLUs on its sides.
    """
    rng = np.random.default_rng(0)
    params, data = a.parameters(rng), a.data(rng)
    found: dict[str, Contestant] = {}
    sides: Sides = []
    for who in engines:
        where = backend if who == "genzoo" else _nowhere
        with where():
            step, gradients = ENGINES[who](a, params, data, sides)
        found[who] = Contestant(_within(step, where), gradients)
    return found


def _nowhere() -> AbstractContextManager[Any]:
    from contextlib import nullcontext

    return nullcontext()


def _within(step: Callable[[], float], where: Backend) -> Callable[[], float]:
    def run() -> float:
        with where():
            return step()

    return run


def measured(
    name: str, sizes: dict[str, int], engines: Sequence[str], rounds: int, backend: Backend
) -> Row:
    """One line: what was wrong (then there are no times), medians in ms, and ratios of medians.

    times: who → {"ms", "cpu_ms", "p20_ms", "p80_ms"}; against: peer → genzoo's time over its.
    """
    a = ARCHITECTURES[name].resized(**sizes)
    players = drawn(a, ["genzoo", *engines], backend)
    losses = {who: [player.run() for _ in range(3)] for who, player in players.items()}
    wrong = [w for who in engines for w in differences(who, players, losses)]
    row: Row = {"name": name, "label": a.name, "sizes": dict(a.sizes), "doubled": list(sizes)}
    if wrong:
        return {**row, "wrong": wrong, "times": {}, "against": {}}
    times = _times({who: player.run for who, player in players.items()}, rounds)
    ours = times["genzoo"]["ms"]
    against = {who: ours / t["ms"] for who, t in times.items() if who != "genzoo"}
    return {**row, "wrong": [], "times": times, "against": against}


def differences(who: str, players: dict[str, Contestant], losses: dict[str, Any]) -> list[str]:
    """What another engine computes otherwise, in three losses and the first gradients."""
    found = []
    if not np.allclose(losses[who], losses["genzoo"], rtol=LOSS_RTOL):
        found.append(f"losses of {who}: {losses[who]} are not {losses['genzoo']}")
    for key, g in players["genzoo"].gradients.items():
        theirs = players[who].gradients[key]
        if not np.abs(g - theirs).max() <= GRADIENT_RTOL * np.abs(theirs).max():
            found.append(f"the gradient of {key} differs from that of {who}")
    return found


def _times(runs: dict[str, Callable[[], float]], rounds: int) -> dict[str, Row]:
    calls = {who: max(1, round(TURN / _seconds(run, 1)[0])) for who, run in runs.items()}
    samples: dict[str, list[tuple[float, float]]] = {who: [] for who in runs}
    shuffle = np.random.default_rng(0)
    for _ in range(rounds):
        for who in shuffle.permutation(list(runs)):
            sleep(PAUSE if threads() > 1 else 0)
            samples[who].append(_seconds(runs[who], calls[who]))
    return {who: _quantiles(np.array(taken)) for who, taken in samples.items()}


def _seconds(run: Callable[[], float], calls: int) -> tuple[float, float]:
    """Wall and CPU seconds a call."""
    wall, cpu = perf_counter(), process_time()
    for _ in range(calls):
        run()
    return (perf_counter() - wall) / calls, (process_time() - cpu) / calls


def _quantiles(seconds: Any) -> Row:
    low, median, high = np.quantile(1e3 * seconds[:, 0], [0.2, 0.5, 0.8])
    cpu = float(np.median(1e3 * seconds[:, 1]))
    return {"ms": float(median), "p20_ms": float(low), "p80_ms": float(high), "cpu_ms": cpu}


def resident_mb() -> float:
    """What this process holds in memory, where Linux tells; else 0."""
    status = Path("/proc/self/status")
    found = re.search(r"VmRSS:\s+(\d+) kB", status.read_text() if status.exists() else "")
    return int(found[1]) / 1024 if found else 0.0


def table(rows: Sequence[Row], head: bool = True) -> str:
    """A line each: milliseconds, then genzoo's time as a share of every peer's (below 1 faster)."""
    lines = [f"{'step':48}{'genzoo':>10}   of the time of"] if head else []
    for row in rows:
        sizes = "".join(f", {size} {row['sizes'][size]}" for size in row["doubled"])
        name = f"{row['label']}{sizes}"
        if row["wrong"]:
            lines.append(f"{name:48}  no number: {row['wrong'][0]}")
            continue
        shares = "  ".join(f"{who} {ratio:.2f}" for who, ratio in row["against"].items())
        memory = row.get("peak_mb")
        held = "  MB " + " ".join(f"{who} {mb:.0f}" for who, mb in memory.items()) if memory else ""
        lines.append(f"{name:48}{row['times']['genzoo']['ms']:8.2f} ms   {shares}{held}")
    return "\n".join(lines)
