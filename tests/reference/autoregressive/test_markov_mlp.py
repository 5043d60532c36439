"""The Markov MLP (MISSION A4, A9): its window, its orders, one network or several."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import jacobian, value
from core.errors import InputError
from core.learners import loss_of
from core.state import parameters
from reference.autoregressive.markov_mlp import MarkovMLP, contexts, markov_mlp
from tests.laws import autoregressive as laws
from tests.laws import explicit, subject


def make(dim=5, levels=3, cls=MarkovMLP, seed=1, **how):
    return subject.randomise(cls(dim, levels, dtype=np.float64, **{"hidden": [6], **how}), seed)


class LooksOneTooFar(MarkovMLP):
    """d + 1 values are seen, as a window that counts x_j itself would be cut."""

    def _parameters(self, x):
        far = np.roll(x[:, self.order], self.window + 1, axis=1)
        far[:, : self.window + 1] = 0
        return super()._parameters(x) + 1e-6 * far[:, np.argsort(self.order), None]


class SeesItself(MarkovMLP):
    """The window ends at x_j, not before it."""

    def _parameters(self, x):
        late = np.concatenate([x[:, self.order][:, 1:], x[:, :1]], axis=1)
        return super()._parameters(late[:, np.argsort(self.order)])


class ForgetsTheOrder(MarkovMLP):
    """Parameters stand in the order of the computation."""

    def _parameters(self, x):
        return super()._parameters(x)[:, self.order]


class SamplesUnordered(MarkovMLP):
    """Draws stand in the order of the computation."""

    def sample(self, n, *, seed=0):
        return super().sample(n, seed=seed)[:, self.order]


def window_by_jacobian(model):
    """∂ parameters of x_j / ∂ its i-th context is full, and the context is the last d values."""
    x = subject.points(model, 1).astype(np.int64)
    c = contexts(x, model.window, model.levels, np.float64)
    J = jacobian(lambda c: markov_mlp(c, model._layers()), c)  # (D, 1, P, D, 1, 2d)
    moved = np.abs(J[:, 0, :, :, 0]).sum(axis=(1, 3)) > 0
    np.testing.assert_array_equal(moved, np.eye(model.dim, dtype=bool))
    for j in range(model.dim):
        seen = x[0, max(j - model.window, 0) : j][::-1] * (2 / (model.levels - 1)) - 1
        given, there = c[j, 0].reshape(model.window, 2).T
        np.testing.assert_allclose(given[: len(seen)], seen)
        np.testing.assert_array_equal(there, np.arange(model.window) < j)


@given(
    st.integers(1, 5).flatmap(laws.orders),
    st.integers(2, 4),
    st.integers(1, 6),
    st.booleans(),
    st.lists(st.integers(20, 30), max_size=2),
)
def test_it_is_a_distribution_that_sees_its_window(order, levels, window, shared, hidden):
    how = {"window": window, "shared": shared, "order": order, "hidden": hidden}
    model = make(len(order), levels, **how)
    explicit.sums_to_one(model, levels)
    laws.sees_exactly_the_past(model)
    laws.scores_what_it_sampled(model)
    laws.teacher_forcing_is_likelihood(model, subject.points(model, 9))


def test_the_window_by_jacobian():
    for window in (1, 2, 4, 9):
        window_by_jacobian(make(window=window))


def test_256_values_given_two_pixels():
    """Lecture 002's example: a softmax over 256 grey levels, of the last two."""
    model = make(6, 256, window=2)
    laws.sees_exactly_the_past(model)
    theta = subject.evaluate(model.conditionals, subject.points(model, 3))
    assert theta.shape == (3, 6, 256)
    table = 256**2 * 255
    assert sum(p.size for p in parameters(model).values()) < table / 1000


def test_one_network_for_all_positions_says_the_same_at_each():
    x = np.array([[1.0, 2, 0, 1, 2, 0]])
    theta = subject.evaluate(make(6, shared=True).conditionals, x)[0]
    np.testing.assert_allclose(theta[2], theta[5])  # both after (1, 2)
    several = subject.evaluate(make(6, shared=False).conditionals, x)[0]
    assert np.abs(several[2] - several[5]).max() > 0.1


@pytest.mark.parametrize(
    ("law", "wrong"),
    [
        (laws.sees_exactly_the_past, LooksOneTooFar),
        (laws.sees_exactly_the_past, SeesItself),
        (laws.sees_exactly_the_past, ForgetsTheOrder),
        (laws.scores_what_it_sampled, SeesItself),
        (laws.scores_what_it_sampled, SamplesUnordered),
        (lambda m: explicit.frequencies_follow_log_prob(m, 3), SamplesUnordered),
        (lambda m: explicit.sums_to_one(m, 3), SeesItself),
    ],
)
def test_the_law_rejects(law, wrong):
    with pytest.raises(AssertionError):
        law(make(cls=wrong, order=[2, 0, 4, 1, 3]))


def test_gradient_by_differences():
    for shared in (True, False):
        model = make(3, 3, shared=shared, hidden=[3])
        x = subject.points(model, 4)
        laws.gradient_matches_differences(model, lambda m=model, x=x: loss_of(m)(x))


def test_bits_have_a_logit_each():
    model, x = make(4, 2), subject.bits(3, 4)
    logits = subject.evaluate(model.conditionals, x)
    assert logits.shape == (3, 4)
    np.testing.assert_allclose(
        value(model.log_prob(x)), np.sum(x * logits - np.logaddexp(0, logits), axis=1)
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"window": 0}, "^window must .*got 0"),
        ({"levels": 1}, "^levels must .*got 1"),
        ({"order": [0, 0, 1]}, "order must hold each of 0, …, 2 once"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(InputError, match=message):
        MarkovMLP(**{"dim": 3, "levels": 3, **arguments})
    with pytest.raises(InputError, match="x must hold whole numbers in 0 … 2"):
        make(4).log_prob(np.full((1, 4), 3))
