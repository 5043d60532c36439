"""Is an adversarial training healthy? Losses don't say; samples beside data do. Row G1.

A game has no loss that falls. What goes wrong shows in other figures, which a monitor takes after
every epoch, of some held-out data and as many samples of always the same latents:

    d_accuracy   P(D(x) > D(x')), x data, x' a sample: ½ where D can't tell, 1 where it always can
    spread       mean distance between two samples, in units of that between two data
    classes      how many classes appear, and class_share, exp(entropy)/classes, where a judge knows

    collapsing   samples are alike: little spread, or few of the classes, and no recovery
    diverging    a loss grows without end, or samples fly apart, or D always wins while losses grow
    healthy      neither; samples may still be bad
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from core import Array, no_grad, value
from core.samples import Batch, rows, take
from reference.judges.classes import class_coverage
from reference.judges.likelihood import takes_condition

HEALTHY, COLLAPSING, DIVERGING = "healthy", "collapsing", "diverging"
LEAST, MOST = 0.5, 2.0
"""Spread below which samples are alike, and beyond which they fly apart."""
CERTAIN = 0.995
"""d_accuracy from which D always wins."""
RECENT = 5
"""Epochs in which a collapse would have to get better to be none."""
GROWN = 5.0
"""Times that a loss must have grown since the first epoch, squared where that alone tells."""

Entry = Mapping[str, Any]


class Monitor:
    """Called by `core.train.fit` at the end of an epoch: figures, a state, and why.

    x (N, …), y: held-out data and their labels, of which at most 500 rows are used. classify: x to
    its class in 0 … classes − 1; None where there is no judge.

    >>> from reference.adversarial.gan import GAN
    >>> x = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    >>> said = Monitor(GAN(2, hidden=[8]), x)([], {"epoch": 1, "losses": [1.4, 0.7]})
    >>> said["state"], sorted(said)
    ('healthy', ['d_accuracy', 'spread', 'state', 'why'])
    """

    def __init__(
        self,
        model: Any,
        x: Array,
        y: Batch = None,
        *,
        classify: Callable[[Array], Any] | None = None,
        classes: int = 0,
    ) -> None:
        self.model, self.x, self.y = model, x[:500], take(y, slice(500))
        self.classify, self.classes = classify, classes
        self._spread = spread(self.x)

    def __call__(self, entries: Sequence[Entry], entry: Entry) -> dict[str, Any]:
        """What is kept in the log beside the losses of this entry; entries: those before it.

        Epochs that nobody watched, as of a training begun without a monitor, are passed over.
        """
        figures = self.figures()
        watched = [{**e, **e["monitor"]} for e in entries if "monitor" in e]
        state, why = verdict([*watched, {**entry, **figures}])
        return {**figures, "state": state, "why": why}

    def figures(self) -> dict[str, Any]:
        """Of the model as it is."""
        given = {"y": self.y} if takes_condition(self.model) and self.y is not None else {}
        samples = self.model.sample(len(self.x), seed=0, **given)
        with no_grad():
            data, fakes = (value(self.model.discriminate(x, self.y)) for x in (self.x, samples))
        found: dict[str, Any] = {
            "d_accuracy": ranked(data, fakes),
            "spread": spread(samples) / self._spread,
        }
        if self.classify is not None:
            coverage = class_coverage(self.classify(samples), self.classes)
            found |= {"classes": coverage.seen, "class_share": coverage.share}
        return {name: round(float(figure), 4) for name, figure in found.items()}


def spread(x: Array) -> float:
    """Mean distance between two different rows of x (N, …), N ≥ 2."""
    from scipy.spatial.distance import pdist

    return float(np.mean(pdist(rows(x).astype(np.float64))))


def ranked(data: Array, fakes: Array) -> float:
    """How often D gives a datum more than a sample, equals counted half, of (N,) and (M,)."""
    return float(np.mean(np.sign(data[:, None] - fakes)) / 2 + 0.5)


def verdict(log: Sequence[Entry]) -> tuple[str, str]:
    """The state after the last entry, and why, of a log whose entries hold losses and figures.

    >>> verdict([{"losses": [1.4, 0.7], "d_accuracy": 0.6, "spread": 0.9}])
    ('healthy', 'samples are as far apart as 0.90 of data, D is right on 0.60 of pairs')
    """
    now = log[-1]
    if (why := _diverges(log)) is not None:
        return DIVERGING, why
    if (why := _collapses(log)) is not None:
        return COLLAPSING, why
    apart, right = f"{now['spread']:.2f}", f"{now['d_accuracy']:.2f}"
    return HEALTHY, f"samples are as far apart as {apart} of data, D is right on {right} of pairs"


def _diverges(log: Sequence[Entry]) -> str | None:
    now, sizes = log[-1], [_size(entry) for entry in log]
    young = max(1.0, sizes[0])
    if now["spread"] > MOST:
        return f"samples fly apart, {now['spread']:.1f} times as far as data"
    if sizes[-1] > GROWN**2 * young:
        return f"a loss has grown to {sizes[-1]:.3g}"
    recent = log[-RECENT:]
    wins = len(log) >= RECENT and all(entry["d_accuracy"] >= CERTAIN for entry in recent)
    if wins and sizes[-1] > GROWN * young:
        return f"D is right on every pair, and a loss has grown to {sizes[-1]:.3g}"
    return None


def _size(entry: Entry) -> float:
    """The larger of the losses, whatever its sign."""
    return max((abs(loss) for loss in entry.get("losses", [])), default=math.nan)


def _collapses(log: Sequence[Entry]) -> str | None:
    """Young trainings begin with samples that are all alike: only what doesn't recover counts."""
    before, now = log[-RECENT:-1], log[-1]
    for name, told in (
        ("spread", "samples are alike, as far apart as {:.2f} of data"),
        ("class_share", "few classes appear, as if {:.2f} of them all"),
    ):
        if name not in now or now[name] >= LEAST or len(before) < RECENT - 1:
            continue
        if now[name] <= 1.1 * float(np.mean([entry.get(name, 0.0) for entry in before])):
            return told.format(now[name])
    return None
