"""What codes are worth: units in use, a linear probe, and what one encoder for all loses."""

from __future__ import annotations

import numpy as np
import pytest

from core import no_grad, value
from core.errors import InputError
from core.random import Generator
from reference.judges.codes import active_units, amortisation_gap, fit_codes, linear_probe
from reference.latent.conditional_vae import ConditionalVAE
from reference.latent.gaussian_vae import GaussianVAE
from reference.latent.vae import VAE
from tests.laws.subject import randomise


def test_a_unit_is_in_use_where_its_mean_moves_with_x():
    mu = np.random.default_rng(0).normal(size=(500, 3)) * [1.0, 0.05, 0.2] + [0.0, 9.0, 0.0]
    assert active_units(mu).tolist() == [True, False, True]
    assert active_units(mu.astype(np.float32)).tolist() == [True, False, True]


def test_a_probe_reads_what_is_linear_in_the_codes_and_no_more():
    rng = np.random.default_rng(0)
    z, noise = rng.normal(size=(2, 900, 2))
    halves = slice(0, 600), slice(600, None)
    for y, least, most in (
        ((z[:, 0] > z[:, 1]).astype(int), 0.97, 1.0),
        (((z[:, 0] > 0) ^ (z[:, 1] > 0)).astype(int), 0.3, 0.65),  # no line tells these apart
        ((noise[:, 0] > 0).astype(int), 0.4, 0.6),
    ):
        train, test = ((z[part] * 1e3 + 7.0, y[part]) for part in halves)
        assert least <= linear_probe(*train, *test) <= most
    with pytest.raises(InputError, match=r"^y must be integers of shape \(600,\)"):
        linear_probe(z[:600], np.zeros(5, int), z, np.zeros(900, int))


def linear_vae() -> tuple[GaussianVAE, np.ndarray, np.ndarray]:
    """x = z W + ε with orthogonal rows of W: its posterior is diagonal, N(m, diag 1/P)."""
    model = GaussianVAE(4, latent=2, hidden=(), dtype=np.float64)
    (encoder,), (decoder,) = model.encoder.layers, model.decoder.layers
    decoder.W[...] = [[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 2.0, -1.0]]
    encoder.W[...], encoder.b[...] = 0.0, 0.0
    return model, value(decoder.W), 1 + np.sum(value(decoder.W) ** 2, axis=1)


def test_fitted_codes_are_the_posterior_where_it_is_of_their_kind():
    model, W, P = linear_vae()
    x = model.sample(20, seed=1)
    code = [np.zeros((20, 2)), np.zeros((20, 2))]
    mu, log_var = fit_codes(model, x, code, Generator(0), steps=800)
    np.testing.assert_allclose(mu, x @ W.T / P, atol=0.06)
    np.testing.assert_allclose(log_var.mean(axis=0), -np.log(P), atol=0.05)
    np.testing.assert_allclose(log_var, np.broadcast_to(-np.log(P), (20, 2)), atol=0.3)


def test_the_gap_is_what_a_perfect_encoder_has_not():
    model, W, P = linear_vae()
    x = model.sample(40, seed=1)
    poor = amortisation_gap(model, x, steps=600)
    (encoder,) = model.encoder.layers
    encoder.W[...] = np.concatenate([W.T / P, np.zeros((4, 2))], axis=1)
    encoder.b[...] = np.concatenate([np.zeros(2), -np.log(P)])
    perfect = amortisation_gap(model, x, steps=600)
    assert poor.gap > 1.0
    assert poor.gap == pytest.approx(poor.fitted - poor.encoder)
    assert abs(perfect.gap) < 0.02
    assert poor.fitted == pytest.approx(perfect.encoder, abs=0.05)


def test_no_parameter_moves_and_none_gets_a_gradient():
    model = randomise(VAE(6, latent=2, hidden=[5], dtype=np.float64), 0)
    x = model.sample(8, seed=0)
    with no_grad():
        before = value(model.elbo(x, rng=Generator(0)))
    assert amortisation_gap(model, x, steps=40).gap > 0
    with no_grad():
        np.testing.assert_array_equal(value(model.elbo(x, rng=Generator(0))), before)
    assert model.encoder.layers[0].W.grad is None


def test_of_a_class_that_is_given_too():
    model = randomise(ConditionalVAE(6, 3, latent=2, hidden=[5], dtype=np.float64), 0)
    y = np.array([0, 1, 2, 0, 1])
    assert amortisation_gap(model, model.sample(5, seed=0, y=y), y, steps=40).gap > 0
    with pytest.raises(InputError, match=r"^steps must be an int >= 1, got 0"):
        amortisation_gap(model, model.sample(5, seed=0, y=y), y, steps=0)
