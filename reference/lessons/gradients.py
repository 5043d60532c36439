"""Two gradients of an expectation: by the log-derivative trick, and by the path. MISSION row F6.

    ∇_θ E_{p_θ}[f(x)] = E[f(x) ∇_θ ln p_θ(x)]               for ∇p = p ∇ln p: the score function's
                      = E[∇_θ f(g_θ(ε))],  x = g_θ(ε)       if x can be written so: the path's

Both are unbiased. The first needs only values of f, so f may be a step or a game; since
E[∇ ln p] = 0, any constant b may be taken from f, and its variance depends on b. The second needs
f's derivative, and has, for smooth f, far less variance.

Here p_θ = N(μ, σ²) and f(x) = x² − x³/10, whose expectation is known, μ = 1 and σ = ½.
Williams 1992; Kingma & Welling 2014.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from core import Array, Tensor, grad
from core.distributions import Normal
from core.random import Generator
from reference.lessons import Fact, below, close, note
from reference.lessons._picture import ACCENT, INK, PAPER, panels

MU, SIGMA, N = 1.0, 0.5, 100_000
NAMES = ("∂/∂μ", "∂/∂σ")


def f(x: Array) -> Array:
    """What is averaged."""
    return x * x - x * x * x / 10


def exact() -> tuple[float, float]:
    """∇ of E f = μ² + σ² − (μ³ + 3μσ²)/10."""
    mu, sigma = Tensor(np.array(MU)), Tensor(np.array(SIGMA))
    mean = mu * mu + sigma * sigma - (mu * mu * mu + 3 * mu * sigma * sigma) / 10
    d_mu, d_sigma = grad(mean, [mu, sigma])
    return float(d_mu), float(d_sigma)


def parameters(n: int) -> tuple[Tensor, Tensor]:
    """One μ and σ a sample, so that each has a gradient of its own."""
    return Tensor(np.full(n, MU)), Tensor(np.full(n, SIGMA))


def score(x: Array) -> Array:
    """∇ ln p(x), (n, 2)."""
    mu, sigma = parameters(len(x))
    return np.stack(grad(np.sum(Normal(mu, sigma).log_prob(x)), [mu, sigma]), axis=1)


def by_score(x: Array, baseline: float = 0.0) -> Array:
    """(f(x) − b) ∇ ln p(x), one estimate a sample, (n, 2)."""
    return (f(x) - baseline)[:, None] * score(x)


def by_path(rng: Generator, n: int) -> Array:
    """∇ f(μ + σ ε), one estimate a sample, (n, 2)."""
    mu, sigma = parameters(n)
    x = Normal(mu, sigma).rsample((), rng)
    return np.stack(grad(np.sum(f(x)), [mu, sigma]), axis=1)


@dataclass(frozen=True)
class Result:
    """Means and variances of one estimate, for μ and σ."""

    exact: tuple[float, float]
    score: tuple[tuple[float, float], tuple[float, float]]  # of ∇ ln p itself
    by_score: tuple[tuple[float, float], tuple[float, float]]
    with_baseline: tuple[tuple[float, float], tuple[float, float]]
    by_path: tuple[tuple[float, float], tuple[float, float]]


def moments(g: Array) -> tuple[tuple[float, float], tuple[float, float]]:
    """Mean and variance of both columns (n, 2)."""
    (a, b), (va, vb) = g.mean(axis=0).tolist(), g.var(axis=0, ddof=1).tolist()
    return (a, b), (va, vb)


def run(seed: int = 0) -> Result:
    """A hundred thousand samples of each.

    >>> [round(g, 4) for g in run().exact]
    [1.625, 0.7]
    """
    rng = Generator(seed)
    x = np.asarray(Normal(np.array(MU), np.array(SIGMA)).sample((N,), rng))
    mean = float(f(np.asarray(Normal(np.array(MU), np.array(SIGMA)).sample((N,), rng))).mean())
    return Result(
        exact=exact(),
        score=moments(score(x)),
        by_score=moments(by_score(x)),
        with_baseline=moments(by_score(x, mean)),
        by_path=moments(by_path(rng, N)),
    )


def facts(result: Result) -> list[Fact]:
    """Three estimators of the same two numbers."""
    told = []
    for i, name in enumerate(NAMES):
        truth = result.exact[i]
        told.append(note(f"{name} E f, exactly", truth))
        told.append(_mean(f"E {name} ln p", result.score, i, 0.0))
        for what, found in (
            ("by the score", result.by_score),
            ("by the score, less a baseline", result.with_baseline),
            ("by the path", result.by_path),
        ):
            told.append(_mean(f"{name} {what}", found, i, truth))
            told.append(note("… variance of one sample", found[1][i]))
        told.append(
            below(
                f"{name}: the path's variance, beside the score's",
                result.by_path[1][i],
                result.by_score[1][i],
            )
        )
    return told


def _mean(what: str, found: tuple[tuple[float, float], ...], i: int, truth: float) -> Fact:
    return close(what, found[0][i], truth, within=4 * math.sqrt(found[1][i] / N))


def picture(result: Result) -> bytes:
    """Variances beside each other."""

    def draw(axes: Any) -> None:
        found = (result.by_score, result.with_baseline, result.by_path)
        for j, (one, color) in enumerate(zip(found, (PAPER, INK, ACCENT), strict=True)):
            axes.bar(np.arange(2) + 0.25 * j, one[1], 0.25, color=color)
        axes.set_xticks(np.arange(2) + 0.25, NAMES)
        axes.set(ylabel="variance of one sample", title="score · score − b · path")

    return panels(draw)
