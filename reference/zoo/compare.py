"""Two results.json side by side: `python -m reference.zoo.compare before.json after.json`.

For whoever moved or rewrote code and wants to know that no figure of the zoo changed by it. Exit
status 1 if one did by more than --within (0: not at all), or a model is missing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

Entry = Mapping[str, Any]
IGNORED = ("seconds", "peak_mb", "title", "folder", "rows")
"""What may differ between two runs of the same code, or is no figure."""


def main(arguments: list[str] | None = None) -> int:
    """Print what differs; 0 if nothing does."""
    from core.checkpoint import read_json

    parser = argparse.ArgumentParser(prog="python -m reference.zoo.compare", description=__doc__)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--within", type=float, default=0.0, help="relative difference allowed")
    options = parser.parse_args(arguments)
    lines = list(differences(read_json(options.before), read_json(options.after), options.within))
    print("\n".join(lines) or "every figure is the same")
    return 1 if lines else 0


def differences(before: Entry, after: Entry, within: float = 0.0) -> Iterator[str]:
    """A line for every figure of two results that differs by more than a share of itself.

    >>> one = {"models": [{"model": "nade", "data": "digits", "seed": 0, "test_nats": 16.5}]}
    >>> two = {"models": [{"model": "nade", "data": "digits", "seed": 0, "test_nats": 16.6}]}
    >>> list(differences(one, two)), list(differences(one, two, within=0.01))
    (['nade on digits, seed 0: test_nats 16.5 -> 16.6'], [])
    """
    old, new = _by_name(before), _by_name(after)
    for name in dict.fromkeys((*old, *new)):
        if name not in old or name not in new:
            yield f"{name}: only in the {'second' if name in new else 'first'}"
            continue
        a, b = _flat(old[name]), _flat(new[name])
        for key in dict.fromkeys((*a, *b)):
            if not _same(a.get(key), b.get(key), within):
                yield f"{name}: {key} {a.get(key)} -> {b.get(key)}"


def _by_name(results: Entry) -> dict[str, Entry]:
    rows = results["models"]
    return {f"{row['model']} on {row['data']}, seed {row['seed']}": row for row in rows}


def _flat(row: Entry, prefix: str = "") -> dict[str, Any]:
    """Figures by name, those inside others as "distance.mmd2"."""
    flat: dict[str, Any] = {}
    for key, figure in row.items():
        if isinstance(figure, Mapping):
            flat |= _flat(figure, f"{prefix}{key}.")
        elif key not in IGNORED:
            flat[prefix + key] = figure
    return flat


def _same(a: Any, b: Any, within: float) -> bool:
    if isinstance(a, float) and isinstance(b, int | float):
        return abs(a - b) <= within * abs(a)
    return bool(a == b)


if __name__ == "__main__":
    sys.exit(main())
