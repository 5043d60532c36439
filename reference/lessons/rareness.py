"""How rare is it? What a density is good for, and what it is not. MISSION row N2.

A model of p(x) tells how probable an event is, by a mean of samples:

    P(A) = E_p[1_A(x)] ≈ 1/n Σ 1_A(g(z_i)),             z_i ~ N(0, I)
                       ≈ 1/n Σ 1_A(g(z_i)) w_i,         z_i ~ N(m, I),  w = N(z; 0, I)/N(z; m, I)

A flow x = g(z) has the second as cheaply as the first: where in z the event lies, one sample of it
has told, and the weights are those of two normals. Here: P(x₁ > 2) under a RealNVP of the plane,
beside the integral of its density.

But a small p(x) does not say that x is foreign, nor a large one that it is not. Take a Gaussian
that was fitted to digits, and each test digit at half its contrast, μ + (x − μ)/2. The model has
seen nothing so pale, and yet finds every one *more* probable than the digit it was made from:

    ln p(μ + (x − μ)/2) = ¾ ln p(μ) + ¼ ln p(x) ≥ ln p(x).

The mean image is the most probable of all, and is never drawn: where a density is high there is
little room. Sets of less variance than the data score above them under flows of images as well,
whatever they show (Nalisnick et al. 2018). What tells them is whether ln p(x) is typical, as near
to its mean as that of other digits: too high is as strange as too low.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from core import Array, no_grad, value
from core.data import load
from core.distributions import Normal
from core.random import Generator
from core.state import parameters
from reference.flows.real_nvp import RealNVP
from reference.judges.estimates import Estimate, importance, monte_carlo
from reference.latent.ppca import PPCA
from reference.lessons import Fact, above, below, close, note
from reference.lessons._picture import ACCENT, INK, panels

EDGE, N = 2.0, 20_000
SETS = ("half contrast", "the mean digit", "noise")


def flow() -> RealNVP:
    """A RealNVP of the plane with parameters that were drawn, not learned."""
    model, rng = RealNVP(2, layers=4, hidden=[8], dtype=np.float64), Generator(3)
    for p in parameters(model).values():
        p[...] = p.data + 0.15 * rng.normal(p.shape, dtype=np.float64)
    return model


def by_quadrature(model: RealNVP, n: int = 400) -> float:
    """∫ p over x₁ > EDGE, midpoint rule: to 6 beyond it, and 12 to both sides."""
    middle = (np.arange(n) + 0.5) / n
    x = np.stack(np.meshgrid(EDGE + 6 * middle, 24 * middle - 12), axis=-1).reshape(-1, 2)
    return float(np.exp(log_p(model, x)).mean() * 6 * 24)


def by_counting(model: RealNVP, rng: Generator) -> tuple[Estimate, Array]:
    """P(A) as a share of samples; and the most probable z that led there."""
    z = rng.normal((N, 2), dtype=np.float64)
    there = forward(model, z)[:, 0] > EDGE
    return monte_carlo(there), min(z[there], key=np.linalg.norm)


def by_weighting(model: RealNVP, m: Array, rng: Generator) -> Estimate:
    """P(A) from samples whose z has its mean where the event is."""
    z = m + rng.normal((N, 2), dtype=np.float64)
    log_w = Normal(0.0, 1.0).log_prob(z).sum(axis=1) - Normal(m, 1.0).log_prob(z).sum(axis=1)
    return importance(forward(model, z)[:, 0] > EDGE, log_w)


def forward(model: RealNVP, z: Array) -> Any:
    """g(z) without a graph."""
    with no_grad():
        return value(model.forward(z)[0])


def log_p(model: Any, x: Array) -> Any:
    """ln p(x), (B,), without a graph."""
    with no_grad():
        return value(model.log_prob(x))


def foreign(digits: Array, mean: Array, rng: Generator) -> dict[str, Array]:
    """Sets that are no digits, (N, 64) each, in the order of SETS."""
    noise = rng.uniform(digits.shape, dtype=digits.dtype) * 2 - 1
    still = np.broadcast_to(mean, digits.shape)
    return dict(zip(SETS, (mean + (digits - mean) / 2, still, noise), strict=True))


def told_apart(strange: Array, usual: Array) -> float:
    """How often a foreign one is the stranger of two: 1 always, ½ as for a coin, 0 never (AUC)."""
    more = strange[:, None] > usual
    return float(np.mean(more + 0.5 * (strange[:, None] == usual)))


@dataclass(frozen=True)
class Result:
    """Probabilities of the event; scores of digits, and by set the scores and how they tell it."""

    truth: float
    counted: Estimate
    weighted: Estimate
    digits: tuple[float, ...]
    scores: dict[str, tuple[float, ...]]
    by_density: dict[str, float]
    by_typicality: dict[str, float]
    at_the_mean: float


def run(seed: int = 0) -> Result:
    """Twenty thousand samples both ways; 300 test digits.

    >>> round(run().by_density["half contrast"], 2)
    0.0
    """
    model, rng = flow(), Generator(seed)
    counted, m = by_counting(model, rng)
    data = load("digits", domain="continuous")
    x, test = data.train.x.astype(np.float64), data.test.x.astype(np.float64)
    ppca = PPCA(64, latent=20, dtype=np.float64).fit(x)
    mean, scores = x.mean(axis=0), log_p(ppca, test)
    usual = log_p(ppca, data.validation.x.astype(np.float64)).mean()
    odd = {name: log_p(ppca, them) for name, them in foreign(test, mean, rng).items()}
    return Result(
        truth=by_quadrature(model),
        counted=counted,
        weighted=by_weighting(model, m, rng),
        digits=tuple(scores.tolist()),
        scores={name: tuple(s.tolist()) for name, s in odd.items()},
        by_density={name: told_apart(-s, -scores) for name, s in odd.items()},
        by_typicality={
            name: told_apart(abs(s - usual), abs(scores - usual)) for name, s in odd.items()
        },
        at_the_mean=float(log_p(ppca, mean[None])[0]),
    )


def facts(result: Result) -> list[Fact]:
    """The event's probability both ways; then which set is found, and by what."""
    counted, weighted = result.counted, result.weighted
    digits, half = np.array(result.digits), np.array(result.scores[SETS[0]])
    expected = 0.75 * result.at_the_mean + 0.25 * digits
    return [
        note("P(x₁ > 2) by quadrature", result.truth),
        close("… counted", counted.mean, result.truth, within=4 * counted.se),
        close("… weighted", weighted.mean, result.truth, within=4 * weighted.se),
        below("error of the weighted, of the counted one's", weighted.se / counted.se, 0.1),
        note("ln p of a test digit, nats", float(digits.mean())),
        *(note(f"… of {name}", float(np.mean(result.scores[name]))) for name in SETS),
        below("noise is found by its density: missed", 1 - result.by_density["noise"], 0.01),
        below("half contrast, found by its density", result.by_density[SETS[0]], 0.05),
        below("the mean digit, found by its density", result.by_density[SETS[1]], 0.05),
        close(
            "¾ ln p(μ) + ¼ ln p(x), largest error",
            float(np.abs(half - expected).max()),
            0,
            within=1e-8,
        ),
        *(above(f"{name}, found as untypical", result.by_typicality[name], 0.9) for name in SETS),
    ]


def picture(result: Result) -> bytes:
    """Where digits score, and where what is none."""

    def draw(axes: Any) -> None:
        how: Any = {"bins": 40, "range": (-60, 120), "alpha": 0.6}
        axes.hist(result.digits, color=INK, label="test digits", **how)
        axes.hist(result.scores[SETS[0]], color=ACCENT, label=SETS[0], **how)
        axes.set(xlabel="ln p(x), nats", yticks=[], title="foreign, and more probable")
        axes.legend()

    return panels(draw)
