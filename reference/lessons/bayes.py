"""Bayes' rule and the chain rule: one joint distribution, read in every direction.

MISSION rows F1, F2.

    p(a, b) = p(a) p(b | a) = p(b) p(a | b)            so    p(y | x) = p(x | y) p(y) / p(x)

Which side is modelled is a choice. A generative classifier models p(x | y) and p(y), and has
p(y | x) by the rule; a discriminative one models p(y | x), which with p(x) gives p(x | y) back. A
joint of many variables splits in any order, and any set of them from the rest.

Here: a random joint of four bits and a label of three classes, every number of it enumerated; and
naive Bayes, fitted to samples of a joint in which its assumption is true.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, permutations

import numpy as np

from core import Array
from core.random import Generator
from reference.counting.naive_bayes import BernoulliNaiveBayes
from reference.lessons import Fact, below, close

BITS, CLASSES = 4, 3


def joint(rng: Generator) -> Array:
    """p(x_1, …, x_4, y), (2, 2, 2, 2, 3), any."""
    p = rng.uniform((2,) * BITS + (CLASSES,), dtype=np.float64)
    return p / p.sum()


def conditional(p: Array, given: tuple[int, ...]) -> Array:
    """p(the rest | the variables `given`), of p's shape."""
    rest = tuple(i for i in range(p.ndim) if i not in given)
    return p / p.sum(axis=rest, keepdims=True)


def marginal(p: Array, of: tuple[int, ...]) -> Array:
    """p(the variables `of`), the others' axes kept with length 1."""
    return p.sum(axis=tuple(i for i in range(p.ndim) if i not in of), keepdims=True)


def splits(n: int) -> Iterator[tuple[int, ...]]:
    """Every set of some, not all, of n variables."""
    for size in range(1, n):
        yield from combinations(range(n), size)


def by_chain_rule(p: Array, order: tuple[int, ...]) -> Array:
    """Π_i p(x_order[i] | x_order[:i])."""
    product = np.ones_like(p)
    for i, _ in enumerate(order):
        known = marginal(p, order[: i + 1])
        product = product * known / known.sum(axis=order[i], keepdims=True)
    return product


@dataclass(frozen=True)
class Result:
    """Largest errors."""

    splits: int
    split_error: float
    orders: int
    order_error: float
    posterior_error: float  # p(y | x) by Bayes' rule
    back_error: float  # p(x | y) from p(y | x), p(x), p(y)
    model_total: float  # Σ over x and y of a fitted model's p(x, y)
    model_error: float  # of its p(y | x) from its own p(x, y)


def run(seed: int = 0) -> Result:
    """All 30 splits and 120 orders.

    >>> run().splits, run().orders
    (30, 120)
    """
    rng = Generator(seed)
    p = joint(rng)
    label, x_given_y = (BITS,), conditional(p, (BITS,))
    y_given_x = conditional(p, tuple(range(BITS)))
    p_x, p_y = marginal(p, tuple(range(BITS))), marginal(p, label)
    some, orders = list(splits(p.ndim)), list(permutations(range(p.ndim)))
    total, error = of_a_model(rng)
    return Result(
        splits=len(some),
        split_error=max(_error(marginal(p, s) * conditional(p, s), p) for s in some),
        orders=len(orders),
        order_error=max(_error(by_chain_rule(p, order), p) for order in orders),
        posterior_error=_error(
            x_given_y * p_y / (x_given_y * p_y).sum(axis=-1, keepdims=True), y_given_x
        ),
        back_error=_error(y_given_x * p_x / p_y, x_given_y),
        model_total=total,
        model_error=error,
    )


def of_a_model(rng: Generator) -> tuple[float, float]:
    """Naive Bayes on 500 samples: Σ p(x, y), and the error of its p(y | x)."""
    y = rng.integers(0, CLASSES, (500,))
    bits = rng.uniform((500, BITS), dtype=np.float64) < 0.2 + 0.25 * y[:, None]
    model = BernoulliNaiveBayes(BITS, CLASSES).fit(bits.astype(np.float64), y)
    states = np.stack(np.meshgrid(*[[0.0, 1.0]] * BITS, indexing="ij"), axis=-1).reshape(-1, BITS)
    known = [model.log_prob(states, np.full(len(states), k)) for k in range(CLASSES)]
    p = np.exp(np.stack(known, axis=1)) * np.exp(model.log_prior())  # p(x | y) p(y), (16, 3)
    return float(p.sum()), _error(p / p.sum(axis=1, keepdims=True), model.predict_proba(states))


def _error(found: Array, expected: Array) -> float:
    return float(np.abs(found - expected).max())


def facts(result: Result) -> list[Fact]:
    """Every direction gives the same joint."""
    return [
        below(f"p(a) p(b | a) − p(a, b), {result.splits} splits", result.split_error, 1e-15),
        below(f"Π p(x_i | x_<i) − p(x), {result.orders} orders", result.order_error, 1e-15),
        below(
            "p(y | x) from p(x | y) and p(y), less the enumerated", result.posterior_error, 1e-14
        ),
        below("p(x | y) from p(y | x), p(x) and p(y)", result.back_error, 1e-14),
        close("Σ over all x and y of naive Bayes", result.model_total, 1.0, within=1e-12),
        below("its p(y | x), less the rule's", result.model_error, 1e-12),
    ]
