"""Maximum likelihood minimises the forward KL; the reverse KL does something else. MISSION row F4.

    KL(p ‖ q) = E_p[ln p] − E_p[ln q]        the first term knows nothing of q,

so the q that is nearest to the data in the forward sense is the one that makes them most likely.
Where q can't be p, the two directions differ. Among Gaussians q = N(μ, σ²), the forward KL asks for
E_p of ln q, which is smallest where q has p's mean and variance: it covers all of p, and the valley
between. The reverse KL(q ‖ p) punishes q for being where p is not: it sits down on one mode.

Here p = ½ N(−2, 0.6²) + ½ N(2, 0.6²), integrals are sums over a fine grid, and q is found by
gradient descent. Bishop 2006, section 10.1.2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from core import Array, Tensor, grad
from core.distributions import Categorical, Mixture, Normal
from core.random import Generator
from reference.lessons import Fact, below, close
from reference.lessons._picture import ACCENT, INK, PAPER, panels

MODE, WIDTH = 2.0, 0.6
GRID = np.linspace(-12.0, 12.0, 2401)  # steps of 0.01; p beyond is below e⁻¹⁰⁰
STEP = GRID[1] - GRID[0]


def target() -> Mixture:
    """p."""
    halves = Categorical(probs=np.array([0.5, 0.5]))
    return Mixture(halves, Normal(np.array([-MODE, MODE]), np.array([WIDTH, WIDTH])))


def forward_kl(mu: Array, log_sigma: Array) -> Array:
    """KL(p ‖ q) = ∫ p (ln p − ln q), nats."""
    log_p = target().log_prob(GRID)
    return np.sum(np.exp(log_p) * (log_p - Normal(mu, np.exp(log_sigma)).log_prob(GRID))) * STEP


def reverse_kl(mu: Array, log_sigma: Array) -> Array:
    """KL(q ‖ p) = ∫ q (ln q − ln p), nats."""
    log_q = Normal(mu, np.exp(log_sigma)).log_prob(GRID)
    return np.sum(np.exp(log_q) * (log_q - target().log_prob(GRID))) * STEP


def descend(
    loss: Callable[..., Array], mu: float, steps: int = 400, rate: float = 0.1
) -> tuple[float, float]:
    """(μ, σ) after gradient descent from (mu, 1)."""
    theta = [Tensor(np.array(mu)), Tensor(np.array(0.0))]
    for _ in range(steps):
        gradients = grad(loss(*theta), theta)
        theta = [Tensor(t.data - rate * g) for t, g in zip(theta, gradients, strict=True)]
    return float(theta[0].data), float(np.exp(theta[1].data))


@dataclass(frozen=True)
class Result:
    """What `run` found."""

    gap: float  # largest of |KL(p̂ ‖ p_θ) + H(p̂) + mean log-likelihood| over models θ
    same_best: bool  # whether the same θ is best by both
    forward: tuple[float, float]  # μ, σ
    reverse: tuple[tuple[float, float], tuple[float, float]]  # from the left and from the right
    reverse_kls: tuple[float, float]  # of the reverse fit, and of the forward fit


def run(seed: int = 0) -> Result:
    """Coins of every bias for the first claim, Gaussians for the second.

    >>> run().same_best
    True
    """
    flips = np.asarray(Categorical(probs=np.array([0.2, 0.5, 0.3])).sample((200,), Generator(seed)))
    p_hat = np.bincount(flips, minlength=3) / len(flips)
    a, b = np.meshgrid(np.arange(1, 40) / 40, np.arange(1, 40) / 40)
    models = np.stack([a, b, 1 - a - b], axis=-1)[a + b < 0.999]  # (M, 3)
    likelihood = np.log(models[:, flips]).mean(axis=1)
    some = p_hat > 0
    kl = np.sum(p_hat[some] * np.log(p_hat[some] / models[:, some]), axis=1)
    entropy = -np.sum(p_hat[some] * np.log(p_hat[some]))
    left, right = descend(reverse_kl, -1.0), descend(reverse_kl, 1.0)
    forward = descend(forward_kl, 1.0)
    kls = [float(reverse_kl(mu, np.log(sigma))) for mu, sigma in (right, forward)]
    return Result(
        gap=float(np.abs(kl + entropy + likelihood).max()),
        same_best=bool(kl.argmin() == likelihood.argmax()),
        forward=forward,
        reverse=(left, right),
        reverse_kls=(kls[0], kls[1]),
    )


def facts(result: Result) -> list[Fact]:
    """Both claims."""
    (left, _), (right, width) = result.reverse
    return [
        below(
            "|KL(p̂ ‖ p_θ) + H(p̂) + mean ln p_θ|, 741 models of three outcomes", result.gap, 1e-12
        ),
        Fact("the same θ is best by both", str(result.same_best), "True", result.same_best),
        close("forward KL: μ is p's mean", result.forward[0], 0.0, within=1e-3),
        close(
            "forward KL: σ² is p's variance",
            result.forward[1] ** 2,
            MODE**2 + WIDTH**2,
            within=1e-3,
        ),
        close("reverse KL from the left: μ sits on the left mode", left, -MODE, within=0.02),
        close("reverse KL from the right: μ sits on the right mode", right, MODE, within=0.02),
        close("… and σ is the mode's", width, WIDTH, within=0.02),
        below("reverse KL there, less than that of the forward fit", *result.reverse_kls),
    ]


def picture(result: Result) -> bytes:
    """p, and the Gaussians that are nearest to it in either direction."""

    def draw(axes: Any, fits: list[tuple[float, float]], title: str) -> None:
        axes.fill_between(GRID, np.exp(target().log_prob(GRID)), color=PAPER, alpha=0.4)
        for (mu, sigma), color in zip(fits, (INK, ACCENT), strict=False):
            axes.plot(GRID, np.exp(Normal(mu, sigma).log_prob(GRID)), color=color)
        axes.set(xlim=(-6, 6), yticks=[], title=title, xlabel="x")

    return panels(
        lambda axes: draw(axes, [result.forward], "KL(p ‖ q): matches both moments"),
        lambda axes: draw(axes, list(result.reverse), "KL(q ‖ p): sits on a mode"),
    )
