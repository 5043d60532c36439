"""Laws of what a denoiser's output is taken to say (D2): x̂_0, the variance of a step, the bound."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logsumexp
from scipy.stats import norm

from core import grad, no_grad
from core.distributions import Normal, kl_divergence
from core.errors import InputError
from core.functional import log_softmax
from core.random import Generator
from core.state import parameters
from reference.diffusion import bound, diffusion
from reference.diffusion.ddpm import DDPM
from reference.diffusion.heads import VARIANCES, Categorical, Regression
from reference.diffusion.parametrisation import REGRESSIONS, converted, target
from reference.diffusion.schedule import make_schedule, posterior_coefficients

KINDS = [*REGRESSIONS, "levels"]
seeds = st.integers(0, 10_000)


def draw(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def on_grid(seed, n, dim, levels):
    return np.random.default_rng(seed).integers(0, levels, (n, dim)) / (levels - 1) * 2 - 1


def random_model(seed=0, **arguments):
    model = DDPM(3, hidden=8, blocks=1, dtype=np.float64, **arguments)
    for i, p in enumerate(parameters(model).values()):
        p[...] = p.data + 0.3 * draw(seed + i, *p.shape)
    return model


# Three things that a network may be asked for, each of which gives the others


def conversions_are_exact(convert, seed, source, to):
    a = np.random.default_rng(seed).uniform(0.01, 0.99)
    signal, noise, x_0, eps = math.sqrt(a), math.sqrt(1 - a), draw(seed, 5, 2), draw(seed + 1, 5, 2)
    x_t = signal * x_0 + noise * eps
    said = target(source, x_0, eps, signal, noise)
    there = convert(said, x_t, signal, noise, source=source, to=to)
    np.testing.assert_allclose(there, target(to, x_0, eps, signal, noise), rtol=1e-9, atol=1e-9)
    back = convert(there, x_t, signal, noise, source=to, to=source)
    np.testing.assert_allclose(back, said, rtol=1e-9, atol=1e-9)


@given(seeds, st.sampled_from(REGRESSIONS), st.sampled_from(REGRESSIONS))
def test_each_prediction_gives_the_others(seed, source, to):
    conversions_are_exact(converted, seed, source, to)


@pytest.mark.parametrize("fault", ["the sign of v", "ε unscaled"])
def test_a_wrong_conversion_is_rejected(fault):
    def wrong(output, x_t, signal, noise, *, source, to):
        sign = -1 if fault == "the sign of v" and source == "v" else 1
        scale = 1 / noise if fault == "ε unscaled" and source == "eps" else 1
        return converted(sign * scale * output, x_t, signal, noise, source=source, to=to)

    source = "v" if fault == "the sign of v" else "eps"
    with pytest.raises(AssertionError):
        conversions_are_exact(wrong, 0, source, "x0")


# The bound, for every head and variance


def expected_term(model, x, x_t, t):
    """L_{t−1} from the two Gaussians, with σ² as `reverse` has it."""
    mean, variance = (np.asarray(a) for a in model.reverse(x_t, t, t - 1))
    mu, beta_tilde = model.schedule.posterior(x, x_t, t)
    q, p = Normal(mu, math.sqrt(beta_tilde)), Normal(mean, np.sqrt(variance + 0 * mean))
    return np.sum(kl_divergence(q, p), axis=1)


def terms_are_of_the_samplers_gaussians(model, seed=0):
    """What is bounded is what is drawn from: one σ_t² in the bound and in sampling."""
    x, T = on_grid(seed, 6, 3, 5), model.schedule.T
    with no_grad():
        terms = model.terms(x, rng=Generator(seed))
        assert terms.shape == (T + 1, 6)
        np.testing.assert_allclose(-terms.sum(axis=0), model.elbo(x, rng=Generator(seed)))
        rng = Generator(seed)
        for t in range(1, T + 1):
            x_t = model.schedule.add_noise(x, rng.normal(x.shape, dtype=np.float64), t)
            if t > 1:
                expected = expected_term(model, x, x_t, t)
                np.testing.assert_allclose(terms[t - 1], expected, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize("prediction", KINDS)
@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_the_terms_are_of_the_samplers_gaussians(schedule, prediction, variance):
    how = {"prediction": prediction, "variance": variance, "schedule": schedule}
    terms_are_of_the_samplers_gaussians(random_model(steps=5, levels=5, **how))


@pytest.mark.parametrize("fault", ["one more step of gain", "another ratio"])
def test_a_wrong_term_is_rejected(monkeypatch, fault):
    right = bound.step_term

    def wrong(model, x, t, guess):
        if fault == "one more step of gain":
            return right(model, x, min(t + 1, 5), guess)
        return right(model, x, t, guess._replace(detail=guess.detail * 0.9))

    monkeypatch.setattr(bound, "step_term", wrong)
    with pytest.raises(AssertionError):
        terms_are_of_the_samplers_gaussians(
            random_model(steps=5, levels=5, variance="learned", prediction="levels")
        )


# A variance that is learned beside a regression


@given(seeds, st.integers(2, 20))
def test_a_learned_variance_lies_between_the_two(seed, t):
    """ν = 0 is β̃_t, ν = 1 is β_t, and ln σ² is linear in it (Nichol & Dhariwal, Eq. 15)."""
    s = make_schedule("cosine", 20)
    head, x_t = Regression("v", "learned", None), draw(seed, 4, 3)
    columns = s.signal_and_noise(t, x_t)
    gain, most = s.gain_and_most(t, x_t)
    beta_tilde = s.posterior_variance(t)
    got = []
    for nu in (0.0, 0.5, 1.0):
        said = np.stack([draw(seed + 1, 4, 3), np.full((4, 3), 2 * nu - 1)], axis=-1)
        got.append(head.ratio(head.guess(said, x_t, *columns), gain, most) * beta_tilde)
    np.testing.assert_allclose(got[0], beta_tilde, rtol=1e-12)
    np.testing.assert_allclose(got[2], s.beta[t], rtol=1e-9)
    np.testing.assert_allclose(got[1] ** 2, got[0] * got[2], rtol=1e-9)


def bound_moves_the_variance_only(model, x):
    """The bound's share of the loss leaves the guess alone: it teaches ν and nothing else."""
    plain = DDPM(3, hidden=8, blocks=1, steps=8, dtype=np.float64)
    for name, p in parameters(plain).items():
        own = parameters(model)[name].data
        p[...] = own[..., ::2] if "last" in name else own
    last = [parameters(m)["denoiser.last.W"] for m in (model, plain)]
    (g,), (h,) = (
        grad(m.loss(x, None, Generator(1)), [w]) for m, w in zip((model, plain), last, strict=True)
    )
    np.testing.assert_allclose(g[:, ::2], h, rtol=1e-9, atol=1e-12)
    assert np.all(g[:, 1::2] != 0)


def test_the_bounds_share_of_the_loss_moves_the_variance_only(monkeypatch):
    model, x = random_model(steps=8, variance="learned"), draw(0, 30, 3)
    bound_moves_the_variance_only(model, x)
    monkeypatch.setattr(diffusion, "value", lambda a: a)  # x̂_0 not held still
    with pytest.raises(AssertionError):
        bound_moves_the_variance_only(model, x)


# Levels


def independent(levels, seed, dim=3):
    """log p of independent pixels, (dim, levels)."""
    return log_softmax(draw(seed, dim, levels))


def told(log_prior, **arguments):
    """A model whose network says what independent pixels are, and nothing of x_t."""
    dim, levels = log_prior.shape
    how = {"prediction": "levels", "variance": "learned", **arguments}
    model = DDPM(dim, levels=levels, hidden=1, blocks=0, dtype=np.float64, **how)
    model.denoiser.last.b[...] = log_prior.ravel()
    return model


def posterior_is_bayes(head, seed, t):
    """p(x_0 = c_k | x_t) ∝ p(c_k) N(x_t; √ᾱ_t c_k, 1 − ᾱ_t), its mean and its variance."""
    s, levels = make_schedule("cosine", 20), 5
    a, x_t, log_prior = s.alpha_bar[t], draw(seed, 4, 3), independent(levels, seed)
    c = np.linspace(-1, 1, levels)
    log_p = log_prior + norm.logpdf(x_t[..., None], math.sqrt(a) * c, math.sqrt(1 - a))
    log_p -= logsumexp(log_p, axis=-1, keepdims=True)
    p = np.exp(log_p)
    said = np.broadcast_to(log_prior, (4, 3, levels))
    guess = head.guess(said, x_t, *s.signal_and_noise(t, x_t))
    np.testing.assert_allclose(guess.detail, log_p, rtol=1e-9, atol=1e-9)
    mean = np.sum(p * c, axis=-1)
    np.testing.assert_allclose(guess.x_0, mean, atol=1e-10)
    posterior_variance_is_of_the_mixture(head, guess, p, s, x_t, t)


def posterior_variance_is_of_the_mixture(head, guess, p, s, x_t, t):
    """σ_t² is the variance of Σ_k p_k q(x_{t−1} | x_t, c_k)."""
    if t == 1:
        return
    a, b, beta_tilde = posterior_coefficients(s.alpha_bar[t], s.alpha_bar[t - 1])
    means = a * x_t[..., None] + b * np.linspace(-1, 1, p.shape[-1])
    mean = np.sum(p * means, axis=-1, keepdims=True)
    variance = beta_tilde + np.sum(p * (means - mean) ** 2, axis=-1)
    ratio = head.ratio(guess, *s.gain_and_most(t, x_t))
    np.testing.assert_allclose(ratio * beta_tilde, variance, rtol=1e-9)


@given(seeds, st.integers(1, 20))
def test_the_posterior_of_levels_is_bayes(seed, t):
    posterior_is_bayes(Categorical("learned", 5), seed, t)


class ForgetsThePixel(Categorical):
    def guess(self, said, x_t, signal, noise):
        return super().guess(said, np.zeros_like(x_t), 0 * signal, noise)


class ForgetsTheVariance(Categorical):
    def ratio(self, guess, gain, most):
        return most / most


@pytest.mark.parametrize("wrong", [ForgetsThePixel, ForgetsTheVariance])
def test_a_wrong_posterior_of_levels_is_rejected(wrong):
    with pytest.raises(AssertionError):
        posterior_is_bayes(wrong("learned", 5), 1, 9)


def mean_bound(model, x, times=20):
    rng = Generator(0)
    with no_grad():
        return -np.mean([model.elbo(x, rng=rng) for _ in range(times)])


def test_the_bound_of_independent_pixels_closes_in_on_their_entropy():
    """Told the truth of independent pixels, the bound has nothing to lose but its finite steps.

    A step's Gaussian can't be two-humped as the truth is; β and β̃ lose more than the mixture's own
    variance does, which loses little.
    """
    log_prior, dim = independent(5, 3, dim=20), 20
    cumulative = np.cumsum(np.exp(log_prior), axis=1)
    u = np.random.default_rng(0).random((100, dim))
    k = (u[..., None] > cumulative[:, :-1]).sum(axis=-1)
    x = k / 2 - 1
    exact = -np.mean(np.sum(np.take_along_axis(log_prior[None], k[..., None], 2), axis=(1, 2)))
    gaps = {v: [] for v in VARIANCES}
    for variance, found in gaps.items():
        for T in (32, 128):
            model = told(log_prior, steps=T, variance=variance)
            found.append(mean_bound(model, x, times=2) - exact)
    assert 0 < gaps["learned"][1] < min(0.03 * exact, gaps["learned"][0])
    for other in ("beta", "beta_tilde"):
        assert all(a < b for a, b in zip(gaps["learned"], gaps[other], strict=True))


@given(seeds, st.integers(2, 9))
def test_the_decoder_of_levels_sums_to_one(seed, levels):
    head, x_1 = Categorical("learned", levels), draw(seed, 1, 2)
    said = draw(seed + 1, 1, 2, levels)
    guess = head.guess(said, x_1, np.full((1, 1), 0.9), np.full((1, 1), 0.4))
    values = np.linspace(-1, 1, levels)
    p = [np.exp(head.log_decoder(guess, np.full((1, 2), c), 0.1, 0.1)) for c in values]
    np.testing.assert_allclose(np.sum(p, axis=0), 1, rtol=1e-12)


def test_levels_must_be_known():
    with pytest.raises(InputError, match=r"^levels must be an int >= 2, got 1"):
        Categorical("learned", 1)
    with pytest.raises(InputError, match=r"^variance must be one of beta, beta_tilde, learned"):
        Regression("v", "half", None)
    with pytest.raises(InputError, match=r"^prediction must be one of eps, x0, v, got 'levels'"):
        target("levels", 1.0, 1.0, 0.5, 0.5)
