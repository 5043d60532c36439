"""The training loop: what it computes, and that stopping it anywhere, anyhow, changes nothing."""

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import fields, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import Tensor, checkpoint
from core.checkpoint import Run, load_arrays, save_arrays
from core.data import Dataset, Split
from core.errors import CheckpointError, DataError, InputError, Interrupted
from core.functional import logsumexp
from core.random import Generator
from core.state import parameters, part, state
from core.train import (
    CountLearner,
    Diverged,
    EMLearner,
    GradientLearner,
    TrainSettings,
    fit,
    mean_loss,
)

ROOT = Path(__file__).parents[2]


# ------------------------------------------------------------------------- small models and data


class Gaussian:
    """x ~ N(μ, e^{2s}), trained on rows with a little noise: a loss that draws."""

    def __init__(self, dtype=np.float32, noise=0.1):
        self.mu, self.s = Tensor(np.zeros(2, dtype)), Tensor(np.zeros(2, dtype))
        self.noise, self.seen = noise, []

    def log_prob(self, x):
        z = (x - self.mu) * np.exp(-self.s)
        return np.sum(-0.5 * z * z - self.s - 0.5 * math.log(2 * math.pi), axis=-1)

    def loss(self, x, y, rng):
        self.seen.append(len(x))
        return -np.mean(self.log_prob(x + self.noise * rng.normal(x.shape, dtype=x.dtype)))


class Players:
    """min over a, max over b of ab + a²/2 − b²/2: two objectives, as in a GAN."""

    def __init__(self):
        self.a, self.b = Tensor(np.array([1.0])), Tensor(np.array([1.0]))
        self.idle = Tensor(np.array([5.0]))

    def value(self):
        return np.sum(self.a * self.b + 0.5 * self.a * self.a - 0.5 * self.b * self.b)

    def objectives(self):
        return [(self.loss_b, {"b": self.b}), (self.loss_a, {"a": self.a})]

    def loss_a(self, x, y, rng):
        return self.value() * x.mean()

    def loss_b(self, x, y, rng):
        return -self.value() * x.mean()


class Mixture:
    """Σ_k N(x; μ_k, 1) / 2, by EM."""

    def __init__(self):
        self.mu = np.array([-1.0, 1.0])

    def log_joint(self, x):
        return -0.5 * (x - self.mu) ** 2 - 0.5 * math.log(2 * math.pi) - math.log(2)

    def log_prob(self, x):
        return logsumexp(self.log_joint(x), axis=1)

    def em_step(self, x):
        log_joint = self.log_joint(x)
        r = np.exp(log_joint - logsumexp(log_joint, axis=1, keepdims=True))
        self.mu = (r * x).sum(axis=0) / r.sum(axis=0)
        return float(logsumexp(log_joint, axis=1).mean())


class Coin:
    """A counted model; rules out what it has not seen."""

    def __init__(self):
        self.counts = np.zeros(2, np.int64)

    def fit(self, x, y):
        self.counts[...] = np.bincount(x[:, 0], minlength=2)

    def log_prob(self, x):
        with np.errstate(divide="ignore"):
            return np.log(self.counts / self.counts.sum())[x[:, 0]]


def dataset(train, validation=None, y=None):
    validation = train[:0] if validation is None else validation
    splits = (Split(train, y), Split(validation), Split(train[:0]))
    return Dataset("test", *splits, domain="continuous")


def points(n=70, seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((n, 2)) * 0.5 + [1.0, -2.0]).astype(dtype)


DATA = dataset(points(), points(30, 1))
SETTINGS = TrainSettings(epochs=10, batch_size=16, lr=0.05, checkpoint_seconds=1e9)
EVERY_EPOCH = replace(SETTINGS, checkpoint_seconds=0)
VARIED = {
    "adam": SETTINGS,
    "sgd": replace(SETTINGS, optimiser="sgd", options={"momentum": 0.9, "nesterov": True}),
    "adamw": replace(SETTINGS, optimiser="adamw", weight_decay=0.1, clip_norm=1.0),
    "ema": replace(SETTINGS, ema_decay=0.9, schedule="cosine", warmup=7),
}


def train(settings=SETTINGS, *, data=DATA, model=None, learner=GradientLearner, **kwargs):
    model = Gaussian() if model is None else model
    history = fit(learner(model, settings), data, settings=settings, **kwargs)
    return model, history


def bits(model):
    return {name: a.tobytes() for name, a in state(model).items()}


def losses(history):
    return [{k: v for k, v in entry.items() if k != "seconds"} for entry in history.entries]


def stop_after(step):
    """A progress callback that presses Ctrl-C after this many steps."""

    def watch(progress):
        if progress.step == step:
            signal.raise_signal(signal.SIGINT)

    return watch


# --------------------------------------------------------------------------------- what it learns


@pytest.mark.parametrize("name", VARIED)
def test_it_learns_and_says_how(tmp_path, name):
    told = []
    model, history = train(VARIED[name], out=tmp_path / "run", on_progress=told.append)
    start, end = (mean_loss(m, DATA.train.x, None) for m in (Gaussian(), model))
    assert end < start - 0.5
    assert history.train[-1] < history.train[0] - 0.5
    assert history.validation[history.best_epoch - 1] == min(history.validation)
    steps = [5 * epoch + k for epoch in range(10) for k in (1, 2, 3, 4, 5, 5)]
    assert [p.step for p in told] == steps
    assert {(p.epochs, p.steps) for p in told} == {(10, 50)}
    assert [p.epoch for p in told] == [e for e in range(1, 11) for _ in range(6)]
    assert told[-1].train_loss == history.train[-1]
    assert told[-1].validation_loss == history.validation[-1]
    assert all(a.seconds <= b.seconds for a, b in pairwise(told))
    assert Run.open(tmp_path / "run").read_log() == history.entries
    assert sorted(history.entries[0]) == ["epoch", "seconds", "step", "train", "validation"]


def test_float32_models_stay_float32():
    model = Gaussian()
    learner = GradientLearner(model, VARIED["ema"])
    fit(learner, DATA)
    kinds = {name: a.dtype for name, a in (state(model) | learner.state_dict()).items()}
    assert {k for name, k in kinds.items() if not name.endswith(("/t", "/k"))} == {np.dtype("f4")}


@pytest.mark.parametrize(
    ("n", "size", "seen"), [(70, 16, [16, 16, 16, 16, 6]), (5, 16, [5]), (3, 1, [1, 1, 1])]
)
def test_every_row_is_met_once_an_epoch_and_weighs_the_same(n, size, seen):
    x = points(n, dtype=np.float64)
    model = Gaussian(np.float64, noise=0.0)
    settings = TrainSettings(epochs=1, batch_size=size, lr=0.0, optimiser="sgd")
    _, history = train(settings, data=dataset(x), model=model)
    assert model.seen == seen
    assert history.train == pytest.approx([-model.log_prob(x).data.mean()], rel=1e-12)
    assert history.validation == [None]
    assert history.best_epoch == 1


def test_the_order_of_the_rows_changes_from_epoch_to_epoch_and_with_the_seed():
    class Order(Gaussian):
        def loss(self, x, y, rng):
            self.seen.append((x[:, 0].tolist(), y.tolist()))
            return super().log_prob(x).sum()

    data = dataset(points(20), y=np.arange(20))
    orders = []
    for seed in (0, 0, 1):
        model = Order()
        train(TrainSettings(epochs=2, batch_size=20, seed=seed), data=data, model=model)
        orders += [y for _, y in model.seen]
        assert all(x == data.train.x[y, 0].tolist() for x, y in model.seen)
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(20))
    assert orders[0] == orders[2] != orders[1] == orders[3]
    assert orders[4] not in orders[:4]


def test_validation_sees_the_same_noise_every_time():
    model, x = Gaussian(noise=1.0), points(2500)
    bounded = SimpleNamespace(loss=model.loss)
    first = mean_loss(bounded, x, None)
    assert first == mean_loss(bounded, x, None) != mean_loss(bounded, x, None, seed=1)
    assert model.seen[:3] == [1000, 1000, 500]
    assert mean_loss(bounded, x[:0], None) is None
    assert mean_loss(Players(), x, None) is None


def test_validation_asks_for_what_counts_rather_than_for_the_loss():
    """Its own figure if it names one; of an explicit model the likelihood, which has no noise."""
    model, x = Gaussian(noise=1.0), points(2500)
    exact = -float(model.log_prob(x).data.mean())
    assert mean_loss(model, x, None) == pytest.approx(exact, rel=1e-5)
    assert model.seen == []
    model.validation_loss = lambda x, y, rng: np.float32(7)
    assert mean_loss(model, x, None) == 7


def test_players_move_in_turn_each_by_its_own_gradient():
    model, settings = Players(), TrainSettings(epochs=3, batch_size=4, lr=0.1, optimiser="sgd")
    _, history = train(settings, data=dataset(np.ones((8, 1))), model=model)
    a = b = 1.0
    played = []
    for _ in range(6):
        value = a * b + a * a / 2 - b * b / 2
        b += 0.1 * (a - b)
        played.append((-value, a * b + a * a / 2 - b * b / 2))
        a -= 0.1 * (b + a)
    assert [model.a.item(), model.b.item()] == pytest.approx([a, b], rel=1e-12)
    assert model.idle.item() == 5
    for epoch, entry in enumerate(history.entries):
        both = np.mean(played[2 * epoch : 2 * epoch + 2], axis=0)
        assert entry["losses"] == pytest.approx(both, rel=1e-12)
        assert entry["train"] == pytest.approx(sum(both), rel=1e-12)


def test_gradients_left_by_the_other_player_would_be_seen():
    class Leaves(GradientLearner):
        def __init__(self, model, settings):
            super().__init__(model, settings)
            for optimiser in self.optimisers:
                optimiser.zero_grad = lambda: None

    settings = TrainSettings(epochs=1, batch_size=8, lr=0.1, optimiser="sgd")
    data = dataset(np.ones((8, 1)))
    right, _ = train(settings, data=data, model=Players())
    wrong, _ = train(settings, data=data, model=Players(), learner=Leaves)
    assert right.a.item() != wrong.a.item()


class Centred(Gaussian):
    """It begins with the mean of the first rows, and a little noise."""

    def begin(self, x, rng):
        self.seen.append("start")
        self.mu[...] = x.mean(axis=0) + 0.1 * rng.normal((2,))


def test_what_starts_with_data_is_shown_the_first_rows_and_no_others(tmp_path):
    settings = TrainSettings(epochs=2, batch_size=10, lr=0.05, ema_decay=0.5, checkpoint_seconds=0)
    model, _ = train(settings, data=dataset(points(40) + 5), model=Centred(), out=tmp_path / "one")
    assert model.seen == ["start", *(10,) * 8]
    first = replace(settings, epochs=1)
    train(first, data=dataset(points(40) + 5), model=Centred(), out=tmp_path / "two")
    again, _ = train(
        settings, data=dataset(points(40) + 5), model=Centred(), out=tmp_path / "two", resume=True
    )
    assert again.seen == [10] * 4
    for name, array in state(model).items():
        np.testing.assert_array_equal(state(again)[name], array)


def test_em_never_falls_and_stops_where_its_model_is_kept(tmp_path):
    x = np.concatenate([points(40)[:, :1], points(40)[:, 1:]]).astype(np.float64)
    settings = TrainSettings(epochs=15)
    data = dataset(x, x[::2])
    model, history = train(settings, data=data, model=Mixture(), learner=EMLearner, out=tmp_path)
    assert all(a >= b for a, b in pairwise(history.train))
    assert mean_loss(model, x[::2], None) == min(history.validation)


def test_counting_takes_one_epoch_and_an_infinite_loss_is_null_in_the_log(tmp_path):
    train_rows, validation_rows = np.zeros((4, 1), np.int64), np.array([[0], [1]])
    data = dataset(train_rows, validation_rows)
    model, history = train(data=data, model=Coin(), learner=CountLearner, out=tmp_path)
    assert model.counts.tolist() == [4, 0]
    assert (history.train, history.validation) == ([0.0], [math.inf])
    assert Run.open(tmp_path).read_log()[0]["validation"] is None
    again = Coin()
    Run.open(tmp_path).load_model(again)
    assert again.counts.tolist() == [4, 0]


# --------------------------------------------------------------------------- which epoch is kept


class Overfits(Gaussian):
    """Training pulls μ to the data; validation prefers where it was on the way."""

    def validation_loss(self, x, y, rng):
        return np.sum((self.mu.data - [0.5, -1.0]) ** 2)


def test_the_best_epoch_is_kept_and_patience_ends_training(tmp_path):
    settings = replace(SETTINGS, epochs=200, patience=5)
    model, history = train(settings, model=Overfits(), out=tmp_path)
    assert len(history.entries) == history.best_epoch + 5 < 50
    assert model.validation_loss(None, None, None) == min(history.validation)
    stored = load_arrays(tmp_path / "state.safetensors")[0]
    assert not np.array_equal(part("model", stored)["mu"], model.mu.data)
    kept = load_arrays(tmp_path / "model.safetensors")[0]
    assert np.array_equal(kept["mu"], part("best", stored)["mu"])
    assert np.array_equal(kept["mu"], model.mu.data)
    settings = replace(settings, patience=8)
    patient, longer = train(settings, model=Overfits(), out=tmp_path, resume=True)
    assert len(longer.entries) == len(history.entries) + 3
    assert bits(patient) == bits(model)


def test_the_average_is_what_validates_and_is_kept_and_both_are_stored(tmp_path):
    settings = replace(SETTINGS, ema_decay=0.8)
    no_rows = dataset(DATA.train.x)
    raw, _ = train(SETTINGS, data=no_rows)
    model, _ = train(settings, data=no_rows, out=tmp_path)
    stored = load_arrays(tmp_path / "state.safetensors")[0]
    assert part("model", stored)["mu"].tobytes() == bits(raw)["mu"]
    assert part("learner/ema", stored)["average.mu"].tobytes() == bits(model)["mu"]
    assert bits(model) != bits(raw)
    assert load_arrays(tmp_path / "model.safetensors")[0]["mu"].tobytes() == bits(model)["mu"]
    averaged, history = train(settings)
    assert history.validation[-1] == mean_loss(averaged, DATA.validation.x, None)


@pytest.mark.parametrize(
    ("data", "model"), [(dataset(points()), Gaussian()), (DATA, Players())], ids=["rows", "loss"]
)
def test_patience_without_validation_is_an_error(data, model):
    with pytest.raises(InputError, match="patience needs validation"):
        train(replace(SETTINGS, patience=1), data=data, model=model)


# ---------------------------------------------------------------------------- to the same bits


def same_training(folder, straight, out, kept, resumed):
    """Whether two trainings agree in model, history, and every array of the checkpoint."""
    return bits(kept) == bits(straight[0]) and (
        losses(resumed) == losses(straight[1])
        and [{**e, "seconds": 0} for e in Run.open(folder / "straight").read_log()]
        == [{**e, "seconds": 0} for e in Run.open(out).read_log()]
        and stored_bits(folder / "straight") == stored_bits(out)
    )


def stored_bits(run):
    arrays = load_arrays(run / "state.safetensors")[0] | load_arrays(run / "model.safetensors")[0]
    return {name: a.tobytes() for name, a in arrays.items()}


@pytest.mark.parametrize("name", ["adam", "sgd", "adamw"])
def test_four_epochs_and_six_more_are_ten(tmp_path, name):
    straight = train(VARIED[name], out=tmp_path / "straight")
    out = tmp_path / "run"
    train(replace(VARIED[name], epochs=4), out=out)
    assert same_training(tmp_path, straight, out, *train(VARIED[name], out=out, resume=True))


@pytest.mark.parametrize("steps", [1, 5, 10, 13, 15, 99])
def test_so_many_steps_and_no_more(tmp_path, steps):
    """Whole epochs are those epochs; the last may be cut short, and is validated all the same."""
    settings = replace(VARIED["adam"], epochs=3, steps=steps)
    model, history = train(settings, out=tmp_path / "straight")
    assert [entry["step"] for entry in history.entries] == [
        *range(5, min(steps, 15), 5),
        min(steps, 15),
    ]
    assert None not in history.validation
    if steps % 5 == 0:
        epochs = train(replace(settings, epochs=steps // 5, steps=None))
        assert (bits(epochs[0]), losses(epochs[1])) == (bits(model), losses(history))
    for stop in {1, min(steps, 12), min(steps, 15)}:  # the last one too: before its validation
        out = tmp_path / f"stopped {stop}"
        with pytest.raises(Interrupted):
            train(settings, out=out, on_progress=stop_after(stop))
        again = train(settings, out=out, resume=True)
        assert same_training(tmp_path, (model, history), out, *again)


@cache
def straight_and_short(name, folder):
    settings = replace(VARIED[name], epochs=3)
    return settings, train(settings, out=folder / "straight")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {name: tmp_path_factory.mktemp(name) for name in VARIED}


@given(stops=st.sets(st.integers(1, 15), max_size=2), name=st.sampled_from(sorted(VARIED)))
def test_stopped_after_any_step_it_ends_at_the_same_bits(folders, stops, name):
    folder = folders[name]
    settings, straight = straight_and_short(name, folder)
    out = folder / "run"
    Run.create(out, {}, overwrite=True)
    for step in sorted(stops):
        with pytest.raises(Interrupted, match=f"after step {step} of 15; saved in {out}"):
            train(settings, out=out, resume=True, on_progress=stop_after(step))
    assert same_training(folder, straight, out, *train(settings, out=out, resume=True))


def test_players_em_and_counts_resume_too(tmp_path):
    x = np.linspace(-2, 3, 12)[:, None]
    cases = [
        (Players, GradientLearner, dataset(np.ones((8, 1))), 3),
        (Mixture, EMLearner, dataset(x, x[::2]), 3),
        (Coin, CountLearner, dataset((x > 0).astype(np.int64)), 1),
    ]
    for make, learner, data, step in cases:
        folder = tmp_path / make.__name__
        options = {"learner": learner, "data": data}
        straight = train(model=make(), out=folder / "straight", **options)
        out = folder / "run"
        with pytest.raises(Interrupted):
            train(model=make(), out=out, on_progress=stop_after(step), **options)
        resumed = train(model=make(), out=out, resume=True, **options)
        assert same_training(folder, straight, out, *resumed)


class ForgetsBuffers(GradientLearner):
    def state_dict(self):
        return super().state_dict() | {"0/m.mu": np.zeros(2, np.float32)}


class HiddenMemory(Gaussian):
    """Keeps a counter that is neither Tensor nor array."""

    calls = 0

    def loss(self, x, y, rng):
        self.calls += 1
        return super().loss(x, y, rng) * (1 + 1 / self.calls)


class OwnNoise(Gaussian):
    """Draws from a generator that the checkpoint does not know."""

    def __init__(self):
        super().__init__()
        self.own = Generator(0, stream="noise")

    def loss(self, x, y, rng):
        return super().loss(x, y, self.own)


@pytest.mark.parametrize(
    ("model", "learner"),
    [(Gaussian, ForgetsBuffers), (HiddenMemory, GradientLearner), (OwnNoise, GradientLearner)],
)
def test_what_does_not_resume_to_the_same_bits_is_caught(tmp_path, model, learner):
    straight = train(model=model(), learner=learner, out=tmp_path / "straight")
    out = tmp_path / "run"
    train(replace(SETTINGS, epochs=4), model=model(), learner=learner, out=out)
    resumed = train(model=model(), learner=learner, out=out, resume=True)
    assert not same_training(tmp_path, straight, out, *resumed)


def test_when_checkpoints_are_made_does_not_change_the_training(tmp_path):
    model, history = train()
    for seconds in (1e-9, 0.0, 1e9):
        other, told = train(
            replace(SETTINGS, checkpoint_seconds=seconds), out=tmp_path / f"{seconds}"
        )
        assert bits(other) == bits(model)
        assert losses(told) == losses(history)


def test_a_finished_training_resumed_does_nothing(tmp_path):
    model, history = train(out=tmp_path)
    again, told = train(out=tmp_path, resume=True)
    assert bits(again) == bits(model)
    assert told.entries == history.entries
    assert again.seen == []


# ------------------------------------------------------------------- stopped from the outside

SCRIPT = """
import sys, time
sys.path[:0] = [{root!r}, {tests!r}]
from tests.core import test_train as t

class Slow(t.Gaussian):
    __qualname__ = "Gaussian"
    def loss(self, x, y, rng):
        time.sleep(0.002)
        return super().loss(x, y, rng)

try:
    t.train(t.EVERY_EPOCH, model=Slow(), out="run", resume=True)
except t.Interrupted as error:
    sys.exit(str(error))
print("finished")
"""


def stopped(folder, number, epochs):
    """Run SCRIPT in a process of its own; send the signal when `epochs` epochs are in its log."""
    code = SCRIPT.format(root=str(ROOT), tests=str(ROOT / "tests"))
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=folder, stderr=subprocess.PIPE, text=True
    )
    log = folder / "run" / "log.jsonl"
    while process.poll() is None and (not log.exists() or log.read_bytes().count(b"\n") < epochs):
        time.sleep(0.002)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors


def test_killed_and_interrupted_processes_resume_to_the_same_bits(tmp_path):
    assert stopped(tmp_path, signal.SIGKILL, 2)[0] == -signal.SIGKILL
    code, errors = stopped(tmp_path, signal.SIGINT, 5)
    assert (code, errors.count("\n")) == (1, 1)
    assert "saved in run, from where training can resume" in errors
    straight = train(out=tmp_path / "straight")
    resumed = train(out=tmp_path / "run", resume=True)
    assert same_training(tmp_path, straight, tmp_path / "run", *resumed)


def test_killed_between_state_and_model_nothing_is_lost(tmp_path, monkeypatch):
    straight = train(out=tmp_path / "straight")
    out, save = tmp_path / "run", Run.save_model
    calls = []

    def killed(self, *args):
        calls.append(self)
        if len(calls) == 4:
            raise SystemExit
        save(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "save_model", killed)
        with pytest.raises(SystemExit):
            train(EVERY_EPOCH, out=out)
    assert same_training(tmp_path, straight, out, *train(out=out, resume=True))


def test_a_full_disk_stops_training_and_keeps_the_checkpoint(tmp_path, monkeypatch):
    straight = train(out=tmp_path / "straight")
    out, replace_file = tmp_path / "run", os.replace
    calls = []

    def full(*args):
        calls.append(args)
        if len(calls) == 9:
            raise OSError(28, "No space left on device")
        replace_file(*args)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.os, "replace", full)
        with pytest.raises(CheckpointError, match="No space left on device"):
            train(EVERY_EPOCH, out=out)
    Run.open(out).load_model(Gaussian())
    assert same_training(tmp_path, straight, out, *train(out=out, resume=True))


def test_without_a_folder_ctrl_c_says_that_nothing_is_saved():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted, match="after step 7 of 50; nothing is saved"):
        train(on_progress=stop_after(7))
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_ctrl_c_stops_at_once():
    def twice(progress):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(on_progress=twice)
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_in_the_last_save_is_not_swallowed(tmp_path, monkeypatch):
    def pressed(self, *args):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Run, "save_model", pressed)
    with pytest.raises(Interrupted, match="after step 50 of 50"):
        train(out=tmp_path)


def test_an_ignored_signal_stays_ignored_and_threads_may_train():
    done = []
    thread = threading.Thread(target=lambda: done.append(train()))
    thread.start()
    thread.join()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        model, _ = train(on_progress=stop_after(3))
    finally:
        signal.signal(signal.SIGINT, before)
    assert bits(model) == bits(done[0][0])


# ---------------------------------------------------------------------------------- divergence


class Breaks(Gaussian):
    """A loss that is not finite after a while."""

    def __init__(self, factor, after):
        super().__init__()
        self.factor, self.after = factor, after

    def loss(self, x, y, rng):
        scale = self.factor if len(self.seen) >= self.after else 1.0
        return super().loss(x, y, rng) * scale


def kept_after(out, model, message, data=DATA):
    with pytest.raises(Diverged, match=message) as caught:
        train(EVERY_EPOCH, model=model, out=out, data=data)
    assert "\n" not in str(caught.value)
    run = Run.open(out)
    arrays, metadata = run.load_state()
    assert all(np.isfinite(a).all() for a in arrays.values())
    assert run.has_model()
    return json.loads(metadata["position"])


@pytest.mark.parametrize("factor", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_an_error_and_the_checkpoint_is_kept(tmp_path, factor):
    data = dataset(DATA.train.x)
    message = f"after step 17 of 50: loss is {factor}"
    assert kept_after(tmp_path, Breaks(factor, 17), message, data=data)["epoch"] == 3


def test_parameters_that_overflow_are_not_saved(tmp_path):
    class Explodes(Gaussian):
        def loss(self, x, y, rng):
            if len(self.seen) == 14:
                self.s[...] = -np.inf
                return np.sum(self.mu)
            return super().loss(x, y, rng)

    position = kept_after(tmp_path, Explodes(), "s holds an infinity", data=dataset(DATA.train.x))
    assert position["epoch"] == 2


def test_a_validation_loss_that_is_nan_is_an_error(tmp_path):
    class NoNumber(Gaussian):
        def validation_loss(self, x, y, rng):
            return math.nan if len(self.seen) > 10 else 1.0

    assert kept_after(tmp_path, NoNumber(), "the validation loss is nan")["epoch"] == 2


def test_em_that_returns_nan_is_an_error():
    class NoNumber(Mixture):
        def em_step(self, x):
            return math.nan

    with pytest.raises(Diverged, match="after step 0 of 10: the loss is nan"):
        train(model=NoNumber(), learner=EMLearner, data=dataset(points()))


# -------------------------------------------------------------------------------- bad arguments


def test_data_that_can_not_be_trained_on():
    with pytest.raises(DataError, match=r"data\.train has no rows"):
        train(data=dataset(points(0)))
    for split in ("train", "validation"):
        x = {"train": points(), "validation": points(9)}
        x[split][3, 1] = np.nan
        with pytest.raises(DataError, match=rf"data\.{split}\.x holds NaN"):
            train(data=dataset(**x))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs must be an int >= 1, got 0"),
        ({"batch_size": 2.5}, "batch_size must be an int, got 2.5"),
        ({"optimiser": "lion"}, "optimiser must be one of sgd, adam, adamw, got 'lion'"),
        ({"schedule": "step"}, "schedule must be one of constant, cosine"),
        ({"clip_norm": 0.0}, "clip_norm must be a finite number > 0, got 0.0"),
        ({"ema_decay": 1.0}, "ema_decay must be a finite number >= 0 and < 1, got 1.0"),
    ],
)
def test_settings_out_of_range_are_named(change, message):
    with pytest.raises(InputError, match=message):
        TrainSettings(**change)


WHOLE = dict.fromkeys(("epochs", "batch_size", "patience", "steps"), (0,))
WHOLE |= dict.fromkeys(("warmup", "seed"), (-1,))
NUMBERS = dict.fromkeys(("lr", "weight_decay", "checkpoint_seconds", "ema_decay"), (-1.0,))
NUMBERS |= {"clip_norm": (0.0,)}
BAD = {
    **{name: (*bad, -1, 2.5, True, "3", math.nan, [1]) for name, bad in WHOLE.items()},
    **{name: (*bad, True, "0.1", math.nan, math.inf, [0.1]) for name, bad in NUMBERS.items()},
    **dict.fromkeys(("optimiser", "schedule"), ("nonsense", 3, None, ["adam"])),
    "options": (3, None, "momentum"),
}


@pytest.mark.parametrize("name", [field.name for field in fields(TrainSettings)])
def test_every_setting_is_checked_when_it_is_made(name):
    for bad in BAD[name]:
        with pytest.raises(InputError, match=rf"^{name} must ") as caught:
            TrainSettings(**{name: bad})
        assert "\n" not in str(caught.value)


def test_settings_may_be_numpys_numbers_and_are_kept_as_pythons():
    settings = TrainSettings(epochs=np.int64(3), lr=np.float32(0.5), patience=np.int8(2))
    assert settings == TrainSettings(epochs=3, lr=0.5, patience=2)
    assert {type(v) for v in (settings.epochs, settings.patience)} == {int}
    assert type(settings.lr) is float


def test_arguments_that_contradict_each_other():
    with pytest.raises(InputError, match="resume needs out"):
        train(resume=True)
    with pytest.raises(InputError, match="the learner was made with"):
        fit(GradientLearner(Gaussian(), SETTINGS), DATA, settings=TrainSettings())


def test_a_training_is_not_overwritten_unasked(tmp_path):
    model, _ = train(out=tmp_path)
    before = (tmp_path / "state.safetensors").read_bytes()
    with pytest.raises(CheckpointError, match="already holds a training"):
        train(out=tmp_path)
    assert (tmp_path / "state.safetensors").read_bytes() == before
    Run.create(tmp_path, {"model": "new"}, overwrite=True)
    again, _ = train(out=tmp_path)
    assert bits(again) == bits(model)
    assert Run.open(tmp_path).config["model"] == "new"


class Wider(Gaussian):
    def __init__(self):
        super().__init__()
        self.extra = Tensor(np.zeros(3, np.float32))


def test_only_the_same_training_is_continued(tmp_path):
    train(replace(SETTINGS, epochs=2), out=tmp_path)
    file = str(tmp_path / "state.safetensors")
    cases = [
        ({"settings": replace(SETTINGS, lr=0.1)}, "was trained with lr = 0.05, not 0.1"),
        ({"settings": replace(SETTINGS, seed=1)}, "was trained with seed = 0, not 1"),
        ({"data": dataset(points(seed=2))}, "was trained on other data"),
        ({"model": Wider()}, "does not fit Wider: extra is missing"),
    ]
    for kwargs, message in cases:
        with pytest.raises(CheckpointError, match=message) as caught:
            train(**kwargs, out=tmp_path, resume=True)
        assert str(caught.value).startswith(file)


def spoilt(position, **changes):
    return {"position": json.dumps({**json.loads(position["position"]), **changes})}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda arrays, position: (arrays, {}),
        lambda arrays, position: (arrays, {"position": "["}),
        lambda arrays, position: (arrays, {"position": "[]"}),
        lambda arrays, position: (arrays, spoilt(position, step="1")),
        lambda arrays, position: (arrays, spoilt(position, settings=None)),
        lambda arrays, position: (arrays, spoilt(position, surprise=1)),
        lambda arrays, position: ({k: a for k, a in arrays.items() if "/m." not in k}, position),
        lambda arrays, position: ({**arrays, "model/mu": arrays["model/mu"] * np.nan}, position),
    ],
)
def test_a_spoilt_state_is_refused_with_its_name(tmp_path, spoil):
    train(replace(SETTINGS, epochs=1), out=tmp_path)
    file = tmp_path / "state.safetensors"
    save_arrays(file, *spoil(*load_arrays(file)))
    with pytest.raises(CheckpointError) as caught:
        train(out=tmp_path, resume=True)
    assert str(caught.value).startswith(str(file))


def test_parameters_that_no_objective_owns_keep_no_optimiser():
    learner = GradientLearner(Players(), SETTINGS)
    assert set(parameters(learner.model)) == {"a", "b", "idle"}
    assert sorted(learner.state_dict()) == ["0/m.b", "0/t", "0/v.b", "1/m.a", "1/t", "1/v.a"]


@pytest.mark.parametrize("loss", [1.8e23, -1e16, math.inf, math.nan])
def test_a_loss_that_is_lost_is_diverged(loss):
    """Of one that learns by gradients; +∞ is −log 0 and only there a divergence."""

    class Lost:
        def __init__(self):
            self.w = Tensor(np.ones(2))

        def loss(self, x, y=None, rng=None):
            return np.sum(self.w) * loss

    rows = np.ones((20, 2))
    data = Dataset("t", Split(rows), Split(rows[:0]), Split(rows[:0]), domain="continuous")
    with pytest.raises(Diverged, match="loss is"):
        fit(GradientLearner(Lost(), TrainSettings(epochs=1)), data)


def test_a_validation_loss_that_is_lost_is_diverged_but_an_impossible_row_is_not():
    class Counted:
        def __init__(self, held_out):
            self.held_out, self.n = held_out, np.zeros(1)

        def fit(self, x, y=None):
            self.n += len(x)

        def log_prob(self, x):
            return np.full(len(x), -1.0 if len(x) > 5 else -self.held_out)

    rows = np.ones((20, 2))
    data = Dataset("t", Split(rows), Split(rows[:3]), Split(rows[:0]), domain="continuous")
    assert fit(Counted(math.inf), data).validation == [math.inf]
    with pytest.raises(Diverged, match=r"the validation loss is 1\.8e\+23"):
        fit(Counted(1.8e23), data)
