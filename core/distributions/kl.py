"""Divergences in closed form."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from core import functional as F
from core.distributions.arguments import broadcast, log
from core.distributions.continuous import MultivariateNormal, Normal, log_det, solve
from core.distributions.discrete import Bernoulli, Categorical
from core.distributions.draws import Distribution
from core.distributions.mixture import Independent
from core.errors import InputError
from core.tensor import Array


def kl_divergence(p: Distribution, q: Distribution) -> Array:
    """KL(p ‖ q) = E_p[ln p − ln q] in nats, (*batch_shape): 0 iff equal; ∞ where q lacks support.

    For two Bernoulli, Categorical, Normal or MultivariateNormal distributions, or two Independent
    ones of such. Raises InputError for others, and for shapes that don't fit.

    >>> kl_divergence(Bernoulli(probs=0.5), Bernoulli(probs=0.25)).round(4)
    np.float32(0.1438)
    """
    formula = _KL.get(type(p))
    if formula is None or type(p) is not type(q):
        pair = f"{type(p).__name__} and {type(q).__name__}"
        raise InputError(f"kl_divergence has no closed form for {pair}")
    if p.event_shape != q.event_shape:
        raise InputError(f"q must have p's event_shape {p.event_shape}, got {q.event_shape}")
    broadcast(p=p.batch_shape, q=q.batch_shape)
    return formula(p, q)


def js_divergence(p: Categorical, q: Categorical) -> Array:
    """JS(p, q) = ½ KL(p ‖ m) + ½ KL(q ‖ m), m = ½ (p + q), in nats (*batch_shape): 0 … ln 2.

    Symmetric, and finite whatever the supports. Raises InputError unless both are Categorical, of
    as many outcomes.

    >>> heads, tails = (Categorical(probs=np.eye(2)[i]) for i in (0, 1))
    >>> js_divergence(heads, tails).round(6)
    np.float64(0.693147)
    """
    for name, d in (("p", p), ("q", q)):
        if not isinstance(d, Categorical):
            raise InputError(f"{name} must be a Categorical, got {type(d).__name__}")
    if p.levels != q.levels:
        raise InputError(f"q must have p's {p.levels} outcomes, got {q.levels}")
    broadcast(p=p.batch_shape, q=q.batch_shape)
    m = Categorical(probs=0.5 * (p.probs + q.probs))
    return 0.5 * (_kl_discrete(p, m) + _kl_discrete(q, m))


def _kl_discrete(p: Any, q: Any) -> Array:
    p, q = p.outcomes(), q.outcomes()
    if p.possible.shape[-1] != q.possible.shape[-1]:
        raise InputError(
            f"q must have p's {p.possible.shape[-1]} outcomes, got {q.possible.shape[-1]}"
        )
    off_support = (p.possible & ~q.possible).any(-1)
    return np.where(off_support, math.inf, p.cross_entropy(q) - p.entropy())


def _kl_normal(p: Normal, q: Normal) -> Array:
    return F.normal_kl(p.loc, log(p.scale), q.loc, log(q.scale))


def _kl_multivariate_normal(p: MultivariateNormal, q: MultivariateNormal) -> Array:
    m = np.linalg.solve(q.scale_tril, p.scale_tril)  # tr Σ_q⁻¹ Σ_p = |m|²
    gap = solve(q.scale_tril, p.loc - q.loc)
    spread = np.sum(m * m, axis=(-2, -1)) + np.sum(gap * gap, axis=-1) - p.event_shape[0]
    return 0.5 * spread + log_det(q.scale_tril) - log_det(p.scale_tril)


def _kl_independent(p: Independent, q: Independent) -> Array:
    if p.axes != q.axes:
        raise InputError(f"p and q must have equal ndims, got {len(p.axes)} and {len(q.axes)}")
    return np.sum(kl_divergence(p.base, q.base), axis=p.axes)


_KL: dict[type, Callable[[Any, Any], Array]] = {
    Bernoulli: _kl_discrete,
    Categorical: _kl_discrete,
    Normal: _kl_normal,
    MultivariateNormal: _kl_multivariate_normal,
    Independent: _kl_independent,
}
