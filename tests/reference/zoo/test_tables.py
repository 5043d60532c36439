"""One's own table through the command line: iris, wine and diabetes, with words and gaps."""

from __future__ import annotations

import csv
import json
import math
import re
import shutil
import sys
import warnings

import numpy as np
import pytest

from core import value
from core.data import load
from core.train import TrainSettings
from reference import MODELS
from reference.zoo import cli, runs, sources
from reference.zoo.session import fit

LABELS = {"iris": "species", "wine": "cultivar", "diabetes": "progress"}
tables = pytest.mark.parametrize("name", LABELS)


@pytest.fixture
def genzoo(monkeypatch, capsys):
    """Run a command line: (what it printed, what it said on stderr); `status` is the expected."""

    def run(*arguments, status=0):
        monkeypatch.setattr(sys, "argv", ["genzoo", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out, err = capsys.readouterr()
        assert (stop.value.code or 0) == status, err
        return out, err

    return run


def columns_of(name):
    """scikit-learn's table as text: a header, labels by name, one value missing."""
    from sklearn import datasets

    how = {"scaled": False} if name == "diabetes" else {}
    bunch = getattr(datasets, f"load_{name}")(**how)
    names = [column.replace(" (cm)", "") for column in bunch.feature_names]
    cells = [[f"{v:g}" if v == int(v) else repr(float(v)) for v in row] for row in bunch.data]
    cells[7][1] = ""
    if name == "diabetes":
        words = ["high" if t > 140 else "low" for t in bunch.target]
    else:
        words = [str(bunch.target_names[t]) for t in bunch.target]
    return [*names, LABELS[name]], [[*row, word] for row, word in zip(cells, words, strict=True)]


@pytest.fixture
def table(tmp_path):
    """A function that writes one of the three tables and gives its path."""

    def write(name):
        header, rows = columns_of(name)
        path = tmp_path / f"{name}.csv"
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([header, *rows])
        return path

    return write


def nats(out):
    return float(re.search(r"nats per sample +(-?\d+\.\d+)", out)[1])


def read(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))


@tables
def test_train_score_and_sample_in_the_units_of_the_file(genzoo, table, tmp_path, name):
    path, run = table(name), tmp_path / "run"
    train = ["train", "gaussian-naive-bayes", "--data", path, "--label", LABELS[name]]
    _, err = genzoo(*train, "--out", run, status=1)
    assert f"line 9, column {columns_of(name)[0][1]!r}" in err
    assert "--missing drop" in err
    _, err = genzoo(*train, "--missing", "mean", "--out", run)
    header, rows = columns_of(name)
    classes = len({row[-1] for row in rows})
    assert f"{len(rows)} rows × {len(header) - 1} columns, continuous" in err
    assert f"labels: {LABELS[name]} ({classes})" in err
    assert "1 missing values filled" in err
    assert math.isfinite(nats(genzoo("score", run)[0]))
    genzoo("sample", run, "-n", 200, "--out", tmp_path / "s.csv")
    drawn = read(tmp_path / "s.csv")
    assert drawn[0] == header
    assert {row[-1] for row in drawn[1:]} == {row[-1] for row in rows}
    for j in range(len(header) - 1):
        given = [row[j] for row in rows if row[j]]
        values = np.array(given, float)
        sampled = np.array([row[j] for row in drawn[1:]], float)
        assert values.min() <= sampled.min() <= sampled.max() <= values.max()
        assert abs(np.median(sampled) - np.median(values)) < values.std()
        if all(v == int(v) for v in values):
            assert all(re.fullmatch(r"-?\d+", row[j]) for row in drawn[1:])
        digits = max(len(cell.partition(".")[2]) for cell in given)
        assert max(len(row[j].partition(".")[2]) for row in drawn[1:]) <= digits


def test_samples_of_a_class_by_its_name(genzoo, table, tmp_path):
    """Setosa's petals are short; a model that draws another class is seen."""
    run, out = tmp_path / "run", tmp_path / "s.csv"
    how = ["--label", "species", "--missing", "drop", "--out", run]
    genzoo("train", "gaussian-naive-bayes", "--data", table("iris"), *how)
    genzoo("sample", run, "-n", 40, "--set", "y=setosa", "--out", out)
    drawn = read(out)[1:]
    assert all(float(row[2]) < 2.5 for row in drawn)
    assert {row[-1] for row in drawn} == {"setosa"}
    genzoo("sample", run, "-n", 2, "--set", 'y=["setosa", "virginica"]', "--out", out)
    assert [row[-1] for row in read(out)[1:]] == ["setosa", "virginica"]
    _, err = genzoo("sample", run, "--set", "y=virginca", status=1)
    assert "y must be of species, setosa, versicolor, virginica, got 'virginca'" in err
    genzoo("sample", run, "-n", 30, "--out", tmp_path / "s.npy")
    genzoo("sample", run, "-n", 30, "--out", out)
    drawn = np.array([row[:-1] for row in read(out)[1:]], float)
    ranges = drawn.min(axis=0), drawn.max(axis=0)
    np.testing.assert_allclose(np.clip(np.load(tmp_path / "s.npy"), *ranges), drawn, atol=0.051)


def gaussian_nats(train, x):
    """−mean log of independent Gaussians with the moments of train, in nats."""
    mu, var = train.mean(axis=0), train.var(axis=0)
    return -np.mean(np.sum(-0.5 * ((x - mu) ** 2 / var + np.log(2 * np.pi * var)), axis=1))


@tables
def test_nats_are_those_of_a_gaussian_in_the_same_units(genzoo, table, tmp_path, name):
    """Gaussian naive Bayes of one class, to 1e-6; without the Jacobian it is another figure."""
    header, rows = columns_of(name)
    path = tmp_path / "one.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *([*r[:-1], "all"] for r in rows if all(r))])
    how = ["--data", path, "--label", LABELS[name], "--out", tmp_path / "run"]
    genzoo("train", "gaussian-naive-bayes", *how)
    opened = runs.open_run(tmp_path / "run")
    from reference.judges.likelihood import likelihood

    data = sources.read_again(opened, None, seed=0)
    z = np.concatenate([part.x for part in data.parts])
    table = np.array([[float(v) for v in r[:-1]] for r in rows if all(r)])
    x = data.units.restore(z)
    np.testing.assert_allclose(np.sort(x, axis=0), np.sort(table, axis=0), rtol=1e-5, atol=1e-4)
    raw = load(path, label=LABELS[name], standardise=False)
    wanted = gaussian_nats(exact(raw.train.x, table), exact(raw.test.x, table))
    found = likelihood(opened.model, data).nats
    assert found == pytest.approx(wanted, abs=1e-6)
    assert likelihood(opened.model, load_plain(data)).nats != pytest.approx(wanted, abs=1e-2)


def exact(x, table):
    """float32 rows as the decimals that the file has."""
    at = [np.abs(table[:, j, None] - column).argmin(axis=0) for j, column in enumerate(x.T)]
    return np.stack([table[i, j] for j, i in enumerate(at)], axis=1)


def load_plain(data):
    """The same numbers without their units: a score that forgets the Jacobian."""
    from dataclasses import replace

    return replace(data, units=None)


def test_a_table_of_people(genzoo, tmp_path):
    """Ages stay ages, towns stay towns, whatever model draws them; nothing is cut into pixels."""
    rng = np.random.default_rng(0)
    n, path = 80, tmp_path / "people.csv"
    rows = [
        [i, rng.integers(18, 91), f"{rng.lognormal(10, 1):.2f}", ["Rye", "Bath"][i % 2]]
        for i in range(n)
    ]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["id", "age", "income", "town"], *rows])
    for model in ("real-nvp", "gan", "histogram", "ddpm"):
        run = tmp_path / model
        _, err = genzoo("train", model, "--data", path, "--out", run, "--epochs", 1)
        assert "80 rows × 3 columns, continuous; column 'id' counts the rows" in err
        text, _ = genzoo("sample", run, "-n", 20)
        drawn = list(csv.reader(text.splitlines()))
        assert drawn[0] == ["age", "income", "town"]
        assert all(18 <= int(age) <= 90 for age, _, _ in drawn[1:])
        assert {town for *_, town in drawn[1:]} <= {"Rye", "Bath"}
        genzoo("sample", run, "-n", 20, "--out", tmp_path / "s.npy")
        assert np.load(tmp_path / "s.npy")[:, 1].max() > 100
    _, err = genzoo("train", "made", "--data", path, "--out", tmp_path / "m", status=1)
    assert "continuous data can't be read as binary" in err


def test_defaults_on_unknown_data_beat_one_gaussian(genzoo, table, tmp_path):
    """RealNVP on iris without any setting: below 3.10 nats, a Gaussian's with full covariance."""
    path, run = table("iris"), tmp_path / "run"
    how = ["--label", "species", "--missing", "mean"]
    genzoo("train", "real-nvp", "--data", path, *how, "--out", run)
    data = load(path, label="species", missing="mean")
    train, x = (part.x.astype(np.float64) for part in (data.train, data.test))
    mean, cov = train.mean(axis=0), np.cov(train.T, bias=True)
    d = x - mean
    gauss = 0.5 * np.mean(np.sum(d @ np.linalg.inv(cov) * d, axis=1))
    gauss += 0.5 * np.linalg.slogdet(2 * math.pi * cov)[1]
    assert gauss == pytest.approx(3.10, abs=0.05)
    assert nats(genzoo("score", run)[0]) < gauss - 0.5
    seconds = json.loads((run / "log.jsonl").read_text().splitlines()[-1])["seconds"]
    assert seconds < 60


def test_a_run_from_before_units_is_scored_as_it_was_trained(genzoo, tmp_path):
    """Its model saw the raw columns: standardising them now would be another figure, unsaid."""
    x = np.random.default_rng(0).normal(size=(60, 2)) * [1, 30] + [0, 100]
    np.savetxt(tmp_path / "a.csv", x, delimiter=",")
    raw, run = load(tmp_path / "a.csv"), tmp_path / "run"
    model = MODELS["real-nvp"].load()(2, layers=2, hidden=[4])
    fit(model, raw, settings=TrainSettings(epochs=1, batch_size=20), out=run)
    config = json.loads((run / "config.json").read_text())
    del config["show"]["units"]
    (run / "config.json").write_text(json.dumps(config))
    wanted = -float(np.mean(value(model.log_prob(raw.test.x))))
    assert nats(genzoo("score", run)[0]) == pytest.approx(wanted, rel=1e-3)
    genzoo("train", "real-nvp", "--resume", "--epochs", 2, "--out", run)


def test_a_run_remembers_its_data_and_says_when_they_moved(genzoo, table, tmp_path, monkeypatch):
    path, run = table("iris"), tmp_path / "run"
    monkeypatch.chdir(tmp_path)
    train = ["train", "gaussian-naive-bayes", "--label", "species", "--missing", "drop"]
    genzoo(*train, "--data", "iris.csv", "--out", run)
    config = json.loads((run / "config.json").read_text())
    assert config["data"] == str(path)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    before = nats(genzoo("score", run)[0])
    moved = tmp_path / "elsewhere" / "flowers.csv"
    shutil.move(path, moved)
    _, err = genzoo("score", run, status=1)
    assert "the data of this run have moved; --data says where" in err
    assert nats(genzoo("score", run, "--data", moved)[0]) == before
    shutil.copy(moved, path)
    assert genzoo("score", run)[1] == ""
    path.write_text(path.read_text() + "5.1,3.5,1.4,0.2,setosa\n")
    assert f"{path} has changed since the run was trained on it" in genzoo("score", run)[1]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sources.read_again(runs.open_run(run), None, seed=0)
    assert [str(w.message) for w in caught] == [
        f"{path} has changed since the run was trained on it"
    ]
