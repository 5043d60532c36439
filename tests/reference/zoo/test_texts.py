"""Text from the command line: trained, scored, gone on with, and printed as it is drawn."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.errors import CheckpointError, InputError
from reference.zoo import cli, runs, texts
from reference.zoo.sources import tokens_of

POEM = "one two three, ünd weiter.\n" * 120


def genzoo(*arguments: Any) -> int:
    sys.argv = ["genzoo", *map(str, arguments)]
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return int(stop.value.code or 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of a stream in characters and in bytes, and of rows that end; barely trained."""
    path = tmp_path_factory.mktemp("texts")
    (path / "poem.txt").write_text(POEM)
    how = ["--epochs", 2, "--set", "hidden=8"]
    assert not genzoo("train", "rnn", "--data", path / "poem.txt", "--out", path / "poem", *how)
    how += ["--tokens", "bytes"]
    assert not genzoo("train", "rnn", "--data", path / "poem.txt", "--out", path / "bytes", *how)
    assert not genzoo("train", "rnn", "--data", "sums", "--out", path / "sums", *how[:4])
    return path


@pytest.fixture(autouse=True)
def argv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", sys.argv)


def streamed(opened: Any, seed: int = 0, **how: Any) -> str:
    out = io.StringIO()
    texts.stream(opened, seed, texts.in_tokens(opened, how), out)
    return out.getvalue()


@pytest.mark.parametrize("name", ["poem", "bytes"])
@pytest.mark.parametrize("prompt", ["", "two", "ü"])
def test_a_stream_prints_what_sample_draws(folder: Path, name: str, prompt: str):
    opened = runs.open_run(folder / name)
    how = texts.in_tokens(opened, {"prompt": prompt, "length": 90, "temperature": 0.7})
    (row,) = runs.draw(opened, 1, 3, how)
    whole = tokens_of(opened.config).decode(row).rstrip("\ufffd")
    assert streamed(opened, 3, prompt=prompt, length=90, temperature=0.7) == whole + "\n"
    assert whole.startswith(prompt)


def test_tokens_are_printed_one_by_one(folder: Path):
    class Counts(io.StringIO):
        flushed = 0

        def flush(self) -> None:
            self.flushed += 1

    opened, out = runs.open_run(folder / "poem"), Counts()
    texts.stream(opened, 0, {"length": 30}, out)
    assert out.flushed >= 30


def test_a_row_ends_with_its_end_or_a_stop(folder: Path):
    opened = runs.open_run(folder / "sums")
    assert streamed(opened).count("\n") == 1
    stopped = streamed(opened, prompt="1+", stop="=")
    assert stopped.startswith("1+")
    assert "=" not in stopped
    assert len(streamed(runs.open_run(folder / "poem"))) == texts.LONGEST + 1


def test_the_command_line(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert not genzoo("sample", folder / "poem", "--prompt", "two", "--stream")
    shown = capsys.readouterr().out
    assert shown.startswith("two")
    assert len(shown) == 3 + texts.LONGEST + 1
    assert not genzoo("sample", folder / "sums", "-n", 3, "--prompt", "9+9=")
    assert [line[:4] for line in capsys.readouterr().out.splitlines()] == ["9+9="] * 3


def test_scores_are_per_token_and_per_character(folder: Path, capsys: pytest.CaptureFixture[str]):
    said = {}
    for name in ("poem", "bytes", "sums"):
        assert not genzoo("score", folder / name)
        found = re.findall(r"^(nats per \w+) +([\d.]+)", capsys.readouterr().out, re.MULTILINE)
        said[name] = {what: float(nats) for what, nats in found}
    assert said["poem"]["nats per sample"] == pytest.approx(
        64 * said["poem"]["nats per token"], 1e-3
    )
    assert said["bytes"]["nats per character"] > said["bytes"]["nats per token"]
    assert said["sums"]["nats per token"] > 0.1 * said["sums"]["nats per sample"]


def test_a_run_reads_other_texts_in_its_own_tokens(
    folder: Path, capsys: pytest.CaptureFixture[str]
):
    (folder / "other.txt").write_text("two one " * 300)
    assert not genzoo("score", folder / "poem", "--data", folder / "other.txt")
    (folder / "strange.txt").write_text("two ΩNE " * 300)
    assert genzoo("score", folder / "poem", "--data", folder / "strange.txt") == 1
    assert "character 'Ω' at position 4 is not in the vocabulary" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--prompt", "Ω"], "prompt must be made of the run's tokens: character 'Ω' at position 0"),
        (["--stream", "-n", "2"], "--stream must come without -n and --out"),
        (["--stream", "--out", "a.txt"], "--stream must come without -n and --out"),
        (["--set", "stop=two"], "stop must be one token, got 'two', 3 tokens"),
        (["--stream", "--set", "tempo=2"], "can't sample"),
        (["--stream", "--set", "temperature=-2"], "temperature must be"),
        (["--set", "top_p=0"], "top_p must be"),
    ],
)
def test_what_is_wrong_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
):
    assert genzoo("sample", folder / "poem", *options) == 1
    assert said in capsys.readouterr().err


def test_a_model_without_tokens_has_no_prompt(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert not genzoo("train", "fvsbn", "--epochs", 1, "--out", tmp_path / "run")
    for options in (["--prompt", "a"], ["--stream"]):
        assert genzoo("sample", tmp_path / "run", *options) == 1
        assert "must be left out" in capsys.readouterr().err


def test_a_training_goes_on_in_its_own_tokens(folder: Path, tmp_path: Path):
    how = ["--data", folder / "poem.txt", "--out", tmp_path / "run", "--tokens", "bytes"]
    assert not genzoo("train", "rnn", *how, "--epochs", 1, "--set", "hidden=8")
    assert not genzoo("train", "rnn", "--out", tmp_path / "run", "--resume", "--epochs", 2)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["show"]["tokeniser"] == {"kind": "bytes"}


@pytest.mark.parametrize("show", [None, {}, {"vocabulary": [3]}, {"tokeniser": {"kind": "x"}}])
def test_a_damaged_vocabulary_is_named(show: Any):
    with pytest.raises(CheckpointError, match=r"config.json"):
        tokens_of({"show": show})


def test_ids_pass_as_they_are(folder: Path):
    opened = runs.open_run(folder / "poem")
    assert texts.in_tokens(opened, {"prompt": [1, 2], "top_k": 3}) == {"prompt": [1, 2], "top_k": 3}
    with pytest.raises(InputError, match="prompt must hold"):
        runs.draw(opened, 1, 0, {"prompt": np.array([99])})
