"""From pytest-benchmark's raw samples to what is kept: quantiles, ratios, shares of a ceiling."""

from __future__ import annotations

from typing import Any

import numpy as np

Row = dict[str, Any]
CACHED = 2**25
"""Calls that touch fewer bytes may find them in a cache: memory is no ceiling for them."""


def ceilings(raw: Row) -> Row:
    """The most this machine did in any round: "copy" in GB/s, "matmul" by dtype in GFLOP/s."""
    copy: list[float] = []
    matmul: dict[str, list[float]] = {}
    for note in (mark["extra_info"] for mark in raw["benchmarks"]):
        if note.get("ceiling") == "copy":
            copy.append(note["bytes"] / min(note["seconds"]["copy"]) / 1e9)
        elif note.get("ceiling") == "matmul":
            rate = note["flops"] / min(note["seconds"]["matmul"]) / 1e9
            matmul.setdefault(note["dtype"], []).append(rate)
    found: Row = {"copy_gb_per_s": max(copy)} if copy else {}
    if matmul:
        found["matmul_gflop_per_s"] = {dtype: max(rates) for dtype, rates in matmul.items()}
    return found


def rows(raw: Row, ceiling: Row) -> list[Row]:
    """One for each benchmark that was timed, in the order of the table."""
    notes = [mark["extra_info"] for mark in raw["benchmarks"]]
    return [row(note, ceiling) for note in notes if "seconds" in note and "ceiling" not in note]


def row(note: Row, ceiling: Row) -> Row:
    """Times in µs by contestant, each the mean of a turn's "calls"; what is noted of peers.

    speed_against is the ratio of medians: above 1 genzoo is faster.
    """
    times = {who: quantiles(samples) for who, samples in note["seconds"].items()}
    for who, calls in note.get("calls", {}).items():
        times[who] |= {"calls": calls, **note.get("notes", {}).get(who, {})}
    ours = times["genzoo"]["median_us"]
    kept = ("operation", "label", "dtype", "bytes", "flops", "off_on_round_numbers")
    found = {
        **{key: note[key] for key in kept if key in note},
        "times": times,
        "speed_against": {w: t["median_us"] / ours for w, t in times.items() if w != "genzoo"},
    }
    if "flops" in note:
        found["gflop_per_s"] = note["flops"] / ours / 1e3
    share = _share(note, ours, ceiling)
    return found if share is None else {**found, "share_of_ceiling": share}


def quantiles(seconds: list[float]) -> Row:
    """Median, p20 and p80 of the samples in µs, and the rounds: how many samples there are."""
    low, median, high = np.quantile(np.array(seconds) * 1e6, [0.2, 0.5, 0.8])
    return {"median_us": median, "p20_us": low, "p80_us": high, "rounds": len(seconds)}


def _share(note: Row, us: float, ceiling: Row) -> float | None:
    """Of the matmul rate where arithmetic was counted, of copying where no cache holds the call."""
    if "flops" in note:
        rate = ceiling.get("matmul_gflop_per_s", {}).get(note["dtype"])
        return rate and float(note["flops"] / us / 1e3 / rate)
    if note.get("bytes", 0) < CACHED or "copy_gb_per_s" not in ceiling:
        return None
    return float(note["bytes"] / us / 1e3 / ceiling["copy_gb_per_s"])
