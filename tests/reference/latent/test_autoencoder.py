"""L4: the linear autoencoder spans PCA; the denoising one knows the noised density's score."""

from __future__ import annotations

import itertools
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import subspace_angles
from scipy.optimize import minimize

from core import grad, no_grad, value
from core.data import Dataset, Split
from core.errors import InputError
from core.random import Generator
from core.state import parameters
from reference.judges.reconstruction import reconstruction
from reference.latent.autoencoder import Autoencoder
from reference.latent.denoising_autoencoder import DenoisingAutoencoder
from reference.latent.ppca import PPCA
from reference.zoo import cli

DIM, LATENT = 6, 2


def correlated(n: int = 256, seed: int = 0) -> np.ndarray:
    """Points (n, DIM) with two strong directions, off the axes and off the origin."""
    rng = np.random.default_rng(seed)
    mixing = np.linalg.qr(rng.normal(size=(DIM, DIM)))[0] * [3.0, 2.0, 0.7, 0.5, 0.4, 0.3]
    return rng.normal(size=(n, DIM)) @ mixing.T + rng.normal(size=DIM)


def dataset(x: np.ndarray) -> Dataset:
    return Dataset("points", Split(x), Split(x[:0]), Split(x), domain="continuous")


def at_its_minimum(x: np.ndarray, *, steps: int = 500, seed: int = 0) -> Autoencoder:
    """The linear autoencoder whose loss on x no small change lowers, by L-BFGS."""
    model = Autoencoder(DIM, latent=LATENT, hidden=(), seed=seed, dtype=np.float64)
    params = list(parameters(model).values())
    ends = np.cumsum([p.size for p in params])[:-1]

    def loss(theta):
        for p, part in zip(params, np.split(theta, ends), strict=True):
            p[...] = part.reshape(p.shape)
        L = model.loss(x)
        return value(L).item(), np.concatenate([g.ravel() for g in grad(L, params)])

    start = np.concatenate([p.data.ravel() for p in params])
    how = {"maxiter": steps, "ftol": 1e-15, "gtol": 1e-9}
    loss(minimize(loss, start, jac=True, method="L-BFGS-B", options=how).x)
    return model


def principal(x: np.ndarray) -> tuple[np.ndarray, float]:
    """The first LATENT principal directions (DIM, LATENT), and the variance that they leave."""
    values, vectors = np.linalg.eigh(np.cov(x.T, ddof=0))
    return vectors[:, -LATENT:], float(values[:-LATENT].sum())


def spans_the_principal_components(model: Autoencoder, x: np.ndarray) -> None:
    """d's image is PCA's subspace, and the loss is the variance outside of it."""
    directions, left = principal(x)
    (decoder,) = model.decoder.layers
    angles = subspace_angles(value(decoder.W).T, directions)
    assert angles.max() < 1e-3
    np.testing.assert_allclose(value(model.loss(x)), left, rtol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_the_linear_autoencoder_spans_pca(seed: int):
    x = correlated(seed=seed)
    model = at_its_minimum(x, seed=seed)
    spans_the_principal_components(model, x)
    W = PPCA(DIM, latent=LATENT).fit(x).W
    (decoder,) = model.decoder.layers
    assert subspace_angles(value(decoder.W).T, W).max() < 1e-3


def test_what_is_not_at_the_minimum_does_not_span_it(monkeypatch):
    x = correlated()
    with pytest.raises(AssertionError):
        spans_the_principal_components(at_its_minimum(x, steps=3), x)
    monkeypatch.setattr(Autoencoder, "loss", lambda self, x, y=None, rng=None: np.mean(
        np.sum(np.square(x - self.reconstruct(x)) * np.arange(1.0, DIM + 1), axis=1)
    ))  # fmt: skip
    with pytest.raises(AssertionError):
        spans_the_principal_components(at_its_minimum(x), x)


def test_no_code_does_better_and_a_longer_one_does():
    """Among affine maps through two numbers; with hidden layers or three numbers there are more."""
    x = correlated()
    _, left = principal(x)
    rng = np.random.default_rng(1)
    model = at_its_minimum(x)
    for _ in range(20):
        for p in parameters(model).values():
            p[...] = p.data + 0.01 * rng.normal(size=p.shape)
        assert value(model.loss(x)) >= left


# The denoising autoencoder


def linear_denoiser(mean, covariance, sigma, wrong=0.0):
    """The best affine D for Gaussian data: x̃ ↦ μ + Σ (Σ + σ²)⁻¹ (x̃ − μ)."""
    d = len(mean)
    model = DenoisingAutoencoder(d, latent=d, hidden=(), sigma=sigma, dtype=np.float64)
    gain = covariance @ np.linalg.inv(covariance + (sigma**2 + wrong) * np.eye(d))
    (encoder,), (decoder,) = model.encoder.layers, model.decoder.layers
    encoder.W[...], encoder.b[...] = np.eye(d), 0.0
    decoder.W[...], decoder.b[...] = gain.T, mean - gain @ mean
    return model


def gaussian(seed, d=2):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(d, d)) + np.eye(d)
    return rng.normal(size=d), root @ root.T, root


class Noise(Generator):
    """Hands out the noise it was given."""

    def __init__(self, epsilon):
        self.epsilon = epsilon

    def normal(self, shape, dtype):
        return np.asarray(self.epsilon, dtype).reshape(shape)


def cross(d):
    """2d points with mean 0 and covariance I: whatever is quadratic has its exact mean there."""
    return np.sqrt(d) * np.concatenate([np.eye(d), -np.eye(d)])


def is_the_minimum(model, mean, root):
    """No direction lowers the loss, whose mean over data and noise is exact on both crosses."""
    d = len(mean)
    pairs = list(itertools.product(mean + cross(d) @ root.T, cross(d)))
    x, epsilon = (np.array(side) for side in zip(*pairs, strict=True))
    loss = model.loss(x, None, Noise(epsilon))
    for g in grad(loss, list(parameters(model).values())):
        np.testing.assert_allclose(g, 0, atol=1e-10)


def score_is_that_of_the_noised_gaussian(model, mean, covariance, sigma):
    x = np.random.default_rng(3).normal(size=(20, len(mean))) * 3
    noised = covariance + sigma**2 * np.eye(len(mean))
    np.testing.assert_allclose(
        value(model.score(x)), -np.linalg.solve(noised, (x - mean).T).T, rtol=1e-8, atol=1e-10
    )


@given(seed=st.integers(0, 99), sigma=st.floats(0.05, 5), d=st.integers(1, 4))
def test_on_gaussian_data_the_best_denoiser_is_the_score(seed, sigma, d):
    mean, covariance, root = gaussian(seed, d)
    model = linear_denoiser(mean, covariance, sigma)
    is_the_minimum(model, mean, root)
    score_is_that_of_the_noised_gaussian(model, mean, covariance, sigma)


def test_what_is_not_the_best_denoiser_is_no_score(monkeypatch):
    mean, covariance, root = gaussian(0)
    model = linear_denoiser(mean, covariance, 0.5, wrong=0.01)
    with pytest.raises(AssertionError):
        is_the_minimum(model, mean, root)
    with pytest.raises(AssertionError):
        score_is_that_of_the_noised_gaussian(model, mean, covariance, 0.5)
    right = linear_denoiser(mean, covariance, 0.5)
    right.sigma = 0.25  # of clean data, or of another noise
    with pytest.raises(AssertionError):
        score_is_that_of_the_noised_gaussian(right, mean, covariance, 0.5)
    with pytest.raises(AssertionError):
        is_the_minimum(right, mean, root)


def test_it_must_be_given_noise():
    with pytest.raises(InputError, match=r"^rng must be"):
        DenoisingAutoencoder(2).loss(np.zeros((3, 2)))


def test_latents_of_the_wrong_size_are_named():
    model = Autoencoder(4, latent=2)
    with pytest.raises(InputError, match=r"^z must have shape \(…, 2\), got \(3, 5\)"):
        model.decode(np.zeros((3, 5), np.float32))


# From the command line


@pytest.fixture
def genzoo(monkeypatch, capsys):
    """Run a command line in this process: (exit status, stdout, stderr)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["genzoo", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out, err = capsys.readouterr()
        return stop.value.code or 0, out, err

    return run


@pytest.fixture
def points(tmp_path):
    np.savez(tmp_path / "data.npz", x=correlated(90))
    return tmp_path / "data.npz"


def test_the_command_line_says_what_it_can_do(genzoo, points, tmp_path):
    run = tmp_path / "run"
    status, _, err = genzoo("train", "autoencoder", "--data", points, "--epochs", 3, "--out", run)
    assert status == 0, err
    status, _, err = genzoo("sample", run)
    assert status == 1
    assert "has no p(z) to draw codes from, and so no samples; `genzoo reconstruct`" in err
    status, out, _ = genzoo("score", run)
    assert status == 0
    assert "not a distribution" in out
    assert "squared error" in out
    assert "nats" not in out
    status, _, err = genzoo("score", run, "--distance")
    assert (status, "no samples" in err) == (1, True)
    status, out, _ = genzoo("reconstruct", run, "-n", 3)
    assert status == 0
    assert len(out.splitlines()) >= 3
    status, out, _ = genzoo("list", "autoencoder")
    assert out.splitlines()[0].endswith("reconstruct")


def test_images_and_what_becomes_of_them_are_one_picture(genzoo, tmp_path):
    run, picture = tmp_path / "run", tmp_path / "both.png"
    genzoo("train", "autoencoder", "--epochs", 1, "--set", "hidden=8", "--out", run)
    status, out, err = genzoo("reconstruct", run, "-n", 10, "--out", picture)
    assert status == 0, err
    assert "10 test rows" in out
    assert picture.read_bytes().startswith(b"\x89PNG")
    genzoo("train", "fvsbn", "--epochs", 1, "--out", tmp_path / "other")
    status, _, err = genzoo("reconstruct", tmp_path / "other")
    assert status == 1
    assert "FVSBN has no codes" in err


def test_the_error_is_a_mean_and_what_it_explains_a_share():
    x = correlated(200)
    model = at_its_minimum(x)
    judged = reconstruction(model, dataset(x))
    _, left = principal(x)
    assert judged.error == pytest.approx(left, rel=1e-4)
    assert judged.explained == pytest.approx(1 - left / np.trace(np.cov(x.T, ddof=0)), rel=1e-4)
    assert judged.count == 200
    with no_grad():
        each = np.sum((x - model.reconstruct(x)) ** 2, axis=1)
    assert judged.se == pytest.approx(each.std(ddof=1) / np.sqrt(200), rel=1e-6)
