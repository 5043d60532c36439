"""The evidence lower bound in its four forms, and what is missing. MISSION rows L3, L1, L2.

For any distribution q over the latent z,

    ELBO = E_q[ln p(x, z) / q(z)]
         = E_q[ln p(x, z)] + H(q)
         = E_q[ln p(x | z)] − KL(q ‖ p(z))              reconstruction, less the way from the prior
         = ln p(x) − KL(q ‖ p(z | x))                   so it is a bound, tight at the posterior

The four are one number, written by four expansions of p(x, z); the last shows that raising the ELBO
in q brings q to the posterior, and raising it in p raises the likelihood or tightens the bound: EM
does the one and then the other.

Here: a mixture of Bernoullis, whose z takes 4 values, and probabilistic PCA, whose z is Gaussian
and whose expectations are closed forms; q is anything. Neal & Hinton 1998; Kingma & Welling 2014.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from core import Array
from core.distributions import Categorical, MultivariateNormal, kl_divergence
from core.random import Generator
from reference.latent.bernoulli_mixture import BernoulliMixture
from reference.latent.ppca import PPCA
from reference.lessons import Fact, below, close
from reference.lessons._picture import ACCENT, INK, panels

DIM, K, M = 5, 4, 2
FORMS = (
    "E_q[ln p(x, z)/q(z)]",
    "E_q[ln p(x, z)] + H(q)",
    "E_q[ln p(x | z)] − KL(q ‖ p(z))",
    "ln p(x) − KL(q ‖ p(z | x))",
)


def of_mixture(model: BernoulliMixture, x: Array, q: Array) -> Array:
    """The four forms (4, B), of q (B, K) over the components."""
    log_joint = model.log_joint(x)
    law, prior = Categorical(probs=q), Categorical(probs=np.broadcast_to(model.pi, q.shape))
    posterior = Categorical(probs=model.posterior(x))
    return np.stack(
        [
            np.sum(q * (log_joint - np.log(q)), axis=1),
            np.sum(q * log_joint, axis=1) + law.entropy(),
            np.sum(q * (log_joint - np.log(model.pi)), axis=1) - kl_divergence(law, prior),
            model.log_prob(x) - kl_divergence(law, posterior),
        ]
    )


def of_ppca(model: PPCA, x: Array, mean: Array, root: Array) -> Array:
    """The four forms (4, B), of q = N(mean (B, M), L Lᵀ), each expectation in closed form."""
    q = MultivariateNormal(mean, scale_tril=root)
    prior = MultivariateNormal(np.zeros(M), scale_tril=np.eye(M))
    at, spread = model.posterior(x)
    posterior = MultivariateNormal(at, scale_tril=np.linalg.cholesky(spread))
    square = np.trace(root @ root.T) + np.sum(mean * mean, axis=1)  # E_q |z|²
    log_prior = -0.5 * square - 0.5 * M * np.log(2 * np.pi)
    reconstruction = model.bound(x, mean, root @ root.T) + kl_divergence(q, prior)
    return np.stack(
        [
            reconstruction + log_prior - (-q.entropy()),
            (reconstruction + log_prior) + q.entropy(),
            reconstruction - kl_divergence(q, prior),
            model.log_prob(x) - kl_divergence(q, posterior),
        ]
    )


@dataclass(frozen=True)
class Result:
    """Of either model: the four forms' mean, their largest difference, log p, and tightness."""

    mixture: tuple[float, ...]
    ppca: tuple[float, ...]
    mixture_difference: float
    ppca_difference: float
    log_p: tuple[float, float]
    gaps: tuple[float, ...]  # log p − ELBO as q goes to the posterior, of the mixture
    tight: tuple[float, float]  # largest |log p − ELBO| at the posterior


def run(seed: int = 0) -> Result:
    """A fitted model of either kind, forty rows, and a random q for each.

    >>> run().mixture_difference < 1e-12
    True
    """
    rng = Generator(seed)
    bits = (rng.uniform((200, DIM), dtype=np.float64) < 0.4).astype(np.float64)
    mixture = BernoulliMixture(DIM, components=K, seed=seed, dtype=np.float64)
    for _ in range(5):
        mixture.em_step(bits)
    x = bits[:40]
    q = rng.uniform((40, K), dtype=np.float64) + 0.05
    q = q / q.sum(axis=1, keepdims=True)
    exact = mixture.posterior(x)
    ways = [of_mixture(mixture, x, (1 - a) * q + a * exact)[0] for a in (0.0, 0.5, 0.9)]

    points = rng.normal((200, DIM), dtype=np.float64) @ rng.normal((DIM, DIM), dtype=np.float64)
    ppca = PPCA(DIM, latent=M, dtype=np.float64).fit(points)
    mean = rng.normal((40, M), dtype=np.float64)
    root = np.tril(rng.normal((M, M), dtype=np.float64)) + 2 * np.eye(M)
    at, spread = ppca.posterior(points[:40])
    forms = of_mixture(mixture, x, q), of_ppca(ppca, points[:40], mean, np.abs(root))
    best = (
        of_mixture(mixture, x, np.clip(exact, 1e-300, 1))[0] - mixture.log_prob(x),
        of_ppca(ppca, points[:40], at, np.linalg.cholesky(spread))[0] - ppca.log_prob(points[:40]),
    )
    return Result(
        mixture=tuple(forms[0].mean(axis=1).tolist()),
        ppca=tuple(forms[1].mean(axis=1).tolist()),
        mixture_difference=float(np.ptp(forms[0], axis=0).max()),
        ppca_difference=float(np.ptp(forms[1], axis=0).max()),
        log_p=(float(mixture.log_prob(x).mean()), float(ppca.log_prob(points[:40]).mean())),
        gaps=tuple(float((mixture.log_prob(x) - way).mean()) for way in ways),
        tight=(float(np.abs(best[0]).max()), float(np.abs(best[1]).max())),
    )


def facts(result: Result) -> list[Fact]:
    """One number, four times, for either model."""
    told = []
    for name, forms, difference, log_p, tight in (
        ("mixture", result.mixture, result.mixture_difference, result.log_p[0], result.tight[0]),
        ("PCA", result.ppca, result.ppca_difference, result.log_p[1], result.tight[1]),
    ):
        told += [
            close(f"{name}: {form}", value, forms[0], within=1e-10)
            for form, value in zip(FORMS, forms, strict=True)
        ]
        told += [
            below(f"{name}: the four forms' largest difference, row by row", difference, 1e-10),
            below(f"{name}: the bound, beside ln p(x)", forms[0], log_p),
            below(f"{name}: what is missing at the posterior", tight, 1e-10),
        ]
    falls = result.gaps[0] > result.gaps[1] > result.gaps[2] > 0
    gaps = ", ".join(f"{gap:.4f}" for gap in result.gaps)
    return [*told, Fact("mixture: the gap as q goes to the posterior", gaps, "falls", falls)]


def picture(result: Result) -> bytes:
    """The gap closes."""

    def draw(axes: Any) -> None:
        axes.plot([0, 0.5, 0.9, 1], [*(-g for g in result.gaps), 0.0], "o-", color=INK)
        axes.axhline(0, color=ACCENT)
        axes.set(xlabel="share of the posterior in q", ylabel="ELBO − ln p(x), nats")

    return panels(draw)
