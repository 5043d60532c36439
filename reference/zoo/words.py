"""Words and numbers as the report writes them: HTML, escaped."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

Entry = Mapping[str, Any]

DOMAINS = {"binary": "binarised", "integer": "whole numbers", "continuous": "real values"}


def data_title(entry: Entry, domain_key: str = "domain") -> str:
    """Name of a data set, with how it was read."""
    domain = DOMAINS.get(entry[domain_key], "") if entry.get("image") else ""
    name = Path(entry["data"]).name
    return escape(f"{name}, {domain}" if domain else name)


def number(value: float | None, digits: int = 2) -> str:
    """A figure; nothing for one that is absent."""
    if value is None:
        return ""
    if math.isinf(value):
        return "∞"
    return f"{value:.{digits}f}".replace("-", "−")


def plus_minus(value: float | None, digits: int = 2) -> str:
    """Its standard error, small."""
    if value is None or not math.isfinite(value):
        return ""
    return f'<span class="se"> ± {value:.{digits}f}</span>'


def p_value(p: float) -> str:
    """A p-value; below the test's resolution, that."""
    return f"{p:.3f}" if p > 0.002 else "≤ 0.002"


def integer(value: Any) -> str:
    """Thousands apart."""
    return f"{value:,}".replace(",", "\u202f") if isinstance(value, int) else str(value)


def plural(n: int, noun: str) -> str:
    """One or several of something."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def duration(seconds: float) -> str:
    """Minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
