"""What is lost between a bound and the likelihood, in two parts. MISSION rows L5, L3.

One encoder serves all x, and what it gives for each is a normal with a diagonal covariance. Both
cost, and ln p(x) − ELBO(x) says what they cost together. Let q* be the best such normal for this x:

    ln p(x) − ELBO(q)  =  [ln p(x) − ELBO(q*)]  +  [ELBO(q*) − ELBO(q)]
                          approximation gap        amortisation gap        (Cremer et al. 2018)

The first is KL(q* ‖ p(z|x)), what no encoder of this kind can win back; the second is what this one
has not learned. q* is found by climbing the bound in μ and σ of one x at a time; ln p(x) by
quadrature, for z has two dimensions.

Here: a VAE of digits; and one without hidden layers, whose posterior is N(m, P⁻¹) in closed form:
there q* has the mean m and the variances 1/P_jj, and its gap is ½ (Σ ln P_jj − ln |P|).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from core import Array, no_grad, value
from core.data import load
from core.distributions import MultivariateNormal
from core.functional import logsumexp
from core.random import Generator
from core.state import parameters
from core.train import TrainSettings, fit
from reference.judges.codes import amortisation_gap
from reference.latent.gaussian_vae import GaussianVAE
from reference.latent.vae import VAE
from reference.lessons import Fact, above, below, close, note
from reference.lessons._picture import ACCENT, INK, PAPER, panels

AXIS = np.linspace(-6.0, 6.0, 61)
ROWS = 60


def log_prob(model: VAE, x: Array) -> Array:
    """ln ∫ p(z) p(x|z) dz of rows x (B, D), by the trapezoid rule over z in the plane."""
    z = np.array(list(product(AXIS, AXIS)))
    step = 2 * math.log(AXIS[1] - AXIS[0])
    with no_grad():
        log_joint = model.log_likelihood(x[:, None], z) + model.prior.log_prob(z)
        return value(logsumexp(log_joint, axis=1)) + step


def linear(seed: int) -> GaussianVAE:
    """x = z W + b + ε of six numbers, W and b at random; its encoder says the prior of all."""
    model = GaussianVAE(6, latent=2, hidden=(), dtype=np.float64)
    rng = Generator(seed, stream="test")
    for name, p in parameters(model).items():
        drawn = rng.normal(p.shape, dtype=np.float64)
        p[...] = 0.7 * drawn if name.startswith("decoder") else 0.0
    return model


def best_bound(model: GaussianVAE, x: Array) -> Array:
    """ELBO(q*) of the linear model, (B,), in closed form."""
    state = parameters(model)
    W, b = (value(state[f"decoder.layers.0.{name}"]) for name in "Wb")
    variance = math.exp(2 * model.likelihood.log_sigma.data.item())
    covariance = W.T @ W + variance * np.eye(len(b))
    exact = MultivariateNormal(b, scale_tril=np.linalg.cholesky(covariance)).log_prob(x)
    P = np.eye(2) + W @ W.T / variance
    return exact - 0.5 * (np.log(np.diag(P)).sum() - np.linalg.slogdet(P)[1])


@dataclass(frozen=True)
class Result:
    """Means over rows, nats: bounds of the encoder's q and of q*, ln p; q* of the linear model."""

    encoder: float
    fitted: float
    exact: float
    error: float  # of fitted − encoder
    linear_fitted: float
    linear_best: float


def run(seed: int = 0) -> Result:
    """A VAE of digits with two codes, and a linear one at random parameters.

    >>> run().fitted > run().encoder
    True
    """
    data = load("digits", domain="binary")
    model = VAE(data.dim, latent=2, hidden=(32,), dtype=np.float64, seed=seed)
    fit(model, data, settings=TrainSettings(epochs=6, batch_size=50, lr=5e-3, seed=seed))
    x = data.test.x[:ROWS].astype(np.float64)
    gap = amortisation_gap(model, x, steps=100, samples=100, seed=seed)
    pca = linear(seed)
    points = pca.sample(ROWS, seed=seed)
    found = amortisation_gap(pca, points, steps=300, samples=200, seed=seed)
    return Result(
        encoder=gap.encoder,
        fitted=gap.fitted,
        exact=float(log_prob(model, x).mean()),
        error=gap.se,
        linear_fitted=found.fitted,
        linear_best=float(best_bound(pca, points).mean()),
    )


def facts(result: Result) -> list[Fact]:
    """The encoder's bound lies below that of the best q, and that below the likelihood."""
    return [
        note("ln p(x) of digits by quadrature, nats", result.exact),
        below("ELBO of the best q for each, nats", result.fitted, result.exact),
        below("ELBO of the encoder's q, nats", result.encoder, result.fitted),
        note("approximation gap, nats", result.exact - result.fitted),
        above("amortisation gap, nats", result.fitted - result.encoder, 4 * result.error),
        close(
            "linear model: the best q's ELBO, climbed to, beside its closed form",
            result.linear_fitted, result.linear_best, within=0.05,
        ),
    ]  # fmt: skip


def picture(result: Result) -> bytes:
    """From the bound to the likelihood, in two steps."""

    def draw(axes: Any) -> None:
        steps = (result.encoder, result.fitted, result.exact)
        axes.plot([0, 1, 2], steps, "o-", color=PAPER)
        pairs = zip((0.5, 1.5), ("amortisation", "approximation"), (ACCENT, INK), strict=True)
        for (at, name, color), low, high in zip(pairs, steps, steps[1:], strict=False):
            axes.annotate(
                f"{name} gap\n{high - low:.2f}", (at, (low + high) / 2), color=color,
                ha="right", va="bottom",
            )  # fmt: skip
        axes.set_xticks([0, 1, 2], ["encoder's q", "best q", "ln p(x)"])
        axes.set(ylabel="nats", xlim=(-0.5, 2.3))

    return panels(draw)
