"""`zoo/report.html`: one page, one file, no scripts, nothing fetched.

Built from the results and the run folders alone, so that it can be made again without training.
Pictures are embedded as base64, drawings are inline SVG, and the page follows the reader's light
or dark theme, a narrow screen and the printer.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from reference import MODELS
from reference.zoo import figures
from reference.zoo.cards import cards, left_out
from reference.zoo.tables import distance_tables, fidelity_tables, likelihood_tables
from reference.zoo.words import Entry, duration, plural


def write_report(results: Mapping[str, Any], folder: Path) -> Path:
    """Write `folder`/report.html from `results` and the run folders beside it."""
    from core.checkpoint import write_atomic

    path = folder / "report.html"
    write_atomic(path, page(results, folder).encode())
    return path


def page(results: Mapping[str, Any], folder: Path) -> str:
    """The whole page as a string."""
    entries = results["models"]
    sections = [
        _header(results),
        _section("tree", "The family", _tree(entries)),
        _section("likelihood", "Ranked by likelihood", likelihood_tables(results)),
        _section("distance", "Can the samples be told from data?", distance_tables(entries)),
        _section("fidelity", "What a classifier sees in them", fidelity_tables(entries)),
        _section("models", "Model by model", cards(entries, folder)),
        _section("missing", "Left out", left_out(results)),
        _footer(results),
    ]
    return _PAGE.format(title="genzoo · the zoo", style=_STYLE, body="\n".join(sections))


def _section(name: str, title: str, content: str) -> str:
    if not content:
        return ""
    return (
        f'<section aria-labelledby="{name}"><h2 id="{name}">{escape(title)}</h2>{content}</section>'
    )


# --- head and foot ------------------------------------------------------------------------------


def _header(results: Mapping[str, Any]) -> str:
    entries = results["models"]
    models, data = {e["model"] for e in entries}, {e["data"] for e in entries}
    seconds = sum(e.get("seconds", 0.0) for e in entries)
    machine = results["machine"]
    quick = " These are quick runs, far from converged." if results.get("quick") else ""
    return f"""<header>
<p class="kicker">genzoo {escape(results["version"])}</p>
<h1>The zoo</h1>
<p class="lede">{plural(len(models), "generative model")} on {plural(len(data), "data set")},
trained from scratch in {duration(seconds)} on {plural(machine["cores"], "core")}
of {escape(machine.get("cpu", "an unknown processor"))}.{quick}</p>
</header>"""


def _footer(results: Mapping[str, Any]) -> str:
    machine = results["machine"]
    facts = {
        "Command": f"<code>{escape(_command(results))}</code>",
        "Seed": str(results["seed"]),
        "Version": escape(f"{results['version']} {results.get('commit', '')[:12]}".strip()),
        "Machine": escape(
            ", ".join(
                f"{machine[key]}{unit}"
                for key, unit in (("cpu", ""), ("cores", " cores"), ("gpu", ""))
                if key in machine
            )
        ),
        "Software": escape(
            f"Python {machine['python']}, NumPy {machine['numpy']}, "
            f"{machine.get('blas', 'BLAS unknown')}, {machine['threads']} BLAS threads"
        ),
        "Environment": escape(
            " ".join(f"{k}={v}" for k, v in sorted(machine.get("env", {}).items())) or "defaults"
        ),
    }
    rows = "".join(f"<div><dt>{k}</dt><dd>{v}</dd></div>" for k, v in facts.items())
    return f'<footer><h2>How this was made</h2><dl class="made">{rows}</dl></footer>'


def _command(results: Mapping[str, Any]) -> str:
    return shlex.join(["genzoo", "zoo", *results.get("options", [])])


# --- family tree --------------------------------------------------------------------------------


def _tree(entries: Sequence[Entry]) -> str:
    cards: dict[str, str] = {}
    for entry in entries:
        cards.setdefault(entry["model"], entry["folder"])
    drawing = figures.family_tree(list(MODELS.values()), cards)
    return (
        f'<figure class="wide"><div class="scroll" tabindex="0" role="region" '
        f'aria-label="Family tree">{drawing}</div>'
        f"<figcaption>{figures.legend()}<p>Left, what a model is; right, the year it was published "
        "and the models it grew out of. The time axis changes pace in 1990.</p>"
        "</figcaption></figure>"
    )


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""

_STYLE = (Path(__file__).parent / "report.css").read_text(encoding="utf-8")
