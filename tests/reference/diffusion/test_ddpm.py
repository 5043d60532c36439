"""Laws of the noising chain (D1), of its reversal and the bound (D2), of the samplers (D3, K5).

Data that are Gaussian, N(m, v), have an exact noise predictor, E[ε | x_t], which is linear in x_t:
with it every chain here stays Gaussian, and its mean and variance follow a recursion in closed
form. Expectations over the model's noise are made exact, not sampled: quadrature nodes or an
orthogonal design stand in for the random numbers.
"""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import hadamard
from scipy.stats import norm

from core import no_grad
from core.data import load
from core.errors import InputError
from core.optim import Adam
from core.random import Generator, normal
from core.state import parameters, state
from reference.diffusion import bound, diffusion
from reference.diffusion.coefficients import FIXED, ddim_coefficients, ddpm_coefficients
from reference.diffusion.ddpm import DDPM
from reference.diffusion.decoder import discretised_log_prob
from reference.diffusion.parametrisation import REGRESSIONS, x0_coefficients
from reference.diffusion.samplers import DDIM, Ancestral
from reference.diffusion.schedule import (
    SCHEDULES,
    Schedule,
    make_schedule,
    posterior_coefficients,
)
from reference.diffusion.solvers import Heun
from reference.judges.likelihood import likelihood
from reference.operations import diffusion_step as ops
from reference.operations.diffusion_step import guide, step, step_mean

M, V = 0.7, 0.3  # mean and variance of Gaussian data
NAMES = ["cosine", "linear"]


def draw(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def posterior_noise(alpha_bar):
    """E[ε | x_t] = slope · (x_t − √ᾱ M) for data N(M, V)."""
    return math.sqrt(1 - alpha_bar) / (alpha_bar * V + 1 - alpha_bar)


def exact_epsilon(schedule):
    alpha_bar = schedule.alpha_bar
    return lambda x, t: posterior_noise(alpha_bar[t]) * (x - math.sqrt(alpha_bar[t]) * M)


def gaussian_model(T, schedule="cosine", variance="beta_tilde", prediction="eps"):
    """A model of N(M, V) in one dimension, as good as one with T steps can be."""
    how = {"schedule": schedule, "variance": variance, "prediction": prediction}
    model = DDPM(1, hidden=1, steps=T, **how, dtype=np.float64)
    says(model, exact_output(prediction, model.schedule, exact_epsilon(model.schedule)))
    return model


def says(model, output):
    """Let the model's network say output(x_t, t)."""

    def denoiser(x_t, tau, y=None):
        t = np.rint(tau * model.schedule.T / 1000).astype(int)
        return output(x_t, t.item() if len(t) == 1 else t)[..., None]

    model.denoiser = denoiser


def exact_output(prediction, schedule, epsilon):
    """What a network should say that is asked for ε, x_0 or v, from the ε of x_t and t."""

    def output(x_t, t):
        a, eps = schedule.alpha_bar[t], epsilon(x_t, t)
        x_0 = (x_t - math.sqrt(1 - a) * eps) / math.sqrt(a)
        v = math.sqrt(a) * eps - math.sqrt(1 - a) * x_0
        return {"eps": eps, "x0": x_0, "v": v}[prediction]

    return output


def random_model(**arguments):
    model = DDPM(3, hidden=8, blocks=2, dtype=np.float64, **arguments)
    for i, p in enumerate(parameters(model).values()):
        p[...] = p.data + 0.3 * draw(i, *p.shape)
    return model


# D1: the chain and its closed form


def closed_form_is_the_chain(beta, alpha_bar):
    """Mean factor and variance after every step, from x_0 = 1 with variance 0."""
    mean, variance = 1.0, 0.0
    for t in range(1, len(beta)):
        mean, variance = math.sqrt(1 - beta[t]) * mean, (1 - beta[t]) * variance + beta[t]
        np.testing.assert_allclose(math.sqrt(alpha_bar[t]), mean, rtol=1e-12)
        np.testing.assert_allclose(1 - alpha_bar[t], variance, rtol=1e-10)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("T", [2, 37, 1000])
def test_closed_form_is_the_chain(name, T):
    s = make_schedule(name, T)
    closed_form_is_the_chain(s.beta, s.alpha_bar)
    x_0, eps = draw(0, T + 1, 2), draw(1, T + 1, 2)
    x_t = s.add_noise(x_0, eps, np.arange(T + 1))
    a = s.alpha_bar[:, None]
    np.testing.assert_allclose(x_t, np.sqrt(a) * x_0 + np.sqrt(1 - a) * eps)
    np.testing.assert_array_equal(x_t[0], x_0[0])


@pytest.mark.parametrize(
    "wrong",
    [
        lambda s: 1 - s.beta,  # α instead of ᾱ
        lambda s: np.concatenate([s.alpha_bar[1:], s.alpha_bar[-1:]]),  # off by one in t
        lambda s: 1 - np.cumsum(s.beta),
    ],
)
def test_a_wrong_closed_form_is_rejected(wrong):
    s = make_schedule("linear", 50)
    with pytest.raises(AssertionError):
        closed_form_is_the_chain(s.beta, wrong(s))


def ends_in_noise(s):
    assert np.all((s.beta[1:] > 0) & (s.beta[1:] <= 1))
    assert np.all(np.diff(s.snr()) < 0)
    assert s.alphas_cumprod[-1] < 1e-3
    assert s.beta[0] == 0
    assert s.alpha_bar[0] == 1


@given(name=st.sampled_from(sorted(SCHEDULES)), T=st.integers(2, 3000))
def test_every_schedule_ends_in_noise(name, T):
    s = make_schedule(name, T)
    ends_in_noise(s)
    assert s.T == len(s.alphas_cumprod) == T


def test_an_unscaled_linear_schedule_is_rejected():
    beta = np.concatenate([[0.0], np.linspace(1e-4, 0.02, 100)])
    s = Schedule(beta, 1 - beta, np.cumprod(1 - beta))
    assert 0.36 < s.alpha_bar[-1] < 0.37
    with pytest.raises(AssertionError):
        ends_in_noise(s)


def test_schedules_are_the_papers():
    linear, cosine = make_schedule("linear", 1000), make_schedule("cosine", 1000)
    np.testing.assert_allclose(linear.beta[1:], np.linspace(1e-4, 0.02, 1000), rtol=1e-14)
    f = np.cos((np.arange(1001) / 1000 + 0.008) / 1.008 * np.pi / 2) ** 2
    np.testing.assert_allclose(cosine.alpha_bar[:990], (f / f[0])[:990], rtol=1e-9)
    assert cosine.beta.max() == 0.999


def test_timesteps_run_from_the_end_to_the_data():
    s = make_schedule("linear", 10)
    assert s.timesteps() == list(range(10, -1, -1))
    assert s.timesteps(1) == [10, 0]
    for n in range(1, 11):
        times = s.timesteps(n)
        assert (times[0], times[-1], len(times)) == (10, 0, n + 1)
        assert sorted(set(times), reverse=True) == times


# D2: the posterior, the terms, the bound


def posterior_is_bayes(s, coefficients, t):
    """q(x_{t−1} | x_t, x_0) ∝ q(x_t | x_{t−1}) q(x_{t−1} | x_0), by quadrature."""
    x_0, x_t = 0.4, -0.9
    x = np.linspace(-12, 12, 200_001)
    log_p = norm.logpdf(x_t, math.sqrt(s.alpha[t]) * x, math.sqrt(s.beta[t]))
    before = s.alpha_bar[t - 1]
    log_p += norm.logpdf(x, math.sqrt(before) * x_0, math.sqrt(1 - before))
    w = np.exp(log_p - log_p.max())
    w /= w.sum()
    mean = np.sum(w * x)
    a, b, variance = coefficients(s, t)
    np.testing.assert_allclose(a * x_t + b * x_0, mean, rtol=1e-9)
    np.testing.assert_allclose(variance, np.sum(w * (x - mean) ** 2), rtol=1e-9)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("t", [2, 3, 11, 20])
def test_posterior_is_bayes(name, t):
    s = make_schedule(name, 20)
    posterior_is_bayes(
        s, lambda s, t: posterior_coefficients(s.alpha_bar[t], s.alpha_bar[t - 1]), t
    )
    mean, variance = s.posterior(np.array([[0.4]]), np.array([[-0.9]]), t)
    posterior_is_bayes(s, lambda *_: (0.0, mean.item() / 0.4, variance), t)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda s, t: posterior_coefficients(s.alpha_bar[t - 1], s.alpha_bar[t - 2]),  # off by one
        lambda s, t: (*posterior_coefficients(s.alpha_bar[t], s.alpha_bar[t - 1])[:2], s.beta[t]),
        lambda s, t: posterior_coefficients(1 - s.beta[t], 1 - s.beta[t - 1]),  # α for ᾱ
    ],
)
def test_a_wrong_posterior_is_rejected(wrong):
    with pytest.raises(AssertionError):
        posterior_is_bayes(make_schedule("cosine", 20), wrong, 11)


@pytest.mark.parametrize("t", [2, 5, 8])
def test_a_term_is_the_weighted_error_of_the_noise(t):
    """With σ² = β̃: KL_t = β_t² / (2 σ_t² α_t (1−ᾱ_t)) · ‖ε − ε_θ‖² (Eq. 12)."""
    model, x = random_model(steps=8, variance="beta_tilde"), draw(0, 6, 3)
    s = model.schedule
    eps = Generator(4).normal(x.shape, dtype=np.float64)
    with no_grad():
        error = np.sum((eps - model.epsilon(s.add_noise(x, eps, t), t)) ** 2, axis=1)
        got = bound.step_term(model, x, t, model.guess(s.add_noise(x, eps, t), t))
    beta_tilde = (1 - s.alpha_bar[t - 1]) / (1 - s.alpha_bar[t]) * s.beta[t]
    weight = s.beta[t] ** 2 / (2 * beta_tilde * s.alpha[t] * (1 - s.alpha_bar[t]))
    np.testing.assert_allclose(got, weight * error, rtol=1e-9)


class Nodes(Generator):
    """In place of a Generator: Gauss–Hermite nodes, whose weighted mean is E over ε, exactly."""

    x, w = np.polynomial.hermite_e.hermegauss(12)
    weights = w / w.sum()

    def normal(self, shape, dtype):
        assert shape == (len(self.x), 1)
        return self.x[:, None].astype(dtype)


def expected_elbo(model, x_0):
    """E over all noise of the model's bound at the number x_0."""
    return Nodes.weights @ model.elbo(np.full((len(Nodes.x), 1), x_0), rng=Nodes(0))


def bound_by_definition(s, variance, x_0):
    """E_q[log p(x_T) + Σ_t log p_θ(x_{t−1}|x_t) − log q(x_t|x_{t−1})] (Eq. 3), by moments."""
    a_T = s.alpha_bar[-1]
    total = -0.5 * math.log(2 * math.pi) - 0.5 * (a_T * x_0**2 + 1 - a_T)
    for t in range(1, s.T + 1):
        a, before, alpha, beta = s.alpha_bar[t], s.alpha_bar[t - 1], s.alpha[t], s.beta[t]
        beta_tilde = (1 - before) / (1 - a) * beta
        var = beta if variance == "beta" or t == 1 else beta_tilde
        # x_{t−1} − μ_θ(x_t) = x_{t−1} − A x_t − C, with Algorithm 2's mean at the exact ε.
        slope = posterior_noise(a)
        A = (1 - beta / math.sqrt(1 - a) * slope) / math.sqrt(alpha)
        C = beta / math.sqrt(1 - a) * slope * math.sqrt(a) * M / math.sqrt(alpha)
        mean = math.sqrt(before) * x_0 - A * math.sqrt(a) * x_0 - C
        spread = (1 - before) - 2 * A * math.sqrt(alpha) * (1 - before) + A**2 * (1 - a)
        total += -0.5 * math.log(2 * math.pi * var) - (mean**2 + spread) / (2 * var)
        total += 0.5 * math.log(2 * math.pi * math.e * beta)  # −E log q(x_t | x_{t−1})
    return total


def model_density(s, variance):
    """Mean and variance of p_θ(x_0): the decoder's last step has σ² = β_1."""
    mean, var = 0.0, 1.0
    for t in range(s.T, 0, -1):
        A, C = algorithm_2(s, t)
        last = s.beta[1] if t == 1 else sigma2(s, t, variance)
        mean, var = A * mean + C, A**2 * var + last
    return mean, var


@pytest.mark.parametrize("variance", FIXED)
@pytest.mark.parametrize("name", NAMES)
def test_the_terms_sum_to_the_bound(monkeypatch, name, variance):
    model = gaussian_model(12, name, variance)
    for x_0 in (-1.0, 0.2, 2.0):
        expected = bound_by_definition(model.schedule, variance, x_0)
        np.testing.assert_allclose(expected_elbo(model, x_0), expected, atol=1e-9)
        with monkeypatch.context() as patch:
            patch.setattr(bound, "decoder_term", lambda model, x, guess: np.zeros(len(x)))
            with pytest.raises(AssertionError):
                np.testing.assert_allclose(expected_elbo(model, x_0), expected, atol=1e-9)


@pytest.mark.parametrize("variance", FIXED)
def test_the_bound_lies_below_the_log_likelihood(variance):
    """At every point below log p_θ; on average below −entropy of the data.

    As steps are added the gap closes with σ² = β, which is right for data with a density; β̃, right
    for data on one point, leaves some of it.
    """
    gaps = []
    for T in (4, 16, 64):
        model = gaussian_model(T, "linear", variance)
        mean, var = model_density(model.schedule, variance)
        bounds = []
        for z in Nodes.x:
            x_0 = M + math.sqrt(V) * z
            bounds.append(expected_elbo(model, x_0))
            assert bounds[-1] <= norm.logpdf(x_0, mean, math.sqrt(var))
        gaps.append(-0.5 * math.log(2 * math.pi * math.e * V) - Nodes.weights @ bounds)
    assert min(gaps) > 0
    if variance == "beta":
        assert gaps[0] > 2 * gaps[1] > 4 * gaps[2]
        assert gaps[2] < 0.1


@given(
    mean=st.floats(-3, 3),
    std=st.floats(1e-3, 10),
    levels=st.integers(2, 300),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_the_discretised_decoder_normalises(mean, std, levels, dtype):
    x = np.linspace(-1, 1, levels).astype(dtype)
    log_p = discretised_log_prob(x, np.full_like(x, mean), std, levels)
    assert log_p.dtype == dtype
    # The edges are rounded in units of std, and where the bins are narrow Φ(b) − Φ(a) cancels.
    rounding = np.finfo(dtype).eps * (8 / std + 8 * levels)
    np.testing.assert_allclose(np.exp(log_p).sum(), 1, rtol=rounding)


def test_the_discretised_decoder_is_the_mass_of_a_bin():
    x, mu = np.linspace(-1, 1, 17), np.full(17, 0.4)
    got = discretised_log_prob(x, mu, 0.3, 17)
    middle = norm.cdf(x + 1 / 16, 0.4, 0.3) - norm.cdf(x - 1 / 16, 0.4, 0.3)
    np.testing.assert_allclose(np.exp(got[1:-1]), middle[1:-1], rtol=1e-10)
    np.testing.assert_allclose(np.exp(got[-1]), norm.sf(15 / 16, 0.4, 0.3), rtol=1e-10)
    assert middle.sum() < 0.999  # the bins at the ends must be open
    far = discretised_log_prob(np.array([0.5, -0.5]), np.zeros(2), 0.01, 17)
    np.testing.assert_allclose(far, norm.logsf((0.5 - 1 / 16) / 0.01), rtol=1e-6)
    np.testing.assert_allclose(far[0], far[1], rtol=1e-12)


def test_the_bound_on_levels_is_a_number_of_bits():
    """−elbo / (D ln 2); untrained, about as many as uniform pixels have."""
    data = load("digits", domain="continuous")
    model = DDPM(64, hidden=8, steps=8, levels=17)
    score = likelihood(model, data, first=20)
    with no_grad():
        elbo = model.elbo(data.test.x[:20], rng=Generator(0, stream="evaluate"))
    assert elbo.shape == (20,)
    assert elbo.dtype == np.float32
    np.testing.assert_allclose(score.bits_per_dim, -elbo.mean() / 64 / math.log(2), rtol=1e-5)
    assert abs(score.bits_per_dim - math.log2(17)) < 0.5


# D3: one step


def algorithm_2(s, t):
    """Line 4 as printed, at the exact ε of Gaussian data: x_{t−1} = A x_t + C + σ_t z."""
    a, alpha, slope = s.alpha_bar[t], s.alpha[t], posterior_noise(s.alpha_bar[t])
    pull = (1 - alpha) / math.sqrt(1 - a) * slope / math.sqrt(alpha)
    return 1 / math.sqrt(alpha) - pull, pull * math.sqrt(a) * M


def sigma2(s, t, variance):
    beta_tilde = (1 - s.alpha_bar[t - 1]) / (1 - s.alpha_bar[t]) * s.beta[t]
    return 0.0 if t == 1 else s.beta[t] if variance == "beta" else beta_tilde


def mean_is_algorithm_2(s, t, mean):
    """As printed, and as the posterior's mean at x̂_0 (Eq. 15)."""
    x_t, eps = draw(t, 5, 3), draw(t + 100, 5, 3)
    a, alpha = s.alpha_bar[t], s.alpha[t]
    printed = (x_t - (1 - alpha) / math.sqrt(1 - a) * eps) / math.sqrt(alpha)
    x_0 = (x_t - math.sqrt(1 - a) * eps) / math.sqrt(a)
    got = mean(s, t, x_t, eps)
    np.testing.assert_allclose(got, printed, atol=1e-11)
    np.testing.assert_allclose(got, s.posterior(x_0, x_t, t)[0], atol=1e-11)


@pytest.mark.parametrize("variance", FIXED)
@pytest.mark.parametrize("t", [1, 2, 17, 30])
def test_the_mean_is_algorithm_2s_and_the_posteriors(t, variance):
    def mean(s, t, x, eps):
        return step_mean(x, eps, ddpm_coefficients(s.alpha_bar[t], s.alpha_bar[t - 1], variance))

    mean_is_algorithm_2(make_schedule("linear", 30), t, mean)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda s, t: (1 - s.beta[t], 1 - s.beta[t - 1]),  # β where ᾱ should be
        lambda s, t: (s.alpha_bar[t - 1], s.alpha_bar[t - 2]),  # off by one
    ],
)
def test_a_wrong_mean_is_rejected(wrong):
    def mean(s, t, x, eps):
        return step_mean(x, eps, ddpm_coefficients(*wrong(s, t)))

    with pytest.raises(AssertionError):
        mean_is_algorithm_2(make_schedule("linear", 30), 17, mean)


STRIDES = [(t, s) for t in (2, 9, 20) for s in (0, 1, t // 2, t - 1) if s < t]


@pytest.mark.parametrize(("t", "s"), STRIDES)
def test_ddim_with_eta_1_is_ddpm(t, s):
    alpha_bar = make_schedule("cosine", 20).alpha_bar
    ddim = ddim_coefficients(alpha_bar[t], alpha_bar[s], 1.0)
    ddpm = ddpm_coefficients(alpha_bar[t], alpha_bar[s], "beta_tilde")
    np.testing.assert_allclose(ddim, ddpm, atol=1e-12)


@pytest.mark.parametrize(("t", "s"), STRIDES)
@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_ddim_keeps_the_marginals(t, s, eta):
    """If x_t = √ᾱ_t x_0 + √(1−ᾱ_t) ε and ε is known, x_s ~ N(√ᾱ_s x_0, (1−ᾱ_s) I) (Lemma 1)."""
    a_t, a_s = make_schedule("cosine", 20).alpha_bar[[t, s]]
    c = ddim_coefficients(a_t, a_s, eta)
    at = [step_mean(math.sqrt(a_t) * x + math.sqrt(1 - a_t) * e, e, c) for x, e in ((1, 0), (0, 1))]
    np.testing.assert_allclose(at[0], math.sqrt(a_s), rtol=1e-10)
    np.testing.assert_allclose(at[1] ** 2 + c.sigma**2, 1 - a_s, rtol=1e-9, atol=1e-12)


@given(st.integers(0, 1000), st.sampled_from([None, 0.8]))
def test_predictions_of_noise_data_and_v_agree(seed, clip):
    s = make_schedule("linear", 30)
    t = 1 + seed % 30
    a, x_0, eps = s.alpha_bar[t], draw(seed, 4, 2), draw(seed + 1, 4, 2)
    x_t = s.add_noise(x_0, eps, t)
    outputs = {"eps": eps, "x0": x_0, "v": math.sqrt(a) * eps - math.sqrt(1 - a) * x_0}
    for make, how in ((ddpm_coefficients, "beta"), (ddim_coefficients, 0.5)):
        results = []
        for name, output in outputs.items():
            c = make(a, s.alpha_bar[t - 1], how, name)
            np.testing.assert_allclose(c.p * x_t + c.q * output, x_0, atol=1e-10)
            results.append(step(x_t, output, c, seed=seed, t=t, clip=clip))
        np.testing.assert_allclose(results[1:], [results[0]] * 2, atol=1e-10)
    assert clip is None or np.all(np.abs(step_mean(0 * x_t, x_0, c._replace(b=1), clip)) <= 0.8)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_guidance(dtype):
    null, y = (draw(i, 50, 4).astype(dtype) for i in (1, 2))
    null[0, 0], y[1, 0], null[2, 0] = -0.0, np.inf, np.nan
    assert guide(null, y, 0).tobytes() == null.tobytes()  # bit for bit, sign of zero included
    null[2, 0], y[1, 0] = 0.5, 0.5
    few_ulp = 4 * np.finfo(dtype).eps * np.maximum(np.abs(null), np.abs(y))
    assert np.all(np.abs(guide(null, y, 1.0) - y) <= few_ulp)
    np.testing.assert_allclose(guide(null, y, 3.0), 3 * y - 2 * null, rtol=1e-4)
    c, x = ddpm_coefficients(0.3, 0.4), draw(3, 50, 4).astype(dtype)
    plain = step(x, null, c, seed=1, t=5)
    assert plain.dtype == dtype
    guided = step(x, null, c, seed=1, t=5, conditional=y, guidance=0.0)
    assert guided.tobytes() == plain.tobytes()
    got = step(x, null, c, seed=1, t=5, conditional=y, guidance=2.0)
    np.testing.assert_array_equal(got, step(x, guide(null, y, 2.0), c, seed=1, t=5))


def noise_is_right(take_step, variance):
    """None into t = 0; else σ_t N(0, I), new at every step, named by seed, step and sample."""
    s, x = make_schedule("linear", 20), np.zeros((4000, 2))
    noise = {t: take_step(s, t, x, variance) for t in (1, 2, 3, 20)}
    assert not noise[1].any(), "noise at t = 1"
    for t in (2, 3, 20):
        sigma = math.sqrt(sigma2(s, t, variance))
        np.testing.assert_allclose(noise[t].std(), sigma, rtol=0.05)
        np.testing.assert_array_equal(take_step(s, t, x, variance), noise[t])
        np.testing.assert_array_equal(take_step(s, t, x[:7], variance), noise[t][:7])
        np.testing.assert_array_equal(take_step(s, t, x[5:9], variance, first=5), noise[t][5:9])
        assert np.any(take_step(s, t, x, variance, seed=1) != noise[t])
    for t in (3, 20):
        correlation = np.corrcoef(noise[2].ravel(), noise[t].ravel())[0, 1]
        assert abs(correlation) < 0.06, "the same noise at two steps"


def take_step(s, t, x, variance, *, seed=0, first=0):
    c = ddpm_coefficients(s.alpha_bar[t], s.alpha_bar[t - 1], variance)
    return step(x, x, c, seed=seed, t=t, first=first)


@pytest.mark.parametrize("variance", FIXED)
def test_noise_is_right(variance):
    noise_is_right(take_step, variance)


def noise_at_the_end(s, t, x, variance, *, seed=0, first=0):
    c = ddpm_coefficients(s.alpha_bar[t], s.alpha_bar[t - 1], variance)
    return step(x, x, c._replace(sigma=math.sqrt(s.beta[t])), seed=seed, t=t, first=first)


def no_noise(s, t, x, variance, *, seed=0, first=0):
    return take_step(s, 1, x, variance)


def noise_of_another_size(s, t, x, variance, *, seed=0, first=0):
    return take_step(s, t, x, variance, seed=seed, first=first) * math.sqrt(s.beta[t])


def reused_noise(s, t, x, variance, *, seed=0, first=0):
    c = ddpm_coefficients(s.alpha_bar[t], s.alpha_bar[t - 1], variance)
    return step(x, x, c, seed=seed, t=7, first=first)


def noise_of_the_batch(s, t, x, variance, *, seed=0, first=0):
    return take_step(s, t, x, variance, seed=seed + len(x))


@pytest.mark.parametrize(
    "wrong", [noise_at_the_end, no_noise, noise_of_another_size, reused_noise, noise_of_the_batch]
)
def test_wrong_noise_is_rejected(wrong):
    with pytest.raises(AssertionError):
        noise_is_right(wrong, "beta")


# D3: whole samplers


def orthogonal_noise(monkeypatch, T):
    """Let x_T and the noise of every step be columns of a Hadamard matrix.

    Each has mean 0 and variance 1 over the samples, exactly, and no two correlate: the samples'
    mean and variance are those of the distribution the sampler draws from, with no sampling error.
    """
    n = 2 ** math.ceil(math.log2(T + 2))
    columns = hadamard(n).astype(np.float64)[:, 1:]

    def stand_in(seed, shape, *, step=0, stream="sample", first=0, dtype=np.float32):
        assert (shape, stream, first) == ((n, 1), "noise" if step else "latent", 0)
        return columns[:, step : step + 1].astype(dtype)

    monkeypatch.setattr(ops, "normal", stand_in)
    monkeypatch.setattr(diffusion, "normal", stand_in)
    return n


def ancestral_recursion(s, variance, stride=1):
    mean, var = 0.0, 1.0
    for t in range(s.T, 0, -1):
        A, C = algorithm_2(s, t)
        mean, var = A * mean + C, A**2 * var + sigma2(s, t, variance)
    return mean, var


def ddim_recursion(s, times, eta=0.0):
    """In x̄ = x/√ᾱ and κ = √(1/ᾱ − 1): Euler's method on dx̄/dκ = ε, and σ² of noise (Eq. 12)."""
    mean, var = 0.0, 1.0
    for t, u in itertools.pairwise(times):
        a_t, a_u = s.alpha_bar[t], s.alpha_bar[u]
        s2 = eta**2 * (1 - a_u) / (1 - a_t) * (1 - a_t / a_u)
        d_kappa = math.sqrt((1 - a_u - s2) / a_u) - math.sqrt(1 / a_t - 1)
        A = 1 + d_kappa * posterior_noise(a_t) * math.sqrt(a_t)  # of x̄ − M
        mean = math.sqrt(a_u) * (A * (mean / math.sqrt(a_t) - M) + M)
        var = a_u / a_t * A**2 * var + s2
    return mean, var


def heun_recursion(s, times):
    """Heun's method on dx/dφ = v in the deviation y = x − √ᾱ M, for which v + M sin φ = k y."""

    def k(a):
        return (posterior_noise(a) - math.sqrt(1 - a)) / math.sqrt(a)

    mean, var = 0.0, 1.0
    for t, u in itertools.pairwise(times):
        a_t, a_u = s.alpha_bar[t], s.alpha_bar[u]
        (c_t, s_t), (c_u, s_u) = ((math.sqrt(a), math.sqrt(1 - a)) for a in (a_t, a_u))
        cos, sin = c_t * c_u + s_t * s_u, s_t * c_u - c_t * s_u
        A = cos - sin * k(a_t)  # DDIM, exact for the path of the mean itself
        if u:
            delta = math.asin(sin) if cos > 0 else math.pi - math.asin(sin)
            centre = c_t * M + delta * (s_t + s_u) / 2 * M - c_u * M
            A = 1 - delta * (k(a_t) + k(a_u) * A) / 2
        else:
            centre = 0.0
        mean, var = A * (mean - c_t * M) + centre + c_u * M, A**2 * var
    return mean, var


def follows(model, n, expected, **how):
    x = model.sample(n, **how)
    np.testing.assert_allclose(x.mean(), expected[0], atol=1e-10)
    np.testing.assert_allclose(x.var(), expected[1], atol=1e-10)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("T", [2, 5, 30])
def test_samplers_follow_their_recursions(monkeypatch, name, T):
    n = orthogonal_noise(monkeypatch, T)
    for variance in FIXED:
        model = gaussian_model(T, name, variance)
        follows(model, n, ancestral_recursion(model.schedule, variance))
    s = model.schedule
    follows(model, n, ancestral_recursion(s, "beta_tilde"), sampler="ddim", eta=1.0)
    for steps in {1, 2, T // 2, T}:
        times = s.timesteps(steps)
        for eta in (0.0, 0.4, 1.0):
            expected = ddim_recursion(s, times, eta)
            follows(model, n, expected, sampler="ddim", steps=steps, eta=eta)
        follows(model, n, heun_recursion(s, times), sampler="heun", steps=steps)


@pytest.mark.parametrize("fault", ["off by one", "alpha for alpha_bar", "other variance"])
def test_a_wrong_sampler_is_rejected(monkeypatch, fault):
    n = orthogonal_noise(monkeypatch, 30)
    model = gaussian_model(30, "linear", "beta")
    exact = exact_output("eps", model.schedule, exact_epsilon(model.schedule))
    expected = ancestral_recursion(model.schedule, "beta")
    follows(model, n, expected)
    if fault == "off by one":
        says(model, lambda x, t: exact(x, t - 1 if t > 1 else t))
    elif fault == "alpha for alpha_bar":
        slopes = 1 - model.schedule.beta
        says(model, lambda x, t: posterior_noise(slopes[t]) * (x - math.sqrt(slopes[t]) * M))
    else:
        model.variance = "beta_tilde"
    with pytest.raises(AssertionError):
        follows(model, n, expected)


def error(monkeypatch, T, name, **how):
    """Distance of the samples' mean and standard deviation from the data's."""
    model = gaussian_model(T, name, how.pop("variance", "beta_tilde"))
    with monkeypatch.context() as patch:
        x = model.sample(orthogonal_noise(patch, T), **how)
    return abs(x.mean() - M) + abs(x.std() - math.sqrt(V))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "how", [{"variance": "beta"}, {"variance": "beta_tilde"}, {"sampler": "ddim"}]
)
def test_samplers_approach_the_data_as_steps_are_added(monkeypatch, name, how):
    errors = [error(monkeypatch, T, name, **how) for T in (8, 32, 128, 510)]
    assert errors[0] > errors[1] > 2 * errors[2] > 4 * errors[3]
    assert errors[3] < 0.01


def test_heun_is_of_second_order_and_ddim_of_first():
    """Halving the steps of one fixed ODE divides the error by 4 and by 2."""
    T = 1024
    alpha_bar = np.cos(np.linspace(0, 0.49 * math.pi, T + 1)) ** 2  # evenly spaced in φ
    beta = np.concatenate([[0.0], 1 - alpha_bar[1:] / alpha_bar[:-1]])
    s = Schedule(beta, 1 - beta, alpha_bar)
    exact = math.sqrt(V / (alpha_bar[-1] * V + 1 - alpha_bar[-1]))  # dx_0/dx_T along the ODE
    for recursion, order in ((ddim_recursion, 1), (heun_recursion, 2)):
        slopes = [math.sqrt(recursion(s, s.timesteps(n))[1]) for n in (64, 128)]
        errors = np.abs(np.array(slopes) - exact)
        np.testing.assert_allclose(errors[0] / errors[1], 2**order, rtol=0.05)


def test_heun_needs_fewer_looks_at_the_network_than_ddim(monkeypatch):
    for name in NAMES:
        heun = error(monkeypatch, 254, name, sampler="heun", steps=20)
        assert heun < 0.7 * error(monkeypatch, 254, name, sampler="ddim", steps=40)


# The pieces: whichever of the three a network is asked for, whichever the sampler


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "heun"])
def test_a_sampler_does_not_mind_what_the_network_is_asked_for(name, sampler):
    """ε, x_0 and v of the same exact model: the same samples, the same bound."""
    models = [gaussian_model(12, name, prediction=p) for p in REGRESSIONS]
    samples = [m.sample(9, seed=2, sampler=sampler, eta=0.4, steps=7) for m in models]
    np.testing.assert_allclose(samples[1:], [samples[0]] * 2, rtol=1e-8, atol=1e-8)
    bounds = [expected_elbo(m, 0.4) for m in models]
    np.testing.assert_allclose(bounds[1:], bounds[0], rtol=1e-8)


def uses_the_networks_own_word(model):
    """Where next to no signal is left x̂_0 is what the network says, in float32 too."""
    t, x_t = model.schedule.T, np.ones((5, 2), np.float32)
    assert model.schedule.alpha_bar[t] < 1e-12
    denoiser = model.denoiser
    says(model, lambda x_t, t: np.full_like(x_t, 0.5))
    try:
        np.testing.assert_allclose(model.x_0(x_t, t), -0.5, rtol=1e-6)
        for take_step in (Ancestral(), DDIM(), Heun()):
            np.testing.assert_allclose(take_step(model, x_t, t, 0, seed=0), -0.5, rtol=1e-6)
    finally:
        model.denoiser = denoiser


def test_a_step_from_pure_noise_uses_the_networks_own_word():
    model = DDPM(2, steps=10, schedule="linear")
    uses_the_networks_own_word(model)

    def by_way_of_the_noise(x_t, t):
        signal, noise = model.schedule.signal_and_noise(t, x_t)
        eps = signal * model.says(x_t, t)["output"] + noise * x_t
        return (x_t - noise * eps) / signal

    model.x_0 = by_way_of_the_noise
    with pytest.raises(AssertionError):
        uses_the_networks_own_word(model)


def test_zero_terminal_signal_is_no_reason_to_divide_by_it():
    assert x0_coefficients("v", 0.0, 1.0) == (0.0, -1.0)
    assert x0_coefficients("x0", 0.0, 1.0) == (0.0, 1.0)
    for signal in (0.0, np.array([[0.5], [0.0]])):
        with pytest.raises(InputError, match="prediction must be x0 or v"):
            x0_coefficients("eps", signal, 1.0)
    alpha_bar = np.array([1.0, 0.5, 0.0])
    model = random_model(steps=2)
    beta = np.concatenate([[0.0], 1 - alpha_bar[1:] / alpha_bar[:-1]])
    model.schedule = Schedule(beta, 1 - beta, alpha_bar)
    for sampler in ("ddpm", "ddim", "heun"):
        assert np.all(np.isfinite(model.sample(5, sampler=sampler)))
    with no_grad():
        assert np.isfinite(model.loss(draw(0, 8, 3), rng=Generator(0)))
        assert np.all(np.isfinite(model.elbo(draw(0, 8, 3), rng=Generator(0))))


@pytest.mark.parametrize("levels", [None, 5])
@pytest.mark.parametrize("prediction", REGRESSIONS)
def test_float32_stays_float32_with_a_graph_and_without(levels, prediction):
    model = DDPM(3, hidden=8, steps=6, levels=levels, prediction=prediction)
    x = np.linspace(-1, 1, 5, dtype=np.float32)[np.random.default_rng(0).integers(0, 5, (4, 3))]
    for call in (model.elbo, model.loss):
        assert call(x, rng=Generator(0)).dtype == np.float32
        with no_grad():
            assert call(x, rng=Generator(0)).dtype == np.float32
    for sampler in ("ddpm", "ddim", "heun"):
        assert model.sample(3, sampler=sampler).dtype == np.float32


def test_samplers_say_what_they_are_and_refuse_what_they_can_not_do():
    assert [repr(s) for s in (Ancestral(), DDIM(0.5), Heun())] == [
        "Ancestral(variance='beta')",
        "DDIM(eta=0.5)",
        "Heun()",
    ]
    with pytest.raises(InputError, match=r"^variance must be one of beta, beta_tilde, learned"):
        Ancestral("half")
    with pytest.raises(InputError, match=r"^variance must be one of beta, beta_tilde, got"):
        ddpm_coefficients(0.5, 0.6, "learned")
    with pytest.raises(InputError, match=r"^eta must be a finite number >= 0 and <= 1"):
        DDIM(2.0)


# The model


def test_a_sample_does_not_depend_on_its_batch():
    model = random_model(steps=6)
    for how in ({}, {"sampler": "ddim", "eta": 0.5, "steps": 3}, {"sampler": "heun"}):
        x = model.sample(9, seed=3, **how)
        np.testing.assert_allclose(model.sample(4, seed=3, **how), x[:4], rtol=1e-12, atol=1e-12)
        assert np.all(np.abs(model.sample(9, seed=4, **how) - x) > 0)


def test_samplers_of_the_model_agree_where_they_should():
    model = random_model(steps=6, variance="beta_tilde")
    same = model.sample(5, sampler="ddim", eta=1.0)
    np.testing.assert_allclose(model.sample(5), same, atol=1e-10)
    euler, heun = (model.sample(5, sampler=name, steps=1) for name in ("ddim", "heun"))
    np.testing.assert_array_equal(euler, heun)  # the last step has no second half
    assert np.abs(model.sample(5, sampler="heun") - model.sample(5, sampler="ddim")).max() > 1e-6


def test_the_loss_is_algorithm_1():
    model, x, rng = random_model(steps=6, prediction="eps"), draw(0, 40, 3), Generator(9)
    t, eps = rng.integers(1, 7, (40,)), rng.normal((40, 3), dtype=np.float64)
    assert set(t) == set(range(1, 7))
    a = model.alphas_cumprod[t - 1][:, None]
    with no_grad():
        eps_theta = model.epsilon(np.sqrt(a) * x + np.sqrt(1 - a) * eps, t)
        expected = np.mean(np.sum((eps - eps_theta) ** 2, axis=1))
        np.testing.assert_allclose(model.loss(x, None, Generator(9)), expected, rtol=1e-12)


def test_the_network_sees_the_time_and_one_time_for_all():
    model, x = random_model(steps=6), draw(0, 4, 3)
    with no_grad():
        rest = [model.denoiser(x, np.array([tau])) for tau in (100.0, 101.0)]
        np.testing.assert_allclose(model.epsilon(x, 3), model.epsilon(x, np.full(4, 3)), rtol=1e-12)
    assert np.abs(rest[0] - rest[1]).max() > 1e-4


def test_known_levels_keep_the_guess_at_the_data_in_range():
    model, x = random_model(steps=6, levels=5), 3 * draw(0, 50, 3)
    with no_grad():
        for t in range(1, 7):
            a = model.schedule.alpha_bar[t]
            p, q = x0_coefficients("eps", math.sqrt(a), math.sqrt(1 - a))
            assert np.all(np.abs(p * x + q * model.epsilon(x, t)) <= 1 + 1e-9)
            assert np.all(np.abs(model.x_0(x, t)) <= 1)
    assert np.all(np.abs(model.sample(50)) <= 1 + 1e-9)


def test_the_schedule_is_not_part_of_the_state():
    assert set(state(random_model())) == set(parameters(random_model()))


@pytest.mark.parametrize(
    ("bad", "match"),
    [
        ({"steps": 1}, "steps"),
        ({"schedule": "sigmoid"}, "schedule"),
        ({"variance": "half"}, "^variance must be one of beta, beta_tilde, learned, got 'half'"),
        ({"prediction": "levels"}, "^prediction must be eps, x0 or v for data without levels"),
        ({"levels": 1}, "^levels must be an int >= 2, got 1"),
        ({"prediction": "score"}, "^prediction must be one of eps, x0, v, got 'score'"),
        ({"steps": 2.5}, "^steps must be an int, got 2.5"),
        ({"hidden": 0}, "^hidden must be an int >= 1"),
        ({"blocks": -1}, "^blocks must be an int >= 0"),
        ({"dim": 0}, "^dim must be an int >= 1"),
    ],
)
def test_unknown_choices_are_refused(bad, match):
    with pytest.raises(InputError, match=match):
        DDPM(**{"dim": 2, **bad})


@pytest.mark.parametrize(
    ("bad", "match"),
    [
        ({"sampler": "euler"}, "sampler"),
        ({"steps": 0}, "steps"),
        ({"steps": 9}, "steps"),
        ({"sampler": "ddim", "eta": 1.5}, "eta"),
    ],
)
def test_sampling_refuses_what_it_can_not_do(bad, match):
    with pytest.raises(InputError, match=match):
        random_model(steps=8).sample(2, **bad)
    with pytest.raises(InputError, match="prediction"):
        x0_coefficients("score", 0.7, 0.7)


def test_it_learns_the_noise_of_gaussian_data():
    """Trained on N(M, V), ε_θ comes near the exact one: near the least possible loss."""
    model = DDPM(1, hidden=32, blocks=1, steps=20, dtype=np.float64)
    optimiser, rng = Adam(parameters(model), 5e-3), Generator(0)
    exact = exact_epsilon(model.schedule)
    for i in range(300):
        x = M + math.sqrt(V) * normal(1, (128, 1), step=i, dtype=np.float64)
        optimiser.zero_grad()
        model.loss(x, None, rng).backward()
        optimiser.step()
    x = M + math.sqrt(V) * normal(2, (2000, 1), dtype=np.float64)
    gaps = []
    for t in (2, 8, 14, 20):
        x_t = model.schedule.add_noise(x, normal(3, x.shape, step=t, dtype=np.float64), t)
        with no_grad():
            gaps.append(np.mean((model.epsilon(x_t, t) - exact(x_t, t)) ** 2))
    assert np.mean(gaps) < 0.01
