"""What an adversarial run keeps of its training: the monitor's words, and samples over time."""

from __future__ import annotations

import json

import numpy as np
import pytest

from core.checkpoint import load_arrays
from core.data import load
from core.errors import Interrupted
from core.train import TrainSettings
from reference import MODELS
from reference.zoo import runs, watching

ROW = MODELS["gan"]
DATA = load("digits", domain="continuous", n=100)


def trained(out, epochs, *, resume=False, stop=None):
    """A small GAN on digits; stopped, as by Ctrl-C, after so many epochs."""
    settings = TrainSettings(epochs=epochs, batch_size=50, checkpoint_seconds=0)
    config = runs.configuration(
        ROW, DATA, source="digits", arguments={"hidden": [8]}, settings=settings, seed=0
    )

    def tell(at):
        if stop is not None and at.step == 2 * stop + 1:
            import signal

            signal.raise_signal(signal.SIGINT)

    return runs.train(config, DATA, settings, out, resume=resume, on_progress=tell)[0]


def said(out):
    return [json.loads(line)["monitor"] for line in (out / "log.jsonl").read_text().splitlines()]


def test_every_epoch_is_judged_and_eight_are_pictured(tmp_path):
    model = trained(tmp_path, 15)
    log = said(tmp_path)
    assert len(log) == 15
    assert {"d_accuracy", "spread", "classes", "class_share", "state", "why"} == set(log[0])
    kept, _ = load_arrays(tmp_path / "over-time.safetensors")
    assert [int(name) for name in kept] == [1, 3, 5, 7, 9, 11, 13, 15]
    np.testing.assert_array_equal(kept["000015"], model.sample(watching.COLUMNS, seed=0))
    assert (tmp_path / "over-time.png").read_bytes().startswith(b"\x89PNG")


def test_a_picture_goes_on_with_its_training(tmp_path):
    """As if it had never stopped, though the epochs after the last checkpoint came twice."""
    trained(tmp_path / "one", 15)
    with pytest.raises(Interrupted):
        trained(tmp_path / "two", 15, stop=6)
    trained(tmp_path / "two", 15, resume=True)
    one, two = (
        load_arrays(tmp_path / name / "over-time.safetensors")[0] for name in ("one", "two")
    )
    assert one.keys() == two.keys()
    for name, x in one.items():
        np.testing.assert_array_equal(x, two[name])
    assert said(tmp_path / "one") == said(tmp_path / "two")


def test_a_run_of_points_is_judged_without_a_picture(tmp_path):
    points = load("eight-gaussians", n=200)
    settings = TrainSettings(epochs=2)
    config = runs.configuration(
        ROW, points, source="eight-gaussians", arguments={}, settings=settings, seed=0
    )
    runs.train(config, points, settings, tmp_path)
    assert {"d_accuracy", "spread", "state", "why"} == set(said(tmp_path)[0])
    assert not list(tmp_path.glob("over-time*"))
