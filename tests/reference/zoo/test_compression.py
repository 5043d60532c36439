"""`genzoo compress` and `decompress`: the file is as long as `score` says, and comes back whole."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest

from core.data import load
from reference.judges.likelihood import likelihood
from reference.zoo import cli, runs

TRAINED = {
    "fvsbn": ("digits", "--epochs", "1"),
    "nade": ("digits", "--epochs", "1"),
    "markov-table": ("digits",),
    "gru": ("sums", "--epochs", "1"),
    "made": ("digits", "--epochs", "1", "--set", "masks=2"),
    "vae": ("digits", "--epochs", "1"),
}


@pytest.fixture(scope="module")
def command():
    """A command line in this process: its exit status."""

    def run(*arguments):
        sys.argv = ["genzoo", *map(str, arguments)]
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return stop.value.code or 0

    return run


@pytest.fixture(scope="module")
def trained(command, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for name, (data, *how) in TRAINED.items():
        assert command("train", name, "--data", data, *how, "--out", folder / name) == 0
    return folder


@pytest.mark.parametrize("name", ["fvsbn", "nade", "markov-table", "gru"])
@pytest.mark.parametrize("split", ["validation", "test"])
def test_rows_come_back_and_cost_what_the_score_says(
    name, split, command, trained, tmp_path, capsys
):
    codes, back, n = tmp_path / "codes.npz", tmp_path / "back.npy", 12
    assert command("compress", trained / name, "--split", split, "-n", n, "--out", codes) == 0
    bits, least = map(float, re.findall(r"([\d.]+) bits a row", capsys.readouterr().out))
    assert command("decompress", trained / name, codes, "--out", back) == 0
    opened = runs.open_run(trained / name)
    data = load(TRAINED[name][0], domain=opened.row.domain, shape=opened.row.shape)
    np.testing.assert_array_equal(np.load(back), getattr(data, split).x[:n])
    nats = likelihood(opened.model, data, split, first=n).nats
    assert least == pytest.approx(nats / np.log(2), abs=0.006)
    assert least - 0.01 <= bits <= least + 2.01


@pytest.mark.parametrize(("name", "each"), [("fvsbn", 8), ("gru", 10)])  # 64 bits, 10 tokens
def test_what_others_have_to_beat_are_as_few_bytes_as_rows_need(
    name, each, command, trained, tmp_path, capsys
):
    """Of more rows than are scored at a time."""
    run, n = trained / name, 250
    assert command("compress", run, "-n", n, "--out", tmp_path / "codes.npz") == 0
    told = capsys.readouterr().out
    assert re.search(rf"as they are\s+{n * each:,}\s+1.000", told)
    assert command("score", run, "-n", n) == 0
    nats = float(re.search(r"nats per sample +([\d.]+)", capsys.readouterr().out)[1])
    least = float(re.search(r"least of this model: ([\d.]+)", told)[1])
    assert least == pytest.approx(nats / np.log(2), abs=0.006)


@pytest.mark.parametrize("ending", ["png", "npz"])
def test_rows_come_back_as_pictures_and_arrays(ending, command, trained, tmp_path):
    codes, back = tmp_path / "codes.npz", tmp_path / f"back.{ending}"
    assert command("compress", trained / "nade", "-n", "3", "--out", codes) == 0
    assert command("decompress", trained / "nade", codes, "--out", back) == 0
    assert back.stat().st_size > 0


@pytest.mark.parametrize("fault", ["another run", "a bit", "cut short", "no file of codes"])
def test_codes_that_were_not_packed_by_the_run_are_never_unpacked(
    fault, command, trained, tmp_path, capsys
):
    codes, back, run = tmp_path / "codes.npz", tmp_path / "back.npy", trained / "nade"
    assert command("compress", run, "-n", "5", "--out", codes) == 0
    stored = dict(np.load(codes))
    if fault == "another run":
        run = trained / "fvsbn"
    elif fault == "a bit":
        stored["bits"][3] ^= 16
    elif fault == "cut short":
        stored["bits"] = stored["bits"][:-4]
    else:
        del stored["lengths"]
    np.savez(codes, **stored)
    capsys.readouterr()
    assert command("decompress", run, codes, "--out", back) == 1
    assert not back.exists()
    said = capsys.readouterr().err
    assert said.startswith("genzoo: ")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "out", "word"),
    [("made", "codes.npz", "one order"), ("vae", "codes.npz", "VAE"), ("nade", "x.gz", ".npz")],
)
def test_what_has_no_codes_is_said(name, out, word, command, trained, tmp_path, capsys):
    assert command("compress", trained / name, "--out", tmp_path / out) == 1
    assert word in capsys.readouterr().err
    assert not (tmp_path / out).exists()
