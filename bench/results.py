"""From pytest-benchmark's raw samples to what is kept: quantiles, ratios, shares of a ceiling."""

from __future__ import annotations

from typing import Any

import numpy as np

Figure = dict[str, Any]
CACHED = 2**25
"""Calls that touch fewer bytes may find them in a cache: memory is no ceiling for them."""


def ceilings(raw: Figure) -> Figure:
    """The most this machine did in any round: "copy" in GB/s, "matmul" by dtype in GFLOP/s."""
    copy: list[float] = []
    matmul: dict[str, list[float]] = {}
    for note, fastest in ((m["extra_info"], min(m["stats"]["data"])) for m in raw["benchmarks"]):
        if note.get("ceiling") == "copy":
            copy.append(note["bytes"] / fastest / 1e9)
        elif note.get("ceiling") == "matmul":
            matmul.setdefault(note["dtype"], []).append(note["flops"] / fastest / 1e9)
    found: Figure = {"copy_gb_per_s": max(copy)} if copy else {}
    if matmul:
        found["matmul_gflop_per_s"] = {dtype: max(rates) for dtype, rates in matmul.items()}
    return found


def figures(raw: Figure, ceiling: Figure) -> list[Figure]:
    """One for each contest that genzoo played in, in the order of the table."""
    contests: dict[tuple[str, str], dict[str, Figure]] = {}
    for mark in raw["benchmarks"]:
        note = mark["extra_info"]
        if "ceiling" not in note:
            key = note["operation"], note["label"]
            contests.setdefault(key, {})[note["contestant"]] = mark
    return [figure(marks, ceiling) for marks in contests.values() if "genzoo" in marks]


def figure(marks: dict[str, Figure], ceiling: Figure) -> Figure:
    """Of a contest, from pytest-benchmark's entry of each contestant.

    Times are in µs, each the mean of a turn's "calls". speed_against is the ratio of medians: above
    1 genzoo is faster.
    """
    times = {who: _times(mark) for who, mark in marks.items()}
    note, ours = marks["genzoo"]["extra_info"], times["genzoo"]["median_us"]
    kept = ("operation", "label", "dtype", "bytes", "flops")
    found = {
        **{key: note[key] for key in kept if key in note},
        **_round_numbers(marks),
        "times": times,
        "speed_against": {w: t["median_us"] / ours for w, t in times.items() if w != "genzoo"},
    }
    if "flops" in note:
        found["gflop_per_s"] = note["flops"] / ours / 1e3
    share = _share(note, ours, ceiling)
    return found if share is None else {**found, "share_of_ceiling": share}


def _times(mark: Figure) -> Figure:
    off = {k: v for k, v in mark["extra_info"].items() if k == "counts_off"}
    return {**quantiles(mark["stats"]["data"]), "calls": mark["stats"]["iterations"], **off}


def _round_numbers(marks: dict[str, Figure]) -> Figure:
    off = {w: m["extra_info"].get("off_on_round_numbers") for w, m in marks.items()}
    found = {who: n for who, n in off.items() if n is not None}
    return {"off_on_round_numbers": found} if found else {}


def quantiles(seconds: list[float]) -> Figure:
    """Median, p20 and p80 of the samples in µs, and the rounds: how many samples there are."""
    low, median, high = np.quantile(np.array(seconds) * 1e6, [0.2, 0.5, 0.8])
    return {"median_us": median, "p20_us": low, "p80_us": high, "rounds": len(seconds)}


def _share(note: Figure, us: float, ceiling: Figure) -> float | None:
    """Of the matmul rate where arithmetic was counted, of copying where no cache holds the call."""
    if "flops" in note:
        rate = ceiling.get("matmul_gflop_per_s", {}).get(note["dtype"])
        return rate and float(note["flops"] / us / 1e3 / rate)
    if note.get("bytes", 0) < CACHED or "copy_gb_per_s" not in ceiling:
        return None
    return float(note["bytes"] / us / 1e3 / ceiling["copy_gb_per_s"])
