"""Teacher forcing and free running: small errors, each of them learned from. MISSION row A9.

A chain is trained on p(x_t | x_<t) with the x_<t of the *data*: all of its conditionals at once,
and the loss is exactly −ln p(x), the mean over the data. When it samples, x_<t are its own. One
error, and the past is one that training never showed; what the model says there was never asked
for, so more errors follow. The loss doesn't see it: it is an expectation over the data's pasts.

Here: sequences in which every bit is the opposite of the one two before it, 0011 0011 … in its four
phases, so the truth p is known: entropy 2 ln 2 and no errors. The model q is a table of what
follows each twelve bits, counted, with Laplace's pseudo-count: it is right but for one bit in
seventy or so, and knows nothing of pasts that it hasn't seen. On its own samples,

    share without an error = Σ q(x) over the four right sequences ≥ e^{−KL(p ‖ q)}       (Jensen)
    error rate on the path = that on given pasts;  after an error: ½

so the share of wrong bits rises from place to place, though the loss of every place is the same. A
network that is trained on the same sequences does better off the path, as far as it generalises.

Bengio, Vinyals, Jaitly & Shazeer 2015 (scheduled sampling, against it).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from core import Array, value
from core.data.dataset import Dataset, Split
from core.functional import sigmoid
from core.learners import GradientLearner, TrainSettings, loss_of
from core.random import Generator
from core.train import fit
from reference.autoregressive.markov_mlp import MarkovMLP
from reference.counting.markov import MarkovTable
from reference.judges.estimates import Estimate, monte_carlo
from reference.lessons import Fact, above, close, note
from reference.lessons._picture import ACCENT, INK, PAPER, panels

LENGTH, ROWS, SAMPLES = 32, 256, 4000
PLACES = range(2, LENGTH)  # where there is a right bit


def right_sequences() -> Array:
    """The four that the truth is uniform on, (4, LENGTH)."""
    starts = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    four = np.concatenate([starts, 1 - starts], axis=1)
    return np.tile(four, LENGTH // 4).astype(np.float64)


def counted(x: Array) -> MarkovTable:
    """A table that looks twelve bits back."""
    return MarkovTable(LENGTH, order=12, alpha=1, dtype=np.float64).fit(x)


def trained(x: Array, seed: int) -> MarkovMLP:
    """A network that looks eight bits back, not quite finished."""
    model = MarkovMLP(LENGTH, 2, window=8, hidden=(16,), seed=seed, dtype=np.float64)
    data = Dataset("phases", Split(x, None), Split(x[:0], None), Split(x[:0], None), "binary")
    fit(GradientLearner(model, TrainSettings(epochs=6, batch_size=32, lr=1e-2, seed=seed)), data)
    return model


def one_at_a_time(model: Any, x: Array) -> float:
    """Mean nats of x by its bits in the order of sampling, each shown its past and nothing else."""
    nats = np.zeros(len(x))
    for t in range(LENGTH):
        past = np.where(np.arange(LENGTH) < t, x, 0.0)
        logit = value(model.conditionals(past))[:, t]
        nats += np.logaddexp(0, np.where(x[:, t] == 1, -logit, logit))
    return float(nats.mean())


def forced_errors(model: Any, x: Array) -> Array:
    """Probability of a wrong bit at each of PLACES, on the data's own past."""
    ones = sigmoid(value(model.conditionals(x)))
    return np.where(x == 1, 1 - ones, ones)[:, PLACES].mean(axis=0)


def free_errors(model: Any, seed: int) -> Array:
    """Where a sample's bit is wrong on its own past: the same as the one two before it."""
    x = model.sample(SAMPLES, seed=seed)
    wrong: Array = x[:, 2:] == x[:, :-2]
    return wrong


@dataclass(frozen=True)
class Run:
    """One model, on the data's past and on its own."""

    loss: float  # what training minimises, on the four sequences
    nats: float  # mean −ln q(x)
    steps: float  # the same by one bit after another
    right: float  # Σ q(x) over the right sequences
    forced: tuple[float, ...]  # errors by place, on given pasts
    free: tuple[float, ...]  # errors by place, running free
    on_path: Estimate  # of bits with no error before them, those wrong
    after: Estimate  # of those with one
    whole: Estimate  # samples without an error

    @property
    def kl(self) -> float:
        """KL(p ‖ q)."""
        return self.nats - 2 * math.log(2)


def looked_at(model: Any, seed: int) -> Run:
    """All of a model's figures."""
    x = right_sequences()
    log_q, wrong = value(model.log_prob(x)), free_errors(model, seed)
    before = np.cumsum(wrong, axis=1) - wrong > 0
    return Run(
        loss=float(value(loss_of(model)(x, None, Generator(0)))),
        nats=-float(log_q.mean()),
        steps=one_at_a_time(model, x),
        right=float(np.exp(log_q).sum()),
        forced=tuple(forced_errors(model, x).tolist()),
        free=tuple(wrong.mean(axis=0).tolist()),
        on_path=monte_carlo(wrong[~before]),
        after=monte_carlo(wrong[before]),
        whole=monte_carlo(~wrong.any(axis=1)),
    )


@dataclass(frozen=True)
class Result:
    """What `run` found."""

    table: Run
    network: Run


def run(seed: int = 0) -> Result:
    """Learn, then sample.

    >>> table = run().table
    >>> table.free[-1] > 5 * table.forced[-1]
    True
    """
    x = right_sequences()[Generator(seed).integers(0, 4, (ROWS,))]
    return Result(looked_at(counted(x), seed), looked_at(trained(x, seed), seed))


def facts(result: Result) -> list[Fact]:
    """The loss is the likelihood; and what it doesn't see."""
    table, network = result.table, result.network
    forced = float(np.mean(table.forced))
    lost = 1 - table.whole.mean  # has erred by the last bit
    told = []
    for name, one in (("table", table), ("network", network)):
        told += [
            close(f"{name}: the loss, all bits at once", one.loss, one.nats, within=1e-10),
            close("… one bit after another", one.steps, one.nats, within=1e-10),
            note("… KL(p ‖ q), nats", one.kl),
            note("… errors a bit on given pasts", float(np.mean(one.forced))),
            note("… running free", float(np.mean(one.free))),
            close("… samples without an error", one.whole.mean, one.right, within=4 * one.whole.se),
            above("… Σ q(x) of the right ones", one.right, math.exp(-one.kl)),
        ]
    return [
        *told,
        close("table, on the path", table.on_path.mean, forced, within=4 * table.on_path.se + 1e-3),
        close("… after an error", table.after.mean, 0.5, within=0.03),
        above("… at the last bit, beside given pasts: times", table.free[-1] / table.forced[-1], 5),
        close("… half of the samples that have erred", table.free[-1], lost / 2, within=0.03),
        note("network, on the path", network.on_path.mean),
        above("… after an error", network.after.mean, network.on_path.mean),
    ]


def picture(result: Result) -> bytes:
    """Errors by place."""

    def panel(name: str, one: Run) -> Any:
        def draw(axes: Any) -> None:
            axes.plot(PLACES, one.free, color=ACCENT, label="running free")
            axes.plot(PLACES, one.forced, color=INK, label="on given pasts")
            axes.axhline(0.5, color=PAPER, linewidth=0.5)
            axes.set(xlabel="bit", ylabel="errors", title=name)
            axes.legend(frameon=False)

        return draw

    return panels(panel("table", result.table), panel("network", result.network))
