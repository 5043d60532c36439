"""What the codes of a model with latent variables are worth. MISSION rows L5, F5.

    active units       which dimensions of z depend on x at all: Var_x E_q(z|x)[z_j] > 0.01
    linear probe       how well a linear classifier reads the class off z
    amortisation gap   what one encoder for all x loses to a q that is fitted to each x:

        log p(x) − ELBO = [log p(x) − max_q ELBO(q)] + [max_q ELBO(q) − ELBO(encoder's q)]
                           approximation gap            amortisation gap       (Cremer et al. 2018)

Burda et al. 2015 count active units so; Alain & Bengio 2016 name the probe.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from core import Array, Tensor, grad, no_grad, value
from core.checks import labels, whole
from core.optim import Adam
from core.random import Generator
from reference.counting.logistic_regression import LogisticRegression
from reference.judges.likelihood import mean_and_se

ACTIVE = 0.01
"""Variance of a dimension's mean over the data above which it is in use."""


def active_units(mu: Array) -> Array:
    """Which dimensions of z are in use, bool (latent,), by the means of q(z|x) over data (N, …).

    >>> active_units(np.array([[0.0, 1.0], [0.0, -1.0]])).tolist()
    [False, True]
    """
    return np.var(value(mu).astype(np.float64), axis=0) > ACTIVE


def linear_probe(z: Array, y: Array, z_test: Array, y_test: Array) -> float:
    """Share of the test labels that a linear classifier, fitted on codes z (N, latent), gets right.

    Codes are standardised by those that it is fitted on. Raises InputError for missing labels.

    >>> z = np.array([[-1.0], [-2.0], [1.0], [2.0]])
    >>> linear_probe(z, np.array([0, 0, 1, 1]), z, np.array([0, 0, 1, 1]))
    1.0
    """
    z, z_test = (np.asarray(value(a), np.float64) for a in (z, z_test))
    classes = int(np.max(y, initial=0)) + 1
    y, y_test = labels(y, len(z), classes), labels(y_test, len(z_test), classes)
    mean, std = z.mean(axis=0), z.std(axis=0) + 1e-6
    probe = LogisticRegression(z.shape[1], classes).fit((z - mean) / std, y)
    return float(np.mean(probe.predict((z_test - mean) / std) == y_test))


@dataclass(frozen=True)
class AmortisationGap:
    """Means over x in nats: the encoder's ELBO, that of a q for each x, their gap and its error."""

    encoder: float
    fitted: float
    gap: float
    se: float


def amortisation_gap(
    model: Any, x: Array, y: Any = None, *, steps: int = 300, samples: int = 100, seed: int = 0
) -> AmortisationGap:
    """What the encoder of `model` loses on x (B, …) to one N(μ, diag σ²) for each.

    μ and σ begin as the encoder has them and climb the bound by `steps` of Adam; then both are
    estimated from the same `samples` of noise.

    >>> from reference.latent.vae import VAE
    >>> model = VAE(6, latent=2, hidden=[8], dtype=np.float64)
    >>> amortisation_gap(model, model.sample(5, seed=0), steps=50).gap > 0
    True
    """
    rng = Generator(seed, stream="evaluate")
    with no_grad():
        code = [value(a) for a in model.encode(x, y)]
    fitted = fit_codes(model, x, code, rng, y, steps=whole("steps", steps, 1))
    found = [_bounds(model, x, q, seed, y, whole("samples", samples, 1)) for q in (code, fitted)]
    gap, se = mean_and_se(found[1] - found[0])
    return AmortisationGap(float(found[0].mean()), float(found[1].mean()), gap, se)


def fit_codes(
    model: Any, x: Array, code: list[Array], rng: Generator, y: Any = None, *, steps: int
) -> list[Array]:
    """μ and log σ² of the q that bounds each x best, each (B, latent), starting from `code`."""
    q = {"mu": Tensor(code[0].copy()), "log_var": Tensor(code[1].copy())}
    optimiser = Adam(q, lr=0.05)
    for step in range(steps):
        bound = np.sum(model.bound(x, q["mu"], q["log_var"], rng, y))
        for p, g in zip(q.values(), grad(-bound, list(q.values())), strict=True):
            p.grad = g
        optimiser.step(1 - step / steps)
    return [p.data for p in q.values()]


def _bounds(model: Any, x: Array, q: list[Array], seed: int, y: Any, samples: int) -> Array:
    """The bound of each x under its q, (B,), over so many samples of the same noise."""
    rng = Generator(seed, stream="sample")
    with no_grad():
        return np.mean([value(model.bound(x, *q, rng, y)) for _ in range(samples)], axis=0)
