"""The numbers of samplers that are one line: x̂_0 = p·x_t + q·output, x_s = a·x_t + b·x̂_0 + σ·z.

That line has a fast twin, and stands in `reference.operations.diffusion_step`. MISSION row D3.
"""

from __future__ import annotations

import math

from core.checks import number, one_of
from reference.diffusion.parametrisation import x0_coefficients
from reference.diffusion.schedule import posterior_coefficients
from reference.operations.diffusion_step import StepCoefficients

FIXED = ("beta", "beta_tilde")


def ddpm_coefficients(
    alpha_bar_t: float, alpha_bar_s: float, variance: str = "beta", prediction: str = "eps"
) -> StepCoefficients:
    """Of Ancestral: the mean of q(x_s | x_t, x̂_0), and σ² = β or β̃ (Ho et al., section 3.2).

    At s = 0 no noise is added (Algorithm 2, line 3). InputError for another `variance`.
    """
    one_of("variance", variance, FIXED)
    a, b, beta_tilde = posterior_coefficients(alpha_bar_t, alpha_bar_s)
    beta = 1 - alpha_bar_t / alpha_bar_s
    var = 0.0 if alpha_bar_s == 1 else beta if variance == "beta" else beta_tilde
    return StepCoefficients(*_p_and_q(prediction, alpha_bar_t), a, b, math.sqrt(var))


def ddim_coefficients(
    alpha_bar_t: float, alpha_bar_s: float, eta: float = 0.0, prediction: str = "eps"
) -> StepCoefficients:
    """Of DDIM: Song et al. 2021, Eq. 12, with σ² = η² β̃, Eq. 16.

    ε̂ is the noise that x̂_0 implies: (x_t − √ᾱ_t x̂_0) / √(1−ᾱ_t). InputError unless 0 ≤ η ≤ 1.
    """
    _, _, beta_tilde = posterior_coefficients(alpha_bar_t, alpha_bar_s)
    var = number("eta", eta, least=0, most=1) ** 2 * beta_tilde
    a = math.sqrt((1 - alpha_bar_s - var) / (1 - alpha_bar_t))
    b = math.sqrt(alpha_bar_s) - a * math.sqrt(alpha_bar_t)
    return StepCoefficients(*_p_and_q(prediction, alpha_bar_t), a, b, math.sqrt(var))


def _p_and_q(prediction: str, alpha_bar_t: float) -> tuple[float, float]:
    return x0_coefficients(prediction, math.sqrt(alpha_bar_t), math.sqrt(1 - alpha_bar_t))
