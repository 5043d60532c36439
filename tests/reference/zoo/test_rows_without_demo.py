"""Rows that the zoo doesn't show: trained, listed, scored and sampled all the same."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from core.errors import InputError
from reference import MODELS
from reference.zoo import cli, job
from reference.zoo.runs import capabilities

UNSHOWN = [row for row in MODELS.values() if not row.demos and row.training == "counts"]


@pytest.fixture
def genzoo(monkeypatch, capsys):
    """Run a command line in this process: (exit status, stdout, stderr)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["genzoo", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out, err = capsys.readouterr()
        return stop.value.code or 0, out, err

    return run


@pytest.fixture
def table(tmp_path):
    """Labelled rows (50, 4) of whole numbers, few enough to be quick."""
    rng = np.random.default_rng(0)
    y = np.arange(50) % 2
    np.savez(tmp_path / "data.npz", x=rng.integers(0, 2, (50, 4)) | y[:, None], y=y)
    return tmp_path / "data.npz"


@pytest.mark.parametrize("row", UNSHOWN, ids=lambda row: row.name)
def test_what_it_can_do_the_command_line_does(row, genzoo, table, tmp_path):
    status, _, err = genzoo("train", row.name, "--data", table, "--out", tmp_path / "run")
    assert status == 0, err
    status, out, err = genzoo("score", tmp_path / "run", "--split", "train")
    assert status == 0, err
    assert ("accuracy" if row.kind == "discriminative" else "nats per sample") in out
    status, out, err = genzoo("sample", tmp_path / "run", "-n", 3, "--out", tmp_path / "x.npy")
    if "sample" in capabilities(row):
        assert np.load(tmp_path / "x.npy").shape == (3, 4)
    else:
        assert status == 1
        assert "no samples" in err


def test_a_classifier_has_no_distance_and_no_place_in_the_zoo(genzoo, table, tmp_path):
    genzoo("train", "logistic-regression", "--data", table, "--out", tmp_path / "run")
    status, _, err = genzoo("score", tmp_path / "run", "--distance")
    assert status == 1
    assert "no samples" in err
    with pytest.raises(InputError, match=r"has no p\(x\)"):
        job.run(tmp_path / "zoo", names=["logistic-regression"])
    unlabelled = tmp_path / "x.npz"
    np.savez(unlabelled, x=np.load(table)["x"])
    status, _, err = genzoo("train", "logistic-regression", "--data", unlabelled, "--out", tmp_path)
    assert status == 1
    assert "needs labels" in err


def test_what_is_told_of_a_classifier_is_right(genzoo, table, tmp_path):
    genzoo("train", "logistic-regression", "--data", table, "--out", tmp_path / "run")
    from core.data import load
    from reference.zoo.runs import open_run

    opened, data = open_run(tmp_path / "run"), load(str(table), domain="continuous")
    right = (opened.model.predict(data.train.x) == data.train.y).mean()
    nats = opened.model.loss(data.train.x, data.train.y)
    _, out, _ = genzoo("score", tmp_path / "run", "--split", "train")
    assert f"{right:.4f} ±" in out
    assert f"nats per label      {nats:.4f}" in out
