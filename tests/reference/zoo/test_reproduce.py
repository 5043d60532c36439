"""Published figures: what is trained, kept, resumed, scored and required, on tiny rows."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from core.checkpoint import read_json, write_json
from core.data import NAMES, Dataset, Padded, Split, homes, load
from core.errors import CheckpointError, DataError, InputError, Interrupted
from core.train import TrainSettings
from reference import MODELS, PUBLISHED, Published
from reference.judges.likelihood import baselines, likelihood
from reference.zoo import cli, reproducing, runs, samples_judged
from reference.zoo import reproduction as r

ROW = Published(
    "fvsbn", "digits", 20.0, "nobody", 0.1, within=0.05,
    train={"epochs": 3, "lr": 0.02, "batch_size": 50, "patience": 2},
)  # fmt: skip
TABLE = Published(
    "markov-table", "digits", None, "nobody", 0.1, {"order": 3},
    choose={"alpha": [0.001, 0.3, 30.0]}, beats="independent Bernoulli", centre=4,
)  # fmt: skip


@pytest.fixture
def table(monkeypatch):
    """PUBLISHED holds the two rows above, and no others."""
    rows = {row.name: row for row in (ROW, TABLE)}
    monkeypatch.setattr(r, "PUBLISHED", rows)
    return rows


def text(x: Any, end: int | None) -> Dataset:
    return Dataset("t", *(Split(x),) * 3, domain="text", vocabulary=("\n", "a", "b"), end=end)


# The rows themselves


@pytest.mark.parametrize("row", PUBLISHED.values(), ids=lambda row: row.name)
def test_every_row_can_be_trained_and_judged(row: Published):
    assert row.data in NAMES
    TrainSettings(**row.train)
    for _, arguments in r.choices(row, 0):
        runs.complete(MODELS[row.model], arguments)
    ways = (row.within, row.most, row.digits, row.beats)
    assert sum(way is not None for way in ways) <= 1
    of_samples = row.unit in samples_judged.UNITS or row.unit in r.ANSWERED
    assert row.figure is not None or row.beats is not None or of_samples
    assert row.unit in r.UNITS or of_samples
    assert (row.figure == 0) == (row.unit == "gap")
    assert row.minutes > 0
    assert row.source


def test_names_are_of_one_row_each():
    chapters = {name.rpartition(".")[0] for name in (m.target for m in MODELS.values())}
    assert len(PUBLISHED) == len({row.name for row in PUBLISHED.values()})
    assert chapters
    with pytest.raises(InputError, match="unknown figure 'nade-dan'; did you mean nade-dna"):
        r.find(["nade-dan"])


# One figure


def test_the_figure_is_the_test_likelihood_of_the_epoch_that_validated_best(tmp_path, table):
    entry = r.reproduce(ROW, tmp_path)
    opened = runs.open_run(tmp_path / ROW.name / "seed0")
    score = likelihood(opened.model, load("digits", domain="binary"))
    assert (entry["ours"], entry["se"]) == (score.nats, score.se)
    assert entry["figures"][0]["count"] == 300
    assert entry["machine"]["numpy"] == np.__version__
    assert entry["command"] == "genzoo reproduce fvsbn-digits"
    assert read_json(tmp_path / ROW.name / "result.json") == entry


def test_what_is_done_is_kept_and_what_was_made_otherwise_is_not(tmp_path, table):
    entry = r.reproduce(ROW, tmp_path)
    assert r.kept(ROW, tmp_path) == entry
    assert r.collected(tmp_path) == [entry]
    assert r.kept(ROW, tmp_path, seeds=2) is None
    assert r.kept(replace(ROW, figure=1.0, most=3.0, source="else", minutes=9), tmp_path) == entry
    other = replace(ROW, train={**ROW.train, "lr": 0.01})
    assert r.kept(other, tmp_path) is None
    file = tmp_path / ROW.name / "seed0" / "state.safetensors"
    before = file.read_bytes()
    with pytest.raises(CheckpointError, match="lr"):
        r.reproduce(other, tmp_path)
    assert file.read_bytes() == before


def test_an_interrupted_run_comes_to_the_same_figure(tmp_path, table):
    def stop(at):
        if at.step == 40:
            os.kill(os.getpid(), signal.SIGINT)

    whole = r.reproduce(ROW, tmp_path / "whole")
    with pytest.raises(Interrupted):
        r.reproduce(ROW, tmp_path / "cut", tell=stop)
    assert r.kept(ROW, tmp_path / "cut") is None
    steps: list[int] = []
    again = r.reproduce(ROW, tmp_path / "cut", tell=lambda at: steps.append(at.step))
    assert steps[0] == 41  # it went on, and did not begin anew
    assert (again["ours"], again["se"]) == (whole["ours"], whole["se"])


def test_a_bound_is_of_as_many_samples_as_the_row_says(tmp_path, monkeypatch):
    few = Published("vae", "digits", 20.0, "nobody", 0.1, {"hidden": [8]}, train={"epochs": 1})
    many = replace(few, samples=150, variant="many")
    monkeypatch.setattr(r, "PUBLISHED", {few.name: few, many.name: many})
    bounds = [r.reproduce(row, tmp_path)["figures"][0]["bound"] for row in (few, many)]
    assert bounds == ["importance-weighted, k = 100", "importance-weighted, k = 150"]
    assert "samples" not in r.settings(few)  # figures of rows without it stay as they were
    assert r.kept(many, tmp_path) is not None
    assert r.kept(replace(many, samples=200), tmp_path) is None


def test_seeds_are_averaged(tmp_path, table):
    entry = r.reproduce(ROW, tmp_path, seeds=2)
    nats = [figure["nats"] for figure in entry["figures"]]
    assert nats[0] != nats[1]
    assert entry["ours"] == pytest.approx(np.mean(nats), rel=1e-12)
    assert entry["command"].endswith("--seeds 2")


def test_validation_chooses_and_test_does_not(tmp_path, table, monkeypatch):
    scored: list[str] = []

    def counted(model, data, part, *, seed):
        scored.append(part)
        return likelihood(model, data, part, seed=seed)

    monkeypatch.setattr(r, "likelihood", counted)
    entry = r.reproduce(TABLE, tmp_path)
    data = r.read(TABLE)
    losses = {}
    for alpha in TABLE.choose["alpha"]:
        opened = runs.open_run(tmp_path / TABLE.name / f"seed0-alpha-{alpha}")
        losses[alpha] = likelihood(opened.model, data, "validation").nats
    assert entry["figures"][0]["chosen"] == {"alpha": min(losses, key=lambda a: losses[a])}
    assert entry["figures"][0]["validation"] == pytest.approx(min(losses.values()), rel=1e-9)
    assert scored == ["test"]  # once, of the one that was chosen
    assert entry["baselines"]["independent Bernoulli"] > entry["ours"]


# What is read, and how it is counted


def test_the_centre_is_the_pixels_in_the_middle():
    data = load("digits", domain="binary")
    middle = r.centre(data, 4)
    own = data.test.x.reshape(-1, 8, 8)[:, 2:6, 2:6].reshape(-1, 16)
    np.testing.assert_array_equal(middle.test.x, own)
    assert (middle.dim, middle.image_shape) == (16, (4, 4))
    assert not np.array_equal(own, data.test.x[:, :16])
    with pytest.raises(InputError, match="centre must fit grey images, got 9"):
        r.centre(data, 9)


def test_the_whole_is_all_rows_once():
    data = load("digits", domain="binary")
    everything = r.whole(data)
    assert (len(everything.train), len(everything.validation), len(everything.test)) == (
        1797,
        0,
        1797,
    )


@pytest.mark.parametrize(
    ("x", "end", "count"),
    [
        (np.array([[1, 2, 0, 0], [1, 0, 0, 0]]), 0, 5),  # "ab." and "a."
        (np.array([[1, 2, 0, 0], [1, 0, 0, 0]]), None, 8),
        (Padded(np.zeros((2, 4), np.int64), np.array([2, 1])), 0, 5),
        (Padded(np.zeros((2, 4), np.int64), np.array([2, 1])), None, 3),
    ],
    ids=["words", "a stream", "sequences that end", "sequences"],
)
def test_characters_are_those_that_are_predicted(x: Any, end: int | None, count: int):
    assert r.characters(text(x, end), "test") == count


def test_nats_a_character_of_several_parts_are_of_all_their_characters():
    class Coin:
        def log_prob(self, x):
            return -np.log(2.0) * (np.sum(x != 0, axis=1) + 1.0)

    row = replace(ROW, characters=True, parts=("validation", "test"))
    data = text(np.array([[1, 2, 0, 0], [1, 0, 0, 0]]), 0)
    score = r.score(row, Coin(), data, 0)
    assert score["nats"] == pytest.approx(np.log(2.0), rel=1e-12)
    assert score["count"] == 10
    alone = r.score(replace(row, parts=("test",)), Coin(), data, 0)
    assert score["se"] == pytest.approx(alone["se"] / np.sqrt(2), rel=1e-12)


class Copies:
    """Its samples are rows of the training data, of the classes asked for."""

    classes = None

    def __init__(self, part):
        self.part = part

    def sample(self, n, *, seed=0, y=None):
        y = np.random.default_rng(seed).permutation(self.part.y)[:n] if y is None else y
        rng = np.random.default_rng(seed)
        return np.stack([rng.choice(self.part.x[self.part.y == k]) for k in y])


class Told(Copies):
    classes = 10


class Noise(Told):
    def sample(self, n, *, seed=0, y=None):
        return np.random.default_rng(seed).uniform(-1, 1, (n, 64)).astype(np.float32)


def test_a_figure_of_samples_is_their_judges(tmp_path):
    data = load("digits", domain="continuous")
    row = replace(ROW, unit="frechet")
    good = r.score(row, Copies(data.train), data, 0)
    assert good["frechet"] < 2 * good["fresh"]["frechet"]
    assert good["se"] < good["frechet"] / 4
    assert good["samples"]["classes"] == 10
    assert good["samples"]["copied"] > 0.9
    assert {"accuracy", "recall"} <= set(good["samples"]) & set(good["fresh"])
    assert r.score(row, Noise(data.train), data, 0)["frechet"] > 10 * good["frechet"]
    missed = replace(ROW, unit="missed")
    assert r.score(missed, Told(data.train), data, 0)["missed"] < 2
    assert r.score(missed, Noise(data.train), data, 0)["missed"] > 80


@pytest.mark.parametrize("every", [1, 8, 2000])
def test_a_figure_of_answers_is_the_percentage_of_wrong_ones(every):
    """One wrong token makes an answer wrong: here one in so many."""
    data = load("dates", n=50)
    x = data.test.x.copy()
    x[::every, 3] = (x[::every, 3] + 1) % len(data.vocabulary)

    class Answers:
        def __init__(self):
            self.left = x

        def greedy(self, y):
            now, self.left = np.split(self.left, [len(y)])
            return now

    found = r.score(replace(ROW, unit="wrong"), Answers(), data, 0)
    assert found["wrong"] == pytest.approx(100 / every)
    assert found["count"] == 2000


@pytest.mark.parametrize("unit", r.UNITS)
def test_a_figure_is_in_its_unit(tmp_path, table, unit):
    """Of every unit the mean and its own standard error, and of a gap the paired one."""
    data = load("eight-gaussians" if unit == "gap" else "digits", n=500)
    data = data.as_domain("continuous" if unit == "gap" else "binary")
    log_p = -np.arange(float(len(data.test)))

    class Known:
        def log_prob(self, x):
            return log_p[: len(x)] if len(x) == len(log_p) else next(parts)

    parts = (log_p[i : i + 250] for i in range(0, len(log_p), 250))
    score = r.score(replace(ROW, unit=unit), Known(), data, 0)
    each = -log_p
    if unit == "gap":
        each = data.log_density(data.test.x.astype(np.float64)) - log_p
    if unit == "bits":
        each = each / (64 * np.log(2))
    assert score[unit] == pytest.approx(each.mean(), rel=1e-12)
    assert score["se"] == pytest.approx(each.std(ddof=1) / np.sqrt(len(each)), rel=1e-9)
    assert set(score) == {unit, "se", "count", "bound"}


def test_a_figure_of_another_unit_is_made_again(tmp_path, table):
    entry = r.reproduce(ROW, tmp_path)
    assert r.kept(ROW, tmp_path) == entry
    in_bits = replace(ROW, unit="bits")
    assert r.kept(in_bits, tmp_path) is None
    again = r.reproduce(in_bits, tmp_path)
    assert again["ours"] == pytest.approx(entry["ours"] / (64 * np.log(2)), rel=1e-12)
    assert r.kept(in_bits, tmp_path) == again


def test_there_is_no_gap_where_the_truth_is_not_known(tmp_path, table):
    with pytest.raises(InputError, match="unit must be nats or bits where"):
        r.reproduce(replace(ROW, unit="gap"), tmp_path)


def test_data_that_are_not_there_are_told_before_anything_is_trained(genzoo, tmp_path, monkeypatch):
    def no_network(source, cache, file, progress):
        raise DataError(f"could not get {file.url}: no connection")

    monkeypatch.setenv("GENZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("GENZOO_DATA", raising=False)
    monkeypatch.setattr(homes, "_retrieve", no_network)
    monkeypatch.setattr(runs, "train", None)
    status, _, err = genzoo("reproduce", "fvsbn-dna", "--out", tmp_path / "out")
    assert status == 1
    for words in ("dna", "uci_binary_nade.npz", "GENZOO_DATA", "genzoo data fetch dna"):
        assert words in err
    assert not (tmp_path / "out").exists()


# The verdict


@pytest.mark.parametrize(
    ("row", "good", "bad", "said"),
    [
        (ROW, 21.0, 21.01, "≤ 21.00"),
        (replace(ROW, within=None, most=19.5), 19.5, 19.6, "≤ 19.50"),
        (replace(ROW, within=None, digits=1), 20.04, 19.9, "= 20.0"),
        (replace(ROW, within=None, beats="coins"), 44.0, 44.4, "< coins, 44.40"),
    ],
    ids=["within", "most", "digits", "beats"],
)
def test_what_is_required(row: Published, good: float, bad: float, said: str):
    entry = {"baselines": {"coins": 44.4}}
    assert r.met(row, {**entry, "ours": good}) is True
    assert r.met(row, {**entry, "ours": bad}) is False
    assert reproducing.required(row, entry) == said
    assert r.met(replace(row, within=None, most=None, digits=None, beats=None), entry) is None


def test_durations_are_for_people():
    shown = [reproducing.duration(s) for s in (3.4, 89, 95, 3000, 5400)]
    assert shown == ["3 s", "89 s", "2 min", "50 min", "1.5 h"]


# The command


@pytest.fixture
def genzoo(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["genzoo", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out, err = capsys.readouterr()
        return stop.value.code or 0, out, err

    return run


def test_the_command_says_first_how_long_and_then_the_table(genzoo, tmp_path, table):
    status, out, err = genzoo("reproduce", "--list", "--out", tmp_path)
    assert (status, err) == (0, "")
    assert [line.split("\t")[2] for line in out.splitlines()] == ["ours", "–", "–"]
    status, out, err = genzoo("reproduce", "--out", tmp_path)
    assert status == 0
    assert err.splitlines()[0].startswith("2 of 2 figures to make, about 12 s on one core; without")
    first = out.splitlines()[1].split("\t")
    entry = r.kept(ROW, tmp_path)
    assert entry is not None
    shown = (f"{entry['ours']:.2f} ± {entry['se']:.2f}", f"{entry['ours'] - 20:+.2f}", "≤ 21.00")
    assert tuple(first[2:5]) == shown
    assert len(read_json(tmp_path / "results.json")["figures"]) == 2
    status, again, err = genzoo("reproduce", "--out", tmp_path)
    assert "0 of 2 figures to make" in err
    assert again == out


def test_a_row_that_is_unknown_is_named(genzoo):
    status, out, err = genzoo("reproduce", "nade-mnits")
    assert (status, out) == (1, "")
    assert err.startswith("genzoo: unknown figure 'nade-mnits'; did you mean nade-")


def test_a_damaged_result_is_made_again(tmp_path, table):
    (tmp_path / ROW.name).mkdir()
    write_json(tmp_path / ROW.name / "result.json", {"settings": r.settings(ROW)})
    assert r.kept(ROW, tmp_path) is None


def test_baselines_are_of_the_data_that_were_read(tmp_path, table):
    entry = r.reproduce(TABLE, tmp_path)
    own = baselines(r.read(TABLE))["independent Bernoulli"].nats
    assert entry["baselines"]["independent Bernoulli"] == own < 16 * np.log(2)
