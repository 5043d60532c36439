"""MADE (MISSION A3): masks, orders, and the average over them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from core import value
from core.errors import InputError
from core.learners import mean_loss
from core.random import Generator
from core.state import load_state, state
from reference.autoregressive.made import MADE
from tests.laws import autoregressive as laws
from tests.laws import explicit, subject

ORDER = [2, 0, 4, 1, 3]
LAYERS = st.lists(st.integers(1, 9), max_size=3)


def make(order=None, dim=5, hidden=(16,), masks=1, seed=1, cls=MADE, scale=0.7):
    model = cls(dim, hidden=hidden, masks=masks, order=order, seed=seed, dtype=np.float64)
    return subject.randomise(model, seed, scale)


def masks_connect_exactly_the_past(model):
    """The product of the masks counts the paths from j to i: some if j is before i, else none."""
    for k, order in enumerate(model.orders):
        paths = np.linalg.multi_dot([np.eye(model.dim), *model._masks(k), np.eye(model.dim)])
        rank = np.argsort(order)
        np.testing.assert_array_equal(paths > 0, rank[:, None] < rank)


def every_set_sees_exactly_its_past(model):
    for W, b in zip(model.W, model.b, strict=True):
        W[...] = np.abs(W.data)
        b[...] = W.data.sum(axis=0)  # no unit is ever off, which would hide an input
    for k, order in enumerate(model.orders):
        laws.sees_exactly_the_past(
            model, conditionals=lambda x, k=k: model.conditionals(x, k=k), order=order
        )


def averages_probabilities(model):
    """p(x) is the mean over sets of masks of Π_i p(x_i | its past in that set)."""
    x = subject.bits(9, model.dim)
    p = [
        np.prod(np.where(x == 1, q, 1 - q), axis=1)
        for k in range(model.masks)
        for q in [1 / (1 + np.exp(-subject.evaluate(lambda x, k=k: model.conditionals(x, k=k), x)))]
    ]
    np.testing.assert_allclose(np.exp(subject.log_prob(model, x)), np.mean(p, axis=0), rtol=1e-9)


# The model with one mistake


class OutputsSeeThemselves(MADE):
    """d ≥ m(k) in Eq. 9, where d > m(k) is meant."""

    def _masks(self, k):
        place = 1 + np.argsort(self.orders[k])
        last = [place, *(m[k] for m in self.m)][-1]
        return [*super()._masks(k)[:-1], (last[:, None] <= place).astype(self.dtype)]


class HiddenAreStrict(MADE):
    """m(k) > d in Eq. 8: the first variable is never seen."""

    def _masks(self, k):
        m = [1 + np.argsort(self.orders[k]), *(m[k] for m in self.m)]
        strict = [(a[:, None] < b).astype(self.dtype) for a, b in pairwise(m)]
        return [*strict, super()._masks(k)[-1]]


class OneMaskTransposed(MADE):
    """The order itself where the place in the order is meant."""

    def _masks(self, k):
        kept, self.orders = self.orders, np.argsort(self.orders, axis=1)
        try:
            return super()._masks(k)
        finally:
            self.orders = kept


class AveragesLogits(MADE):
    """The mean of the sets' logits, as if it were a conditional of anything."""

    def log_prob(self, x):
        logits = sum(self.conditionals(x, k=k) for k in range(self.masks)) * (1 / self.masks)
        return np.sum(x * logits - np.logaddexp(0.0, logits), axis=-1)


class AveragesLogProbabilities(MADE):
    """A geometric mean, which sums to less than 1."""

    def log_prob(self, x):
        return sum(self._log_prob(x, k) for k in range(self.masks)) * (1 / self.masks)


class SamplesInRasterOrder(MADE):
    """Draws 0, 1, 2, … whatever the order."""

    def sample(self, n, *, seed=0):
        kept, self.orders = self.orders, np.tile(np.arange(self.dim), (self.masks, 1))
        try:
            return super().sample(n, seed=seed)
        finally:
            self.orders = kept


class SamplesOneSet(MADE):
    """All samples from the first set of masks."""

    def sample(self, n, *, seed=0):
        kept, self.masks = self.masks, 1
        try:
            return super().sample(n, seed=seed)
        finally:
            self.masks = kept


class TrainsOneSet(MADE):
    """The other sets are evaluated but never trained."""

    def loss(self, x, y, rng):
        return -np.mean(self._log_prob(x, 0))


# Laws


@given(st.integers(1, 7).flatmap(laws.orders), LAYERS, st.integers(1, 3), st.integers(0, 99))
def test_it_is_a_distribution_of_any_shape(order, hidden, masks, seed):
    model = make(order, len(order), hidden, masks, seed)
    explicit.sums_to_one(model)
    averages_probabilities(model)


@given(st.integers(1, 7).flatmap(laws.orders), LAYERS, st.integers(1, 3), st.integers(0, 99))
def test_masks_connect_exactly_the_past(order, hidden, masks, seed):
    assume(all(n >= len(order) - 1 for n in hidden))
    masks_connect_exactly_the_past(make(order, len(order), hidden, masks, seed))


@given(st.integers(1, 6).flatmap(laws.orders), LAYERS, st.integers(0, 99))
def test_conditionals_see_exactly_the_past(order, hidden, seed):
    assume(all(n >= len(order) - 1 for n in hidden))
    every_set_sees_exactly_its_past(make(order, len(order), hidden, 2, seed))


@given(st.integers(1, 6).flatmap(laws.orders), st.integers(0, 99))
def test_one_set_of_masks_obeys_the_laws_of_one_order(order, seed):
    model = make(order, len(order), (8, 8), 1, seed)
    laws.scores_what_it_sampled(model)
    x = subject.bits(9, len(order), seed)
    np.testing.assert_array_equal(
        model.loss(x, None, Generator(0)).item(), -subject.log_prob(model, x).mean()
    )


@pytest.mark.parametrize("masks", [1, 4])
def test_samples_follow_log_prob(masks):
    explicit.frequencies_follow_log_prob(make(ORDER, masks=masks))


def loss_is_that_of_the_chosen_set(model):
    """Over many draws the loss takes the value of every set, and nothing else."""
    x, rng = subject.bits(9, model.dim), Generator(0)
    losses = {model.loss(x, None, rng).item() for _ in range(40)}
    expected = {-value(model._log_prob(x, k)).mean() for k in range(model.masks)}
    np.testing.assert_allclose(sorted(losses), sorted(expected), rtol=1e-12)


def test_training_takes_every_set_in_turn_and_validation_their_average():
    model, x = make(ORDER, masks=4), subject.bits(9, 5)
    loss_is_that_of_the_chosen_set(model)
    average = mean_loss(model, x, None)
    np.testing.assert_allclose(average, -subject.log_prob(model, x).mean(), rtol=1e-12)
    # Jensen: the average of probabilities is better than the average set.
    assert average < np.mean([-value(model._log_prob(x, k)).mean() for k in range(4)])


@pytest.mark.parametrize(
    ("law", "wrong", "masks"),
    [
        (every_set_sees_exactly_its_past, OutputsSeeThemselves, 1),
        (every_set_sees_exactly_its_past, HiddenAreStrict, 1),
        (every_set_sees_exactly_its_past, OneMaskTransposed, 1),
        (masks_connect_exactly_the_past, OutputsSeeThemselves, 1),
        (masks_connect_exactly_the_past, HiddenAreStrict, 1),
        (masks_connect_exactly_the_past, OneMaskTransposed, 1),
        (explicit.sums_to_one, OutputsSeeThemselves, 1),
        (explicit.sums_to_one, AveragesLogits, 4),
        (explicit.sums_to_one, AveragesLogProbabilities, 4),
        (averages_probabilities, AveragesLogits, 4),
        (averages_probabilities, AveragesLogProbabilities, 4),
        (laws.scores_what_it_sampled, SamplesInRasterOrder, 1),
        (explicit.frequencies_follow_log_prob, SamplesInRasterOrder, 1),
        (explicit.frequencies_follow_log_prob, SamplesOneSet, 4),
        (explicit.frequencies_follow_log_prob, AveragesLogProbabilities, 4),
        (loss_is_that_of_the_chosen_set, TrainsOneSet, 4),
    ],
)
def test_the_law_rejects(law, wrong, masks):
    with pytest.raises(AssertionError):
        law(make(ORDER, hidden=(16,), masks=masks, cls=wrong))


@pytest.mark.parametrize("hidden", [(), (6,), (6, 7)])
def test_gradient_by_differences(hidden):
    model, x = make(ORDER, hidden=hidden, masks=2), subject.bits(6, 5)
    laws.gradient_matches_differences(model, lambda: model.loss(x, None, Generator(4)))


def test_agrees_with_torch():
    torch = pytest.importorskip("torch")
    model, x = make(ORDER, hidden=(6, 7)), subject.bits(12, 5)
    m = [[ORDER.index(i) + 1 for i in range(5)], *(layer[0].tolist() for layer in model.m)]
    leaves = [torch.tensor(p.data, requires_grad=True) for p in (*model.W, model.V)]
    biases = [torch.tensor(p.data, requires_grad=True) for p in (*model.b, model.c)]
    t = torch.tensor(x)
    h = 2 * t - 1
    for layer, (W, b) in enumerate(zip(leaves, biases, strict=True)):
        last = layer == 2
        above = m[0] if last else m[layer + 1]
        keep = [[a < o if last else a <= o for o in above] for a in m[layer]]
        h = h @ torch.where(torch.tensor(keep), W, 0.0) + b
        h = h if last else torch.relu(h)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(h, t, reduction="none").sum(1)
    loss.mean().backward()
    own = model.loss(x, None, Generator(0))
    np.testing.assert_allclose(own.item(), loss.mean().item(), rtol=1e-12)
    g = laws.gradients(model, own)
    names = ["W.0", "W.1", "V", "b.0", "b.1", "c"]
    for name, leaf in zip(names, leaves + biases, strict=True):
        np.testing.assert_allclose(g[name], leaf.grad, rtol=1e-9, atol=1e-14)


def test_the_given_order_is_the_first_and_the_others_are_drawn_from_the_seed():
    a, b, c = (make(ORDER, masks=6, seed=s).orders for s in (1, 1, 2))
    np.testing.assert_array_equal(a[0], ORDER)
    np.testing.assert_array_equal(a, b)
    assert np.any(a != c)
    assert len({tuple(order) for order in a}) > 1
    np.testing.assert_array_equal(MADE(4).order, range(4))


def test_every_degree_is_as_frequent_as_any_other():
    model = MADE(8, hidden=(70, 7, 3), masks=3)
    for layer, n in zip(model.m, (70, 7, 3), strict=True):
        for m in layer:
            counts = np.bincount(m, minlength=8)[1:]
            assert counts.sum() == n
            assert counts.max() - counts.min() <= 1
            assert len(counts) == 7
    assert np.any(model.m[0][0] != model.m[0][1])


def test_orders_and_degrees_travel_with_the_parameters():
    model, other = make(ORDER, masks=4, seed=1), make(None, masks=4, seed=2)
    x = subject.bits(9, 5)
    assert np.any(subject.log_prob(model, x) != subject.log_prob(other, x))
    load_state(other, state(model))
    np.testing.assert_array_equal(subject.log_prob(model, x), subject.log_prob(other, x))
    np.testing.assert_array_equal(model.sample(9, seed=1), other.sample(9, seed=1))


def test_masks_are_made_once_and_again_when_a_file_is_read(monkeypatch):
    model, other = make(ORDER, masks=4, seed=1), make(None, masks=4, seed=2)
    made, right = [], MADE._masks
    monkeypatch.setattr(MADE, "_masks", lambda self, k: made.append(k) or right(self, k))
    x = subject.bits(9, 5)
    model.loss(x, rng=Generator(0)), model.log_prob(x), model.sample(5)
    assert made == []
    assert not any("_M" in name for name in state(model))
    load_state(other, state(model))
    assert made == [0, 1, 2, 3]
    for k in range(4):
        for M, again in zip(other._M[k], right(model, k), strict=True):
            np.testing.assert_array_equal(M, again)


def test_samples_do_not_depend_on_how_many_are_drawn():
    model = make(ORDER, masks=4)
    np.testing.assert_array_equal(model.sample(30, seed=2)[:7], model.sample(7, seed=2))
    assert model.sample(0).shape == (0, 5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hidden": [4, 0]}, "^hidden must .*got 0"),
        ({"dim": 0}, "^dim must .*got 0"),
        ({"masks": 0}, "^masks must .*got 0"),
        ({"order": [0, 0, 1]}, "order must hold each of 0, …, 2 once"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(InputError, match=message):
        MADE(**{"dim": 3, **arguments})


def test_float32_stays_float32():
    model, x = MADE(4, hidden=(5,), masks=3), subject.bits(3, 4).astype(np.float32)
    assert model.log_prob(x).dtype == model.sample(3).dtype == np.float32
    assert model.loss(x, None, Generator(0)).dtype == np.float32


def test_digits():
    assert laws.nats_on_digits("made") < 17.3
