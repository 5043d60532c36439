"""To take noise away is to know which way the density rises. MISSION rows L4, D5.

Let x̃ = x + σ ε. The best guess at x is the mean of the posterior, D(x̃) = E[x | x̃], and

    p_σ(x̃) = ∫ p(x) N(x̃; x, σ² I) dx      →      ∇ p_σ(x̃) = ∫ p(x) (x − x̃)/σ² N(x̃; x, σ² I) dx

so that, divided by p_σ(x̃),

    ∇ log p_σ(x̃) = (D(x̃) − x̃) / σ²                                              (Tweedie's formula)

at every σ, and whatever p is: the score is that of the noised density, not of the data's own.
A network that is trained to remove noise therefore learns a score without ever seeing a density.

Here: a mixture of three Gaussians on the line, where D is an integral that is done on a grid, and
the score a derivative that the tape takes; and a network that was trained on samples of it.
Vincent 2011; Robbins 1956 for the formula.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from core import Array, Tensor, no_grad
from core.data import Dataset, Split
from core.distributions import Categorical, Mixture, Normal
from core.random import Generator
from core.train import TrainSettings, fit
from reference.latent.denoising_autoencoder import DenoisingAutoencoder
from reference.lessons import Fact, above, below
from reference.lessons._picture import ACCENT, INK, PAPER, panels

PI, MU, S = np.array([0.3, 0.5, 0.2]), np.array([-2.0, 0.5, 2.5]), np.array([0.3, 0.6, 0.2])
SIGMAS = (0.2, 1.0, 3.0)
TRAINED = 1.0
GRID = np.linspace(-12.0, 12.0, 24_001)
AT = np.linspace(-4.0, 4.0, 81)


def density(sigma: float) -> Mixture:
    """The data's density, with noise N(0, σ²) added."""
    return Mixture(Categorical(probs=PI), Normal(MU, np.sqrt(S * S + sigma * sigma)))


def denoised(x: Array, sigma: float) -> Array:
    """E[x | x̃] at points (N,) by Bayes' rule on a grid: no derivative, no formula for p_σ."""
    log_joint = density(0.0).log_prob(GRID) + Normal(GRID, sigma).log_prob(x[:, None])  # (N, G)
    weights = np.exp(log_joint - log_joint.max(axis=1, keepdims=True))
    return weights @ GRID / weights.sum(axis=1)


def score(x: Array, sigma: float) -> Array:
    """∇ log p_σ at points (N,), by the tape."""
    at = Tensor(x)
    np.sum(density(sigma).log_prob(at)).backward()
    return at.grad


def network(seed: int) -> DenoisingAutoencoder:
    """A denoising autoencoder that has seen noisy samples, and neither density nor score."""
    x = density(0.0).sample((4000, 1), Generator(seed, stream="data")).astype(np.float32)
    model = DenoisingAutoencoder(1, latent=32, hidden=(32,), sigma=TRAINED, seed=seed)
    data = Dataset("three bumps", Split(x), Split(x[:0]), Split(x[:0]), domain="continuous")
    how = TrainSettings(epochs=20, batch_size=200, lr=5e-3, schedule="cosine", seed=seed)
    fit(model, data, settings=how)
    return model


@dataclass(frozen=True)
class Result:
    """Largest differences by σ, of the scores of noised and clean data; of the network's, by p."""

    differences: tuple[float, ...]
    from_the_clean: tuple[float, ...]
    network_error: float  # E over p_σ of the squared error, in parts of E score²
    exact: tuple[float, ...]  # at AT, for the picture
    learned: tuple[float, ...]


def run(seed: int = 0) -> Result:
    """Both sides at three noise levels, and a network's at one.

    >>> max(run().differences) < 1e-9
    True
    """
    scores = [score(AT, sigma) for sigma in SIGMAS]
    sides = [(denoised(AT, sigma) - AT) / sigma**2 for sigma in SIGMAS]
    clean = score(AT, 0.0)
    model = network(seed)
    with no_grad():
        learned = model.score(AT[:, None].astype(np.float32))[:, 0]
    exact, p = scores[SIGMAS.index(TRAINED)], np.exp(density(TRAINED).log_prob(AT))
    return Result(
        differences=tuple(float(np.abs(a - b).max()) for a, b in zip(sides, scores, strict=True)),
        from_the_clean=tuple(float(np.abs(clean - s).max()) for s in scores),
        network_error=float(p @ (learned - exact) ** 2 / (p @ exact**2)),
        exact=tuple(exact.tolist()),
        learned=tuple(learned.tolist()),
    )


def facts(result: Result) -> list[Fact]:
    """The formula holds at every σ, for the noised density only; a network comes near it."""
    told = []
    each = zip(SIGMAS, result.differences, result.from_the_clean, strict=True)
    for sigma, difference, clean in each:
        told.append(below(f"σ = {sigma}: |(D(x̃) − x̃)/σ² − ∇ log p_σ|, largest", difference, 1e-8))
        told.append(above(f"σ = {sigma}: |∇ log p − ∇ log p_σ|, largest", clean, 0.1))
    what = f"a trained network's mean squared error, σ = {TRAINED}, in parts of the score's square"
    return [*told, below(what, result.network_error, 0.1)]


def picture(result: Result) -> bytes:
    """The density at each noise level, and the score that was learned."""

    def densities(axes: Any) -> None:
        for sigma, color in zip((0.0, *SIGMAS[1:]), (PAPER, INK, ACCENT), strict=True):
            axes.plot(AT, np.exp(density(sigma).log_prob(AT)), color=color, label=f"σ = {sigma:g}")
        axes.set(xlabel="x̃", ylabel="density")
        axes.legend(frameon=False)

    def scores(axes: Any) -> None:
        axes.axhline(0, color=PAPER, lw=0.5)
        axes.plot(AT, result.exact, color=PAPER, lw=4, label="∇ log p_σ")
        axes.plot(AT, result.learned, color=INK, label="(D(x̃) − x̃)/σ², learned")
        axes.set(xlabel="x̃", ylabel=f"score, σ = {TRAINED}")
        axes.legend(frameon=False)

    return panels(densities, scores)
