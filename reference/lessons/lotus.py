"""The mean of a function needs no density of its values; and what a Dirac delta is. MISSION row F8.

    E[g(X)] = ∫ g(x) p_X(x) dx = ∫ y p_Y(y) dy           y = g(x): LOTUS, the law of the unconscious
                                                         statistician; g need not be invertible
    ∫ g(x) N(x; a, σ²) dx  →  g(a)  as σ → 0             δ(x − a) is that limit, no function
    p̂(x) = 1/n Σ δ(x − x_i)   so   E_p̂[g] = 1/n Σ g(x_i) the data, as a distribution

With X standard normal, Y = X² has the density e^(−y/2)/√2πy, a χ² of one degree of freedom, and the
two integrals of √(1 + y) are computed one on each side. A narrow Gaussian sifts g(a) with an error
σ²/2 · g″(a), nearly, so halving σ quarters it; and g″ ≤ 1 here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from core import Array
from core.distributions import Categorical, Mixture, Normal
from core.random import Generator
from reference.lessons import Fact, below, close
from reference.lessons._picture import ACCENT, INK, PAPER, panels

CENTRE = 0.7
WIDTHS = (0.4, 0.2, 0.1, 0.05)


def of_square(x: Array) -> Array:
    """√(1 + x²): y = x² can't be undone."""
    return np.sqrt(1 + x * x)


def integral(f: Callable[[Array], Array], low: float, high: float, nodes: int = 400) -> float:
    """∫ f by Gauss–Legendre."""
    x, w = np.polynomial.legendre.leggauss(nodes)
    half = (high - low) / 2
    return float(half * np.sum(w * f(low + half * (x + 1))))


def over_x() -> float:
    """∫ g(x) p_X(x) dx."""
    return integral(lambda x: of_square(x) * np.exp(Normal(0.0, 1.0).log_prob(x)), -12, 12)


def over_y() -> float:
    """∫ √(1 + y) p_Y(y) dy, with y = t² under the integral, whose root at 0 is then gone."""

    def at(t: Array) -> Array:
        density = np.exp(-t * t / 2) / np.sqrt(2 * math.pi * t * t)
        return np.sqrt(1 + t * t) * density * 2 * t

    return integral(at, 0, 12)


def sifted(sigma: float) -> float:
    """∫ g(x) N(x; a, σ²) dx."""
    law = Normal(CENTRE, sigma)
    return integral(
        lambda x: of_square(x) * np.exp(law.log_prob(x)), CENTRE - 12 * sigma, CENTRE + 12 * sigma
    )


@dataclass(frozen=True)
class Result:
    """What `run` found."""

    over_x: float
    over_y: float
    errors: tuple[float, ...]  # of the sieve, for each of WIDTHS
    mean_of_data: float
    under_deltas: float  # E of g under narrow Gaussians on the data, beside the mean


def run(seed: int = 0) -> Result:
    """Integrals by quadrature; fifty data points.

    >>> f"{run().over_x:.6f} {run().over_y:.6f}"
    '1.354531 1.354531'
    """
    x = Generator(seed).normal((50,), dtype=np.float64)
    narrow = Mixture(Categorical(probs=np.full(50, 1 / 50)), Normal(x, np.full(50, 1e-3)))
    grid = np.linspace(-6.0, 6.0, 240_001)
    under = float(np.sum(of_square(grid) * np.exp(narrow.log_prob(grid))) * (grid[1] - grid[0]))
    return Result(
        over_x=over_x(),
        over_y=over_y(),
        errors=tuple(sifted(sigma) - float(of_square(CENTRE)) for sigma in WIDTHS),
        mean_of_data=float(of_square(x).mean()),
        under_deltas=under,
    )


def facts(result: Result) -> list[Fact]:
    """Both sides; the limit; the data."""
    told = [close("E √(1 + X²), over x and over y", result.over_x, result.over_y, within=1e-10)]
    told += [
        below(f"∫ g N(a, {sigma}²) − g(a)", abs(error), sigma**2 / 2)
        for sigma, error in zip(WIDTHS, result.errors, strict=True)
    ]
    return [
        *told,
        close("halving σ quarters it", result.errors[-2] / result.errors[-1], 4.0, within=0.02),
        close(
            "E of g under deltas on 50 points: their mean",
            result.under_deltas,
            result.mean_of_data,
            within=1e-6,
        ),
    ]


def picture(result: Result) -> bytes:
    """Narrower and narrower."""

    def draw(axes: Any) -> None:
        x = np.linspace(-0.6, 2.0, 600)
        for sigma, color in zip(WIDTHS, (PAPER, INK, INK, ACCENT), strict=True):
            axes.plot(x, np.exp(Normal(CENTRE, sigma).log_prob(x)), color=color)
        axes.set(yticks=[], xlabel="x", title="towards δ(x − 0.7)")

    return panels(draw)
