"""WGAN-GP, DCGAN, SNGAN, conditional GAN: their losses written out; what they promise (G1–G3)."""

from __future__ import annotations

import numpy as np
import pytest

from core import no_grad, value
from core.data import load
from core.errors import InputError
from core.learners import GradientLearner, TrainSettings, players
from core.random import Generator
from core.state import parameters, state
from core.train import fit
from reference import MODELS
from reference.adversarial.conditional_gan import ConditionalGAN
from reference.adversarial.convolutional import Downward, Upward
from reference.adversarial.dcgan import DCGAN
from reference.adversarial.penalties import gradient_penalty
from reference.adversarial.sngan import SNGAN
from reference.adversarial.wgan_gp import WGANGP
from reference.judges.fidelity import InFeatures, classes_in_turn
from reference.judges.trained import judge_of
from reference.judges.two_sample import HeldOut
from tests.laws.everything import samples_are_reproducible
from tests.laws.subject import Subject, make

SHAPE = (1, 8, 8)


def draw(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def images(seed, n):
    return np.tanh(draw(seed, n, *SHAPE))


# WGAN-GP


def test_the_critics_loss_is_the_papers():
    model = WGANGP(2, latent=3, hidden=[8], critic_steps=1, dtype=np.float64)
    x = draw(0, 7, 2)
    (critic, _), (generator, _) = model.objectives()
    rng = Generator(5)
    with no_grad():
        fake = value(model.generate(rng.normal((7, 3), dtype=np.float64)))
        f_x, f_fake = (value(model.discriminate(a)) for a in (x, fake))
    u = rng.uniform((7, 1), dtype=np.float64)
    penalty = gradient_penalty(model.discriminate, u * x + (1 - u) * fake).item()
    wanted = f_fake.mean() - f_x.mean() + 10 * penalty
    np.testing.assert_allclose(critic(x, None, Generator(5)).item(), wanted)
    np.testing.assert_allclose(generator(x, None, Generator(5)).item(), -f_fake.mean())


def test_the_critic_finds_the_transport_distance_where_js_is_blind():
    """Two heaps d apart: W = d, while JS = ln 2 whatever d is.

    On the line between them f has the slope s that makes −s d + λ (s − 1)² least: 1 + d/2λ.
    """
    for d in (1.0, 3.0):
        model = WGANGP(2, latent=2, hidden=[16, 16], critic_steps=1, dtype=np.float64)
        model.generate = lambda z: 0.01 * z
        critic = GradientLearner(model, TrainSettings(lr=1e-2, options={"betas": [0.0, 0.9]}))
        here = np.array([d, 0.0])
        for i in range(100):
            critic.step(here + 0.01 * draw(i, 64, 2), None, Generator(i), 1.0)
        with no_grad():
            f_x, f_fake = (value(model.discriminate(a[None])) for a in (here, 0 * here))
        assert 0.95 * d < f_x - f_fake < d * (1 + d / 20) + 0.1


def steps_share(model):
    """Every row is one step's, and the critic's steps have one optimiser between them."""
    seen = []
    model._critic_loss = lambda x, rng: seen.append(np.asarray(x)) or np.sum(model.v)
    x = draw(0, 15, 2)
    for loss, _ in model.objectives()[:-1]:
        loss(x, None, Generator(0))
    np.testing.assert_array_equal(np.sort(np.concatenate(seen), axis=0), np.sort(x, axis=0))
    del model._critic_loss
    learner = GradientLearner(model, TrainSettings())
    losses = learner.step(x, None, Generator(0), 1.0)
    assert players(model.objectives()) == [0] * model.critic_steps + [1]
    assert len(learner.optimisers) == len(losses) == 2
    t = [float(np.max(v)) for k, v in learner.state_dict().items() if k.endswith("step")]
    assert t in ([model.critic_steps, 1], [])


def test_the_critics_steps_share_a_batch_and_an_optimiser():
    steps_share(WGANGP(2, latent=3, hidden=[8], dtype=np.float64))
    wrong = WGANGP(2, latent=3, hidden=[8], dtype=np.float64)
    wrong._share = lambda x, step: x[:3]  # always the same rows
    with pytest.raises(AssertionError):
        steps_share(wrong)


def test_a_small_batch_is_enough_for_every_step():
    model = WGANGP(2, latent=3, hidden=[8], dtype=np.float64)
    for loss, _ in model.objectives():
        assert np.isfinite(loss(draw(0, 2, 2), None, Generator(0)).item())
    with pytest.raises(InputError, match=r"^hidden must be a list of 1 or more ints"):
        WGANGP(2, hidden=[])


# Networks for images


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 16, 16), (1, 28, 28), (1, 9, 14), (2, 4, 7)])
def test_networks_fit_images_of_any_size(shape):
    for name in ("dcgan", "sngan"):
        model = MODELS[name].load()(shape, latent=3, width=2)
        x = model.sample(3, seed=0)
        assert x.shape == (3, *shape)
        assert np.abs(x).max() < 1
        assert value(model.discriminate(x)).shape == (3,)
    for bad in ((1, 3, 8), (8, 8), (1, 8, 8, 8)):
        with pytest.raises(InputError, match=r"^shape must be \(C, H, W\) with H and W at least 4"):
            DCGAN(bad)


def test_generator_and_discriminator_mirror_each_other():
    """As many channels, at the same sizes, on the way up as on the way down."""
    up = Upward(5, (1, 28, 28), 6, Generator(0), np.float32)
    down = Downward((1, 28, 28), 6, Generator(0), np.float32)
    assert up.first.shape == (5, 12 * 7 * 7)
    assert down.out.n_in == 12 * 7 * 7
    assert up.up.shape == down.down.shape == (12, 6, 4, 4)


def test_samples_of_one_batch_know_nothing_of_each_other():
    """A law of all models; with batch norm by the samples' own moments it would not hold."""
    subject = make(MODELS["dcgan"])
    samples_are_reproducible(subject)

    class OwnMoments(DCGAN):
        def sample(self, n, *, seed=0):
            with no_grad():
                return self._fakes(n, Generator(seed))

    subject.model.__class__ = OwnMoments
    with pytest.raises(AssertionError):
        samples_are_reproducible(Subject(subject.row, subject.model))


def test_standing_moments_are_those_of_the_weights_as_they_are():
    """Of the standing batch itself, sampling and training give the same images."""
    model = DCGAN(SHAPE, latent=4, width=2, dtype=np.float64)
    for p in parameters(model.G).values():
        p[...] = p.data + 0.3 * draw(p.size, *p.shape)
    from core.random import normal
    from reference.adversarial.convolutional import STANDING

    z = normal(0, (STANDING, 4), stream="evaluate", dtype=np.float64)
    with no_grad():
        trained, _ = model.G.batch(z)
        np.testing.assert_allclose(model.G(z, model.G.standing()), trained, atol=1e-12)


def test_the_losses_are_the_game():
    model, x = DCGAN(SHAPE, latent=3, width=2, dtype=np.float64), images(0, 6)
    with no_grad():
        fake = model._fakes(6, Generator(5))
        D_x, D_fake = (1 / (1 + np.exp(-model.discriminate(a))) for a in (x, fake))
    got = model.discriminator_loss(x, None, Generator(5)).item()
    np.testing.assert_allclose(got, -np.mean(np.log(D_x)) - np.mean(np.log(1 - D_fake)))
    got = model.generator_loss(x, None, Generator(5)).item()
    np.testing.assert_allclose(got, -np.mean(np.log(D_fake)))


def test_spectral_norms_are_followed_and_bound_the_slope():
    model = SNGAN(SHAPE, latent=3, width=2, dtype=np.float64)
    before = state(model.D)
    model.discriminator_loss(images(0, 4), None, Generator(0))
    assert all(np.array_equal(a, before[name]) for name, a in state(model.D).items())
    for _ in range(100):
        model.advance()
    for layer in (*model.D.convs, model.D.out):
        W = layer._matrix(layer.weight()).data
        np.testing.assert_allclose(np.linalg.norm(W, 2), 1, rtol=1e-3)


# Conditional


def tiny_conditional():
    return ConditionalGAN(SHAPE, 3, latent=4, width=2, dtype=np.float64)


def test_the_class_enters_d_as_a_projection():
    """l(x, y) − l(x, y') = (v_y − v_y')ᵀ φ(x), the same map for all x."""
    model, x = tiny_conditional(), images(0, 5)
    y, other = np.array([0, 1, 2, 0, 1]), np.array([1, 1, 0, 2, 0])
    with no_grad():
        phi = value(model.D.features(x))
        got = model.discriminate(x, y) - model.discriminate(x, other)
        v = value(model.v.W)
    np.testing.assert_allclose(value(got), np.sum((v[y] - v[other]) * phi, axis=1), atol=1e-12)


def test_a_class_is_asked_for_one_or_each():
    model = tiny_conditional()
    for p in parameters(model.G).values():
        p[...] = p.data + 0.3 * draw(p.size, *p.shape)
    ones = model.sample(4, seed=1, y=1)
    np.testing.assert_array_equal(ones, model.sample(4, seed=1, y=np.array([1, 1, 1, 1])))
    mixed = model.sample(4, seed=1, y=np.array([1, 2, 1, 0]))
    np.testing.assert_allclose(mixed[[0, 2]], ones[[0, 2]], atol=1e-12)
    assert np.abs(mixed[[1, 3]] - ones[[1, 3]]).max() > 1e-3
    assert model.sample(6, seed=2).shape == (6, *SHAPE)
    for bad in (3, -1, np.array([0, 1]), np.array([0.5] * 4)):
        with pytest.raises(InputError, match=r"\by must "):
            model.sample(4, y=bad)
    for loss, _ in model.objectives():
        with pytest.raises(InputError, match=r"\by must "):
            loss(images(0, 4), None, Generator(0))


# On real digits


@pytest.fixture(scope="module")
def judge():
    data = load("digits", domain="continuous", shape="image")
    return InFeatures(HeldOut(data, permutations=9), judge_of("digits").classifier)


def learned(name, judge, epochs):
    data, demo = judge.held_out.data, MODELS[name].demos[0]
    model = MODELS[name].load()(**MODELS[name].arguments(data), **demo.arguments)
    fit(model, data, settings=TrainSettings(**{**demo.train, "epochs": epochs}))
    return model


def test_the_distance_to_data_falls_and_all_classes_appear(judge):
    untrained = DCGAN(SHAPE, latent=32, width=16)
    before = judge.fidelity(untrained.sample(250, seed=0))
    after = judge.fidelity(learned("dcgan", judge, 8).sample(250, seed=0))
    assert after.frechet < 0.25 * before.frechet
    assert after.classes == 10
    assert after.recall > before.recall + 0.3


def obeys_its_class(judge, model):
    y = classes_in_turn(250, 10)
    assert judge.asked(model.sample(250, seed=0, y=y), y) > 0.85


def test_samples_are_of_the_class_asked_for(judge):
    """Before the demo ends."""
    model = learned("conditional-gan", judge, 8)
    obeys_its_class(judge, model)
    drawn = model.sample
    model.sample = lambda n, *, seed, y: drawn(n, seed=seed, y=np.roll(y, 1))
    with pytest.raises(AssertionError):
        obeys_its_class(judge, model)
