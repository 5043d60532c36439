"""One number to learn: data, a density, its samples; and how much was known before.

MISSION row F10.

A generative model of a single x is a curve p(x) that should be high where data are. Which curves
are thought of at all is prior knowledge: a Gaussian for data in two heaps is *not a great model*,
however well it is fitted, and bumps on the data are a better one. No eye is needed to say so:

    mean ln p(x) over held-out x is higher for the better model, by KL(data ‖ a) − KL(data ‖ b)

Priors are a spectrum. Of an image of 64 bits one may know nothing (every state alike), that pixels
are on or off each by its own frequency, that a pixel goes with those before it, or that images come
in kinds; the less is assumed, the more data it takes. And a model that knows what digits are finds
other things improbable: *noise*; *another style*, the same digits in white on black; *gibberish*,
whose every pixel is that of some digit, but of another one each. To see through gibberish takes
more than frequencies: independence can't tell it from data. Lecture 003; Parzen 1962.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from core import Array
from core.data import load
from core.distributions import Categorical, Mixture, Normal
from core.random import Generator
from reference.counting.gaussian_naive_bayes import GaussianNaiveBayes
from reference.counting.kernel_naive_bayes import KernelNaiveBayes
from reference.counting.markov import MarkovTable
from reference.counting.naive_bayes import BernoulliNaiveBayes
from reference.judges.estimates import Estimate, kl, monte_carlo
from reference.latent.bernoulli_mixture import BernoulliMixture
from reference.lessons import Fact, above, below, close, note
from reference.lessons._picture import ACCENT, INK, PAPER, panels

TRAIN, HELD_OUT, PIXELS, KINDS = 400, 4000, 64, 20
FEW = 40


class Heaps:
    """The truth: 0.4 N(−2, ½²) + 0.6 N(1, 1)."""

    def __init__(self) -> None:
        component = Normal(np.array([-2.0, 1.0]), np.array([0.5, 1.0]))
        self.mixture = Mixture(Categorical(probs=np.array([0.4, 0.6])), component)

    def log_prob(self, x: Array) -> Array:
        """Nats (n,) of x (n, 1)."""
        return self.mixture.log_prob(x[:, 0])

    def draw(self, rng: Generator, n: int) -> Array:
        """x (n, 1)."""
        return np.asarray(self.mixture.sample((n,), rng))[:, None]


def gaussian(x: Array) -> GaussianNaiveBayes:
    """One heap."""
    model = GaussianNaiveBayes(1, 1)
    model.fit(x, np.zeros(len(x), np.int64))
    return model


def bumps(x: Array) -> KernelNaiveBayes:
    """One bump on every example."""
    model = KernelNaiveBayes(1, 1, len(x), bandwidth=0.3)
    model.fit(x, np.zeros(len(x), np.int64))
    return model


def independent(x: Array) -> BernoulliNaiveBayes:
    """Each pixel by its own frequency."""
    model = BernoulliNaiveBayes(PIXELS, 1)
    model.fit(x, np.zeros(len(x), np.int64))
    return model


def chain(x: Array) -> MarkovTable:
    """A pixel by the nine before it."""
    return MarkovTable(PIXELS, order=9, alpha=0.2).fit(x)


def mixture(x: Array) -> BernoulliMixture:
    """Kinds of image."""
    model = BernoulliMixture(PIXELS, components=KINDS, alpha=0.3)
    for _ in range(12):
        model.em_step(x)
    return model


def oddities(x: Array, rng: Generator) -> dict[str, Array]:
    """What is no digit, as many as the rows of x (n, 64)."""
    other = np.stack([column[rng.permutation(len(x))] for column in x.T], axis=1)
    return {
        "gibberish": other,
        "noise": (rng.uniform(x.shape) < 0.5).astype(np.float64),
        "another style": 1 - x,
    }


@dataclass(frozen=True)
class Result:
    """What `run` found; log-likelihoods are means over what was held out, in nats."""

    poor: Estimate
    good: Estimate
    poor_kl: Estimate
    good_kl: Estimate
    moments: tuple[float, float]  # largest error of the mean and variance of the good one's samples
    priors: dict[str, tuple[float, float]]  # with FEW digits, and with all
    scores: dict[str, Estimate]  # under the mixture
    blind: Estimate  # digits less gibberish, where pixels are independent
    curves: tuple[tuple[float, ...], ...]  # x, truth, poor, good
    samples: tuple[float, ...]


def run(seed: int = 0) -> Result:
    """One dimension, then 64.

    >>> found = run()
    >>> found.good.mean > found.poor.mean
    True
    """
    rng, truth = Generator(seed), Heaps()
    train, test = truth.draw(rng, TRAIN), truth.draw(rng, HELD_OUT)
    poor, good = gaussian(train), bumps(train)
    drawn = good.sample(HELD_OUT, seed=seed)[:, 0].astype(np.float64)
    grid = np.linspace(-5, 5, 201)[:, None]
    return Result(
        poor=monte_carlo(poor.log_prob(test)),
        good=monte_carlo(good.log_prob(test)),
        poor_kl=kl(test, truth, poor),
        good_kl=kl(test, truth, good),
        moments=_moments(drawn, train[:, 0]),
        **of_digits(rng),
        curves=tuple(
            tuple(c.tolist())
            for c in (grid[:, 0], *(np.exp(m.log_prob(grid)) for m in (truth, poor, good)))
        ),
        samples=tuple(drawn[:60].tolist()),
    )


def _moments(drawn: Array, train: Array) -> tuple[float, float]:
    """Mean and variance of samples less those that bumps of width 0.3 on the data have."""
    variance = float(train.var()) + 0.09
    return float(drawn.mean() - train.mean()), float(drawn.var() - variance)


def of_digits(rng: Generator) -> dict[str, Any]:
    """What is assumed, what it is worth with few and with many examples; what isn't digits."""
    data = load("digits", domain="binary")
    x = data.train.x[rng.permutation(len(data.train.x))]
    test = np.concatenate([data.validation.x, data.test.x])
    odd = oddities(test, rng)
    learn: dict[str, Any] = {"independent": independent, "chain": chain, "mixture": mixture}
    fits = {name: [f(part) for part in (x[:FEW], x)] for name, f in learn.items()}
    priors = {
        name: tuple(float(m.log_prob(test).mean()) for m in pair) for name, pair in fits.items()
    }
    best, plain = fits["mixture"][1], fits["independent"][1]
    every = {"digits": test, **odd}
    return {
        "priors": {"nothing": (-PIXELS * math.log(2),) * 2, **priors},
        "scores": {name: monte_carlo(best.log_prob(images)) for name, images in every.items()},
        "blind": monte_carlo(plain.log_prob(test) - plain.log_prob(odd["gibberish"])),
    }


def facts(result: Result) -> list[Fact]:
    """Who is better in one dimension, what priors are worth, and what a model finds odd."""
    few, many = ({name: pair[i] for name, pair in result.priors.items()} for i in (0, 1))
    scores = result.scores
    return [
        note("mean ln p(x), one Gaussian", result.poor.mean),
        above("… bumps on the data", result.good.mean, result.poor.mean),
        above("KL(data ‖ one Gaussian), surely more than none", result.poor_kl.interval()[0], 0.05),
        below("KL(data ‖ bumps)", result.good_kl.mean, result.poor_kl.mean / 2),
        close("mean of the bumps' samples, less theirs", result.moments[0], 0.0, within=0.11),
        close("variance", result.moments[1], 0.0, within=0.25),
        *(note(f"digits, {FEW} examples, {name} assumed", nats) for name, nats in few.items()),
        *(note(f"digits, 1297 examples, {name} assumed", nats) for name, nats in many.items()),
        above("with few, independence less chain", few["independent"] - few["chain"], 0.0),
        above("with many, chain less independence", many["chain"] - many["independent"], 0.0),
        Fact(
            "the best with many",
            best := max(many, key=many.__getitem__),
            "mixture",
            best == "mixture",
        ),
        *(
            below(f"ln p, {name}, less that of digits", _above(scores[name], scores["digits"]), 0.0)
            for name in scores
            if name != "digits"
        ),
        close(
            "digits less gibberish, pixels independent",
            result.blind.mean,
            0.0,
            within=1e-9,
        ),
    ]


def _above(one: Estimate, other: Estimate) -> float:
    """Their difference and four errors."""
    return float(one.mean - other.mean + 4 * math.hypot(one.se, other.se))


def picture(result: Result) -> bytes:
    """The 1-D page, and the oddities."""
    x, truth, poor, good = result.curves

    def panel(title: str, curve: tuple[float, ...], samples: tuple[float, ...]) -> Any:
        def draw(axes: Any) -> None:
            axes.plot(x, truth, color=PAPER, label="data")
            axes.plot(x, curve, color=ACCENT, label="model")
            axes.plot(samples, [0.0] * len(samples), "|", color=INK)
            axes.set(title=title, ylim=(-0.02, 0.36))
            axes.legend(frameon=False)

        return draw

    def odd(axes: Any) -> None:
        names = list(result.scores)
        axes.barh(names, [result.scores[name].mean for name in names], color=INK)
        axes.set(xlabel="mean ln p(x)", title="what a model of digits finds odd")

    return panels(
        panel("not a great model", poor, ()), panel("a better one", good, result.samples), odd
    )
