"""What every model of x given something owes (MISSION row C).

Given y it is a chain like any other, so the chain's own laws are asked of it once more, as `Told`
of one thing. And y must enter in the right places: all of it, no padding, each row its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from core.samples import Padded, take
from tests.laws import autoregressive, explicit
from tests.laws.subject import Subject, evaluate, examples, log_prob


def what_is_given_is_seen(s: Subject) -> None:
    """Every conditional before the end moves with each element of what is given."""
    x, y = _without_end(s)
    before = evaluate(lambda x: s.model.conditionals(x, y), x)
    for j in range(y.shape[1]):
        moved = evaluate(lambda x, j=j: s.model.conditionals(x, changed(s, y, j)), x) != before
        here = getattr(y, "lengths", np.full(len(x), y.shape[1])) > j
        assert moved[here].any(axis=-1).all(), f"y_{j} is not seen by every conditional"
        assert not moved[~here].any(), f"y_{j} is padding, and seen"


def padding_is_not_seen(s: Subject) -> None:
    """Whatever lies beyond a thing's length, and however much, p(x | y) is the same."""
    x, y = _without_end(s)
    if not isinstance(y, Padded):
        return
    before = log_prob(s.model, x, y)
    for more in (0, 3):
        wider = np.pad(y.data, [(0, 0), (0, more), *[(0, 0)] * (y.data.ndim - 2)])
        noise = np.random.default_rng(4).permuted(y.data, axis=0)
        noise = np.concatenate([noise, noise, noise], axis=1)[:, : wider.shape[1]]
        here = Padded(wider, y.lengths).mask.reshape(*wider.shape[:2], *[1] * (y.data.ndim - 2))
        other = Padded(np.where(here, wider, noise), y.lengths)
        np.testing.assert_allclose(log_prob(s.model, x, other), before, rtol=1e-10)


def each_row_is_told_of_its_own(s: Subject) -> None:
    """p(x_b | y_b) is that of the pair alone, in whatever company it comes."""
    x, y = examples(s.row, 9, 3)
    together = log_prob(s.model, x, y)
    alone = [log_prob(s.model, x[[b]], take(y, [b]))[0] for b in range(len(x))]
    np.testing.assert_allclose(together, alone, rtol=1e-10)
    drawn = s.model.sample(9, seed=3, y=y)
    for b in (0, 8):
        again = s.model.sample(9, seed=3, y=take(y, np.full(9, b)))
        np.testing.assert_array_equal(again[b], drawn[b])


def is_a_chain_given_anything(s: Subject) -> None:
    """Given a thing, it sums to 1 over strings, sees the past only, and draws what it scores.

    A draw keeps what it has computed of the past; replayed, each conditional is computed anew.
    """
    _, y = examples(s.row, 3, 5)
    for b in range(3):
        told = Told(s.model, take(y, [b]))
        explicit.sums_to_one(told, s.levels)
        explicit.frequencies_follow_log_prob(told, s.levels)
        autoregressive.sees_exactly_the_past(told)
        autoregressive.scores_what_it_sampled(told)
        autoregressive.teacher_forcing_is_likelihood(told, _without_end(s)[0])
    greedy = s.model.greedy(y)
    np.testing.assert_array_equal(greedy, s.model.sample(3, y=y, top_k=1))


class Told:
    """p(· | y) of one thing, as a model of x."""

    def __init__(self, model: Any, thing: Any) -> None:
        self.model, self.thing = model, thing
        self.dim, self.levels, self.head = model.dim, model.levels, model.head

    def _given(self, n: int) -> Any:
        return take(self.thing, np.zeros(n, int))

    def conditionals(self, x: np.ndarray) -> Any:
        return self.model.conditionals(x, self._given(len(x)))

    def log_prob(self, x: np.ndarray) -> Any:
        return self.model.log_prob(x, self._given(len(x)))

    def sample(self, n: int, *, seed: int = 0) -> Any:
        return self.model.sample(n, seed=seed, y=self._given(n))


def changed(s: Subject, y: Any, j: int) -> Any:
    """y with another element j, or of an image another colour j, in every row."""
    if not isinstance(y, Padded):
        return np.where((np.arange(y.shape[1]) == j)[:, None, None], y + 1, y)
    data = y.data.copy()
    data[:, j] = (data[:, j] + 1) % s.row.tiny["symbols"]
    return Padded(data, y.lengths)


def _without_end(s: Subject) -> tuple[np.ndarray, Any]:
    """Texts that go on to the last token, with what is given."""
    x, y = examples(s.row, 12, 3)
    return np.where(x == s.model.end, (s.model.end + 1) % s.levels, x), y
