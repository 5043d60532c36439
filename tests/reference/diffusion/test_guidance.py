"""Laws of guidance (D7): what s does, and Bayes' rule on a mixture of two Gaussians."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from core import no_grad
from core.errors import InputError
from core.functional import logsumexp
from core.random import Generator
from core.state import parameters
from reference.diffusion.ddpm import DDPM
from reference.diffusion.guidance import ByClassifier, ClassifierFree
from reference.diffusion.samplers import DDIM
from reference.diffusion.schedule import make_schedule
from reference.zoo.cli import app
from reference.zoo.runs import open_run

KINDS = [
    {"prediction": "eps"},
    {"prediction": "x0", "variance": "beta_tilde"},
    {"prediction": "v", "variance": "learned"},
    {"prediction": "levels", "levels": 5, "variance": "learned"},
]


def model_of_classes(seed=0, dtype=np.float64, **how):
    model = DDPM(2, hidden=8, blocks=1, steps=6, classes=3, dtype=dtype, **how)
    for i, p in enumerate(parameters(model).values()):
        noise = np.random.default_rng(seed + i).normal(size=p.shape)
        p[...] = p.data + 0.3 * noise.astype(dtype)
    return model


# Classifier-free


@pytest.mark.parametrize("how", KINDS, ids=lambda how: how["prediction"])
@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "heun"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_s_0_is_unconditional_and_s_1_conditional(how, sampler, dtype):
    model = model_of_classes(dtype=dtype, **how)
    free, y = model.sample(5, seed=1, sampler=sampler), np.array([0, 1, 2, 0, 1])
    none = model.sample(5, seed=1, y=y, guidance=0, sampler=sampler)
    assert none.tobytes() == free.tobytes()
    told = model.sample(5, seed=1, y=y, sampler=sampler)
    assert np.abs(told - free).max() > 1e-3
    guess = model.guess
    model.guess = lambda x_t, t, y_=None: guess(x_t, t, y)
    only = model.sample(5, seed=1, sampler=sampler)
    np.testing.assert_allclose(told, only, rtol=0, atol=200 * np.finfo(dtype).eps)


@given(st.integers(0, 1000), st.floats(0, 4), st.sampled_from(["eps", "x0", "v"]))
def test_guidance_of_any_prediction_is_guidance_of_the_noise(seed, s, prediction):
    """ε∅ + s (ε_y − ε∅), whichever of the three the network is asked for."""
    model, x = model_of_classes(seed, prediction=prediction), np.random.default_rng(seed)
    x_t, y, t = x.normal(size=(4, 2)), x.integers(0, 3, 4), 1 + seed % 6
    signal, noise = model.schedule.signal_and_noise(t, x_t)

    def eps(x_0):
        return (x_t - signal * x_0) / noise

    with no_grad():
        null, told = (eps(model.guess(x_t, t, labels).x_0) for labels in (None, y))
        got = eps(ClassifierFree(model, y, s).x_0(x_t, t))
    np.testing.assert_allclose(got, s * told + (1 - s) * null, rtol=1e-7, atol=1e-7)


def test_training_drops_labels_and_takes_those_it_is_given():
    model, seen = model_of_classes(drop=0.25), []
    denoiser = model.denoiser
    model.denoiser = lambda x_t, tau, y: (seen.append(y), denoiser(x_t, tau, y))[1]
    y = np.arange(4000) % 3
    with no_grad():
        model.loss(np.zeros((4000, 2)), y, Generator(0))
        model.loss(np.zeros((4000, 2)), None, Generator(0))
        model.elbo(np.zeros((4, 2)), np.array([0, 1, 2, 0]), Generator(0))
    kept = seen[0] != 3
    np.testing.assert_array_equal(seen[0][kept], y[kept])
    assert abs(kept.mean() - 0.75) < 0.03
    assert np.all(seen[1] == 3)
    assert all(labels.tolist() == [0, 1, 2, 0] for labels in seen[2:])


def test_a_model_without_classes_is_told_of_none():
    plain = DDPM(2, hidden=4, blocks=1, steps=4)
    with pytest.raises(InputError, match=r"^y must be left out: the model has no classes, got 1"):
        plain.sample(2, y=1)
    with pytest.raises(InputError, match=r"^guidance must come with a y to go to, got 2.0 alone"):
        plain.sample(2, guidance=2.0)
    model = model_of_classes()
    for bad, match in (({"y": 3}, "y must lie in 0"), ({"y": 1, "guidance": -1}, "^guidance must")):
        with pytest.raises(InputError, match=match):
            model.sample(2, **bad)


# By a classifier: x_0 ~ Σ_y ½ N(m_y, v), of which everything is known

MEANS, V = np.array([[-1.0, 0.5], [1.0, -0.3]]), 0.2
SCHEDULE = make_schedule("cosine", 30)


def log_joint(x_t, t):
    """log p(x_t, y), (B, 2), up to a constant; of arrays and Tensors."""
    a = float(SCHEDULE.alpha_bar[t])
    away = x_t[:, None] - math.sqrt(a) * MEANS
    return -0.5 / (a * V + 1 - a) * np.sum(away * away, axis=-1)


def log_posterior(y):
    """log p(y | x_t)."""

    def log_prob(x_t, t):
        return log_joint(x_t, t)[:, y] - logsumexp(log_joint(x_t, t), axis=-1)

    return log_prob


class Exact:
    """The mixture's own denoiser, of both classes or of one."""

    schedule, prediction, clip = SCHEDULE, "x0", None

    def __init__(self, y=None):
        self.y = y

    def x_0(self, x_t, t):
        a = float(SCHEDULE.alpha_bar[t])
        k = a * V + 1 - a
        each = MEANS + math.sqrt(a) * V / k * (x_t[:, None] - math.sqrt(a) * MEANS)  # (B, 2, D)
        if self.y is not None:
            return each[:, self.y]
        log_p = log_joint(x_t, t)
        p = np.exp(log_p - logsumexp(log_p, axis=-1, keepdims=True))
        return np.sum(p[..., None] * each, axis=1)

    def says(self, x_t, t):
        return {"output": self.x_0(x_t, t)}


def epsilon(model, x_t, t):
    signal, noise = SCHEDULE.signal_and_noise(t, x_t)
    return (x_t - signal * model.x_0(x_t, t)) / noise


def guidance_is_bayes(guided, t):
    """ε_y = ε∅ − √(1−ᾱ_t) ∇ log p(y | x_t), for both classes, near and far."""
    x_t = 3 * np.random.default_rng(t).normal(size=(20, 2))
    for y in (0, 1):
        got = guided(y).epsilon(x_t, t)
        np.testing.assert_allclose(got, epsilon(Exact(y), x_t, t), rtol=1e-8, atol=1e-9)


@given(t=st.integers(1, 30))
def test_a_classifier_makes_the_conditional_model_of_the_unconditional_one(t):
    guidance_is_bayes(lambda y: ByClassifier(Exact(), log_posterior(y)), t)


@pytest.mark.parametrize("fault", ["the sign", "the score unscaled", "the other class"])
def test_wrong_guidance_is_rejected(fault):
    def wrong(y):
        scale = {"the sign": -1.0, "the score unscaled": 1.1}.get(fault, 1.0)
        return ByClassifier(Exact(), log_posterior(1 - y if fault[-1] == "s" else y), scale)

    with pytest.raises(AssertionError):
        guidance_is_bayes(wrong, 12)


def test_a_classifier_on_a_conditional_model_sharpens_it():
    """s on p(x_t | y): the score of p(x_t | y) p(y | x_t)^s, so that samples leave the other."""
    t, x_t = 15, np.random.default_rng(0).normal(size=(50, 2))
    for s in (0.0, 1.0, 3.0):
        got = ByClassifier(Exact(0), log_posterior(0), s).epsilon(x_t, t)
        free = epsilon(Exact(), x_t, t)
        expected = free + (1 + s) * (epsilon(Exact(0), x_t, t) - free)
        np.testing.assert_allclose(got, expected, rtol=1e-8, atol=1e-9)


def test_samples_go_where_the_classifier_sends_them():
    x = np.random.default_rng(1).normal(size=(400, 2))
    for y in (0, 1):
        model, at = ByClassifier(Exact(), log_posterior(y)), x
        for t in range(30, 0, -1):
            at = DDIM()(model, at, t, t - 1, seed=0)
        np.testing.assert_allclose(at.mean(axis=0), MEANS[y], atol=0.1)
        np.testing.assert_allclose(at.std(axis=0), math.sqrt(V), atol=0.05)


# From the command line


def test_a_run_is_sampled_by_label_and_guidance(tmp_path):
    """sample RUN --label 3 --guidance 2 is the model's own sample(y=3, guidance=2.0)."""
    run, out = tmp_path / "run", tmp_path / "x.npy"
    sizes = {"classes": 10, "hidden": 8, "steps": 4}
    pairs = [part for k, v in sizes.items() for part in ("--set", f"{k}={v}")]
    train = ["train", "ddpm", "--data", "digits", "--out", str(run), "--epochs", "1", *pairs]
    runner = CliRunner()
    assert runner.invoke(app, train).exit_code == 0
    model = open_run(run).model
    for options, how in (
        (["--label", "3", "--guidance", "2"], {"y": 3, "guidance": 2.0}),
        (["--label", "3", "--guidance", "0"], {"y": 3, "guidance": 0.0}),
        (["--label", "7"], {"y": 7}),
        ([], {}),
    ):
        sample = ["sample", str(run), "-n", "5", "--out", str(out), *options]
        assert runner.invoke(app, sample).exit_code == 0
        np.testing.assert_array_equal(np.load(out), model.sample(5, seed=0, **how))
    alone = runner.invoke(app, ["sample", str(run), "--guidance", "2"])
    assert "guidance must come with a y" in str(alone.exception)
