"""`zoo/report.html`: one page, one file, no scripts, nothing fetched.

Built from the results and the run folders alone, so that it can be made again without training.
Pictures are embedded as base64, drawings are inline SVG, and the page follows the reader's light
or dark theme, a narrow screen and the printer.
"""

from __future__ import annotations

import base64
import json
import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from reference import MODELS
from reference.zoo import figures

Entry = Mapping[str, Any]

_DOMAINS = {"binary": "binarised", "integer": "whole numbers", "continuous": "real values"}
_UNITS = {True: "image", False: "point"}


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
        _section("likelihood", "Ranked by likelihood", _likelihood_tables(results)),
        _section("distance", "Can the samples be told from data?", _distance_tables(entries)),
        _section("models", "Model by model", _cards(entries, folder)),
        _section("missing", "Left out", _left_out(results)),
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
<p class="lede">{_plural(len(models), "generative model")} on {_plural(len(data), "data set")},
trained from scratch in {_duration(seconds)} on {_plural(machine["cores"], "core")}
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


# --- tables -------------------------------------------------------------------------------------


def _likelihood_tables(results: Mapping[str, Any]) -> str:
    tables = []
    for group in _groups([e for e in results["models"] if "scored_as" in e], "scored_as"):
        same = ("data", "scored_as")
        baselines = [b for b in results["baselines"] if all(b[k] == group[0][k] for k in same)]
        tables.append(_likelihood_table(group, baselines))
    return "".join(tables)


def _groups(entries: Iterable[Entry], domain: str) -> list[list[Entry]]:
    """Entries with the same data read in the same way: the only ones a ranking may compare."""
    groups: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        groups.setdefault((entry["data"], entry[domain]), []).append(entry)
    return sorted(groups.values(), key=len, reverse=True)


def _likelihood_table(entries: Sequence[Entry], baselines: Sequence[Entry]) -> str:
    first = entries[0]
    unit = _UNITS[bool(first.get("image"))]
    rows = sorted([*entries, *baselines], key=_rank)
    low, high = _span(rows)
    gap, bits = any("gap" in r for r in rows), any("bits_per_dim" in r for r in rows)
    head = [
        ("Model", ""),
        (f"nats per {unit}", "num"),
        ("± 2 standard errors", "draw"),
        *([("gap to the truth", "num")] if gap else []),
        *([("bits per dimension", "num")] if bits else []),
        ("parameters", "num"),
        ("seconds", "num"),
    ]
    body = "".join(_likelihood_row(r, low, high, gap, bits) for r in rows)
    count = max(r["test_count"] for r in rows)
    notes = [f"Negative log-likelihood of {_int(count)} held-out {unit}s; less is better."]
    bounds = {r["title"]: r["bound"] for r in rows if "bound" in r}
    if bounds:
        named = "; ".join(f"{title}: {bound}" for title, bound in bounds.items())
        notes.append(f"≤ marks an upper bound, the true figure is at most this ({escape(named)}).")
    fewer = {r["test_count"] for r in rows if "bound" in r} - {count}
    if fewer:
        notes.append(f"Bounds are estimated on the first {_int(min(fewer))} of them.")
    if gap:
        notes.append(
            "The gap is the mean of log p_true − log p_model on the same points, "
            "so its error is far smaller than that of either."
        )
    return _table(_data_title(first, "scored_as"), head, body, " ".join(notes))


def _rank(row: Entry) -> float:
    return float(row.get("test_nats", math.inf))


def _span(rows: Sequence[Entry]) -> tuple[float, float]:
    """The range to draw: all models and the better baselines; uniform noise is off the chart."""
    shown = [r for r in rows if "test_nats" in r and r.get("name") != "uniform"]
    margins = [(r["test_nats"], 2 * r.get("test_nats_se", 0.0)) for r in shown]
    return min(m - e for m, e in margins), max(m + e for m, e in margins)


def _likelihood_row(row: Entry, low: float, high: float, gap: bool, bits: bool) -> str:
    is_model = "model" in row
    nats, se = row.get("test_nats", math.inf), row.get("test_nats_se", math.nan)
    kind = row.get("kind")
    bound = "≤ " if "bound" in row else ""
    title = escape(row.get("title", row.get("name", "")))
    name = f'<a href="#{escape(row["folder"])}">{title}</a>' if is_model else title
    if row.get("impossible"):
        name += f" <small>{row['impossible']} impossible</small>"
    cells = [
        f'<th scope="row">{name}</th>',
        f'<td class="num strong">{bound}{_number(nats)}{_plus_minus(se)}</td>',
        f'<td class="draw">{figures.interval(nats, se, low, high, kind)}</td>',
    ]
    if gap:
        known = "gap" in row and row["gap"] != 0
        text = _number(row["gap"], 3) + _plus_minus(row.get("gap_se"), 3) if known else ""
        cells.append(f'<td class="num">{text}</td>')
    if bits:
        cells.append(f'<td class="num">{_number(row.get("bits_per_dim"), 3)}</td>')
    cells.append(f'<td class="num">{_int(row.get("parameters", ""))}</td>')
    cells.append(f'<td class="num">{_number(row.get("seconds"), 1)}</td>')
    style = "" if is_model else ' class="baseline"'
    return f"<tr{style}>{''.join(cells)}</tr>"


def _distance_tables(entries: Sequence[Entry]) -> str:
    tables = []
    for group in _groups([e for e in entries if "distance" in e], "domain"):
        tables.append(_distance_table(group))
    if not tables:
        return ""
    return (
        '<p class="prose">Two questions that need samples only, and so can be put to every model. '
        "<b>MMD²</b>, the kernel distance between samples and held-out data, is compared with the "
        "95 % quantile of its null distribution: below it, the test cannot tell the two apart. "
        "The <b>classifier</b> is a random forest trained to tell samples from data; one half "
        "means it can’t. Fresh real data get the same two exams.</p>" + "".join(tables)
    )


def _distance_table(entries: Sequence[Entry]) -> str:
    first = entries[0]
    head = [
        ("Samples from", ""),
        ("MMD² × 1000", "num"),
        ("null, 95 %", "num"),
        ("p", "num"),
        ("classifier’s accuracy", "num"),
    ]
    baseline = {"title": "Fresh real data", "distance": first["distance"]["baseline"]}
    rows = sorted(entries, key=lambda e: e["distance"]["mmd2"])
    body = _distance_row(baseline, True) + "".join(_distance_row(r, False) for r in rows)
    note = (
        f"{_int(first['distance']['count'])} samples against as many real ones. "
        "Bold: the MMD test cannot tell them apart."
    )
    return _table(_data_title(first), head, body, note)


def _distance_row(row: Entry, baseline: bool) -> str:
    d = row["distance"]
    title = escape(row["title"])
    name = title if baseline else f'<a href="#{escape(row["folder"])}">{title}</a>'
    passed = " strong" if d["mmd2"] <= d["null_95"] else ""
    cells = [
        f'<th scope="row">{name}</th>',
        f'<td class="num{passed}">{_number(1000 * d["mmd2"])}</td>',
        f'<td class="num">{_number(1000 * d["null_95"])}</td>',
        f'<td class="num">{_p_value(d["p_value"])}</td>',
        f'<td class="num">{_number(d["accuracy"])}{_plus_minus(d["accuracy_se"])}</td>',
    ]
    style = ' class="baseline"' if baseline else ""
    return f"<tr{style}>{''.join(cells)}</tr>"


def _table(caption: str, head: Iterable[tuple[str, str]], body: str, note: str) -> str:
    cells = "".join(f'<th scope="col" class="{style}">{title}</th>' for title, style in head)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{caption}">'
        f"<table><caption>{caption}</caption>"
        f"<thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>"
        f'<p class="note">{note}</p>'
    )


# --- cards --------------------------------------------------------------------------------------


def _cards(entries: Sequence[Entry], folder: Path) -> str:
    return f'<div class="cards">{"".join(_card(e, folder / e["folder"]) for e in entries)}</div>'


def _card(entry: Entry, folder: Path) -> str:
    rows = " ".join(entry["rows"])
    kind = figures.KIND_TITLES[entry["kind"]].lower()
    return f"""<article class="card" id="{escape(entry["folder"])}">
<h3>{escape(entry["title"])}</h3>
<p class="meta">{MODELS[entry["model"]].year} · {kind} · {_data_title(entry)} · {rows}</p>
<div class="pair">{_picture(entry, folder, "data", "Data")}
{_picture(entry, folder, "samples", "Samples")}</div>
{_facts(entry)}
{_curve(entry, folder)}
</article>"""


def _left_out(results: Mapping[str, Any]) -> str:
    """Models that were not trained, and why."""
    items = [
        f"<li>{escape(row['model'])} on {escape(row['data'])}: {escape(row['reason'])}</li>"
        for row in (*results.get("failed", []), *results.get("skipped", []))
    ]
    return f"<ul>{''.join(items)}</ul>" if items else ""


def _picture(entry: Entry, folder: Path, name: str, caption: str) -> str:
    path = folder / f"{name}.png"
    if path.exists():
        png = path.read_bytes()
        source = base64.b64encode(png).decode()
        style = "image" if entry.get("image") else "points"
        if entry.get("image") and int.from_bytes(png[16:20]) < 200:  # the width, in IHDR
            style += " pixels"
        alt = f"{caption} of {entry['title']} on {entry['data']}"
        body = f'<img class="{style}" alt="{escape(alt)}" src="data:image/png;base64,{source}">'
    else:
        text = (folder / f"{name}.txt").read_text(encoding="utf-8")
        body = f"<pre>{escape(text)}</pre>"
    return f"<figure>{body}<figcaption>{caption}</figcaption></figure>"


def _facts(entry: Entry) -> str:
    facts = {}
    if "test_nats" in entry:
        bound = "≤ " if "bound" in entry else ""
        figure = f"{bound}{_number(entry['test_nats'])}{_plus_minus(entry.get('test_nats_se'))}"
        facts["test nats"] = figure
    elif "distance" in entry:
        facts["MMD² × 1000"] = _number(1000 * entry["distance"]["mmd2"])
        facts["told from data"] = f"{100 * entry['distance']['accuracy']:.0f} %"
    facts["parameters"] = _int(entry["parameters"])
    facts["seconds"] = _number(entry["seconds"], 1)
    cells = "".join(f"<div><dt>{k}</dt><dd>{v}</dd></div>" for k, v in facts.items())
    return f'<dl class="facts">{cells}</dl>'


def _curve(entry: Entry, folder: Path) -> str:
    log = [row for row in read_log(folder / "log.jsonl") if "train" in row]
    if MODELS[entry["model"]].training == "counts":
        return '<p class="counted">Fitted by counting, in one pass over the data.</p>'
    if len(log) < 2:
        return '<p class="counted">Trained for a single epoch: there is no curve.</p>'
    curves = _curves(entry, log)
    unit = "nats" if "test_nats" in entry and entry["kind"] != "diffusion" else "loss"
    drawing = figures.loss_curve([r["epoch"] for r in log], curves, unit, entry.get("epoch"))
    keys = [
        f'<span><i class="key c{len(curves) - i}"></i>{escape(name)}</span>'
        for i, name in enumerate(curves)
    ]
    return (
        f'<figure class="curve">{drawing}'
        f'<figcaption class="keys">{"".join(keys)}</figcaption></figure>'
    )


def _curves(entry: Entry, log: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """Name → loss by epoch: each player's, or training and validation."""
    if "losses" in log[0]:
        names = ("discriminator", "generator")
        return {name: [row["losses"][i] for row in log] for i, name in enumerate(names)}
    curves = {"training": [row["train"] for row in log]}
    if any(row.get("validation") is not None for row in log):
        curves["validation"] = [_or_nan(row.get("validation")) for row in log]
    return curves


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def read_log(path: Path) -> list[dict[str, Any]]:
    """The rows of a log.jsonl; none if there is no such file."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


# --- words and numbers --------------------------------------------------------------------------


def _data_title(entry: Entry, domain_key: str = "domain") -> str:
    domain = _DOMAINS.get(entry[domain_key], "") if entry.get("image") else ""
    name = Path(entry["data"]).name
    return escape(f"{name}, {domain}" if domain else name)


def _number(value: float | None, digits: int = 2) -> str:
    if value is None:
        return ""
    if math.isinf(value):
        return "∞"
    return f"{value:.{digits}f}".replace("-", "−")


def _plus_minus(value: float | None, digits: int = 2) -> str:
    if value is None or not math.isfinite(value):
        return ""
    return f'<span class="se"> ± {value:.{digits}f}</span>'


def _p_value(p: float) -> str:
    return f"{p:.3f}" if p > 0.002 else "≤ 0.002"


def _int(value: Any) -> str:
    return f"{value:,}".replace(",", "\u202f") if isinstance(value, int) else str(value)


def _plural(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


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
