"""NADE (MISSION A2): the recursion, the shared weights, and what they compute in any order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import value
from core.errors import InputError
from core.functional import sigmoid
from core.learners import loss_of
from reference.autoregressive import nade
from reference.autoregressive.nade import NADE
from tests.laws import autoregressive as laws
from tests.laws import explicit, subject

ORDER = [2, 0, 4, 1, 3]


def make(order=None, dim=5, hidden=4, seed=1, cls=NADE):
    return subject.randomise(cls(dim, hidden=hidden, order=order, dtype=np.float64), seed)


def naive(model, x):
    """The definition, O(D²·H): each h_i from all of its past."""
    W, V, b, c = (value(p) for p in (model.W, model.V, model.b, model.c))
    logits = np.zeros_like(x)
    for place, i in enumerate(model.order):
        past = model.order[:place]
        h = 1 / (1 + np.exp(-(c + x[:, past] @ W[:place])))
        logits[:, i] = b[place] + h @ V[place]
    return logits


def equals_the_naive_form(model):
    x = subject.bits(11, model.dim)
    own = subject.evaluate(model.conditionals, x)
    np.testing.assert_allclose(own, naive(model, x), rtol=1e-10, atol=1e-12)


def does_not_depend_on_the_blocks(model):
    x, whole = (
        subject.bits(11, model.dim),
        subject.evaluate(model.conditionals, subject.bits(11, model.dim)),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "reference.autoregressive.nade.BLOCK", 3 * model.dim * model.hidden
        )  # rows 3 + 3 + 3 + 2
        np.testing.assert_array_equal(subject.evaluate(model.conditionals, x), whole)


# The model with one mistake


class UpdatesBeforePredicting(NADE):
    """a_i already holds x_i."""

    def conditionals(self, x):
        x = x[:, self.order]
        a = self.c + np.cumsum(x[:, :, None] * self.W, axis=1)
        logits = self.b + np.sum(self.V * sigmoid(a), axis=-1)
        return logits[:, np.argsort(self.order)]


class ForgetsWhatItSaw(NADE):
    """a_{i+1} = c + W x_i: no sum over the past."""

    def conditionals(self, x):
        x = x[:, self.order]
        x = np.concatenate([np.zeros_like(x[:, :1]), x[:, :-1]], axis=1)
        W = np.concatenate([self.W[:1], self.W[:-1]])
        logits = self.b + np.sum(self.V * sigmoid(self.c + x[:, :, None] * W), axis=-1)
        return logits[:, np.argsort(self.order)]


class AnswersInTheOrder(NADE):
    """Logits in the order of the computation, not of the variables."""

    def conditionals(self, x):
        return super().conditionals(x)[:, self.order]


class CarriesOverBlocks(NADE):
    """A block goes on from the first one's activations."""

    def conditionals(self, x):
        later = np.arange(len(x)) >= nade.BLOCK // (self.dim * self.hidden)
        return super().conditionals(x) + later[:, None] * x[0]


class SamplesInRasterOrder(NADE):
    """Draws 0, 1, 2, … whatever the order."""

    def sample(self, n, *, seed=0):
        kept, self.order = self.order, np.arange(self.dim)
        try:
            return super().sample(n, seed=seed)
        finally:
            self.order = kept


class SamplesWithoutUpdating(NADE):
    """Every variable is drawn as if nothing had been seen."""

    def sample(self, n, *, seed=0):
        kept, self.W = self.W, 0 * value(self.W)
        try:
            return super().sample(n, seed=seed)
        finally:
            self.W = kept


class TrainsOnTheMeanBit(NADE):
    """Nats per variable where nats per sample are meant."""

    def loss(self, x, y=None, rng=None):
        return -np.mean(self.log_prob(x)) * (1 / self.dim)


# Laws


@given(st.integers(1, 7).flatmap(laws.orders), st.integers(1, 6), st.integers(0, 99))
def test_it_is_a_distribution_whose_conditionals_see_exactly_the_past(order, hidden, seed):
    model = make(order, len(order), hidden, seed)
    explicit.sums_to_one(model)
    laws.sees_exactly_the_past(model)
    laws.scores_what_it_sampled(model)
    laws.teacher_forcing_is_likelihood(model, subject.bits(9, len(order), seed))
    equals_the_naive_form(model)


def test_samples_follow_log_prob():
    explicit.frequencies_follow_log_prob(make(ORDER))


@pytest.mark.parametrize(
    ("law", "wrong"),
    [
        (laws.sees_exactly_the_past, UpdatesBeforePredicting),
        (laws.sees_exactly_the_past, ForgetsWhatItSaw),
        (laws.sees_exactly_the_past, AnswersInTheOrder),
        (explicit.sums_to_one, UpdatesBeforePredicting),
        (explicit.sums_to_one, AnswersInTheOrder),
        (equals_the_naive_form, UpdatesBeforePredicting),
        (equals_the_naive_form, ForgetsWhatItSaw),
        (equals_the_naive_form, AnswersInTheOrder),
        (does_not_depend_on_the_blocks, CarriesOverBlocks),
        (laws.scores_what_it_sampled, SamplesInRasterOrder),
        (laws.scores_what_it_sampled, SamplesWithoutUpdating),
        (explicit.frequencies_follow_log_prob, SamplesInRasterOrder),
        (explicit.frequencies_follow_log_prob, SamplesWithoutUpdating),
        (lambda m: laws.teacher_forcing_is_likelihood(m, subject.bits(9, 5)), TrainsOnTheMeanBit),
    ],
)
def test_the_law_rejects(law, wrong):
    with pytest.raises(AssertionError):
        law(make(ORDER, cls=wrong))


def test_blocks_of_rows_change_no_bit():
    model = make(ORDER)
    does_not_depend_on_the_blocks(model)
    assert subject.evaluate(model.conditionals, np.zeros((0, 5))).shape == (0, 5)


def test_gradient_by_differences():
    model, x = make(ORDER), subject.bits(6, 5)
    laws.gradient_matches_differences(model, lambda: loss_of(model)(x))


def test_agrees_with_torch():
    torch = pytest.importorskip("torch")
    model, x = make(ORDER), subject.bits(12, 5)
    p = {n: torch.tensor(getattr(model, n).data, requires_grad=True) for n in "WVbc"}
    t, a, total = torch.tensor(x), p["c"], 0
    for d, i in enumerate(ORDER):
        logit = p["b"][d] + torch.sigmoid(a) @ p["V"][d]
        total = total + torch.distributions.Bernoulli(logits=logit).log_prob(t[:, i])
        a = a + t[:, i : i + 1] * p["W"][d]
    loss = -total.mean()
    loss.backward()
    own = loss_of(model)(x)
    np.testing.assert_allclose(own.item(), loss.item(), rtol=1e-12)
    for name, g in laws.gradients(model, own).items():
        np.testing.assert_allclose(g, p[name].grad, rtol=1e-9, atol=1e-14)


def test_the_weights_of_the_last_variable_have_nothing_to_do():
    model = make(ORDER)
    g = laws.gradients(model, loss_of(model)(subject.bits(6, 5)))
    assert not g["W"][-1].any()
    assert g["W"][:-1].any(axis=1).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hidden": 0}, "^hidden must .*got 0"),
        ({"dim": 0}, "^dim must .*got 0"),
        ({"order": [0, 0, 1]}, "order must hold each of 0, …, 2 once"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(InputError, match=message):
        NADE(**{"dim": 3, **arguments})


def test_float32_stays_float32_and_a_seed_gives_the_same_model():
    x = subject.bits(3, 4).astype(np.float32)
    model, same, other = (NADE(4, hidden=3, seed=s) for s in (5, 5, 6))
    assert model.log_prob(x).dtype == model.sample(3).dtype == np.float32
    np.testing.assert_array_equal(value(model.log_prob(x)), value(same.log_prob(x)))
    assert np.any(value(model.log_prob(x)) != value(other.log_prob(x)))


def test_digits():
    assert laws.nats_on_digits("nade") < 17.6
