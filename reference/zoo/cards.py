"""The report's cards, one for each model, made from its run folder."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from reference import MODELS
from reference.zoo import figures
from reference.zoo.words import Entry, data_title, integer, number, plus_minus


def cards(entries: Sequence[Entry], folder: Path) -> str:
    """A card for every model: data beside samples, figures, the curve of its training."""
    return f'<div class="cards">{"".join(_card(e, folder / e["folder"]) for e in entries)}</div>'


def _card(entry: Entry, folder: Path) -> str:
    rows = " ".join(entry["rows"])
    kind = figures.KIND_TITLES[entry["kind"]].lower()
    return f"""<article class="card" id="{escape(entry["folder"])}">
<h3>{escape(entry["title"])}</h3>
<p class="meta">{MODELS[entry["model"]].year} · {kind} · {data_title(entry)} · {rows}</p>
<div class="pair">{_picture(entry, folder, "data", "Data")}
{_made(entry, folder)}{_given(entry, folder)}{_codes(entry, folder)}</div>
{_facts(entry)}
{_curve(entry, folder)}
{_over_time(entry, folder)}
</article>"""


def _made(entry: Entry, folder: Path) -> str:
    """Samples; of a model that has none, its reconstructions of the data."""
    if "reconstruction" in entry:
        return _picture(entry, folder, "reconstructions", "Reconstructions")
    return _picture(entry, folder, "samples", "Samples")


def _codes(entry: Entry, folder: Path) -> str:
    """Lines and walks in the space of codes, where a model has one."""
    captions = {"line": "From one code to another", "walk": "Along one dimension of the code"}
    return "".join(
        _picture(entry, folder, name, caption)
        for name, caption in captions.items()
        if (folder / f"{name}.png").exists()
    )


def left_out(results: Mapping[str, Any]) -> str:
    """Models that were not trained, and why."""
    items = [
        f"<li>{escape(row['model'])} on {escape(row['data'])}: {escape(row['reason'])}</li>"
        for row in (*results.get("failed", []), *results.get("skipped", []))
    ]
    return f"<ul>{''.join(items)}</ul>" if items else ""


def _given(entry: Entry, folder: Path) -> str:
    """What came with the data, and the samples were drawn for."""
    names = sorted(path.stem for path in folder.glob("given-*"))
    return "".join(
        _picture(entry, folder, name, f"Given: {escape(name.removeprefix('given-'))}")
        for name in names
    )


def _picture(entry: Entry, folder: Path, name: str, caption: str) -> str:
    files = [folder / f"{name}.{suffix}" for suffix in ("png", "gif", "wav", "txt")]
    path = next(file for file in files if file.exists())
    if path.suffix == ".wav":
        source = base64.b64encode(path.read_bytes()).decode()
        body = f'<audio controls src="data:audio/wav;base64,{source}"></audio>'
    elif path.suffix != ".txt":
        png, kind = path.read_bytes(), path.suffix.removeprefix(".")
        source = base64.b64encode(png).decode()
        style = "image" if entry.get("image") else "points"
        if entry.get("image") and kind == "png" and int.from_bytes(png[16:20]) < 200:  # the width
            style += " pixels"
        alt = f"{caption} of {entry['title']} on {entry['data']}"
        body = f'<img class="{style}" alt="{escape(alt)}" src="data:image/{kind};base64,{source}">'
    else:
        text = path.read_text(encoding="utf-8")
        body = f"<pre>{escape(text)}</pre>"
    return f"<figure>{body}<figcaption>{caption}</figcaption></figure>"


def _facts(entry: Entry) -> str:
    facts = {}
    if "test_nats" in entry:
        bound = "≤ " if "bound" in entry else ""
        figure = f"{bound}{number(entry['test_nats'])}{plus_minus(entry.get('test_nats_se'))}"
        facts["test nats"] = figure
    elif "distance" in entry:
        facts["MMD² × 1000"] = number(1000 * entry["distance"]["mmd2"])
        facts["told from data"] = f"{100 * entry['distance']['accuracy']:.0f} %"
    elif "reconstruction" in entry:
        facts["squared error"] = number(entry["reconstruction"]["error"])
        facts["variance explained"] = f"{100 * entry['reconstruction']['explained']:.0f} %"
    if asked := entry.get("fidelity", {}).get("asked"):
        facts["of the class asked for"] = f"{100 * asked:.0f} %"
    if terms := entry.get("terms"):
        decoder, steps, prior = terms[0], sum(terms[1:-1]), terms[-1]
        facts["decoder, steps, prior"] = " + ".join(number(n, 2) for n in (decoder, steps, prior))
    facts["parameters"] = integer(entry["parameters"])
    facts["seconds"] = number(entry["seconds"], 1)
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


def _over_time(entry: Entry, folder: Path) -> str:
    """Of adversaries: what the monitor said last, and samples from the first epoch to the last."""
    log = [row["monitor"] for row in read_log(folder / "log.jsonl") if "monitor" in row]
    if not log:
        return ""
    states = [row["state"] for row in log]
    often = ", ".join(f"{states.count(s)} {s}" for s in dict.fromkeys(states))
    said = f"Last state: <b>{log[-1]['state']}</b>, {escape(log[-1]['why'])}. Epochs: {often}."
    if not (folder / "over-time.png").exists():
        return f'<p class="counted">{said}</p>'
    shown = _picture(entry, folder, "over-time", "Samples over time, the first epoch on top")
    return f'<p class="counted">{said}</p><div class="pair">{shown}</div>'


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
