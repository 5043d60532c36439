"""The monitor: planted collapses and divergences are told, and healthy trainings are left alone."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.data import load
from core.random import Generator
from core.state import state
from core.train import TrainSettings, fit
from reference.adversarial import monitor
from reference.adversarial.gan import GAN
from reference.adversarial.monitor import COLLAPSING, DIVERGING, HEALTHY, Monitor, verdict

CALM = {"losses": [1.38, 0.7], "d_accuracy": 0.55, "spread": 0.95}


def states(log):
    return [verdict(log[: i + 1])[0] for i in range(len(log))]


# Of figures


def told_rightly(judge):
    """Ten calm epochs, then what is planted; and what only looks like it."""

    def last(*planted, before=10):
        return judge([CALM] * before + [{**CALM, **p} for p in planted])[0]

    assert last() == HEALTHY
    assert last(*[{"spread": 0.2}] * 5) == COLLAPSING
    assert last(*[{"class_share": 0.15}] * 5) == COLLAPSING
    assert last({"spread": 3.0}) == DIVERGING
    assert last({"losses": [1.4, 80.0]}) == DIVERGING
    assert last({"losses": [1.4, -80.0]}) == DIVERGING
    sure = {"d_accuracy": 1.0, "losses": [0.01, 12.0]}
    assert last(*[sure] * 5) == DIVERGING
    assert last(sure) == HEALTHY  # once is not always
    assert last(*[{"d_accuracy": 1.0}] * 9) == HEALTHY  # sure, and losses stay: a better D
    risen = [{"spread": s} for s in (0.1, 0.15, 0.2, 0.3, 0.42)]
    assert last(*risen, before=0) == HEALTHY  # young, and on its way
    assert last({"spread": 0.1}, before=0) == HEALTHY


def test_states_are_told_rightly():
    told_rightly(verdict)


def losses_only(log):
    """As one would judge by the losses."""
    return (DIVERGING if abs(log[-1]["losses"][1]) > 10 else HEALTHY), ""


def this_epoch_only(log):
    """Without memory: young trainings have collapsed, and one sure epoch is one too many."""
    now = log[-1]
    if now["spread"] < 0.5 or now.get("class_share", 1) < 0.5:
        return COLLAPSING, ""
    grown = max(map(abs, now["losses"])) > 25 or now["d_accuracy"] == 1.0
    return (DIVERGING if grown or now["spread"] > 2 else HEALTHY), ""


@pytest.mark.parametrize("wrong", [losses_only, this_epoch_only])
def test_a_monitor_that_looks_at_less_is_rejected(wrong):
    with pytest.raises(AssertionError):
        told_rightly(wrong)


@given(seed=st.integers(0, 2**32 - 1))
def test_ranked_is_the_share_of_pairs(seed):
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 4, 7).astype(float), rng.integers(0, 4, 5).astype(float)
    pairs = [(x > y) + 0.5 * (x == y) for x in a for y in b]
    np.testing.assert_allclose(monitor.ranked(a, b), np.mean(pairs))


def test_spread_is_the_mean_distance_of_pairs():
    x = np.random.default_rng(0).normal(size=(6, 1, 2, 2))
    pairs = [np.linalg.norm(x[i] - x[j]) for i in range(6) for j in range(i)]
    np.testing.assert_allclose(monitor.spread(x), np.mean(pairs))


# Of trainings

DATA = load("eight-gaussians", n=600)


class OneMode(GAN):
    """Its generator is rewarded for being where D is surest, and for nothing that D sees of it."""

    def generate(self, z):
        return super().generate(0.02 * z)


class Boosted(GAN):
    """D's steps go uphill on the data: its logits, and with them the losses, grow without end."""

    def discriminator_loss(self, x, y=None, rng=None):
        return -3.0 * super().discriminator_loss(x, y, rng)


def trained(cls, epochs=12, lr=3e-3, **arguments):
    model = cls(2, latent=2, hidden=[32, 32], gamma=0.1, **arguments)
    settings = TrainSettings(
        epochs=epochs, lr=lr, batch_size=100, options={"betas": [0.0, 0.99]}, schedule="cosine"
    )
    watch = Monitor(model, DATA.validation.x[:200])
    return fit(model, DATA, settings=settings, watch=watch).entries


def test_planted_trainings_are_told():
    found = {cls: [e["monitor"] for e in trained(cls)] for cls in (GAN, OneMode, Boosted)}
    assert [said["state"] for said in found[GAN]] == [HEALTHY] * 12
    assert found[OneMode][-1]["state"] == COLLAPSING
    assert "alike" in found[OneMode][-1]["why"]
    assert found[Boosted][-1]["state"] == DIVERGING
    assert "grown" in found[Boosted][-1]["why"]
    assert json.dumps(found[GAN])  # the log is JSON


def test_watching_changes_nothing():
    settings = TrainSettings(epochs=2, batch_size=100, ema_decay=0.9)
    ends = []
    for watched in (False, True):
        model = GAN(2, latent=2, hidden=[8])
        watch = Monitor(model, DATA.validation.x) if watched else None
        fit(model, DATA, settings=settings, watch=watch)
        ends.append(state(model))
    for name, a in ends[0].items():
        np.testing.assert_array_equal(a, ends[1][name])


def test_epochs_that_nobody_watched_are_passed_over():
    watch = Monitor(GAN(2, hidden=[8]), DATA.validation.x)
    unseen = [{"epoch": i, "losses": [1.4, 0.7]} for i in range(9)]
    said = watch(unseen, {"epoch": 9, "losses": [1.4, 0.7]})
    assert said == watch([], {"epoch": 9, "losses": [1.4, 0.7]})


def test_classes_are_counted_where_a_judge_knows_them():
    model = GAN(2, hidden=[8])
    seen = Monitor(model, DATA.validation.x, classify=lambda x: np.arange(len(x)) % 2, classes=8)
    figures = seen.figures()
    assert (figures["classes"], figures["class_share"]) == (2, 0.25)
    assert Generator(0).step == 0
