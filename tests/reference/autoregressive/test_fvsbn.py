"""FVSBN (MISSION A1): logistic regressions of the past, in any order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InputError
from core.functional import bernoulli_log_prob
from core.learners import loss_of
from reference.autoregressive.fvsbn import FVSBN
from tests.laws import autoregressive as laws
from tests.laws import explicit, subject

ORDER = [2, 0, 4, 1, 3]


def make(order=None, dim=5, seed=1, cls=FVSBN):
    return subject.randomise(cls(dim, order=order, dtype=np.float64), seed)


# The model with one mistake


class SeesItself(FVSBN):
    """j ≤ i where j < i is meant."""

    def conditionals(self, x):
        return super().conditionals(x) + x * np.diag(self.W.data)


class SeesTheRaster(FVSBN):
    """The past of the natural order, whatever the order."""

    def conditionals(self, x):
        return x @ (np.tri(self.dim, k=-1) * self.W).T + self.b


class ForgetsTheFirst(FVSBN):
    """A window: everything but the first variable."""

    def conditionals(self, x):
        return super().conditionals(np.where(np.arange(self.dim) == self.order[0], 0.0, x))


class SamplesBackwards(FVSBN):
    """Draws the last variable first."""

    def sample(self, n, *, seed=0):
        self.order, kept = self.order[::-1], self.order
        try:
            return super().sample(n, seed=seed)
        finally:
            self.order = kept


class ScoresTheMode(FVSBN):
    """Counts what the logits say, without the normaliser."""

    def log_prob(self, x):
        return np.sum(x * self.conditionals(x), axis=-1)


class TrainsOnTheSum(FVSBN):
    """A loss that is not the mean negative log_prob."""

    def loss(self, x, y=None, rng=None):
        return -np.sum(self.log_prob(x))


# Laws


@given(st.integers(1, 7).flatmap(laws.orders), st.integers(0, 99))
def test_it_is_a_distribution_whose_conditionals_see_exactly_the_past(order, seed):
    model = make(order, len(order), seed)
    explicit.sums_to_one(model)
    laws.sees_exactly_the_past(model)
    laws.scores_what_it_sampled(model)
    laws.teacher_forcing_is_likelihood(model, subject.bits(9, len(order), seed))


def test_samples_follow_log_prob():
    explicit.frequencies_follow_log_prob(make(ORDER))


@pytest.mark.parametrize(
    ("law", "wrong"),
    [
        (laws.sees_exactly_the_past, SeesItself),
        (laws.sees_exactly_the_past, SeesTheRaster),
        (laws.sees_exactly_the_past, ForgetsTheFirst),
        (explicit.sums_to_one, SeesItself),
        (explicit.sums_to_one, ScoresTheMode),
        (laws.scores_what_it_sampled, SamplesBackwards),
        (laws.scores_what_it_sampled, SeesTheRaster),
        (explicit.frequencies_follow_log_prob, SamplesBackwards),
        (lambda m: laws.teacher_forcing_is_likelihood(m, subject.bits(9, 5)), TrainsOnTheSum),
    ],
)
def test_the_law_rejects(law, wrong):
    with pytest.raises(AssertionError):
        law(make(ORDER, cls=wrong))


def test_gradient_by_differences():
    model, x = make(ORDER), subject.bits(6, 5)
    laws.gradient_matches_differences(model, lambda: loss_of(model)(x))


@given(st.integers(2, 6).flatmap(laws.orders), st.integers(0, 99))
def test_gradient_is_that_of_a_logistic_regression_for_each_variable(order, seed):
    # ∂/∂w of −mean log p(x_i | past) is mean (p_i − x_i) past; and 0 for what is not past.
    model, x = make(order, len(order), seed), subject.bits(20, len(order), seed)
    g = laws.gradients(model, loss_of(model)(x))
    residual = 1 / (1 + np.exp(-subject.evaluate(model.conditionals, x))) - x  # (B, D)
    rank = np.argsort(order)
    expected = residual.T @ x / len(x) * (rank[None, :] < rank[:, None])
    np.testing.assert_allclose(g["W"], expected, rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(g["b"], residual.mean(axis=0), rtol=1e-9, atol=1e-14)


def test_scikit_learns_regressions_together_are_the_maximum_of_the_likelihood():
    from sklearn.linear_model import LogisticRegression

    x = make(ORDER, seed=3).sample(2000, seed=1)
    model = FVSBN(5, order=ORDER, dtype=np.float64)
    for place, i in enumerate(ORDER):
        if place == 0:
            model.b[i] = np.log(x[:, i].mean() / (1 - x[:, i].mean()))
            continue
        past = ORDER[:place]
        fit = LogisticRegression(C=np.inf, tol=1e-12, solver="newton-cholesky")
        fit.fit(x[:, past], x[:, i])
        model.W[i, past], model.b[i] = fit.coef_[0], fit.intercept_[0]
        own = subject.evaluate(model.conditionals, x)[:, i]
        np.testing.assert_allclose(own, fit.decision_function(x[:, past]), rtol=1e-9, atol=1e-9)
    for g in laws.gradients(model, loss_of(model)(x)).values():
        np.testing.assert_allclose(g, 0, atol=1e-7)


def test_agrees_with_torch():
    torch = pytest.importorskip("torch")
    model, x = make(ORDER), subject.bits(12, 5)
    W = torch.tensor(model.W.data, requires_grad=True)
    b = torch.tensor(model.b.data, requires_grad=True)
    t = torch.tensor(x)
    total = 0
    for place, i in enumerate(ORDER):
        logit = b[i] + sum(W[i, j] * t[:, j] for j in ORDER[:place])
        total = total + torch.distributions.Bernoulli(logits=logit).log_prob(t[:, i])
    loss = -total.mean()
    loss.backward()
    own = loss_of(model)(x)
    np.testing.assert_allclose(own.item(), loss.item(), rtol=1e-12)
    g = laws.gradients(model, own)
    np.testing.assert_allclose(g["W"], W.grad, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(g["b"], b.grad, rtol=1e-10, atol=1e-14)


def test_starts_uniform():
    x = subject.bits(4, 6)
    np.testing.assert_allclose(
        subject.evaluate(FVSBN(6, dtype=np.float64).log_prob, x), -6 * np.log(2)
    )


def test_one_variable_is_a_coin():
    model = make(dim=1)
    p = 1 / (1 + np.exp(-model.b.data[0]))
    np.testing.assert_allclose(
        subject.evaluate(model.log_prob, np.array([[1.0], [0.0]])), np.log([p, 1 - p])
    )


@pytest.mark.parametrize("order", [[0, 1], [0, 1, 1], [1, 2, 3], [[0, 1, 2]], [0.0, 1.0, 2.0]])
def test_an_order_that_is_none_is_named(order):
    with pytest.raises(InputError, match="order must hold each of 0, …, 2 once"):
        FVSBN(3, order=order)


@pytest.mark.parametrize("dim", [0, -3, 2.0, True])
def test_a_dim_that_is_none_is_named(dim):
    with pytest.raises(InputError, match=r"^dim must .*got "):
        FVSBN(dim)


def test_float32_stays_float32():
    model, x = FVSBN(4), subject.bits(3, 4).astype(np.float32)
    assert model.log_prob(x).dtype == model.sample(3).dtype == np.float32
    assert bernoulli_log_prob(x, model.conditionals(x)).dtype == np.float32


def test_digits():
    assert laws.nats_on_digits("fvsbn") < 18.4
