"""Run every benchmark, write bench/results/<machine>.json, print medians and ratios.

python -m bench [--threads N] [pytest arguments]. Ratios carry over to other machines;
microseconds don't.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from itertools import groupby
from pathlib import Path
from typing import Any

from bench.machine import pin_threads

HERE = Path(__file__).parent


def main() -> int:
    """Entry point; returns pytest's exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--threads", type=int, default=1, help="threads per library (default 1)")
    own, rest = parser.parse_known_args()
    pin_threads(own.threads)
    import pytest

    from reference.zoo import machine

    results = HERE / "results"
    results.mkdir(exist_ok=True)
    out = results / f"{platform.node() or 'machine'}-{own.threads}t.json"
    raw = out.with_suffix(".raw.json")
    status = int(pytest.main([str(HERE), "-q", f"--benchmark-json={raw}", *rest]))
    if raw.exists() and raw.stat().st_size:
        rows = _rows(json.loads(raw.read_text()))
        out.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")
        raw.unlink()
        print(_table(rows), f"\nwritten to {out}")
    return status


def _rows(raw: dict[str, Any]) -> list[dict[str, Any]]:
    """Per benchmark: group, name, quantiles in microseconds, and the ratio to each peer."""
    marks = sorted(raw["benchmarks"], key=lambda b: (b["group"], b["name"]))
    rows = []
    for group, members in groupby(marks, key=lambda b: b["group"]):
        medians = {m["extra_info"]["who"]: m["stats"]["median"] for m in members}
        ours = medians["genzoo"]
        rows.append(
            {
                "group": group,
                "median_us": {who: median * 1e6 for who, median in medians.items()},
                "speed_against": {w: m / ours for w, m in medians.items() if w != "genzoo"},
            }
        )
    return rows


def _table(rows: list[dict[str, Any]]) -> str:
    lines = [f"{'work':40s} {'genzoo µs':>10s}  speed against peers (above 1 is faster)"]
    for row in rows:
        peers = "  ".join(f"{who} {ratio:.2f}×" for who, ratio in row["speed_against"].items())
        lines.append(f"{row['group']:40s} {row['median_us']['genzoo']:10.1f}  {peers}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
