"""From Python: fit leaves a run that opens, and says what is missing where it can't."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from core import Tensor
from core.checkpoint import Run
from core.data import load
from core.errors import CheckpointError, InputError
from core.learners import CountLearner, EMLearner, GradientLearner, learner_of
from core.state import state
from core.train import TrainSettings
from core.train import fit as fit_in
from reference import MODELS
from reference.judges.likelihood import likelihood
from reference.zoo import cli, runs
from reference.zoo.session import fit


def data_for(row):
    name = {"continuous": "two-moons", "text": "sums"}.get(row.domain, "digits")
    name = "digits" if row.shape == "image" else name
    name = row.demos[0].data if row.kind == "encoder-decoder" else name
    return load(name, domain=row.domain, shape=row.shape, n=60)


@pytest.mark.parametrize("name", MODELS)
def test_a_run_of_any_model_opens_with_what_was_learned(tmp_path, name):
    row = MODELS[name]
    data = data_for(row)
    given = row.arguments(data)
    built = runs.complete(row, {**row.tiny, **given} if "levels" not in given else given)
    model = runs.build(row, built, 0)
    fit(model, data, settings=TrainSettings(epochs=1), out=tmp_path / "run", arguments=built)
    opened = runs.open_run(tmp_path / "run")
    assert opened.row is row
    for key, learned in state(model).items():
        np.testing.assert_array_equal(state(opened.model)[key], learned)
    if hasattr(model, "sample"):
        drawn = [np.asarray(m.sample(3, seed=1)) for m in (model, opened.model)]
        np.testing.assert_array_equal(*drawn)


def test_the_command_line_scores_what_python_fitted(tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 2)) * [1, 1000] + [5, 50]
    lines = ["a,b", *(f"{a:.3f},{b:.1f}" for a, b in x)]
    lines[3] = ",1"
    (tmp_path / "t.csv").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path)
    data = load("t.csv", missing="drop", standardise=True, seed=3)
    model = MODELS["real-nvp"].load()(2, layers=2, hidden=[4])
    fit(model, data, settings=TrainSettings(epochs=1), out="run")
    monkeypatch.setattr(sys, "argv", ["genzoo", "score", str(tmp_path / "run")])
    monkeypatch.chdir("/")
    with pytest.raises(SystemExit):
        cli.main()
    assert f"nats per sample     {likelihood(model, data).nats:.3f}" in capsys.readouterr().out


def test_arguments_that_a_model_does_not_keep_must_be_told(tmp_path):
    gan = MODELS["gan"].load()(2, bounded=False, latent=2, hidden=[8])
    data, settings = load("two-moons", n=60), TrainSettings(epochs=1)
    with pytest.raises(InputError, match=r"arguments must say what gan .*'loss': …"):
        fit(gan, data, settings=settings, out=tmp_path / "run")
    nade = MODELS["nade"].load()(64, hidden=5)
    data = load("digits", domain="binary", n=60)
    with pytest.raises(InputError, match="arguments must be those that nade was built with"):
        fit(nade, data, settings=settings, out=tmp_path / "run", arguments={"hidden": 6})
    assert not (tmp_path / "run").exists()


class Mine:
    """A class of one's own."""

    def __init__(self):
        self.mu = Tensor(np.zeros(2, np.float32))

    def log_prob(self, x):
        return -0.5 * np.sum((x - self.mu) ** 2, axis=1)

    def sample(self, n, *, seed=0):
        return np.zeros((n, 2), np.float32)


def test_a_class_of_ones_own_says_what_is_missing(tmp_path):
    data = load("two-moons", n=60)
    model = Mine()
    fit(model, data, settings=TrainSettings(epochs=2, lr=0.1), out=tmp_path / "run")
    with pytest.raises(CheckpointError, match=r"no known model, got 'Mine'; .*load_model\(model\)"):
        runs.open_run(tmp_path / "run")
    again = Mine()
    Run.open(tmp_path / "run").load_model(again)
    np.testing.assert_array_equal(again.mu.data, model.mu.data)
    assert np.abs(again.mu.data).sum() > 0


def test_fit_takes_a_model_and_says_what_can_not_be_trained():
    ways = {"histogram": CountLearner, "bernoulli-mixture": EMLearner, "nade": GradientLearner}
    for name, way in ways.items():
        row = MODELS[name]
        assert type(learner_of(row.load()(**row.tiny))) is way
    with pytest.raises(InputError, match=r"model must have one of fit, .*got object"):
        fit_in(object(), load("grid", n=5))
    with pytest.raises(InputError, match="got the class Mine"):
        fit_in(Mine, load("grid", n=5))


def test_a_run_is_not_written_over(tmp_path):
    data, settings = load("two-moons", n=60), TrainSettings(epochs=1)
    make = lambda: MODELS["real-nvp"].load()(2, layers=2, hidden=[4])  # noqa: E731
    fit(make(), data, settings=settings, out=tmp_path)
    with pytest.raises(CheckpointError, match="already holds a run"):
        fit(make(), data, settings=settings, out=tmp_path)
    fit(make(), data, settings=settings, out=tmp_path, overwrite=True)
    longer = TrainSettings(epochs=3)
    assert len(fit(make(), data, settings=longer, out=tmp_path, resume=True).entries) == 3
