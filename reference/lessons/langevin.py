"""Who can tell the noise can walk to the data: energies, scores, Langevin dynamics. MISSION row D5.

A density is known by its energy alone, p ∝ e^{−E}, for a walk along it needs no constant:

    x ← x − η ∇E(x) + √(2η) z,    z ~ N(0, I)

On N(0, 1), where E = x²/2, the variance follows v ← (1 − η)² v + 2η, and rests at 1/(1 − η/2): a
step of finite size stands off from the density by that, and 0 < η < 2 is all that rests at all.

A diffusion model has no energy, but its slope at every noise level: −∇E = ∇ log p(x_t) =
−E[ε | x_t] / √(1 − ᾱ_t). Here a small one learns the noise in points of a mixture of two Gaussians,
whose scores are known at all levels, and its score is off by the share

    E‖score_θ − score‖² / E‖score‖²        of the mean square, stated level by level.

Song & Ermon 2019 (Langevin dynamics on learned scores); Vincent 2011 (denoising is score matching).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from core import Array, Tensor, grad, no_grad, value
from core.data.dataset import Dataset, Split
from core.functional import logsumexp
from core.learners import GradientLearner, TrainSettings
from core.random import normal
from core.train import fit
from reference.diffusion.ddpm import DDPM
from reference.diffusion.langevin import langevin_step
from reference.lessons import Fact, above, below, close, note
from reference.lessons._picture import ACCENT, INK, panels

CENTRES, SPREAD = np.array([[-1.0, -0.5], [1.0, 0.5]]), 0.3
WALKERS, ETA, LEVELS = 4000, 0.4, (2, 5, 10, 15, 20)


def energy(x: Array, alpha_bar: float = 1.0) -> Array:
    """−log p(x_t) of the mixture in noise, but for a constant, (B,), of x (B, 2)."""
    v = alpha_bar * SPREAD**2 + 1 - alpha_bar
    away = x[:, None] - math.sqrt(alpha_bar) * CENTRES
    return -logsumexp(np.sum(away * away, axis=-1) * (-0.5 / v), axis=-1)


def slope(E: Any, x: Array) -> Array:
    """∇E at x (B, …), by the tape."""
    at = Tensor(x)
    return value(grad(np.sum(E(at)), [at])[0])


def walk(E: Any, x: Array, eta: float, steps: int, seed: int) -> Array:
    """x (B, …) after so many steps along −∇E."""
    for i in range(steps):
        z = normal(seed, x.shape, step=i, dtype=np.float64)
        x = langevin_step(x, -slope(E, x), eta, z)
    return x


def points(n: int, seed: int) -> Array:
    """n points of the mixture, half of each Gaussian, (n, 2)."""
    z = normal(seed, (n, 2), stream="data", dtype=np.float64)
    points: Array = CENTRES[np.arange(n) % 2] + SPREAD * z
    return points


def trained(seed: int) -> DDPM:
    """A small diffusion model of the mixture."""
    model = DDPM(2, hidden=32, blocks=1, steps=20, seed=seed, dtype=np.float64)
    x = points(2000, seed)
    data = Dataset("two", Split(x, None), Split(x[:0], None), Split(x[:0], None), "continuous")
    how = TrainSettings(epochs=30, batch_size=200, lr=1e-2, schedule="cosine", seed=seed)
    fit(GradientLearner(model, how), data)
    return model


def score_error(model: DDPM, t: int, seed: int) -> float:
    """The share of the mean square by which the model's score is off at level t."""
    alpha_bar = float(model.schedule.alpha_bar[t])
    noise = normal(seed, (2000, 2), step=t, stream="test", dtype=np.float64)
    x_t = model.schedule.add_noise(points(2000, seed + 1), noise, t)
    exact = -slope(lambda x: energy(x, alpha_bar), x_t)
    with no_grad():
        ours = -model.epsilon(x_t, t) / math.sqrt(1 - alpha_bar)
    return float(np.sum((ours - exact) ** 2) / np.sum(exact**2))


@dataclass(frozen=True)
class Result:
    """What `run` found."""

    variance: float
    moved: float
    walked: tuple[tuple[float, ...], ...]  # where the walkers on the mixture are
    errors: dict[int, float]


def run(seed: int = 0) -> Result:
    """Walk on N(0, 1), and on the mixture with and without a constant; learn its scores.

    >>> run().errors[10] < 0.1
    True
    """
    start = normal(seed, (WALKERS, 1), stream="latent", dtype=np.float64)
    rested = walk(lambda x: 0.5 * x * x, start, ETA, 60, seed)
    begin = normal(seed + 1, (500, 2), stream="latent", dtype=np.float64)
    plain = walk(energy, begin, 0.01, 300, seed)
    lifted = walk(lambda x: energy(x) + 1000.0, begin, 0.01, 300, seed)
    walked = tuple(map(tuple, plain.tolist()))
    model = trained(seed)
    errors = {t: score_error(model, t, seed) for t in LEVELS}
    return Result(float(rested.var()), float(np.abs(plain - lifted).max()), walked, errors)


def facts(result: Result) -> list[Fact]:
    """Where walks rest, what they don't mind, and how far off a learned score is."""
    expected = 1 / (1 - ETA / 2)
    within = 4 * expected * math.sqrt(2 / WALKERS)
    near = np.linalg.norm(np.array(result.walked)[:, None] - CENTRES, axis=-1).min(axis=1)
    return [
        close(f"variance at rest on N(0, 1), η = {ETA}", result.variance, expected, within=within),
        close("a constant in the energy moves a walk by", result.moved, 0.0, within=1e-9),
        above("walkers within 3 σ of a centre", float(np.mean(near < 3 * SPREAD)), 0.95),
        *(note(f"error of the learned score at t = {t}", e) for t, e in result.errors.items()),
        below("… the largest, of the mean square", max(result.errors.values()), 0.05),
    ]


def picture(result: Result) -> bytes:
    """Where the walkers are, and the errors by noise level."""

    def walkers(axes: Any) -> None:
        axes.scatter(*zip(*result.walked, strict=True), s=3, color=INK)
        axes.scatter(*CENTRES.T, color=ACCENT, marker="+")
        axes.set(title="after 300 steps", aspect="equal")

    def errors(axes: Any) -> None:
        axes.plot([*result.errors], [*result.errors.values()], color=ACCENT, marker="o")
        axes.set(xlabel="t", ylabel="share of the mean square", title="the learned score is off by")

    return panels(walkers, errors)
