"""Laws of the adversarial game (G1), with exact sums where the distributions are discrete."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import Tensor, grad, no_grad
from core.errors import InputError
from core.functional import softmax, softplus
from core.learners import GradientLearner, TrainSettings, objectives
from core.optim import Adam
from core.random import Generator, normal
from core.state import parameters, state
from reference.adversarial.gan import GAN, GENERATOR_LOSSES, fake_loss, real_loss
from reference.adversarial.penalties import (
    gradient_penalty,
    r1_penalty,
    squared_slope,
)
from reference.layers import MLP

SEEDS = st.integers(0, 2**32 - 1)


def draw(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def pair(seed, k=6):
    """Two distributions over k states and the optimal discriminator's logits, Eq. 2."""
    rng = np.random.default_rng(seed)
    p_r, p_g = rng.dirichlet(np.ones(k)) + 1e-6, rng.dirichlet(np.ones(k)) + 1e-6
    p_r, p_g = p_r / p_r.sum(), p_g / p_g.sum()
    return p_r, p_g, np.log(p_r) - np.log(p_g)


def kl(p, q):
    return np.sum(p * (np.log(p) - np.log(q)))


def js(p, q):
    m = 0.5 * (p + q)
    return 0.5 * kl(p, m) + 0.5 * kl(q, m)


def discriminator_loss(p_r, p_g, logits):
    return np.sum(p_r * real_loss(logits)) + np.sum(p_g * fake_loss(logits))


# The value of the game


@given(SEEDS)
def test_the_loss_at_the_optimal_discriminator_is_the_js_divergence(seed):
    p_r, p_g, logits = pair(seed)
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), p_r / (p_r + p_g), rtol=1e-12)
    value_of_the_game = -discriminator_loss(p_r, p_g, logits)
    np.testing.assert_allclose(value_of_the_game, 2 * js(p_r, p_g) - math.log(4), atol=1e-12)


@given(SEEDS)
def test_no_other_discriminator_does_better(seed):
    p_r, p_g, best = pair(seed)
    logits = Tensor(best)
    (slope,) = grad(discriminator_loss(p_r, p_g, logits), [logits])
    np.testing.assert_allclose(slope, 0, atol=1e-14)
    other = best + 0.1 * draw(seed, len(best))
    assert discriminator_loss(p_r, p_g, other) > discriminator_loss(p_r, p_g, best)


def test_at_the_optimum_the_loss_is_ln_4_and_d_is_one_half():
    p, _, _ = pair(0)
    logits = Tensor(np.zeros_like(p))
    loss = discriminator_loss(p, p, logits)
    np.testing.assert_allclose(loss.item(), math.log(4), rtol=1e-15)
    np.testing.assert_allclose(grad(loss, [logits])[0], 0, atol=1e-16)


# What each loss makes the generator follow


def follows(generator_loss, divergence, seed):
    """∇_θ Σ p_g(θ) loss(l*), l* held fixed, is ∇_θ divergence(p_r, p_g(θ))."""
    p_r, _, _ = pair(seed)
    theta = Tensor(draw(seed, len(p_r)))
    p_g = softmax(theta)
    best = np.log(p_r) - np.log(p_g.data)  # an array: the discriminator stands still
    (got,) = grad(np.sum(p_g * generator_loss(best)), [theta])
    (expected,) = grad(divergence(p_r, softmax(theta)), [theta])
    np.testing.assert_allclose(got, expected, atol=1e-12)


DIVERGENCES = {
    "minimax": lambda p_r, p_g: 2 * js(p_r, p_g),
    "non-saturating": lambda p_r, p_g: kl(p_g, p_r) - 2 * js(p_r, p_g),
}


@given(seed=SEEDS, name=st.sampled_from(sorted(GENERATOR_LOSSES)))
def test_the_generator_follows_its_divergence(seed, name):
    follows(GENERATOR_LOSSES[name], DIVERGENCES[name], seed)


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        (GENERATOR_LOSSES["minimax"], "non-saturating"),  # the saturating loss, mislabelled
        (GENERATOR_LOSSES["non-saturating"], "minimax"),
        (lambda logits: softplus(logits), "minimax"),  # the sign forgotten
        (lambda logits: softplus(logits), "non-saturating"),
    ],
)
def test_a_wrong_generator_loss_is_rejected(wrong, name):
    with pytest.raises(AssertionError):
        follows(wrong, DIVERGENCES[name], seed=3)


def test_only_the_minimax_loss_vanishes_when_the_discriminator_sees_through():
    logits = Tensor(np.full(1, -40.0))
    slope = {name: grad(np.sum(f(logits)), [logits])[0] for name, f in GENERATOR_LOSSES.items()}
    np.testing.assert_allclose(slope["minimax"], 0, atol=1e-15)
    np.testing.assert_allclose(slope["non-saturating"], -1, atol=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", [real_loss, fake_loss, *GENERATOR_LOSSES.values()])
def test_losses_stay_finite_at_extreme_logits(loss, dtype):
    logits = Tensor(np.array([-1e30, -1e4, -100, 0, 100, 1e4, 1e30], dtype))
    out = loss(logits)
    (slope,) = grad(np.sum(out), [logits])
    assert out.dtype == slope.dtype == dtype
    assert np.all(np.isfinite(out.data))
    assert np.all(np.abs(slope) <= 1)


# The gradient penalties: a derivative of a derivative

PENALTIES = {"r1": r1_penalty, "gradient": gradient_penalty}


def torch_penalty(torch, name, network, x):
    """The same penalty of the same network in PyTorch; its gradient in every parameter."""
    params = [torch.tensor(p.data, requires_grad=True) for p in parameters(network).values()]
    h = x = torch.tensor(x, requires_grad=True)
    for W, b in zip(params[:-2:2], params[1:-2:2], strict=True):
        h = torch.tanh(h @ W + b)
    logits = (h @ params[-2] + params[-1])[:, 0]
    (slope,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
    norm = slope.norm(dim=1)
    penalty = (norm**2).mean() / 2 if name == "r1" else ((norm - 1) ** 2).mean()
    grads = torch.autograd.grad(penalty, params, allow_unused=True)
    return penalty.item(), [0 * p if g is None else g for p, g in zip(params, grads, strict=True)]


def agrees_with_torch(penalty, name):
    torch = pytest.importorskip("torch")
    network, x = MLP((3, 8, 8, 1), Generator(1), dtype=np.float64), draw(2, 5, 3)
    for p in parameters(network).values():
        p[...] = p.data + 0.3 * draw(p.size, *p.shape)
    got = penalty(lambda x: network(x)[:, 0], x)
    expected, expected_grads = torch_penalty(torch, name, network, x)
    np.testing.assert_allclose(got.item(), expected, rtol=1e-12)
    params = list(parameters(network).values())
    for g, e in zip(grad(got, params), expected_grads, strict=True):
        np.testing.assert_allclose(g, e.detach().numpy(), atol=1e-10)


@pytest.mark.parametrize("name", PENALTIES)
def test_second_order_gradient_of_the_penalty_is_pytorchs(name):
    agrees_with_torch(PENALTIES[name], name)


def test_a_penalty_that_loses_its_graph_is_rejected():
    def without_create_graph(f, x):
        x = Tensor(x)
        (slope,) = grad(np.sum(f(x)), [x])
        return 0.5 * np.mean(np.sum(slope * slope, axis=1)) + 0.0 * np.mean(f(x))

    with pytest.raises(AssertionError):
        agrees_with_torch(without_create_graph, "r1")


def test_penalties_are_zero_where_they_should_be():
    x, w = draw(0, 7, 4), np.array([0.5, 0.5, 0.5, 0.5])
    np.testing.assert_allclose(squared_slope(lambda x: x @ w, x).data, 1)
    assert gradient_penalty(lambda x: x @ w, x).item() == 0
    assert r1_penalty(lambda x: np.sum(0.0 * x, axis=1), x).item() == 0


def finite_and_pulls_up(penalty):
    """Where f is flat the penalty is 1, with a derivative; next to it its derivative is −2."""
    x, w = draw(0, 5, 3), Tensor(np.zeros(3))
    got = penalty(lambda x: x @ w, x)
    assert got.item() == 1
    (slope,) = grad(got, [w])
    assert np.all(np.isfinite(slope))
    w[0] = 1e-9
    (slope,) = grad(penalty(lambda x: x @ w, x), [w])
    np.testing.assert_allclose(slope, [-2, 0, 0], atol=1e-8)


def test_the_gradient_penalty_is_finite_where_the_slope_is_0():
    finite_and_pulls_up(gradient_penalty)

    def without_care(f, x):
        with np.errstate(all="ignore"):
            return np.mean(np.square(np.sqrt(squared_slope(f, x)) - 1))

    with pytest.raises(AssertionError), np.errstate(all="ignore"):
        finite_and_pulls_up(without_care)


# Asking is not training


def a_loss_asked_twice_gives_one_answer(model):
    for loss, params in objectives(model):
        x, before = draw(0, 4, 2), state(model)
        once, again = (loss(x, None, Generator(3)) for _ in range(2))
        assert once.item() == again.item()
        for a, b in zip(*(grad(f, list(params.values())) for f in (once, again)), strict=True):
            np.testing.assert_array_equal(a, b)
        assert all(np.array_equal(a, before[name]) for name, a in state(model).items())


@pytest.mark.parametrize("penalty", ["r1", "gradient", None])
@pytest.mark.parametrize("spectral_norm", [False, True])
def test_a_loss_asked_twice_gives_one_answer(penalty, spectral_norm):
    a_loss_asked_twice_gives_one_answer(tiny(penalty=penalty, spectral_norm=spectral_norm))


def test_a_loss_that_moves_the_norms_is_rejected():
    model = tiny(spectral_norm=True)
    right = model.discriminator_loss
    model.discriminator_loss = lambda *args: (model.advance(), right(*args))[1]
    with pytest.raises(AssertionError):
        a_loss_asked_twice_gives_one_answer(model)


def test_each_turn_of_the_players_follows_the_norms():
    model = GAN(2, hidden=[8], spectral_norm=True, dtype=np.float64)
    assert {"D.layers.0.v", "D.layers.1.v"} <= set(state(model))
    learner = GradientLearner(model, TrainSettings(lr=1e-9))
    for i in range(60):
        learner.step(draw(i, 4, 2), None, Generator(i), 1.0)
    for layer in model.D.layers:
        W = layer.layer.W.data
        np.testing.assert_allclose(layer.sigma().item(), np.linalg.svd(W)[1][0])


# The model


def tiny(**arguments):
    return GAN(2, **{"latent": 3, "hidden": [8], "dtype": np.float64, **arguments})


def test_the_players_losses_are_the_game():
    """At one batch: −V, and the two losses of G, written out from D's probabilities."""
    model, x = tiny(penalty=None), draw(0, 16, 2)
    with no_grad():
        fake = model.generate(Generator(5).normal((16, 3), dtype=np.float64))
        D_real, D_fake = (1 / (1 + np.exp(-model.discriminate(a))) for a in (x, fake))
    got = model.discriminator_loss(x, None, Generator(5)).item()
    np.testing.assert_allclose(got, -np.mean(np.log(D_real)) - np.mean(np.log(1 - D_fake)))
    got = model.generator_loss(x, None, Generator(5)).item()
    np.testing.assert_allclose(got, -np.mean(np.log(D_fake)))
    got = tiny(loss="minimax").generator_loss(x, None, Generator(5)).item()
    np.testing.assert_allclose(got, np.mean(np.log(1 - D_fake)))


@pytest.mark.parametrize("name", PENALTIES)
def test_the_penalty_is_added_with_its_weight(name):
    x, losses = draw(0, 16, 2), []
    for gamma in (0.0, 1.0, 3.0):
        model = tiny(penalty=name, gamma=gamma)
        losses.append(model.discriminator_loss(x, None, Generator(5)).item())
    base = tiny(penalty=None).discriminator_loss(x, None, Generator(5)).item()
    assert losses[0] == base < losses[1]
    np.testing.assert_allclose(losses[2] - base, 3 * (losses[1] - base))
    if name == "r1":
        model = tiny()
        np.testing.assert_allclose(losses[1] - base, r1_penalty(model.discriminate, x).item())


def test_players_take_turns_with_their_own_parameters():
    model = tiny()
    (loss_D, params_D), (loss_G, params_G) = model.objectives()
    assert {id(p) for p in params_D.values()} == {id(p) for p in parameters(model.D).values()}
    assert not {id(p) for p in params_D.values()} & {id(p) for p in params_G.values()}
    loss_D(draw(0, 4, 2), None, Generator(0)).backward()
    assert all(p.grad is None for p in params_G.values())
    loss_G(draw(0, 4, 2), None, Generator(0)).backward()
    assert all(p.grad is not None for p in params_G.values())


def test_a_bounded_generator_stays_in_range():
    bounded, free = tiny(bounded=True), tiny()
    x = free.sample(50, seed=1)
    assert np.abs(x).max() > 1
    np.testing.assert_array_equal(bounded.sample(50, seed=1), np.clip(x, -1, 1))


def test_an_implicit_model_says_so():
    for name in ("log_prob", "elbo"):
        assert not hasattr(tiny(), name)
    with pytest.raises(AttributeError, match="implicit model"):
        tiny().log_prob(np.zeros((1, 2)))


@pytest.mark.parametrize(
    ("bad", "match"),
    [
        ({"loss": "hinge"}, "^loss must be one of minimax, non-saturating, got 'hinge'"),
        ({"penalty": "r2"}, "^penalty must be one of"),
        ({"gamma": -1.0}, "^gamma must be a finite number >= 0"),
        ({"latent": 0}, "^latent must be an int >= 1"),
        ({"hidden": [0]}, "^hidden must be an int >= 1"),
        ({"hidden": 8}, "^hidden must be a list"),
    ],
)
def test_unknown_choices_are_refused(bad, match):
    with pytest.raises(InputError, match=match):
        tiny(**bad)


def test_it_learns_where_the_data_are():
    """Three hundred turns move the samples onto N((2, −1), 0.5²); without a generator loss, not."""
    model = GAN(2, latent=2, hidden=[32], dtype=np.float64)
    players = [(loss, Adam(p, 5e-3, betas=(0.0, 0.99))) for loss, p in model.objectives()]
    rng = Generator(0)
    before = model.sample(500).mean(axis=0)
    for i in range(300):
        x = np.array([2.0, -1.0]) + 0.5 * normal(1, (64, 2), step=i, dtype=np.float64)
        for loss, optimiser in players:
            optimiser.zero_grad()
            loss(x, None, rng).backward()
            optimiser.step()
    after = model.sample(500)
    assert np.linalg.norm(before - [2, -1]) > 1.5
    assert np.linalg.norm(after.mean(axis=0) - [2, -1]) < 0.4
    assert np.all((after.std(axis=0) > 0.2) & (after.std(axis=0) < 1))
