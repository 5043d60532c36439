"""The table of published figures: from committed results, by a command, never stale."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from bench import published
from core.checkpoint import read_json, write_json
from core.errors import InputError
from core.machine import machine
from reference import PUBLISHED, Published
from reference.zoo import reproduction

ROWS = {
    row.name: row
    for row in (
        Published("fvsbn", "digits", 20.0, "nobody", 0.1, within=0.05, train={"lr": 0.1}),
        Published("nade", "digits", None, "nobody", 600, beats="uniform", variant="wide"),
    )
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A table of two rows, with a file of figures and two pages of their own."""
    for module in (published, reproduction):
        monkeypatch.setattr(module, "PUBLISHED", ROWS)
    pages = (tmp_path / "README.md", tmp_path / "more.md")
    marks = (f"<!-- {word} {published.COMMAND} -->" for word in ("made by", "end of"))
    text = "before\n" + "\n".join(marks) + "\nafter\n"
    for page in pages:
        page.write_text(text)
    monkeypatch.setattr(published, "PAGES", pages)
    monkeypatch.setattr(published, "FIGURES", tmp_path / "published.json")
    write_json(published.FIGURES, {"figures": []})
    return tmp_path


def figure(name: str = "fvsbn-digits", ours: float = 20.5) -> dict[str, Any]:
    return {
        "name": name,
        "settings": reproduction.settings(ROWS[name]),
        "ours": ours,
        "se": 0.25,
        "figures": [{"nats": ours}],
        "seconds": 200.0,
        "baselines": {"uniform": 44.36},
        "command": f"genzoo reproduce {name}",
        "machine": machine(),
    }


def add(place: Any, *figures: dict[str, Any]) -> int:
    write_json(place / "results.json", {"figures": list(figures)})
    return published.main(["--add", str(place / "results.json")])


def test_the_committed_figures_are_the_tables_and_in_the_pages():
    assert published.main(["--check"]) == 0
    found = published.by_name(read_json(published.FIGURES))
    for name, entry in found.items():
        assert entry["machine"]["cpu"], name
        assert entry["command"].endswith(f"reproduce {name}")


def test_both_pages_get_the_table(place):
    assert add(place, figure()) == 0
    for page in published.PAGES:
        lines = page.read_text().splitlines()
        assert (lines[0], lines[-1]) == ("before", "after")
        assert (
            "| FVSBN · digits | 20.00 | 20.50 ± 0.25 | +0.50 | ≤ 21.00 | yes | 3 min "
            "| `genzoo reproduce fvsbn-digits` |"
        ) in lines
        assert (
            "| NADE · digits, wide | – | – | – | < uniform | – | about 10.0 h "
            "| `genzoo --backend numba reproduce nade-digits-wide` |"
        ) in lines
        assert str(machine()["cpu"]) in page.read_text()


def test_a_figure_that_misses_is_told_as_such(place):
    add(place, figure(ours=21.5), figure("nade-digits-wide", 44.0))
    text = published.PAGES[0].read_text()
    assert "| +1.50 | ≤ 21.00 | no |" in text
    assert "| – | 44.00 ± 0.25 | – | < uniform, 44.36 | yes |" in text


def test_a_new_figure_takes_the_old_ones_place_and_leaves_the_others(place):
    add(place, figure("nade-digits-wide", 30.0))
    add(place, figure(ours=20.1))
    add(place, figure(ours=20.2))
    ours = {f["name"]: f["ours"] for f in read_json(published.FIGURES)["figures"]}
    assert list(ours.items()) == [("fvsbn-digits", 20.2), ("nade-digits-wide", 30.0)]


def test_stale_pages_are_seen(place, capsys):
    add(place, figure())
    assert published.main(["--check"]) == 0
    content = read_json(published.FIGURES)
    content["figures"][0]["ours"] = 19.0
    write_json(published.FIGURES, content)
    assert published.main(["--check"]) == 1
    assert "README.md is stale; run python -m bench.published" in capsys.readouterr().err


@pytest.mark.parametrize("stale", ["other rate", "no such row", "fewer settings"])
def test_a_figure_of_settings_that_are_no_more_is_refused(place, stale: str, capsys):
    entry = json.loads(json.dumps(figure()))
    if stale == "other rate":
        entry["settings"]["train"]["lr"] = 0.2
    elif stale == "no such row":
        entry["name"] = "fvsbn-dna"
    else:
        del entry["settings"]["centre"]
    with pytest.raises(InputError, match=r"was made with settings that are no more; run genzoo"):
        published.by_name({"figures": [entry]})
    write_json(published.FIGURES, {"figures": [entry]})
    assert published.main(["--check"]) == 1
    assert capsys.readouterr().err.startswith(
        f"python -m bench.published: published.json: {entry['name']}"
    )


def test_every_row_has_a_line():
    section = published.section({})
    for name in PUBLISHED:
        assert f"reproduce {name}`" in section


def test_the_pages_example_of_a_row_is_one():
    page = (published.ROOT / "docs/published.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", page, re.S)
    made: dict[str, Any] = {}
    exec(block, made)
    assert made["row"].name in PUBLISHED
    assert made["row"].figure == PUBLISHED[made["row"].name].figure
