"""One of K values by its probability: three ways to draw it, and the controls of decoding.

MISSION row F9.

    inverse distribution function    the k with F(k−1) ≤ u < F(k), F(k) = p_0 + … + p_k
    Gumbel-max                       argmax_k (l_k + g_k),  g = −ln(−ln u), l = ln p + const
    alias table                      a uniform column of K, and value k below its threshold, else
                                     the column's other: O(1) a draw, whatever K is

All three follow p, and from one uniform, from K, and from two. Greedy decoding draws nothing: the
largest logit. What lies between is p^(1/T), cut to a kept set and made to sum to 1 again:

    top-k    fewer than k logits are larger          top-p    those larger have less than p together
    min-p    p_j is at least min_p of the largest

so equal logits stay or go together. Here: 20 000 draws of each way are compared with p by a
chi-square test; and for 500 rows of logits that are full of ties, what the operation keeps
(`reference.operations.decoding`) is compared with the words above, token by token.

Gumbel 1954; Walker 1977.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from core import Array, special
from core.functional import softmax
from core.random import Generator
from reference.lessons import Fact, above, below
from reference.lessons._picture import ACCENT, INK, PAPER, panels
from reference.operations.alias import alias_draw, alias_table
from reference.operations.decoding import decode, probabilities

K, N, ROWS = 12, 20_000, 500
CONTROLS: dict[str, dict[str, Any]] = {
    "temperature ½": {"temperature": 0.5},
    "temperature 2": {"temperature": 2.0},
    "top-k 4": {"top_k": 4},
    "top-p 0.7": {"top_p": 0.7},
    "min-p 0.3": {"min_p": 0.3},
    "all four": {"temperature": 1.5, "top_k": 8, "top_p": 0.8, "min_p": 0.1},
}


def by_inverse(logits: Array, rng: Generator) -> Array:
    """N values by u in F."""
    F = np.cumsum(softmax(logits))
    return np.searchsorted(F, rng.uniform((N,), dtype=np.float64) * F[-1], side="right")


def by_gumbel(logits: Array, rng: Generator) -> Array:
    """N values by the largest of logits that are disturbed."""
    u = np.maximum(rng.uniform((N, K), dtype=np.float64), 1e-300)
    return np.argmax(logits - np.log(-np.log(u)), axis=1)


def by_alias(logits: Array, rng: Generator) -> Array:
    """N values by columns of height 1/K."""
    return alias_draw(rng.uniform((N, 2), dtype=np.float64), *alias_table(softmax(logits)))


def by_decoding(logits: Array, rng: Generator, **controls: Any) -> Array:
    """N values as a language model's tokens are drawn."""
    u = rng.uniform((N,), dtype=np.float64)
    return decode(np.broadcast_to(logits, (N, K)), u, **controls)


def fit(x: Array, p: Array) -> float:
    """How often a sample of p looks less like p than the values x do: the chi-square test's."""
    possible = p > 0
    observed, expected = np.bincount(x, minlength=len(p)), len(x) * p
    if observed[~possible].any():
        return 0.0
    chi2 = ((observed - expected)[possible] ** 2 / expected[possible]).sum()
    return float(special.chdtrc(possible.sum() - 1, chi2)) if possible.sum() > 1 else 1.0


def told(
    logits: list[float],
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
) -> list[float]:
    """What a row of logits becomes, by the definitions read out token by token."""
    w = [math.exp((a - max(logits)) / temperature) for a in logits]
    if top_k is not None:
        w = [
            v if sum(b > a for b in logits) < top_k else 0.0 for a, v in zip(logits, w, strict=True)
        ]
    if top_p is not None:
        total = sum(w)
        larger = [sum(v for v in w if v > one) for one in w]
        w = [v if before < top_p * total else 0.0 for v, before in zip(w, larger, strict=True)]
    if min_p is not None:
        w = [v if v >= min_p * max(w) else 0.0 for v in w]
    return [v / sum(w) for v in w]


def with_ties(rng: Generator) -> Array:
    """Logits (ROWS, K) that take six values, in no order."""
    return rng.integers(0, 6, (ROWS, K)) * 0.7


@dataclass(frozen=True)
class Result:
    """What `run` found."""

    p: tuple[float, ...]
    ways: dict[str, float]  # the test's p-value of each way to draw
    controlled: dict[str, float]  # the same of draws under controls
    apart: dict[str, int]  # rows whose kept set is not the one that the definitions give
    error: float  # of the probabilities that are left
    greedy: bool  # temperature 0 takes the first of the largest logits
    decoded: dict[str, tuple[float, ...]]  # the distribution under each control


def run(seed: int = 0) -> Result:
    """All ways, all controls.

    >>> run().apart["top-p 0.7"], run().greedy
    (0, True)
    """
    rng = Generator(seed)
    logits = rng.normal((K,), dtype=np.float64) * 1.2
    p = softmax(logits)
    ways = {
        "inverse": by_inverse,
        "Gumbel-max": by_gumbel,
        "alias": by_alias,
        "tokens": by_decoding,
    }
    decoded = {name: probabilities(logits[None], **c)[0] for name, c in CONTROLS.items()}
    ties = with_ties(rng)
    found = {name: probabilities(ties, **c) for name, c in CONTROLS.items()}
    right = {
        name: np.array([told(row, **c) for row in ties.tolist()]) for name, c in CONTROLS.items()
    }
    first = np.argmax(ties, axis=1)
    return Result(
        p=tuple(p.tolist()),
        ways={name: fit(way(logits, rng), p) for name, way in ways.items()},
        controlled={
            name: fit(by_decoding(logits, rng, **c), decoded[name]) for name, c in CONTROLS.items()
        },
        apart={
            name: int(((found[name] > 0) != (right[name] > 0)).any(axis=1).sum()) for name in found
        },
        error=max(float(np.abs(found[name] - right[name]).max()) for name in found),
        greedy=bool((decode(ties, rng.uniform((ROWS,)), temperature=0) == first).all()),
        decoded={name: tuple(q.tolist()) for name, q in decoded.items()},
    )


def facts(result: Result) -> list[Fact]:
    """Frequencies, then sets."""
    return [
        *(above(f"χ² test of {N} draws, {way}", p, 1e-4) for way, p in result.ways.items()),
        *(above(f"χ² test under {name}", p, 1e-4) for name, p in result.controlled.items()),
        *(
            below(f"rows of {ROWS} with ties, another set kept by {name}", n, 0)
            for name, n in result.apart.items()
        ),
        below("largest error of a probability", result.error, 1e-12),
        Fact(
            "temperature 0 is the first of the largest", str(result.greedy), "True", result.greedy
        ),
    ]


def picture(result: Result) -> bytes:
    """p, and what three controls leave of it."""

    def panel(name: str) -> Any:
        def draw(axes: Any) -> None:
            order = np.argsort(result.p)[::-1]
            axes.bar(range(K), np.array(result.p)[order], color=PAPER)
            axes.plot(range(K), np.array(result.decoded[name])[order], "o", color=ACCENT)
            axes.axhline(0, color=INK, linewidth=0.5)
            axes.set(title=name, xlabel="value, most probable first")

        return draw

    return panels(*map(panel, ("temperature ½", "top-k 4", "top-p 0.7", "min-p 0.3")), width=3)
