"""Steps beside what two other implementations make of them.

`improved_*` are short forms of the formulas as OpenAI's improved-diffusion prints them (learned
range of variances, DDIM); the other is diffusers' DDPM and DDIM schedulers, where it is installed.
"""

import math

import numpy as np
import pytest

from core import no_grad
from reference.diffusion.coefficients import ddim_coefficients, ddpm_coefficients
from reference.diffusion.heads import Regression
from reference.diffusion.schedule import make_schedule
from reference.operations.diffusion_step import step_mean

T = 1000
LINEAR = make_schedule("linear", T)


def draw(seed):
    return np.random.default_rng(seed).normal(size=(3, 4))


def improved_mean_and_log_variance(betas, x_t, eps, fraction, t):
    """p_mean_variance for noise and a learned range, t = 0 … T − 1."""
    alphas = 1 - betas
    bar = np.cumprod(alphas)
    before = np.append(1.0, bar[:-1])
    x_0 = np.sqrt(1 / bar[t]) * x_t - np.sqrt(1 / bar[t] - 1) * eps
    coefficient_1 = betas[t] * np.sqrt(before[t]) / (1 - bar[t])
    coefficient_2 = (1 - before[t]) * np.sqrt(alphas[t]) / (1 - bar[t])
    posterior = betas * (1 - before) / (1 - bar)
    low = np.log(np.append(posterior[1], posterior[1:]))[t]
    mix = fraction * np.log(betas[t]) + (1 - fraction) * low
    return coefficient_1 * x_0 + coefficient_2 * x_t, mix


@pytest.mark.parametrize("t", [2, 3, 17, 500, 1000])
def test_a_learned_step_is_improved_diffusions(t):
    x_t, eps, raw = draw(t), draw(t + 1), draw(t + 2)
    mean, log_variance = improved_mean_and_log_variance(
        LINEAR.beta[1:], x_t, eps, (raw + 1) / 2, t - 1
    )
    head = Regression("eps", "learned", None)
    with no_grad():
        guess = head.guess(np.stack([eps, raw], -1), x_t, *LINEAR.signal_and_noise(t, x_t))
        got, beta_tilde = LINEAR.posterior(guess.x_0, x_t, t)
        ratio = head.ratio(guess, *LINEAR.gain_and_most(t, x_t))
    np.testing.assert_allclose(got, mean, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(np.log(ratio * beta_tilde), log_variance, rtol=1e-9)


def improved_ddim(betas, x_t, eps, eta, t):
    """ddim_sample's mean and σ, t = 0 … T − 1."""
    bar = np.cumprod(1 - betas)
    a, before = bar[t], np.append(1.0, bar[:-1])[t]
    x_0 = np.sqrt(1 / a) * x_t - np.sqrt(1 / a - 1) * eps
    sigma = eta * np.sqrt((1 - before) / (1 - a)) * np.sqrt(1 - a / before)
    return x_0 * np.sqrt(before) + np.sqrt(1 - before - sigma**2) * eps, sigma


@pytest.mark.parametrize("t", [1, 2, 17, 500, 1000])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_a_step_of_ddim_is_improved_diffusions(t, eta):
    x_t, eps = draw(t), draw(t + 1)
    mean, sigma = improved_ddim(LINEAR.beta[1:], x_t, eps, eta, t - 1)
    c = ddim_coefficients(LINEAR.alpha_bar[t], LINEAR.alpha_bar[t - 1], eta)
    np.testing.assert_allclose(step_mean(x_t, eps, c), mean, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(c.sigma, sigma, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
@pytest.mark.parametrize("t", [2, 17, 500, 1000])
def test_steps_are_diffusers(prediction, t):
    torch, diffusers = pytest.importorskip("torch"), pytest.importorskip("diffusers")
    kind = {"eps": "epsilon", "x0": "sample", "v": "v_prediction"}[prediction]
    how = {"num_train_timesteps": T, "trained_betas": LINEAR.beta[1:], "prediction_type": kind}
    x_t, output = draw(t), draw(t + 1)
    now, then = LINEAR.alpha_bar[t], LINEAR.alpha_bar[t - 1]
    ddim = diffusers.DDIMScheduler(clip_sample=False, set_alpha_to_one=True, **how)
    ddim.set_timesteps(T)
    theirs = ddim.step(torch.from_numpy(output), t - 1, torch.from_numpy(x_t)).prev_sample.numpy()
    ours = step_mean(x_t, output, ddim_coefficients(now, then, 0.0, prediction))
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)  # theirs keeps ᾱ in float32
    ddpm = diffusers.DDPMScheduler(clip_sample=False, **how)
    c = ddpm_coefficients(now, then, "beta_tilde", prediction)
    np.testing.assert_allclose(c.sigma, math.sqrt(float(ddpm._get_variance(t - 1))), rtol=1e-4)
