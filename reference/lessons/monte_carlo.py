"""Monte Carlo and importance sampling: a mean of samples instead of an integral. MISSION row F5.

    E_p[f(x)] ≈ 1/n Σ f(x_i),  x_i ~ p            error: standard deviation of f over √n
              ≈ 1/n Σ w_i f(x_i),  x_i ~ q,  w = p/q        the same mean, and if q is where f p is,
                                                            a far smaller error
    effective sample size = (Σ w)² / Σ w²

Both are unbiased. But the logarithm of an unbiased estimate is not: by Jensen's inequality it is
too small on average, by about Var/2n of the relative weights. So ln of a likelihood that is
estimated with k samples is a lower bound, and it rises with k: the importance-weighted bound.

Here: a Gaussian's tail, P(x > 4), which naive sampling hardly ever sees; and
p(x) = ∫ N(z; 0, 1) N(x; z, 1) dz = N(x; 0, 2) at x = 2, with the prior as proposal.
Burda, Grosse & Salakhutdinov 2016.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from core import Array
from core.distributions import Normal
from core.functional import logsumexp
from core.random import Generator
from core.special import ndtr
from reference.judges.estimates import (
    Estimate,
    effective_sample_size,
    importance,
    monte_carlo,
)
from reference.lessons import Fact, below, close, note
from reference.lessons._picture import ACCENT, INK, panels

TAIL, N = 4.0, 1000
KS = (1, 4, 16, 64)
X = 2.0


def naive(rng: Generator, repetitions: int) -> Array:
    """P(x > 4) by counting, (repetitions,)."""
    x = rng.normal((repetitions, N), dtype=np.float64)
    return monte_carlo(x > TAIL).mean


def weighted(rng: Generator, repetitions: int) -> tuple[Array, Array]:
    """P(x > 4) with x ~ N(4, 1), and the effective sample size of E[1 | x > 4], (repetitions,)."""
    x = TAIL + rng.normal((repetitions, N), dtype=np.float64)
    log_w = Normal(0.0, 1.0).log_prob(x) - Normal(TAIL, 1.0).log_prob(x)
    within = np.where(x > TAIL, log_w, -np.inf)
    return importance(x > TAIL, log_w).mean, effective_sample_size(within)


def log_likelihoods(rng: Generator, k: int, repetitions: int) -> Array:
    """ln 1/k Σ p(x | z_i), z_i ~ N(0, 1), nats, (repetitions,)."""
    z = rng.normal((repetitions, k), dtype=np.float64)
    return logsumexp(Normal(z, 1.0).log_prob(np.array(X)), axis=1) - math.log(k)


@dataclass(frozen=True)
class Result:
    """What `run` found; an `Estimate` is of one number a repetition."""

    truth: float
    naive: Estimate
    weighted: Estimate
    effective: float
    log_p: float
    bounds: tuple[Estimate, ...]  # for each of KS
    likelihood: Estimate  # exp of the same, which is unbiased


def run(seed: int = 0) -> Result:
    """Two thousand repetitions of everything.

    >>> run().truth
    3.167124183311986e-05
    """
    rng, repetitions = Generator(seed), 2000
    w, effective = weighted(rng, repetitions)
    logs = [log_likelihoods(rng, k, 10 * repetitions) for k in KS]
    return Result(
        truth=float(ndtr(-TAIL)),
        naive=monte_carlo(naive(rng, repetitions)),
        weighted=monte_carlo(w),
        effective=float(effective.mean()),
        log_p=float(Normal(0.0, math.sqrt(2)).log_prob(np.array(X))),
        bounds=tuple(map(monte_carlo, logs)),
        likelihood=monte_carlo(np.exp(logs[-1])),
    )


def facts(result: Result) -> list[Fact]:
    """Unbiased; how large the errors are; and the bias of a logarithm."""
    gaps = [result.log_p - bound.mean for bound in result.bounds]
    told = [
        close("P(x > 4), counted", result.naive.mean, result.truth, within=4 * result.naive.se),
        close(
            "P(x > 4), weighted", result.weighted.mean, result.truth, within=4 * result.weighted.se
        ),
        note(f"relative error of one count of {N}", result.naive.deviation / result.truth),
        below("… of one weighted mean", result.weighted.deviation / result.truth, 0.1),
        note(f"effective sample size, of {N}", result.effective),
        close(
            "p(x) by 64 samples is unbiased",
            result.likelihood.mean,
            math.exp(result.log_p),
            within=4 * result.likelihood.se,
        ),
    ]
    for k, bound in zip(KS, result.bounds, strict=True):
        told.append(below(f"E ln p̂(x), {k} samples, is too small", bound.mean, result.log_p))
    shrinks = all(a > b for a, b in pairwise(gaps))
    return [
        *told,
        Fact("its gap shrinks with k", ", ".join(f"{g:.4f}" for g in gaps), "falls", shrinks),
    ]


def picture(result: Result) -> bytes:
    """The bound rises to the truth."""

    def draw(axes: Any) -> None:
        axes.errorbar(
            KS,
            [b.mean for b in result.bounds],
            [4 * b.se for b in result.bounds],
            fmt="o-",
            color=INK,
        )
        axes.axhline(result.log_p, color=ACCENT)
        axes.set(
            xscale="log", xlabel="samples k", ylabel="nats", title="E ln p̂(x) rises to ln p(x)"
        )

    return panels(draw)
