"""RNADE (MISSION A2, A8): the recursion with real numbers; least squares as a special case."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from core import grad, jacobian, value
from core.data import load
from core.errors import InputError
from core.learners import GradientLearner, TrainSettings, loss_of
from core.state import parameters
from core.train import fit
from reference import MODELS
from reference.autoregressive.heads import Gaussians
from reference.autoregressive.rnade import RNADE
from tests.laws import autoregressive as laws
from tests.laws import subject

ORDER = [2, 0, 3, 1]


def make(dim=4, order=None, seed=1, cls=RNADE, **how):
    how = {"hidden": 12, "components": 2, **how}
    model = cls(dim, order=order, dtype=np.float64, **how)
    return subject.randomise(model, seed, 0.4)


def naive(model, x):
    """The definition, O(D²·H): each h_d from all of its past."""
    W, V, b, c, rho = (value(getattr(model, n)) for n in ("W", "V", "b", "c", "rho"))
    theta = np.zeros((*x.shape, model.head.size))
    for d, i in enumerate(model.order):
        h = np.maximum(0, rho[d] * (c + x[:, model.order[:d]] @ W[:d]))
        theta[:, i] = b[d] + h @ V[d]
    return theta


def equals_the_naive_form(model):
    x = subject.points(model, 9)
    np.testing.assert_allclose(
        subject.evaluate(model.conditionals, x), naive(model, x), rtol=1e-10, atol=1e-12
    )


def integrates_to_one(model):
    """∫ p(x) dx over the line, for one variable, by the trapezoidal rule."""
    x = np.linspace(-200, 200, 200_001)[:, None]
    total = np.exp(subject.log_prob(model, x)).sum() * 2e-3
    np.testing.assert_allclose(total, 1, atol=1e-4)


def each_conditional_has_its_distribution(model, n=3000):
    """P(X_i ≤ x_i | x_<i) of what was sampled is uniform, variable by variable (Rosenblatt)."""
    x = model.sample(n, seed=4)
    theta = subject.evaluate(model.conditionals, x)
    K, law = model.components, stats.norm if isinstance(model.head, Gaussians) else stats.logistic
    logits = theta[..., 2 * K :] if K > 1 else np.zeros((*x.shape, 1))
    pi = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    scale = np.exp(7 * np.tanh(theta[..., K : 2 * K] / 7))
    each = law.cdf(x[..., None], theta[..., :K], scale)
    for u in np.sum(pi * each, axis=-1).T:
        assert stats.kstest(u, "uniform").pvalue > 1e-4


class SeesItself(RNADE):
    """a_d already holds x_d."""

    def conditionals(self, x):
        at = np.concatenate([x[:, self.order][:, 1:], x[:, :1]], axis=1)
        return super().conditionals(at[:, np.argsort(self.order)])


class AnswersInTheOrder(RNADE):
    """Parameters in the order of the computation."""

    def conditionals(self, x):
        return super().conditionals(x)[:, self.order]


class DoesNotScale(RNADE):
    """Sums are not scaled by ρ while drawing."""

    def sample(self, n, *, seed=0):
        rho, self.rho = self.rho, np.ones_like(value(self.rho))
        try:
            return super().sample(n, seed=seed)
        finally:
            self.rho = rho


class ForgetsTheWidth(RNADE):
    """The log of the scale is left out of the density."""

    def log_prob(self, x):
        theta = self.conditionals(x)
        return super().log_prob(x) + np.sum(theta[..., self.components], axis=-1)


SIZES = st.tuples(st.integers(1, 4), st.sampled_from(["gaussian", "logistic"]), st.integers(0, 99))


@given(st.integers(1, 5).flatmap(laws.orders), SIZES)
def test_conditionals_see_exactly_the_past_in_any_order(order, sizes):
    components, kind, seed = sizes
    model = make(len(order), order, seed, components=components, kind=kind, hidden=24)
    laws.sees_exactly_the_past(model)
    laws.scores_what_it_sampled(model)
    laws.teacher_forcing_is_likelihood(model, subject.points(model, 9, seed))
    equals_the_naive_form(model)


def test_the_past_by_jacobian():
    model = make(order=ORDER, hidden=24)
    J = np.stack([jacobian(model.conditionals, x[None]) for x in subject.points(model, 4)])
    moved = np.abs(J[:, 0, :, :, 0]).max(axis=(0, 2)) > 0
    rank = np.argsort(ORDER)
    np.testing.assert_array_equal(moved, rank[None] < rank[:, None])


@pytest.mark.parametrize("kind", ["gaussian", "logistic"])
@pytest.mark.parametrize("components", [1, 3])
def test_it_is_a_density_and_samples_have_it(kind, components):
    model = make(order=ORDER, kind=kind, components=components)
    each_conditional_has_its_distribution(model)
    integrates_to_one(make(1, kind=kind, components=components))


@pytest.mark.parametrize(
    ("law", "wrong"),
    [
        (laws.sees_exactly_the_past, SeesItself),
        (laws.sees_exactly_the_past, AnswersInTheOrder),
        (equals_the_naive_form, SeesItself),
        (laws.scores_what_it_sampled, SeesItself),
        (laws.scores_what_it_sampled, DoesNotScale),
        (each_conditional_has_its_distribution, DoesNotScale),
        (lambda m: laws.teacher_forcing_is_likelihood(m, subject.points(m, 9)), ForgetsTheWidth),
    ],
)
def test_the_law_rejects(law, wrong):
    with pytest.raises(AssertionError):
        law(make(order=ORDER, cls=wrong))


def test_a_density_without_its_width_is_rejected():
    with pytest.raises(AssertionError):
        integrates_to_one(make(1, cls=ForgetsTheWidth))


@given(st.floats(0.05, 20), st.integers(0, 99))
def test_with_one_constant_width_the_likeliest_weights_are_those_of_least_squares(std, seed):
    """−log p = Σ (x−μ)² / 2σ² + (D/2) ln 2πσ², and both have the same gradient up to 2σ²."""
    model = make(order=ORDER, components=1, std=std, seed=seed)
    x = subject.points(model, 6, seed)
    squares = np.sum((x - model.conditionals(x)[..., 0]) ** 2, axis=1)
    constant = 2 * math.log(2 * math.pi * std**2)
    expected = value(squares) / (2 * std**2) + constant
    np.testing.assert_allclose(-subject.log_prob(model, x), expected, rtol=1e-9)
    tensors = list(parameters(model).values())
    ours, theirs = grad(loss_of(model)(x), tensors), grad(np.mean(squares), tensors)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a * (2 * std**2), b, rtol=1e-8, atol=1e-10)
    laws.scores_what_it_sampled(model)


def test_gradient_by_differences():
    for how in ({}, {"kind": "logistic"}, {"components": 1, "std": 0.7}):
        model = make(3, **{"hidden": 4, **how})
        x = subject.points(model, 5)
        laws.gradient_matches_differences(model, lambda m=model, x=x: loss_of(m)(x))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hidden": 0}, "^hidden must .*got 0"),
        ({"components": 0}, "^components must .*got 0"),
        ({"kind": "cauchy"}, "^kind must be one of gaussian, logistic, got 'cauchy'"),
        ({"std": 0.0}, "^std must .*got 0"),
        ({"std": 1.0}, "^std must be None but for one Gaussian, got 1.0 for 10 of kind gaussian"),
        ({"order": [0, 0, 1]}, "order must hold each of 0, …, 2 once"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(InputError, match=message):
        RNADE(**{"dim": 3, **arguments})


def test_it_learns_eight_gaussians():
    """Whose entropy is 1.698 nats; an independent Gaussian needs 3.54."""
    data, row = load("eight-gaussians", n=4000), MODELS["rnade"]
    model = RNADE(2, **row.demos[0].arguments)
    settings = TrainSettings(**{**row.demos[0].train, "epochs": 12})
    fit(GradientLearner(model, settings), data)
    assert -subject.log_prob(model, data.test.x).mean() < 2.0
