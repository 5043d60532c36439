"""The definition of each operation that has a fast twin: the shortest correct NumPy.

Here: one step of a diffusion sampler, from time t to an earlier time s.

    ε̂  = ε∅ + s·(ε_y − ε∅)              guidance (if any)
    x̂_0 = p·x_t + q·ε̂                   what the network's output says about the data
    x_s = a·x_t + b·x̂_0 + σ·z           z ~ N(0, I), drawn for (seed, step t, sample)

Every sampler below is these three lines with its own five numbers. MISSION rows D3, D7, K5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import NamedTuple

import numpy as np

from core import Array
from core.errors import InputError
from core.operation import operation
from core.random import normal
from reference.diffusion.schedule import posterior_coefficients


class StepCoefficients(NamedTuple):
    """x̂_0 = p·x_t + q·output;  x_s = a·x_t + b·x̂_0 + σ·z. Plain floats."""

    p: float
    q: float
    a: float
    b: float
    sigma: float


def x0_coefficients(prediction: str, alpha_bar_t: float) -> tuple[float, float]:
    """(p, q) for a network that predicts "eps", "x0", or "v" = √ᾱ ε − √(1−ᾱ) x_0.

    ε: Ho et al. 2020, Eq. 15; v: Salimans & Ho 2022, appendix D. InputError for another name.
    """
    signal, noise = math.sqrt(alpha_bar_t), math.sqrt(1 - alpha_bar_t)
    table = {"eps": (1 / signal, -noise / signal), "x0": (0.0, 1.0), "v": (signal, -noise)}
    if prediction not in table:
        raise InputError(f"prediction must be one of {', '.join(table)}, got {prediction!r}")
    return table[prediction]


def ddpm_coefficients(
    alpha_bar_t: float, alpha_bar_s: float, variance: str = "beta", prediction: str = "eps"
) -> StepCoefficients:
    """Ancestral sampling: the mean of q(x_s | x_t, x̂_0), and σ² = β or β̃ (Ho et al., section 3.2).

    At s = 0 no noise is added (Algorithm 2, line 3). InputError for another `variance`.
    """
    if variance not in ("beta", "beta_tilde"):
        raise InputError(f"variance must be 'beta' or 'beta_tilde', got {variance!r}")
    a, b, beta_tilde = posterior_coefficients(alpha_bar_t, alpha_bar_s)
    beta = 1 - alpha_bar_t / alpha_bar_s
    var = 0.0 if alpha_bar_s == 1 else beta if variance == "beta" else beta_tilde
    return StepCoefficients(*x0_coefficients(prediction, alpha_bar_t), a, b, math.sqrt(var))


def ddim_coefficients(
    alpha_bar_t: float, alpha_bar_s: float, eta: float = 0.0, prediction: str = "eps"
) -> StepCoefficients:
    """DDIM: x_s = √ᾱ_s x̂_0 + √(1−ᾱ_s−σ²) ε̂ + σ z with σ² = η² β̃ (Song et al. 2021, Eq. 12, 16).

    ε̂ is the noise that x̂_0 implies: (x_t − √ᾱ_t x̂_0) / √(1−ᾱ_t). InputError unless 0 ≤ η ≤ 1.
    """
    if not 0 <= eta <= 1:
        raise InputError(f"eta must be in [0, 1], got {eta}")
    _, _, beta_tilde = posterior_coefficients(alpha_bar_t, alpha_bar_s)
    var = eta**2 * beta_tilde
    a = math.sqrt((1 - alpha_bar_s - var) / (1 - alpha_bar_t))
    b = math.sqrt(alpha_bar_s) - a * math.sqrt(alpha_bar_t)
    return StepCoefficients(*x0_coefficients(prediction, alpha_bar_t), a, b, math.sqrt(var))


def guide(null: Array, conditional: Array, s: float) -> Array:
    """Classifier-free guidance ε∅ + s(ε_y − ε∅): s = 0 is ε∅, bit for bit; s = 1 is ε_y.

    The lecture's formula; Ho & Salimans 2022, Eq. 6, write w = s − 1.
    """
    return null if s == 0 else null + s * (conditional - null)


def check_step(coefficients: Sequence[float], guidance: float, clip: float | None) -> None:
    """InputError unless coefficients are five finite numbers, σ ≥ 0, guidance finite, clip > 0."""
    numbers = [c for c in coefficients if isinstance(c, Real) and math.isfinite(c)]
    if len(coefficients) != 5 or len(numbers) != 5 or coefficients[4] < 0:
        found = tuple(coefficients)
        raise InputError(f"coefficients must be five finite numbers, the last ≥ 0, got {found}")
    if not isinstance(guidance, Real) or not math.isfinite(guidance):
        raise InputError(f"guidance must be a finite number, got {guidance!r}")
    if clip is not None and not (isinstance(clip, Real) and clip > 0):
        raise InputError(f"clip must be a positive number or None, got {clip!r}")


def step_mean(
    x_t: Array, output: Array, coefficients: StepCoefficients, clip: float | None = None
) -> Array:
    """Where a step goes before noise is added: a·x_t + b·x̂_0; arguments as in `step`."""
    p, q, a, b, _ = coefficients
    x_0 = p * x_t + q * output
    if clip is not None:
        x_0 = np.clip(x_0, -clip, clip)
    return a * x_t + b * x_0


@operation
def step(
    x_t: Array,
    output: Array,
    coefficients: StepCoefficients,
    *,
    seed: int,
    t: int,
    first: int = 0,
    conditional: Array | None = None,
    guidance: float = 0.0,
    clip: float | None = None,
) -> Array:
    """x_s from x_t and the network's output, both (B, …) of one float dtype, which is the result's.

    seed, t, first: name the noise; row i of the batch is sample first + i. None is drawn at σ = 0.
    conditional, guidance: the output given a condition, and how far to go in its direction.
    clip: x̂_0 is kept within [−clip, clip]. InputError as `check_step` says.
    """
    check_step(coefficients, guidance, clip)
    if conditional is not None:
        output = guide(output, conditional, guidance)
    x_s = step_mean(x_t, output, coefficients, clip)
    if coefficients.sigma == 0:
        return x_s
    z = normal(seed, x_t.shape, step=t, stream="noise", first=first, dtype=x_t.dtype)
    return x_s + coefficients.sigma * z
