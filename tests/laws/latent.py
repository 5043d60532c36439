"""What every model with a bound owes (MISSION rows L3, L5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import stats

from core import no_grad, value
from core.random import Generator
from tests.laws.explicit import box
from tests.laws.subject import Subject, all_states, examples, grid


def bounds_are_ordered(s: Subject) -> None:
    """E ELBO ≤ E importance-weighted bound ≤ log p(x), by quadrature over a one-dimensional z."""
    x = all_states(s.dim)[::7] if s.discrete else examples(s.row, 10, 1)[0]
    exact = exact_log_prob(s, x)
    elbo = _repeat(lambda rng: s.model.elbo(x, rng=rng), 400)
    weighted = _repeat(lambda rng: s.model.importance_log_prob(x, rng=rng, k=8), 400)
    slack = 4 * np.sqrt(elbo.var(axis=0) / 400 + weighted.var(axis=0) / 400)
    assert np.all(elbo.mean(axis=0) <= weighted.mean(axis=0) + slack)
    assert np.all(weighted.mean(axis=0) <= exact + slack)
    tight = value(s.model.importance_log_prob(x, rng=Generator(1), k=20_000))
    np.testing.assert_allclose(tight, exact, atol=0.1)


def exact_log_prob(s: Subject, x: np.ndarray) -> np.ndarray:
    """log ∫ p(x|z) N(z; 0, 1) dz by the midpoint rule over [−9, 9], z one-dimensional."""
    z = np.linspace(-9, 9, 4001)[:, None]
    with no_grad():
        out = np.asarray(value(s.model.decode(z)))  # (Z, D)
    if s.discrete:
        terms = x[:, None, :] * out - np.logaddexp(0, out)
    else:
        terms = stats.norm.logpdf(x[:, None, :], out, np.exp(value(s.model.log_sigma)))
    log_joint = terms.sum(-1) + stats.norm.logpdf(z[:, 0])
    return np.logaddexp.reduce(log_joint, axis=1) + np.log(z[1, 0] - z[0, 0])


def _repeat(estimate: Callable[[Generator], Any], times: int) -> np.ndarray:
    rng = Generator(0)
    with no_grad():
        return np.stack([np.asarray(value(estimate(rng))) for _ in range(times)])


def importance_estimate_sums_to_one(s: Subject) -> None:
    """Σ_x or ∫ exp(importance-weighted bound) → 1 as k grows: the weights are p(x, z)/q(z|x)."""
    points, area = (all_states(s.dim), 1.0) if s.discrete else grid(*box(s), 80)
    k = 320_000 // len(points)
    with no_grad():
        log_p = value(s.model.importance_log_prob(points, rng=Generator(2), k=k))
    np.testing.assert_allclose(np.exp(log_p).sum() * area, 1, atol=0.03)
