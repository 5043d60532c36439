"""The curse of dimensionality: what a table costs, and what each assumption saves. MISSION row H2.

A distribution over m bits has 2^m probabilities, which sum to 1. Every model of this family is such
a table with something assumed, and the free numbers that are left can be counted:

    full table                                     2^m − 1
    chain that looks d back, each place its own    2^d (m − d + 1) − 1
        d = 1                                      2m − 1
        d = 0: independence                        m
    chain that is the same at all places           3

The chain's count is Σ_j 2^min(j, d): place j has a distribution of its own for each past it tells
apart. Here the formulas are compared with the fitted models' own counts, and these with the rank
of the map from a model's parameters to the probabilities of all states: as many directions as it
can move in, so that none is idle. For the 784 pixels of an image the integers are exact.

And the curse itself: of m pixels of digits, how many held-out states were ever seen in training.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from core import Array
from core.data import load
from core.random import Generator
from reference.counting.histogram import Histogram
from reference.counting.homogeneous_chain import HomogeneousChain
from reference.counting.markov import MarkovTable, num_parameters
from reference.counting.naive_bayes import BernoulliNaiveBayes
from reference.lessons import Fact, below, note
from reference.lessons._picture import ACCENT, INK, panels

MOST, IMAGE = 8, 784
PIXELS = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64)
ORDERS = (0, 1, 2, 4, 6, 8, 10, 12)


def full_table(m: int) -> int:
    """2^m − 1."""
    return int(2**m - 1)


def chain(m: int, d: int) -> int:
    """2^d (m − d + 1) − 1."""
    return int(2**d * (m - d + 1) - 1)


def one_by_one(m: int, d: int) -> int:
    """Σ_j 2^min(j, d), place by place."""
    return sum(2 ** min(j, d) for j in range(m))


def rank(model: Any) -> int:
    """Directions in which a fitted table's ln p over all states moves as its counts of 1 do."""
    states = np.array(list(np.ndindex(*(2,) * model.dim)), np.float64)
    before, moves = model.log_prob(states), []
    tables = model.counts if isinstance(model, MarkovTable) else [model.first, model.transitions]
    for table in map(np.atleast_2d, tables):
        for ones in table[:, 1:]:  # of each past
            ones += 1
            moves.append(model.log_prob(states) - before)
            ones -= 1
    return int(np.linalg.matrix_rank(np.array(moves), tol=1e-9))


@dataclass(frozen=True)
class Result:
    """What `run` found."""

    fits: int
    wrong: int  # fitted models whose count is not the formula's
    ranks: int
    idle: int  # of these, whose rank is not their count
    image: dict[str, int]
    seen: tuple[float, ...]  # for each of PIXELS: share of held-out states met in training
    nats: tuple[tuple[float, float], ...]  # for each of ORDERS: of training data, held out


def run(seed: int = 0) -> Result:
    """Every m up to 8 and every order; then digits.

    >>> run().image["first-order chain"], run().wrong
    (1567, 0)
    """
    rng = Generator(seed)
    counts = [pair for m in range(1, MOST + 1) for pair in counted(m, rng)]
    ranks = [(rank(model), model.num_parameters) for model in movable(rng)]
    x, test, order = digits(rng)
    return Result(
        fits=len(counts),
        wrong=sum(a != b for a, b in counts),
        ranks=len(ranks),
        idle=sum(a != b for a, b in ranks),
        image={
            "full table": full_table(IMAGE),
            "independence": num_parameters(IMAGE, 0),
            "first-order chain": num_parameters(IMAGE, 1),
            "chain of order 9": num_parameters(IMAGE, 9),
            "chain of order m − 1": num_parameters(IMAGE, IMAGE - 1),
            "one table for all places": HomogeneousChain(IMAGE).num_parameters,
        },
        seen=tuple(share_seen(x[:, order[:m]], test[:, order[:m]]) for m in PIXELS),
        nats=tuple(likelihoods(x, test, d) for d in ORDERS),
    )


def bits(rng: Generator, m: int) -> Array:
    """A few rows to fit (20, m)."""
    return (rng.uniform((20, m)) < 0.4).astype(np.float64)


def counted(m: int, rng: Generator) -> list[tuple[int, int]]:
    """Of every model of m bits, fitted: its own count and the formula's."""
    x = bits(rng, m)
    one_class = BernoulliNaiveBayes(m, 1).fit(x, np.zeros(len(x), np.int64))
    chains = [(MarkovTable(m, order=d).fit(x).num_parameters, d) for d in range(m)]
    return [
        (Histogram(m, levels=2).fit(x).num_parameters, full_table(m)),
        (one_class.num_parameters, m),
        *((n, chain(m, d)) for n, d in chains),
        *((n, one_by_one(m, d)) for n, d in chains),
        (HomogeneousChain(m).fit(x).num_parameters, 3),
    ]


def movable(rng: Generator) -> list[Any]:
    """Chains of five bits, of all orders and of one table."""
    x = bits(rng, 5)
    return [*(MarkovTable(5, order=d).fit(x) for d in range(5)), HomogeneousChain(5).fit(x)]


def digits(rng: Generator) -> tuple[Array, Array, Array]:
    """Bits of digits to learn from and held out, and an order of their pixels."""
    data = load("digits", domain="binary")
    test = np.concatenate([data.validation.x, data.test.x])
    return data.train.x, test, rng.permutation(data.dim)


def share_seen(x: Array, test: Array) -> float:
    """Of the rows of test, those that equal a row of x."""
    known = {row.tobytes() for row in x}
    return float(np.mean([row.tobytes() in known for row in test]))


def likelihoods(x: Array, test: Array, order: int) -> tuple[float, float]:
    """Nats of a chain on what it has counted, and on what it hasn't."""
    model = MarkovTable(x.shape[1], order=order, alpha=0.2).fit(x)
    return -float(model.log_prob(x).mean()), -float(model.log_prob(test).mean())


def facts(result: Result) -> list[Fact]:
    """Integers first, then what they mean for data."""
    image = result.image
    told = [
        below(f"of {result.fits} counts, those that differ from a formula", result.wrong, 0),
        below(f"of {result.ranks} chains, those with an idle parameter", result.idle, 0),
        _exactly("independence", image["independence"], 784),
        _exactly("first-order chain", image["first-order chain"], 1567),
        _exactly("chain of order 9", image["chain of order 9"], 2**9 * 776 - 1),
        _exactly("one table for all places", image["one table for all places"], 3),
    ]
    full, last = image["full table"], image["chain of order m − 1"]
    digits_of = f"{len(str(full))} digits, {str(full)[:6]}…"
    told.append(Fact("784 bits, full table", digits_of, "2^784 − 1, exactly", full == 2**784 - 1))
    told.append(Fact("784 bits, order 783", digits_of, "the full table", last == full))
    for m, share in zip(PIXELS, result.seen, strict=True):
        told.append(note(f"held-out digits, {m} pixels: seen before", share))
    train, held = zip(*result.nats, strict=True)
    best = ORDERS[int(np.argmin(held))]
    falls = all(a >= b for a, b in pairwise(result.seen))
    inside = 0 < best < ORDERS[-1]
    return [
        *told,
        Fact(
            "the share seen falls with m",
            f"{result.seen[0]:.3g} → {result.seen[-1]:.3g}",
            "falls",
            falls,
        ),
        below("… of all 64", result.seen[-1], 0.1),
        note(
            f"nats held out, order 0 → {best} → {ORDERS[-1]}",
            f"{held[0]:.2f} → {min(held):.2f} → {held[-1]:.2f}",
        ),
        Fact("the best order", str(best), f"neither 0 nor {ORDERS[-1]}", inside),
        below("nats of training data, highest order less lowest", train[-1] - train[0], 0.0),
    ]


def _exactly(what: str, found: int, expected: int) -> Fact:
    return Fact(f"784 bits, {what}", str(found), f"= {expected}", found == expected)


def picture(result: Result) -> bytes:
    """Parameters against m; states seen; likelihoods by order."""

    def parameters(axes: Any) -> None:
        m = np.arange(1, 65)
        for d, color in ((0, INK), (1, INK), (4, INK), (9, INK)):
            axes.plot(
                m[d:], [float(chain(int(k), d)) for k in m[d:]], color=color, alpha=0.4 + d / 15
            )
        axes.plot(m, [float(full_table(int(k))) for k in m], color=ACCENT)
        axes.set(yscale="log", xlabel="bits m", title="free parameters: orders 0, 1, 4, 9, full")

    def seen(axes: Any) -> None:
        axes.plot(PIXELS, result.seen, "o-", color=INK)
        axes.set(xlabel="pixels of digits", title="held-out states seen in training")

    def orders(axes: Any) -> None:
        axes.plot(ORDERS, [a for a, _ in result.nats], "o--", color=INK, label="training")
        axes.plot(ORDERS, [b for _, b in result.nats], "o-", color=ACCENT, label="held out")
        axes.set(xlabel="order d", ylabel="nats", title="digits by a chain of order d")
        axes.legend(frameon=False)

    return panels(parameters, seen, orders)
