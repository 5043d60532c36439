"""The report's tables: models ranked by likelihood, and by how well samples pass for data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from reference.zoo import figures
from reference.zoo.words import Entry, data_title, integer, number, p_value, plus_minus


def likelihood_tables(results: Mapping[str, Any]) -> str:
    """A table for every data set, the best model first."""
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
    unit = "image" if first.get("image") else "text" if first["scored_as"] == "text" else "point"
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
    notes = [f"Negative log-likelihood of {integer(count)} held-out {unit}s; less is better."]
    bounds = {r["title"]: r["bound"] for r in rows if "bound" in r}
    if bounds:
        named = "; ".join(f"{title}: {bound}" for title, bound in bounds.items())
        notes.append(f"≤ marks an upper bound, the true figure is at most this ({escape(named)}).")
    fewer = {r["test_count"] for r in rows if "bound" in r} - {count}
    if fewer:
        notes.append(f"Bounds are estimated on the first {integer(min(fewer))} of them.")
    if gap:
        notes.append(
            f"The gap is the mean of log p_true − log p_model on the same {unit}s, "
            "so its error is far smaller than that of either."
        )
    return _table(data_title(first, "scored_as"), head, body, " ".join(notes))


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
        f'<td class="num strong">{bound}{number(nats)}{plus_minus(se)}</td>',
        f'<td class="draw">{figures.interval(nats, se, low, high, kind)}</td>',
    ]
    if gap:
        known = "gap" in row and row["gap"] != 0
        text = number(row["gap"], 3) + plus_minus(row.get("gap_se"), 3) if known else ""
        cells.append(f'<td class="num">{text}</td>')
    if bits:
        cells.append(f'<td class="num">{number(row.get("bits_per_dim"), 3)}</td>')
    cells.append(f'<td class="num">{integer(row.get("parameters", ""))}</td>')
    cells.append(f'<td class="num">{number(row.get("seconds"), 1)}</td>')
    style = "" if is_model else ' class="baseline"'
    return f"<tr{style}>{''.join(cells)}</tr>"


def distance_tables(entries: Sequence[Entry]) -> str:
    """What two tests say of the samples, data set by data set."""
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
        f"{integer(first['distance']['count'])} samples against as many real ones. "
        "Bold: the MMD test cannot tell them apart."
    )
    return _table(data_title(first), head, body, note)


def _distance_row(row: Entry, baseline: bool) -> str:
    d = row["distance"]
    title = escape(row["title"])
    name = title if baseline else f'<a href="#{escape(row["folder"])}">{title}</a>'
    passed = " strong" if d["mmd2"] <= d["null_95"] else ""
    cells = [
        f'<th scope="row">{name}</th>',
        f'<td class="num{passed}">{number(1000 * d["mmd2"])}</td>',
        f'<td class="num">{number(1000 * d["null_95"])}</td>',
        f'<td class="num">{p_value(d["p_value"])}</td>',
        f'<td class="num">{number(d["accuracy"])}{plus_minus(d["accuracy_se"])}</td>',
    ]
    style = ' class="baseline"' if baseline else ""
    return f"<tr{style}>{''.join(cells)}</tr>"


def fidelity_tables(entries: Sequence[Entry]) -> str:
    """What a classifier of digits sees in the samples, data set by data set."""
    groups = _groups([e for e in entries if "fidelity" in e], "domain")
    if not groups:
        return ""
    return (
        '<p class="prose">In the features of a small classifier that was trained on the same '
        "digits: the <b>Fréchet distance</b> between samples and held-out data; <b>precision</b> "
        "and <b>density</b>, whether samples are digits; <b>recall</b> and <b>coverage</b>, "
        "whether they are all kinds of digits; the <b>classes</b> that appear; and how often a "
        "sample is <b>nearer to the training data</b> than held-out data are, one half where it "
        "copies nothing. Fresh real data get the same exam.</p>"
        + "".join(_fidelity_table(group) for group in groups)
    )


_FIDELITY = ("frechet", "precision", "recall", "density", "coverage")


def _fidelity_table(entries: Sequence[Entry]) -> str:
    first = entries[0]
    asked = any("asked" in e["fidelity"] for e in entries)
    names = ("Fréchet", *_FIDELITY[1:], "classes", "nearer to training data")
    head = [("Samples from", ""), *((name, "num") for name in names)]
    head += [("of the class asked for", "num")] * asked
    baseline = {"title": "Fresh real data", "fidelity": first["fidelity"]["baseline"]}
    rows = sorted(entries, key=lambda e: e["fidelity"]["frechet"])
    body = "".join(_fidelity_row(r, asked) for r in (baseline, *rows))
    note = f"{integer(first['fidelity']['count'])} samples against as many real ones."
    return _table(data_title(first), head, body, note)


def _fidelity_row(row: Entry, asked: bool) -> str:
    f, title = row["fidelity"], escape(row["title"])
    name = f'<a href="#{escape(row["folder"])}">{title}</a>' if "folder" in row else title
    shown = [number(f[key]) for key in _FIDELITY]
    cells = [*shown, f"{f['classes']} of 10", number(f["copied"])]
    if asked:
        cells.append(f"{100 * f['asked']:.1f} %" if "asked" in f else "")
    style = "" if "folder" in row else ' class="baseline"'
    told = "".join(f'<td class="num">{cell}</td>' for cell in cells)
    return f'<tr{style}><th scope="row">{name}</th>{told}</tr>'


def _table(caption: str, head: Iterable[tuple[str, str]], body: str, note: str) -> str:
    cells = "".join(f'<th scope="col" class="{style}">{title}</th>' for title, style in head)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{caption}">'
        f"<table><caption>{caption}</caption>"
        f"<thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>"
        f'<p class="note">{note}</p>'
    )
