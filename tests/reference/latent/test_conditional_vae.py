"""L6: the class fixes the class of samples, as a classifier sees it that has seen none of them."""

from __future__ import annotations

import numpy as np
import pytest

from core import no_grad, value
from core.data import load
from core.errors import InputError
from core.random import Generator
from core.train import TrainSettings, fit
from reference.counting.logistic_regression import LogisticRegression
from reference.latent.conditional_vae import ConditionalVAE

K = 10


@pytest.fixture(scope="module")
def digits():
    return load("digits", domain="binary")


@pytest.fixture(scope="module")
def judge(digits):
    """Of bits, fitted to data of which the model sees the other half."""
    half = len(digits.train) // 2
    return LogisticRegression(64, K, l2=10.0).fit(digits.train.x[:half], digits.train.y[:half])


@pytest.fixture(scope="module")
def model(digits):
    half = len(digits.train) // 2
    seen = digits.train.take(slice(half, None))
    made = ConditionalVAE(64, K, latent=6, hidden=(96,), seed=0)
    how = TrainSettings(epochs=40, batch_size=32, lr=5e-3, optimiser="adamw", weight_decay=0.03,
                        schedule="cosine")  # fmt: skip
    fit(made, digits.__class__(**{**vars(digits), "train": seen}), settings=how)
    return made


def obeys_its_class(model, judge, digits, n=600):
    """As often as the judge is right on real digits, which have few bits to go by."""
    y = np.arange(n) % K
    right = np.mean(judge.predict(model.sample(n, seed=3, y=y)) == y)
    real = np.mean(judge.predict(digits.test.x) == digits.test.y)
    assert right >= real - 0.03, (right, real)


def test_the_class_fixes_the_class_of_samples(model, judge, digits):
    obeys_its_class(model, judge, digits)


def test_a_model_that_does_not_listen_is_rejected(model, judge, digits, monkeypatch):
    right = ConditionalVAE.decode
    monkeypatch.setattr(
        ConditionalVAE, "decode", lambda self, z, y=None: right(self, z, (y * 7 + 3) % K)
    )
    with pytest.raises(AssertionError):
        obeys_its_class(model, judge, digits)


def test_given_its_class_a_digit_is_likelier_than_given_another(model, digits):
    x, y = digits.test.x, digits.test.y
    with no_grad():
        own = value(model.importance_log_prob(x, y, Generator(0), k=16))
        other = value(model.importance_log_prob(x, (y + 1) % K, Generator(0), k=16))
    assert np.mean(own > other) > 0.95


def test_without_a_class_it_is_the_average_over_all(model, digits):
    """log 1/K Σ_y 1/k Σ_i w_i(y), with the noise that the classes have one after the other."""
    x, one, other = digits.test.x[:20], Generator(0), Generator(0)
    with no_grad():
        each = [value(model.importance_log_prob(x, np.full(20, c), one, k=5)) for c in range(K)]
        marginal = value(model.importance_log_prob(x, None, other, k=5))
    np.testing.assert_allclose(marginal, np.logaddexp.reduce(each) - np.log(K), rtol=1e-5)


def test_one_code_is_one_hand_in_every_class(model):
    z = np.tile(Generator(0).normal((1, 6)), (K, 1))
    means = model.mean(z, np.arange(K))
    assert np.abs(means[:, None] - means[None]).max(axis=-1)[~np.eye(K, dtype=bool)].min() > 0.2


def test_classes_are_drawn_alike_and_wrong_ones_named(model):
    y = np.full(4, 3)
    np.testing.assert_array_equal(model.sample(4, seed=1, y=3), model.sample(4, seed=1, y=y))
    for wrong in (10, -1, [1, 2], 0.5):
        with pytest.raises(InputError, match=r"^y must "):
            model.sample(4, seed=1, y=wrong)
    with pytest.raises(InputError, match=r"^y must be 4 labels in 0 … 9, got none"):
        model.encode(np.zeros((4, 64), np.float32))
