"""The generative–discriminative pair: one family of lines, learned in two ways. MISSION row H6.

Gaussian naive Bayes with one variance for both classes has log-odds that are linear in x; logistic
regression is the same set of lines (row H5). The first maximises Σ ln p(x, y), feature by feature,
and so needs few examples, O(log D) of them; the second maximises Σ ln p(y | x), which takes O(D),
but ends at the best line, whether or not features are independent given the class.

So there are two regimes, and where the curves cross depends on how wrong the assumption is:

    independence true     both end at the best line, and naive Bayes is ahead on the way there
    independence false    naive Bayes ends at another line, and the twin overtakes it

Here: Gaussian classes in ten dimensions, where a line's error is known exactly,
Φ((wᵀμ + b)/√(wᵀΣw)) for each class; and digits, odd against even, 2 × 2 pixels added to one. Means
over equal training sets for both. Ng & Jordan 2001.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from core import Array, special
from core.data import load
from core.random import Generator
from reference.counting.gaussian_naive_bayes import SharedVarianceNaiveBayes
from reference.counting.logistic_regression import LogisticRegression
from reference.lessons import Fact, above, below, note
from reference.lessons._picture import ACCENT, INK, PAPER, panels

DIM, SIZES, SETS = 10, (20, 40, 80, 160, 300, 2000), 10
DIGIT_SIZES, DIGIT_SETS = (20, 50, 100, 200, 400), 8
SHARED = 0.5  # of the variance, by all features, where they depend


@dataclass(frozen=True)
class Curves:
    """Mean error of both at each n, naive Bayes first; best: of any line, if known."""

    sizes: tuple[int, ...]
    naive: tuple[float, ...]
    twin: tuple[float, ...]
    best: float | None

    @property
    def gaps(self) -> list[float]:
        """How far naive Bayes is ahead."""
        return [b - a for a, b in zip(self.naive, self.twin, strict=True)]


@dataclass(frozen=True)
class Gaussians:
    """Two equally frequent classes N(±μ, Σ)."""

    mu: Array  # (D,)
    cov: Array  # (D, D)

    def draw(self, rng: Generator, n: int) -> tuple[Array, Array]:
        """x (n, D) and y (n,), as many of both classes."""
        y = rng.permutation(n) % 2
        z = rng.normal((n, len(self.mu)), dtype=np.float64)
        return z @ np.linalg.cholesky(self.cov).T + self.mu * (2 * y - 1)[:, None], y

    def error(self, w: Array, b: float) -> float:
        """Of y = [wᵀx + b > 0], exactly."""
        sigma = math.sqrt(w @ self.cov @ w)
        missed, alarmed = special.ndtr(np.array([-(w @ self.mu) - b, b - w @ self.mu]) / sigma)
        return float(missed + alarmed) / 2

    def best(self) -> float:
        """The least error there is: w = Σ⁻¹μ."""
        return self.error(np.linalg.solve(self.cov, self.mu), 0.0)


def independent() -> Gaussians:
    """What naive Bayes assumes."""
    return Gaussians(np.full(DIM, 0.25), np.eye(DIM))


def dependent() -> Gaussians:
    """Half of the features know the class; all share a disturbance that the others could cancel."""
    mu = np.where(np.arange(DIM) < DIM // 2, 0.25, 0.0)
    return Gaussians(mu, (1 - SHARED) * np.eye(DIM) + SHARED)


def naive_bayes(x: Array, y: Array) -> LogisticRegression:
    """The generative twin, fitted, written as a line."""
    model = SharedVarianceNaiveBayes(x.shape[1], 2).fit(x, y)
    return LogisticRegression.from_naive_bayes(model)


def logistic(x: Array, y: Array) -> LogisticRegression:
    """The discriminative twin, without a penalty."""
    return LogisticRegression(x.shape[1], 2).fit(x, y)


def line(model: LogisticRegression) -> tuple[Array, float]:
    """w and b of the log-odds."""
    return model.W[:, 1] - model.W[:, 0], float(model.b[1] - model.b[0])


def both(x: Array, y: Array) -> tuple[LogisticRegression, LogisticRegression]:
    """The pair, from the same examples."""
    return naive_bayes(x, y), logistic(x, y)


def on_gaussians(truth: Gaussians, rng: Generator) -> Curves:
    """Exact errors of fits to SETS training sets of each size."""

    def errors(n: int) -> Array:
        fits = [both(*truth.draw(rng, n)) for _ in range(SETS)]
        return np.mean([[truth.error(*line(m)) for m in pair] for pair in fits], axis=0)

    naive, twin = np.transpose([errors(n) for n in SIZES]).tolist()
    return Curves(SIZES, tuple(naive), tuple(twin), truth.best())


def on_digits(rng: Generator) -> Curves:
    """Errors on all held-out digits."""
    data = load("digits")
    x, y = _coarse(data.train.x), data.train.y % 2
    test = _coarse(np.concatenate([data.validation.x, data.test.x]))
    right = np.concatenate([data.validation.y, data.test.y]) % 2

    def errors(n: int) -> Array:
        sets = [rng.permutation(len(x))[:n] for _ in range(DIGIT_SETS)]
        wrong = [[m.predict(test) != right for m in both(x[i], y[i])] for i in sets]
        return np.mean(wrong, axis=(0, 2))

    naive, twin = np.transpose([errors(n) for n in DIGIT_SIZES]).tolist()
    return Curves(DIGIT_SIZES, tuple(naive), tuple(twin), None)


def _coarse(x: Array) -> Array:
    """Of images 8 × 8, their 4 × 4 quarters' sums, (n, 16)."""
    return x.reshape(-1, 4, 2, 4, 2).sum(axis=(2, 4)).reshape(-1, 16)


@dataclass(frozen=True)
class Result:
    """What `run` found."""

    true: Curves
    false: Curves
    digits: Curves


def run(seed: int = 0) -> Result:
    """A hundred and fifty fits of each twin.

    >>> min(run().true.gaps[:5]) > 0
    True
    """
    rng = Generator(seed)
    return Result(on_gaussians(independent(), rng), on_gaussians(dependent(), rng), on_digits(rng))


def facts(result: Result) -> list[Fact]:
    """Who is ahead, where, and where both end."""
    true, false, digits = result.true, result.false, result.digits
    return [
        *(
            above(f"independence true, n = {n}: ahead by", gap, 0.0)
            for n, gap in zip(SIZES[:-1], true.gaps, strict=False)
        ),
        below(f"… at n = {SIZES[-1]} by no more than", abs(true.gaps[-1]), 0.003),
        below("… naive Bayes less the best line's error", true.naive[-1] - _known(true), 0.003),
        note("independence false: ahead at the beginning by", false.gaps[0]),
        below(f"… at n = {SIZES[-1]} it is behind, by", false.gaps[-1], -0.03),
        above("… naive Bayes less the best line's error", false.naive[-1] - _known(false), 0.03),
        below("… the twin less the best line's", false.twin[-1] - _known(false), 0.003),
        above(f"digits, n = {DIGIT_SIZES[0]}: ahead by", digits.gaps[0], 0.0),
        below(f"… n = {DIGIT_SIZES[-1]}: by", digits.gaps[-1], 0.0),
        above("… they cross at n", crossing(digits), 30.0),
        below("… and", crossing(digits), 200.0),
    ]


def _known(curves: Curves) -> float:
    assert curves.best is not None
    return curves.best


def crossing(curves: Curves) -> float:
    """The n at which naive Bayes is overtaken, between two sizes by interpolation in ln n."""
    steps = pairwise(zip(np.log(curves.sizes).tolist(), curves.gaps, strict=True))
    falls = ((a, one, b, other) for (a, one), (b, other) in steps if one > 0 >= other)
    a, one, b, other = next(falls, (0.0, 1.0, math.inf, 0.0))
    return math.exp(a + (b - a) * one / (one - other))


def picture(result: Result) -> bytes:
    """Three pairs of learning curves."""

    def panel(title: str, curves: Curves) -> Any:
        def draw(axes: Any) -> None:
            axes.plot(curves.sizes, curves.naive, "o-", color=ACCENT, label="naive Bayes")
            axes.plot(curves.sizes, curves.twin, "o-", color=INK, label="logistic regression")
            if curves.best is not None:
                axes.axhline(curves.best, color=PAPER, linestyle="--", label="best line")
            axes.set(xscale="log", xlabel="training examples", ylabel="error", title=title)
            axes.set_xticks(curves.sizes, curves.sizes)
            axes.minorticks_off()
            axes.legend(frameon=False)

        return draw

    return panels(
        panel("independence true", result.true),
        panel("independence false", result.false),
        panel("digits, odd or even", result.digits),
    )
