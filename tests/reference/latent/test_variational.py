"""L5 for every part: bounds ordered in expectation, by quadrature, whatever the decoder and prior.

With ε at the nodes of a rule, E log 1/k Σ_i w_i is a sum over k of them: no sampling error, so
that ELBO < bound with 2 < with 3 < log p is seen as it stands, on smooth networks.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.special import logsumexp

from core import grad, no_grad, value
from core.data import Dataset, Split
from core.errors import InputError
from core.optim import Diverged
from core.random import Generator
from core.state import parameters
from core.train import TrainSettings, fit
from reference.latent.conv_vae import ConvVAE
from reference.latent.convolutional import ConvDecoder, ConvEncoder
from reference.latent.free_bits_vae import FreeBitsVAE
from reference.latent.likelihoods import Bernoulli, DiscretisedLogistic, Gaussian
from reference.latent.mixture_vae import MixtureVAE
from reference.latent.priors import MixtureOfGaussians, StandardNormal
from reference.latent.vae import VAE
from reference.latent.variational import Variational
from reference.layers import MLP
from tests.reference.latent.test_vae import Noise

DIM, LEVELS = 3, 4
LIKELIHOODS = {
    "bits": Bernoulli,
    "reals": lambda: Gaussian(np.float64),
    "levels": lambda: DiscretisedLogistic(LEVELS),
}
PRIORS = {
    "plain": StandardNormal,
    "mixture": lambda latent: MixtureOfGaussians(latent, 3, Generator(5), np.float64),
}
EVERY = pytest.mark.parametrize(
    ("likelihood", "prior", "latent"), list(itertools.product(LIKELIHOODS, PRIORS, (1, 2)))
)


SIZE = {"encoder": 0.2, "decoder": 0.8, "likelihood": 0.3, "prior": 0.5}
"""Of the random parameters: q is about as wide as the posterior, so that its rule has its tails."""


def make(likelihood: str, prior: str, latent: int, seed: int = 0) -> Variational:
    """A small float64 model of these parts, smooth and at random parameters."""
    means, rng = LIKELIHOODS[likelihood](), Generator(seed, stream="init")
    encoder = MLP((DIM, 5, 2 * latent), rng, dtype=np.float64)
    decoder = MLP((latent, 5, means.size * DIM), rng, dtype=np.float64)
    parts = encoder, decoder, means, PRIORS[prior](latent)
    model = Variational((DIM,), latent, *parts, dtype=np.float64)
    draws = np.random.default_rng(seed)
    for name, p in parameters(model).items():
        p[...] = SIZE[name.split(".")[0]] * draws.normal(size=p.shape)
    return model


def data(likelihood: str) -> np.ndarray:
    states = np.array(list(itertools.product((0.0, 1.0), repeat=DIM)))[[1, 3, 6]]
    scaled = {"bits": states, "reals": states * 1.3 - 0.4, "levels": states * (LEVELS - 1)}
    return scaled[likelihood]


def nodes(latent: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """ε (N, latent) and the logarithms of their weights (N,), fewer where k of them are summed."""
    if k == 1:
        at = np.linspace(-8, 8, 321 if latent == 1 else 81)
        log_w = stats.norm.logpdf(at) + math.log(at[1] - at[0])
    else:
        n = {2: 36, 3: 24}[k] if latent == 1 else {2: 14, 3: 7}[k]
        at, weights = np.polynomial.hermite_e.hermegauss(n)
        log_w = np.log(weights / math.sqrt(2 * math.pi))
    epsilon = np.array(list(itertools.product(at, repeat=latent)))
    return epsilon, np.array([sum(one) for one in itertools.product(log_w, repeat=latent)])


def expected_bound(model: Variational, x: np.ndarray, k: int) -> np.ndarray:
    """E log 1/k Σ_i w_i, (B,), for k = 1, 2 or 3, over the model's own log w."""
    epsilon, log_p = nodes(model.latent, k)
    with no_grad():
        log_w = model.log_weights(x, Noise(epsilon), len(epsilon))  # (N, B)
    summed, p = log_w, np.exp(log_p)
    for _ in range(k - 1):
        summed, p = np.logaddexp(summed[..., None, :], log_w), p[..., None] * np.exp(log_p)
    return np.tensordot(p, summed, axes=k) - math.log(k)


def exact_log_prob(model: Variational, x: np.ndarray) -> np.ndarray:
    """log ∫ p(x|z) p(z) dz, (B,), by the trapezoid rule over z."""
    axis = np.linspace(-9, 9, 721 if model.latent == 1 else 181)
    z = np.array(list(itertools.product(axis, repeat=model.latent)))
    step = model.latent * math.log(axis[1] - axis[0])
    rows = model.likelihood.read(x, DIM, np.float64)[:, None]
    with no_grad():
        return logsumexp(model.log_likelihood(rows, z) + model.prior.log_prob(z) + step, axis=1)


def bounds_are_ordered(model: Variational, x: np.ndarray) -> None:
    """ELBO = the bound with 1 < with 2 < with 3 < log p(x), each in expectation."""
    exact, epsilon = exact_log_prob(model, x), nodes(model.latent, 1)
    many = np.repeat(x, len(epsilon[0]), axis=0)
    with no_grad():
        each = model.elbo(many, rng=Noise(np.tile(epsilon[0], (len(x), 1))))
    elbo = np.reshape(each, (len(x), -1)) @ np.exp(epsilon[1])
    one, two, three = (expected_bound(model, x, k) for k in (1, 2, 3))
    np.testing.assert_allclose(elbo, one, rtol=0, atol=1e-6)
    assert np.all(one < two - 1e-4)
    assert np.all(two < three - 1e-5)
    assert np.all(three < exact)


def weights_are_unbiased(model: Variational, x: np.ndarray) -> None:
    """E_q w = p(x)."""
    epsilon, log_p = nodes(model.latent, 1)
    with no_grad():
        log_w = model.log_weights(x, Noise(epsilon), len(epsilon))
    found = logsumexp(log_w + log_p[:, None], axis=0)
    np.testing.assert_allclose(found, exact_log_prob(model, x), rtol=0, atol=1e-3)


def bounds_are_right(model: Variational, x: np.ndarray) -> None:
    bounds_are_ordered(model, x)
    weights_are_unbiased(model, x)


@EVERY
def test_bounds_are_ordered_and_their_weights_unbiased(likelihood, prior, latent):
    bounds_are_right(make(likelihood, prior, latent), data(likelihood))


@EVERY
def test_the_bound_that_is_drawn_has_the_expectation(likelihood, prior, latent):
    model, x = make(likelihood, prior, latent), data(likelihood)
    times = 400
    many = np.repeat(x, times, axis=0)
    with no_grad():
        for k in (1, 2, 3):
            drawn = model.importance_log_prob(many, rng=Generator(k), k=k).reshape(len(x), times)
            error = drawn.std(axis=1) / math.sqrt(times)
            assert np.all(np.abs(drawn.mean(axis=1) - expected_bound(model, x, k)) < 4.5 * error)


FAULTS = {
    "no prior in the weights": (StandardNormal, "log_prob", lambda self, z: 0 * z[..., 0]),
    "the KL without its entropy": (
        StandardNormal,
        "kl",
        lambda self, mu, log_var, z: -self.log_prob(z),
    ),
    "half a KL": (
        MixtureOfGaussians,
        "kl",
        lambda self, mu, log_var, z: 0.5 * RIGHT_KL(self, mu, log_var, z),
    ),
    "the likeliest component only": (
        MixtureOfGaussians,
        "log_prob",
        lambda self, z: np.max(
            stats.norm.logpdf(z[..., None, :], self.means.data).sum(-1), axis=-1
        ),
    ),
}
RIGHT_KL = MixtureOfGaussians.kl


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_rejected(fault, monkeypatch):
    where, name, wrong = FAULTS[fault]
    model = make("bits", "plain" if where is StandardNormal else "mixture", 1)
    exact = exact_log_prob(model, data("bits"))
    monkeypatch.setattr(where, name, wrong)
    monkeypatch.setitem(globals(), "exact_log_prob", lambda *_: exact)
    with pytest.raises(AssertionError):
        bounds_are_right(model, data("bits"))


# Likelihoods


@given(
    levels=st.integers(2, 9), loc=st.floats(-3, 3), log_scale=st.floats(-60, 60),
)  # fmt: skip
def test_bins_are_a_distribution_at_any_width(levels, loc, log_scale):
    pixel, every = DiscretisedLogistic(levels), np.arange(levels).reshape(levels, 1)
    log_p = pixel.log_prob(every, np.array([loc, log_scale]))
    assert np.isfinite(log_p).all()
    np.testing.assert_allclose(np.exp(log_p).sum(), 1, rtol=1e-9)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_the_mean_is_that_of_what_is_drawn(likelihood):
    means, n = LIKELIHOODS[likelihood](), 20_000
    theta = np.array([0.3, -0.2, 0.1] if means.size == 1 else [0.1, -0.1, 0.2, -2.5, -2.0, -3.0])
    drawn = means.draw(np.tile(theta, (n, 1)), 7)
    assert drawn.shape == (n, DIM)
    error = drawn.std(axis=0) / math.sqrt(n)
    assert np.all(np.abs(drawn.mean(axis=0) - means.mean(theta)) < 5 * error)


# Priors


def test_a_component_that_dies_leaves_no_nan():
    """With π_k = 0 in any float it is as if it were not there, and so are the gradients."""
    z = np.random.default_rng(0).normal(size=(9, 2))
    for gone in (-1e3, -1e30):
        prior = MixtureOfGaussians(2, 3, Generator(0), np.float64)
        others = MixtureOfGaussians(2, 2, Generator(0), np.float64)
        others.means[...] = prior.means.data[:2]
        prior.logits[2] = gone
        np.testing.assert_allclose(value(prior.log_prob(z)), value(others.log_prob(z)), rtol=1e-12)
        learned = list(parameters(prior).values())
        for g in grad(np.sum(prior.log_prob(z)), learned):
            assert np.isfinite(g).all()
        assert np.isfinite(prior.draw(50, 0, np.float64)).all()


def test_a_learned_prior_goes_where_the_codes_are():
    """With one component its best is the codes' own Gaussian; the bound is no lower for it."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(500, 2)) * [0.5, 2.0] + [1.0, -3.0]
    prior = MixtureOfGaussians(2, 1, Generator(0), np.float64)
    prior.means[...], prior.log_sigmas[...] = z.mean(axis=0), np.log(z.std(axis=0))
    for g in grad(np.mean(prior.log_prob(z)), [prior.means, prior.log_sigmas]):
        np.testing.assert_allclose(g, 0, atol=1e-12)
    assert value(np.mean(prior.log_prob(z))) > np.mean(StandardNormal(2).log_prob(z))


def test_samples_of_a_mixture_have_its_moments():
    prior, n = MixtureOfGaussians(2, 3, Generator(1), np.float64), 40_000
    prior.logits[...], prior.log_sigmas[...] = [0.0, 1.0, -1.0], np.log([[0.5, 1.0]] * 3)
    z = prior.draw(n, 3, np.float64)
    pi = np.exp(prior.logits.data) / np.exp(prior.logits.data).sum()
    mean = pi @ prior.means.data
    second = pi @ (prior.means.data**2 + np.exp(2 * prior.log_sigmas.data))
    assert np.all(np.abs(z.mean(axis=0) - mean) < 5 * z.std(axis=0) / math.sqrt(n))
    assert np.all(np.abs((z**2).mean(axis=0) - second) < 5 * (z**2).std(axis=0) / math.sqrt(n))


# Convolutional halves


@given(
    C=st.integers(1, 3), H=st.integers(4, 13), W=st.integers(4, 13),
    channels=st.lists(st.integers(1, 3), max_size=2), size=st.integers(1, 2),
)  # fmt: skip
def test_images_of_any_size_go_in_and_come_out(C, H, W, channels, size):
    rng, shape = Generator(0), (C, H, W)
    x = np.ones((2, C * H * W))
    code = ConvEncoder(shape, 6, channels, rng, dtype=np.float64)(x)
    assert code.shape == (2, 6)
    decoder = ConvDecoder(6, shape, size, channels, rng, dtype=np.float64)
    assert decoder(np.ones((3, 2, 6))).shape == (3, 2, size * C * H * W)


def test_an_image_that_is_halved_away_is_named():
    with pytest.raises(InputError, match=r"^channels must be at most 3 for images of 8 × 9, got 4"):
        ConvVAE((1, 8, 9), channels=[2] * 4)


# Free bits


def test_free_bits_are_free_up_to_lambda_and_cost_beyond():
    x = np.random.default_rng(0).integers(0, 2, (30, 6)).astype(float)
    how = {"latent": 2, "hidden": [8], "dtype": np.float64}
    plain, none = VAE(6, **how), FreeBitsVAE(6, free=0.0, **how)
    loss = value(plain.loss(x, rng=Generator(0)))
    np.testing.assert_allclose(value(none.loss(x, rng=Generator(0))), loss, rtol=1e-13)
    with no_grad():
        mu, log_var = plain.encode(x)
    kl = (-0.5 * (1 + log_var - mu**2 - np.exp(log_var))).mean(axis=0)
    for free in (kl.min() / 2, kl.mean(), kl.max() + 1):
        model = FreeBitsVAE(6, free=float(free), **how)
        spared = np.maximum(kl, free).sum() - kl.sum()
        found = value(model.loss(x, rng=Generator(0)))
        np.testing.assert_allclose(found, loss + spared, rtol=1e-12)
        elbo = value(model.elbo(x, rng=Generator(0))).mean()
        np.testing.assert_allclose(elbo, -loss, rtol=1e-12)  # the bound knows of none


def test_below_lambda_the_kl_has_no_gradient():
    model = FreeBitsVAE(6, latent=2, hidden=[8], free=100.0, dtype=np.float64)
    x = np.eye(6)
    model.decoder.layers[0].W[...] = 0.0  # nothing of z gets through: what is left is the KL
    bias = model.encoder.layers[-1].b
    assert np.all(grad(model.loss(x, rng=Generator(0)), [bias])[0] == 0)
    model.free = 0.0
    assert np.any(grad(model.loss(x, rng=Generator(0)), [bias])[0] != 0)


# Named errors


def test_latents_of_the_wrong_size_are_named():
    model = VAE(4, latent=2)
    with pytest.raises(InputError, match=r"^z must have shape \(…, 2\), got \(3, 5\)"):
        model.decode(np.zeros((3, 5), np.float32))
    with pytest.raises(InputError, match=r"^latent must be an int >= 1, got 0"):
        MixtureVAE(4, latent=0)
    with pytest.raises(InputError, match=r"^components must be an int >= 1, got 0"):
        MixtureVAE(4, components=0)


def points() -> Dataset:
    x = np.random.default_rng(0).normal(size=(40, 3))
    return Dataset("points", Split(x), Split(x[:0]), Split(x), domain="continuous")


def test_a_loss_that_is_no_number_stops_training_by_name():
    """Whether it is the loss or a width in it that overflows first."""
    how = TrainSettings(epochs=9, batch_size=40, lr=1e6)
    named = r"loss is (nan|inf|-inf|\d)|^scale must be "
    with np.errstate(all="ignore"), pytest.raises((Diverged, InputError), match=named):
        fit(make("reals", "mixture", 2), points(), settings=how)


def test_a_component_that_has_shrunk_to_a_point_is_named():
    model = make("reals", "mixture", 2)
    model.prior.log_sigmas[0] = -800.0
    with pytest.raises(InputError, match=r"^scale must be positive, got 0.0"):
        fit(model, points(), settings=TrainSettings(epochs=1))
