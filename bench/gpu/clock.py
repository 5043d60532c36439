"""Times on a GPU that a hostile reader could not take apart; on the CPU only to see that they run.

Each contestant's call is recorded as a CUDA graph, so that no launch gap is timed. In every round
each runs once, in turn, between two events on the device, after the L2 cache was flushed; the
flush lies before the first event, so its own time is in no figure. It reads: what it leaves in the
cache needs no writing back while somebody is timed. What can't be recorded is timed between the
same events, launch gaps and all, and says so.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

from bench.results import quantiles

Row = dict[str, Any]
Run = Callable[[], Any]
FLUSH = 2**28
"""Bytes read before each run: several times the L2 of any GPU."""


class Clock:
    """Times contestants against each other on one device.

    Everything runs on one stream of its own: recording a backward needs its forward there.
    """

    def __init__(self, device: str, milliseconds: float = 120.0) -> None:
        """milliseconds: what the rounds of one contestant may take together."""
        self.on_gpu, self.milliseconds = device == "cuda", milliseconds
        self.device = device
        self.flush = torch.zeros(FLUSH // 4 if self.on_gpu else 8, device=device)
        if self.on_gpu:
            torch.cuda.set_stream(torch.cuda.Stream())

    def race(self, contestants: Mapping[str, Run], record: bool = True) -> dict[str, Row]:
        """Who → median, p20 and p80 in µs and rounds; "recorded" tells whether as a graph."""
        if not self.on_gpu:
            return {who: quantiles([_by_hand(run)]) for who, run in contestants.items()}
        runs = {who: _recorded(run) if record else _warm(run) for who, run in contestants.items()}
        ready = {who: runs[who] or run for who, run in contestants.items()}
        slowest = max(self._between_events([run])[0] for run in ready.values())
        rounds = int(min(max(self.milliseconds / 1e3 / slowest, 7), 40))
        times = [self._between_events(list(ready.values())) for _ in range(rounds)]
        seconds = zip(*times, strict=True)
        return {
            who: {**quantiles(list(t)), "recorded": runs[who] is not None}
            for who, t in zip(ready, seconds, strict=True)
        }

    def _between_events(self, runs: list[Run]) -> list[float]:
        """Seconds of one call of each."""
        marks = []
        for run in runs:
            start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            self.flush.sum()
            start.record()
            run()
            stop.record()
            marks.append((start, stop))
        torch.cuda.synchronize()
        return [start.elapsed_time(stop) / 1e3 for start, stop in marks]

    def by_the_wall(self, contestants: Mapping[str, Run]) -> dict[str, Row]:
        """The same by the host's clock, from before a call until the device is done."""
        for run in contestants.values():
            run()
        slowest = max(map(_by_hand, contestants.values())) if self.on_gpu else 1.0
        rounds = int(min(max(1.0 / slowest, 3), 15)) if self.on_gpu else 1
        times = [[_by_hand(run) for run in contestants.values()] for _ in range(rounds)]
        seconds = zip(*times, strict=True)
        return {who: quantiles(list(t)) for who, t in zip(contestants, seconds, strict=True)}


def _by_hand(run: Run) -> float:
    synchronize()
    begun = time.perf_counter()
    run()
    synchronize()
    return time.perf_counter() - begun


def synchronize() -> None:
    """Wait for the device, where there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _warm(run: Run) -> None:
    for _ in range(2):
        run()
    torch.cuda.synchronize()


def _recorded(run: Run) -> Run | None:
    """The call as a CUDA graph on this stream; None if it can't be recorded, whatever it says."""
    _warm(run)
    graph = torch.cuda.CUDAGraph()
    gc.collect()
    gc.disable()  # nothing may be freed meanwhile
    try:
        graph.capture_begin()
        try:
            kept = run()
        finally:
            graph.capture_end()
        graph.replay()
        torch.cuda.synchronize()
    except Exception:  # it may refuse in its own words, not PyTorch's
        return None
    finally:
        gc.enable()

    def replay(kept: Any = kept) -> None:
        graph.replay()

    return replay


def ceilings(clock: Clock, small: bool = False) -> Row:
    """Copy bandwidth in GB/s, read and written, and bfloat16 matmul in TFLOP/s."""
    device = clock.device
    n, m = (2**10, 64) if small else (2**29, 8192)
    x, y = (torch.randn(n, device=device) for _ in range(2))
    a, b = (torch.randn(m, m, device=device).bfloat16() for _ in range(2))
    copy = clock.race({"copy": lambda: y.copy_(x)})["copy"]["median_us"]
    matmul = clock.race({"matmul": lambda: a @ b})["matmul"]["median_us"]
    return {"copy_gb_per_s": 8 * n / copy / 1e3, "matmul_tflop_per_s": 2 * m**3 / matmul / 1e6}
