"""What a network may be asked for, and how each of it gives the others.

In x_t = √ᾱ_t x_0 + √(1−ᾱ_t) ε only x_t is known. A regression is asked for one of three things,

    "eps"    ε                            x̂_0 = (x_t − √(1−ᾱ_t) ε̂) / √ᾱ_t
    "x0"     x_0                          x̂_0 itself
    "v"      v = √ᾱ_t ε − √(1−ᾱ_t) x_0    x̂_0 = √ᾱ_t x_t − √(1−ᾱ_t) v̂

(Ho et al. 2020, Eq. 15; Salimans & Ho 2022, appendix D), each of which gives the others. Where x_t
is nearly noise the first divides by next to nothing, and at ᾱ_t = 0 the noise says nothing of the
data; v is good at both ends. "levels" asks how likely each value of x_0 is: `heads` has it, and for
a sampler its mean is x̂_0. MISSION rows D2, D3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from core import Array
from core.checks import one_of
from core.errors import InputError

PREDICTIONS: dict[str, Callable[[Any, Any], tuple[Any, Any]]] = {
    "eps": lambda signal, noise: (1 / signal, -noise / signal),
    "x0": lambda signal, noise: (0.0, 1.0),
    "v": lambda signal, noise: (signal, -noise),
    "levels": lambda signal, noise: (0.0, 1.0),
}
"""(√ᾱ_t, √(1−ᾱ_t)) → (p, q) of x̂_0 = p·x_t + q·output."""

REGRESSIONS = ("eps", "x0", "v")


def x0_coefficients(prediction: str, signal: Any, noise: Any) -> tuple[Any, Any]:
    """(p, q) of x̂_0 = p·x_t + q·output, for a network that predicts one of PREDICTIONS.

    signal, noise: √ᾱ_t and √(1−ᾱ_t), numbers or columns. Raises InputError for another name, and
    for "eps" where the signal is 0.

    >>> x0_coefficients("v", 0.0, 1.0)  # nothing but noise is left: v = −x_0
    (0.0, -1.0)
    """
    line = PREDICTIONS[one_of("prediction", prediction, PREDICTIONS)]
    if prediction == "eps" and np.any(signal == 0):
        raise InputError("prediction must be x0 or v where alpha_bar_t is 0, got eps")
    return line(signal, noise)


def target(prediction: str, x_0: Array, eps: Array, signal: Any, noise: Any) -> Array:
    """What a regression should have said of x_t = signal·x_0 + noise·eps, (B, …).

    >>> target("v", x_0=1.0, eps=2.0, signal=0.0, noise=1.0)
    -1.0
    """
    one_of("prediction", prediction, REGRESSIONS)
    return {"eps": eps, "x0": x_0, "v": signal * eps - noise * x_0}[prediction]


def converted(output: Array, x_t: Array, signal: Any, noise: Any, *, source: str, to: str) -> Array:
    """An output of the kind `source` as one of the kind `to`: the same x̂_0 and ε̂ behind it.

    Raises InputError as `x0_coefficients` does; ε̂ and v̂ need some noise in x_t.
    """
    p, q = x0_coefficients(source, signal, noise)
    x_0 = p * x_t + q * output
    return target(to, x_0, (x_t - signal * x_0) / noise, signal, noise)
