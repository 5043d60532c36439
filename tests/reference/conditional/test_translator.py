"""Text to text: what is given wrongly is told, training learns to translate, and commands say it.

The laws of every model under a condition are in tests/laws.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from core.data import load
from core.errors import InputError
from core.samples import Padded
from reference import MODELS
from reference.conditional.translator import Translator
from reference.judges.exact import exact
from reference.zoo import cli, runs

X = np.array([[1, 0, 0], [2, 1, 0]])
Y = Padded.of([np.array([1, 2, 3]), np.array([0])])


def tiny(**how) -> Translator:
    return Translator(3, 3, 4, end=0, layers=1, heads=2, width=4, **how)


@pytest.mark.parametrize(
    ("y", "told"),
    [
        (np.array([[1, 2, 3], [0, 0, 0]]), r"^y must be a core\.samples\.Padded, got ndarray"),
        (Y[:1], r"^y must have 2 rows, one for each of x, got 1"),
        (Padded(np.zeros((2, 3, 1), int), np.array([1, 1])), r"^y must have shape \(B, S\)"),
        (Padded(np.full((2, 3), 4), np.array([1, 1])), r"^y must hold whole numbers in 0 … 3"),
        (Padded(np.full((2, 3), 0.5), np.array([1, 1])), r"^y must hold whole numbers"),
        ("text", r"^y must be"),
        (3, r"^y must be"),
    ],
)
def test_what_is_given_wrongly_is_told(y, told: str):
    model = tiny()
    for ask in (model.log_prob, model.conditionals):
        with pytest.raises(InputError, match=told):
            ask(X, y)
    for draw in (model.sample, model.stream):
        with pytest.raises(InputError, match=told):
            draw(2, y=y)


def test_what_is_padding_is_not_looked_at():
    junk = Padded(np.array([[1, 2, 3], [0, 99, -7]]), Y.lengths)
    np.testing.assert_array_equal(tiny().log_prob(X, junk).data, tiny().log_prob(X, Y).data)


def test_a_given_text_of_no_length_is_nothing_given():
    model, nothing = tiny(), Padded(np.zeros((2, 2), int), np.array([0, 0]))
    np.testing.assert_array_equal(model.log_prob(X, nothing).data, model.log_prob(X).data)


def test_decoding_is_controlled_and_goes_on_with_a_prompt():
    model = tiny()
    x = model.sample(2, y=Y, prompt=np.array([2]), length=5, top_k=2, temperature=0.5)
    assert x.shape == (2, 5)
    assert (x[:, 0] == 2).all()
    drawn = list(model.stream(2, y=Y, seed=4))
    np.testing.assert_array_equal(
        np.stack(drawn, axis=1), model.sample(2, y=Y, seed=4)[:, : len(drawn)]
    )


def test_greedy_beats_no_other_token_at_any_place():
    """Each token is the most probable one after those before it."""
    x = tiny().greedy(Y)
    theta = tiny().conditionals(x, Y).data
    np.testing.assert_array_equal(theta.argmax(axis=-1), x)


def test_data_without_a_text_that_is_given_are_refused():
    row = MODELS["translator"]
    with pytest.raises(
        InputError, match=r"^data must come with y of kind text; sums comes with nothing"
    ):
        row.arguments(load("sums", n=5))


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A fifth of the zoo's training."""
    out = tmp_path_factory.mktemp("runs") / "dates"
    how = ["--data", "dates", "--set", "width=16", "--epochs", "1", "--lr", "0.02"]
    assert not genzoo("train", "translator", "--out", str(out), *how)
    return out


def genzoo(*arguments: str) -> int:
    """The exit status of a command."""
    old, sys.argv = sys.argv, ["genzoo", *map(str, arguments)]
    try:
        cli.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    finally:
        sys.argv = old
    return 0


def test_it_learns_and_says_so(run: Path, capsys: pytest.CaptureFixture[str]):
    found = exact(runs.open_run(run).model, load("dates"), "validation", first=200)
    assert found.share > 0.3
    capsys.readouterr()
    assert not genzoo("score", run, "-n", 100)
    out = capsys.readouterr().out
    assert "of x, given y" in out
    assert "exact answers" in out


def test_translate_prints_a_line_a_text(run: Path, capsys: pytest.CaptureFixture[str]):
    capsys.readouterr()
    assert not genzoo("translate", run, "2026-11-25", "1000-01-01")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("the ") for line in lines)


@pytest.mark.parametrize(
    ("text", "told"), [("tomorrow", "TEXT must be written in '-0123456789'"), ("", "TEXT must")]
)
def test_a_text_in_other_characters_is_refused(run: Path, text, told, capsys):
    assert genzoo("translate", run, text) == 1
    assert told in capsys.readouterr().err


def test_a_run_that_is_not_there_says_how_to_make_it(tmp_path: Path, capsys):
    assert genzoo("translate", tmp_path / "none", "417") == 1
    said = capsys.readouterr().err
    assert f"genzoo train translator --data numbers --out {tmp_path / 'none'}" in said
    assert "about a minute" in said


def test_a_run_of_another_model_is_refused(tmp_path: Path, capsys):
    how = ["--data", "sums", "--epochs", "1", "--set", "hidden=4"]
    assert not genzoo("train", "rnn", "--out", tmp_path / "rnn", *how)
    assert genzoo("translate", tmp_path / "rnn", "417") == 1
    assert "must be a run of translator" in capsys.readouterr().err
