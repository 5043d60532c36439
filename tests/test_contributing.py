"""CONTRIBUTING's model, taken from the page: it meets every law, trains, and is wrong if broken."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from core import Tensor
from reference import MODELS, Demo, Model
from reference.table import dim
from tests.laws.laws import LAWS
from tests.laws.subject import make

PAGE = (Path(__file__).resolve().parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
SOURCE, ROW = re.findall(r"```python\n(.*?)```", PAGE, re.S)[:2]


@pytest.fixture
def row(tmp_path, monkeypatch):
    (tmp_path / "bit_chain.py").write_text(SOURCE, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "bit_chain", raising=False)
    text = ROW.replace("reference.autoregressive.bit_chain:", "bit_chain:")
    made = eval(text, {"Model": Model, "Demo": Demo, "dim": dim})
    monkeypatch.setitem(MODELS, made.name, made)
    return made


def owed(row):
    return [law for law, kinds in LAWS.items() if row.kind in kinds]


def test_the_model_of_the_page_meets_the_laws_of_its_kind(row, tmp_path):
    laws = owed(row)
    assert len(laws) >= 10
    for law in laws:
        law(*(make(row), tmp_path)[: law.__code__.co_argcount])


def test_it_is_forty_lines():
    assert len(SOURCE[SOURCE.index("class BitChain") :].splitlines()) <= 40


def test_broken_it_is_rejected(row, tmp_path):
    """With the bit itself in place of the one before it, some law must fail."""
    subject = make(row)
    shift = subject.model.conditionals

    def sees_itself(x):
        return shift(np.roll(x.data if isinstance(x, Tensor) else x, -1, axis=1))

    subject.model.conditionals = sees_itself
    (law,) = [law for law in owed(row) if law.__name__ == "conditionals_see_only_the_past"]
    with pytest.raises(AssertionError, match="seen wrongly"):
        law(subject)


def test_the_command_line_has_it(row, tmp_path, capsys):
    from reference.zoo import runs
    from reference.zoo.cli import app

    run = tmp_path / "run"
    app(["train", "bit-chain", "--epochs", "1", "--out", str(run)], standalone_mode=False)
    app(["score", str(run)], standalone_mode=False)
    app(["list"], standalone_mode=False)
    said = capsys.readouterr().out
    assert "bit-chain" in said
    assert "nats per sample" in said
    assert runs.open_run(run).model.sample(3, seed=0).shape == (3, 64)
