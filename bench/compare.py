"""Two runs, or two machines, side by side: by the ratio to each peer, which both runs measured.

A ratio changed if it did so by more than LEAST, and if what p20 and p80 of both contestants leave
it lies apart in the two runs. A contest changed if all of its ratios did, the same way: one alone
is its peer's doing.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from bench import results, show
from core.checkpoint import read_json
from core.errors import InputError

Content = dict[str, Any]
LEAST = 1.1
_WIDTHS = (46, 18, 11, 11, 8)


class Change(NamedTuple):
    """One peer's ratio in both runs; verdict: "faster", "slower" (genzoo, in the second) or ""."""

    operation: str
    label: str
    who: str
    before: float
    after: float
    verdict: str


def read(path: Path) -> Content:
    """The JSON of `python -m bench`, or pytest-benchmark's with its samples. Raises InputError."""
    content = read_json(path)
    if "benchmarks" in content:
        if any("data" not in mark["stats"] for mark in content["benchmarks"]):
            raise InputError(f"{path} must hold the samples: save with --benchmark-save-data")
        cpu = content["machine_info"]["cpu"].get("brand_raw")
        commit = content.get("commit_info", {}).get("id")
        found = {"figures": results.figures(content, {}), "machine": {"cpu": cpu}}
        return found | ({"commit": commit} if commit else {})
    if "figures" not in content:
        raise InputError(f"{path} must be written by python -m bench --out or by pytest-benchmark")
    return content


def changes(a: Content, b: Content) -> list[Change]:
    """Of every peer that both runs timed in a contest, in the order of the first."""
    later = {(f["operation"], f["label"]): f for f in b["figures"]}
    found = []
    for figure in a["figures"]:
        other = later.get((figure["operation"], figure["label"]), {"speed_against": {}})
        for who in (w for w in figure["speed_against"] if w in other["speed_against"]):
            ratios = figure["speed_against"][who], other["speed_against"][who]
            verdict = _verdict(*ratios, _range(figure, who), _range(other, who))
            found.append(Change(figure["operation"], figure["label"], who, *ratios, verdict))
    return found


def _range(figure: Content, who: str) -> tuple[float, float]:
    """The ratio of the times at worst and at best."""
    ours, theirs = figure["times"]["genzoo"], figure["times"][who]
    return theirs["p20_us"] / ours["p80_us"], theirs["p80_us"] / ours["p20_us"]


def _verdict(before: float, after: float, old: Any, new: Any) -> str:
    if after > LEAST * before and new[0] > old[1]:
        return "faster"
    if before > LEAST * after and old[0] > new[1]:
        return "slower"
    return ""


def verdicts(found: list[Change]) -> dict[tuple[str, str], str]:
    """(operation, label) → "faster" or "slower", of the contests all of whose ratios changed so."""
    contests: dict[tuple[str, str], set[str]] = {}
    for change in found:
        contests.setdefault((change.operation, change.label), set()).add(change.verdict)
    return {key: said.pop() for key, said in contests.items() if len(said) == 1 and said != {""}}


def report(a: Content, b: Content) -> str:
    """A line for each ratio, and which contests changed."""
    found = changes(a, b)
    lines = [f"A: {_about(a)}", f"B: {_about(b)}", "× = times faster than the peer", ""]
    lines.append(_line("", "peer", "A", "B", "B / A").rstrip())
    for operation, contests in groupby(found, key=lambda c: c.operation):
        lines.append(operation)
        for label, ratios in groupby(contests, key=lambda c: c.label):
            lines += _contest(label, list(ratios))
    return "\n".join([*lines, "", *_summary(verdicts(found)), *_alone(a, b)])


def _contest(label: str, ratios: list[Change]) -> Iterator[str]:
    name = f"  {label}"
    if len(name) >= _WIDTHS[0]:
        yield name
        name = ""
    for ratio in ratios:
        cells = (show.times_faster(x) for x in (ratio.before, ratio.after))
        factor = f"{ratio.after / ratio.before:.2f}"
        yield f"{_line(name, ratio.who, *cells, factor)}{ratio.verdict}".rstrip()
        name = ""


def _line(*cells: str) -> str:
    return "".join(f"{cell:{width}s}" for cell, width in zip(cells, _WIDTHS, strict=True))


def _summary(changed: dict[tuple[str, str], str]) -> Iterator[str]:
    for verdict in ("slower", "faster"):
        names = [f"{op}: {label}" for (op, label), said in changed.items() if said == verdict]
        if names:
            yield f"{verdict} in B: {'; '.join(names)}"
    if not changed:
        yield "nothing changed"


def _alone(a: Content, b: Content) -> Iterator[str]:
    """Contests that only one of the runs has."""
    keys = [[(f["operation"], f["label"]) for f in run["figures"]] for run in (a, b)]
    for name, mine, other in (("A", *keys), ("B", *keys[::-1])):
        if only := [f"{op}: {label}" for op, label in mine if (op, label) not in other]:
            yield "\n  ".join([f"only in {name}:", *only])


def _about(run: Content) -> str:
    threads = run["machine"].get("env", {}).get("OMP_NUM_THREADS")
    said = (run["machine"].get("cpu"), threads and f"threads {threads}", run.get("commit", "")[:12])
    return ", ".join(text for text in said if text) or "unknown"
