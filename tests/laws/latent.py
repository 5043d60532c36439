"""What every model with a bound owes (MISSION rows L3, L5, L6)."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from core import no_grad, value
from core.random import Generator
from tests.laws.explicit import box, cells, chi_square, frequencies_follow_log_prob
from tests.laws.subject import Subject, all_states, examples, flat, grid, in_shape

TIMES = 200
"""Estimates of a bound, of which the mean is taken."""


def bounds_are_ordered(s: Subject) -> None:
    """E ELBO ≤ E of the bound with k = 4 ≤ with 16 ≤ log p(x), by quadrature over a z in 1-D."""
    x, exact = _some(s), exact_log_prob(s, _some(s))
    bounds = [_estimates(lambda x, rng: s.model.elbo(x, rng=rng), x)]
    for k in (4, 16):
        bounds.append(
            _estimates(lambda x, rng, k=k: s.model.importance_log_prob(x, rng=rng, k=k), x)
        )
    errors = [4 * bound.std(axis=0) / np.sqrt(TIMES) + 1e-9 for bound in bounds]
    for (looser, e), (tighter, f) in pairwise(zip(bounds, errors, strict=True)):
        assert np.all(looser.mean(axis=0) <= tighter.mean(axis=0) + np.hypot(e, f))
    for bound, error in zip(bounds, errors, strict=True):
        assert np.all(bound.mean(axis=0) <= exact + error)
    tight = value(s.model.importance_log_prob(x, rng=Generator(1), k=20_000))
    np.testing.assert_allclose(tight, exact, atol=0.1)


def _some(s: Subject) -> np.ndarray:
    """A few x as the model takes them."""
    if s.discrete:
        return in_shape(s.model, all_states(s.dim, s.levels)[::7][:12])
    return examples(s.row, 10, 1)[0]


def exact_log_prob(s: Subject, x: np.ndarray, n: int = 2001) -> np.ndarray:
    """log ∫ p(x|z) p(z) dz by the midpoint rule over [−9, 9], z one-dimensional; of all classes."""
    z = np.linspace(-9, 9, n)[:, None]
    rows = value(s.model.likelihood.read(flat(x), s.dim, np.float64))[:, None]
    classes = range(getattr(s.model, "classes", 1))
    with no_grad():
        log_prior = value(s.model.prior.log_prob(z)) + np.log(z[1, 0] - z[0, 0])
        assert abs(np.exp(log_prior).sum() - 1) < 1e-6, "the prior is no distribution"
        each = [
            np.logaddexp.reduce(
                value(s.model.log_likelihood(rows, z, np.full(n, y))) + log_prior, axis=1
            )
            for y in classes
        ]
    return np.logaddexp.reduce(each, axis=0) - np.log(len(classes))


def _estimates(bound: Any, x: np.ndarray) -> np.ndarray:
    """TIMES estimates of a bound at each x, (TIMES, B)."""
    with no_grad():
        many = value(bound(np.concatenate([x] * TIMES), Generator(0)))
    return np.reshape(many, (TIMES, len(x)))


def importance_estimate_sums_to_one(s: Subject) -> None:
    """Σ_x or ∫ exp(importance-weighted bound) → 1 as k grows: the weights are p(x, z)/q(z|x)."""
    if s.discrete:
        points, area = in_shape(s.model, all_states(s.dim, s.levels)), 1.0
    else:
        points, area = grid(*box(s), 80)
    k = 320_000 // len(points)
    with no_grad():
        log_p = value(s.model.importance_log_prob(points, rng=Generator(2), k=k))
    np.testing.assert_allclose(np.exp(log_p).sum() * area, 1, atol=0.03)


class Integrated:
    """A latent model with its likelihood by quadrature, for the laws of those that have one."""

    def __init__(self, s: Subject) -> None:
        self.s, self.sample = s, s.model.sample
        self.dim, self.shape = s.dim, s.shape

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        return exact_log_prob(self.s, x, n=401)


def samples_follow_the_integral(s: Subject) -> None:
    """Frequencies of samples against ∫ p(z) p(x|z) dz: Pearson's chi-square, p > 1e-4."""
    exact = Integrated(s)
    if s.discrete:
        frequencies_follow_log_prob(exact, s.levels)
    else:
        counts = cells(Subject(s.row, exact), s.model.sample(20_000, seed=3), fine=8)
        assert chi_square(*counts) > 1e-4


def codes_have_one_size(s: Subject) -> None:
    """μ and log σ² are (B, latent), and what is made of x again has its shape."""
    x, y = examples(s.row, 5, 2)
    with no_grad():
        for part in s.model.encode(x, y):
            assert np.shape(part) == (5, s.model.latent)
        again = s.model.reconstruct(x, y)
        line = s.model.interpolate(x[:2], x[2:4], 3, y=y[:2])
        walk = s.model.traverse(x, 0, [-1.0, 1.0], y=y)
    assert again.shape == x.shape
    assert line.shape == (3, 2, *s.shape)
    assert walk.shape == (2, 5, *s.shape)
    assert np.abs(walk[0] - walk[1]).max() > 1e-6, "z_0 says nothing"
    if s.discrete:
        assert again.min() >= 0
        assert again.max() <= s.levels - 1
