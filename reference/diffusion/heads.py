"""What a denoiser's output says about the data: its best guess at them, and how sure it is of it.

A head reads what the network says of x_t, `size` numbers for each of the data's, and knows what
follows: the guess x̂_0 = E[x_0 | x_t], the variance of the reverse step, the decoder p_θ(x_0 | x_1).
The reverse step's variance is told as a multiple of the least that it can be, σ_t² = r·β̃_t.

    Regression    x̂_0 by way of ε, x_0 or v; r = 1, or β_t/β̃_t, or between the two, as the network
                  says (Nichol & Dhariwal 2021, Eq. 15)
    Categorical   a probability for each value that a number can take, and from it all three

Of data on a grid, in noise far finer than the grid, a regression has to learn to round; where it
doesn't, the bound pays for each bit of its guess that is finer than the grid. So `Categorical`
takes over (Dieleman et al. 2022, score interpolation), with one thing more: what x_t,i itself says
of x_0,i is known, by Bayes' rule, and the network need not learn it,

    p(x_0,i = k | x_t) ∝ softmax(output_i)_k · N(x_t,i; √ᾱ_t c_k, 1 − ᾱ_t),

c_k being the values in [−1, 1]. MISSION row D2.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from core import Array
from core.checks import one_of, whole
from core.distributions import Normal
from core.errors import InputError
from core.functional import log_softmax
from reference.diffusion.decoder import discretised_log_prob
from reference.diffusion.parametrisation import REGRESSIONS, target, x0_coefficients

VARIANCES = ("beta", "beta_tilde", "learned")


class Guess(NamedTuple):
    """output: of the kind `prediction`, (B, …); x_0: x̂_0, (B, …); detail: the head's own."""

    output: Array
    x_0: Array
    detail: Any


class Regression:
    """The network says ε, x_0 or v; levels: the data take so many values in [−1, 1], or None.

    variance: σ_t² is "beta", "beta_tilde", or "learned": β_t^ν β̃_t^(1−ν), with ν said beside.
    """

    def __init__(self, prediction: str, variance: str, levels: int | None) -> None:
        self.prediction = one_of("prediction", prediction, REGRESSIONS)
        self.variance, self.levels = one_of("variance", variance, VARIANCES), levels
        self.size = 2 if variance == "learned" else 1

    def guess(self, said: Array, x_t: Array, signal: Any, noise: Any) -> Guess:
        """said (B, …, size), at x_t (B, …) = signal·x_0 + noise·ε."""
        p, q = x0_coefficients(self.prediction, signal, noise)
        x_0 = p * x_t + q * said[..., 0]
        x_0 = x_0 if self.levels is None else np.clip(x_0, -1.0, 1.0)
        return Guess(said[..., 0], x_0, (said[..., 1] + 1) / 2 if self.size == 2 else None)

    def error(self, guess: Guess, x_0: Array, eps: Array, signal: Any, noise: Any) -> Array:
        """What training makes small, (B, …): of "eps" it is that of Algorithm 1."""
        return target(self.prediction, x_0, eps, signal, noise) - guess.output

    def ratio(self, guess: Guess, gain: Any, most: Any) -> Array:
        """r = σ_t²/β̃_t, of most = β_t/β̃_t."""
        if self.variance == "learned":
            return np.exp(guess.detail * np.log(most))
        return most if self.variance == "beta" else most / most

    def log_decoder(self, guess: Guess, x: Array, least: float, most: float) -> Array:
        """log p_θ(x_0 | x_1), (B, …): Eq. 13 if the data have levels, with σ_1² in least … most."""
        sigma: Array = math.sqrt(most)  # β̃_1 = 0 won't do
        if self.variance == "learned":
            sigma = np.exp(0.5 * (guess.detail * math.log(most / least) + math.log(least)))
        if self.levels is None:
            return Normal(guess.x_0, sigma).log_prob(x)
        return discretised_log_prob(x, guess.x_0, sigma, self.levels)


class Categorical:
    """The network says how likely each of the values is, from −1 to 1; logits, of any scale.

    The variance of x_0 given x_t is that of the probabilities v, and if it is to count ("learned"),
    σ_t² = β̃_t + b² v, with b the weight of x_0 in Eq. 7: that of the mixture over x_0 of the
    posteriors q(x_{t−1} | x_t, x_0), which no Gaussian can beat (Bao et al. 2022).
    """

    prediction = "levels"

    def __init__(self, variance: str, levels: int) -> None:
        self.variance = one_of("variance", variance, VARIANCES)
        self.size = whole("levels", levels, 2)

    def values(self, dtype: Any) -> Any:
        """c_0, …, c_{K−1}, (K,)."""
        return np.linspace(-1, 1, self.size, dtype=dtype)

    def guess(self, said: Array, x_t: Array, signal: Any, noise: Any) -> Guess:
        """said (B, …, K), at x_t (B, …) = signal·x_0 + noise·ε. detail: log p(x_0 = c_k | x_t)."""
        c = self.values(x_t.dtype)
        from_level = (x_t[..., None] - signal[..., None] * c) / noise[..., None]  # ε, were it c_k
        log_p = log_softmax(said - 0.5 * np.square(from_level))
        x_0 = np.sum(np.exp(log_p) * c, axis=-1)
        return Guess(x_0, x_0, log_p)

    def error(self, guess: Guess, x_0: Array, eps: Array, signal: Any, noise: Any) -> Array:
        """ε less the ε that x̂_0 leaves in x_t: Algorithm 1."""
        return (x_0 - guess.x_0) * (-signal / noise)

    def ratio(self, guess: Guess, gain: Any, most: Any) -> Array:
        """r = σ_t²/β̃_t, of most = β_t/β̃_t and gain = b²/β̃_t."""
        if self.variance != "learned":
            return most if self.variance == "beta" else most / most
        c = self.values(guess.x_0.dtype)
        v = np.sum(np.exp(guess.detail) * np.square(c - guess.x_0[..., None]), axis=-1)
        return 1 + gain * v

    def log_decoder(self, guess: Guess, x: Array, least: float, most: float) -> Array:
        """log p_θ(x_0 | x_1), (B, …): that of the level nearest to x."""
        k = np.rint((x + 1) * ((self.size - 1) / 2)).astype(np.int64)
        chosen = np.arange(self.size) == k[..., None]
        return np.sum(np.where(chosen, guess.detail, 0.0), axis=-1)


Head = Regression | Categorical


def head_of(prediction: str, variance: str, levels: int | None) -> Head:
    """The head for a prediction. InputError for levels that are not known."""
    if prediction != "levels":
        return Regression(prediction, variance, levels)
    if levels is None:
        raise InputError("prediction must be eps, x0 or v for data without levels, got levels")
    return Categorical(variance, levels)
