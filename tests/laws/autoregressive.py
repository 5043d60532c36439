"""What every autoregressive model owes, in any order (MISSION rows A1 to A9).

A model that mixes several orders is looked at through one of them: `conditionals` takes the place
of `model.conditionals`, `order` that of `model.order`. Samples of any shape are read as flat rows,
whose variable i has parameters theta_i; what these mean is said by `model.head`, or they are the
logits of bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

from core import grad, value
from core.data import load
from core.random import Generator, uniform
from core.state import parameters
from core.train import GradientLearner, TrainSettings, fit
from reference import MODELS
from tests.laws.explicit import resamples
from tests.laws.subject import (
    Subject,
    all_states,
    evaluate,
    flat,
    in_shape,
    is_discrete,
    log_prob,
    loss_of,
    points,
)


def conditionals_see_only_the_past(s: Subject) -> None:
    """`sees_exactly_the_past`, in every order the model mixes, or up to its window."""
    for k in range(len(getattr(s.model, "orders", [None]))):
        conditionals = (lambda x, k=k: s.model.conditionals(x, k=k)) if k else None
        order = s.model.orders[k] if hasattr(s.model, "orders") else None
        sees_exactly_the_past(s.model, conditionals=conditionals, order=order)


def sees_exactly_the_past(
    model: Any, *, conditionals: Any = None, order: Any = None, n: int = 32
) -> None:
    """Conditional i moves with every x_j before i in the order, and with no other by a single bit.

    A model with a window d (or whose `order` is such a number) sees the last d.
    """
    conditionals = conditionals or model.conditionals
    order = getattr(model, "order", None) if order is None else order
    rank = np.argsort(_places(model, order))
    window = getattr(model, "window", order if np.ndim(order) == 0 else None) or model.dim
    seen = np.stack([(rank > r) & (rank <= r + window) for r in rank], axis=1)
    sees_exactly(model, seen, conditionals=conditionals, n=n)


def sees_exactly(model: Any, seen: np.ndarray, *, conditionals: Any = None, n: int = 32) -> None:
    """Conditional i moves with the x_j of seen[i, j], (D, D), and with no other by a single bit."""
    x = points(model, n)
    before = _parameters(model, x, conditionals)
    for j in range(model.dim):
        moved = (_parameters(model, changed(model, x, j), conditionals) != before).any(axis=(0, 2))
        np.testing.assert_array_equal(moved, seen[:, j], err_msg=f"x_{j} is seen wrongly")


def changed(model: Any, x: np.ndarray, j: int) -> np.ndarray:
    """Rows (n, D) with another x_j."""
    y = x.copy()
    y[:, j] += 1
    if is_discrete(model):
        y[:, j] %= getattr(model, "levels", 2)
    return y


def _places(model: Any, order: Any) -> Any:
    """The variables from first to last."""
    return order if np.ndim(order) == 1 else range(model.dim)


def _parameters(model: Any, x: np.ndarray, conditionals: Any = None) -> np.ndarray:
    """Of every conditional of flat rows, (B, D, P)."""
    theta = evaluate(conditionals or model.conditionals, in_shape(model, x))
    return theta.reshape(*x.shape, -1)


class Bits:
    """What the parameters of a model without a `head` mean: the logit of 1."""

    uniforms = 1

    def log_prob(self, x: np.ndarray, theta: np.ndarray) -> np.ndarray:
        return x * theta[..., -1] - np.logaddexp(0, theta[..., -1])

    def draw(self, theta: np.ndarray, u: np.ndarray) -> np.ndarray:
        return u[..., 0] < 1 / (1 + np.exp(-theta[..., -1]))


def log_prob_sums_the_conditionals(s: Subject) -> None:
    """log p(x) = Σ_i log p(x_i | x_<i) with the conditionals that the model reports (A9)."""
    if not resamples(s.model):
        x = all_states(s.dim, s.levels) if s.discrete else points(s.model, 64)
        teacher_forcing_is_likelihood(s.model, x)


def sampling_inverts_the_conditionals(s: Subject) -> None:
    """`scores_what_it_sampled`, where one order makes all samples."""
    if not resamples(s.model):
        scores_what_it_sampled(s.model)


def orders(dim: int) -> st.SearchStrategy[list[int]]:
    return st.permutations(range(dim))


def scores_what_it_sampled(model: Any) -> None:
    """Replayed: `sample` inverts one conditional after the other, and log_prob is Σ log p of these.

    x_i comes from the parameters theta_i and the i-th of D uniforms, or of D pairs of them.
    """
    drawn, head = flat(model.sample(64, seed=9)), getattr(model, "head", Bits())
    u = uniform(9, (*drawn.shape, head.uniforms), dtype=np.float64)
    x, log_p = np.zeros_like(drawn), np.zeros(len(drawn))
    for i in _places(model, getattr(model, "order", None)):
        theta = _parameters(model, x)[:, i]
        x[:, i] = head.draw(theta, u[:, i])
        log_p += value(head.log_prob(x[:, i], theta))
    if is_discrete(model):
        np.testing.assert_array_equal(x, drawn)
    else:
        np.testing.assert_allclose(x, drawn, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(log_prob(model, in_shape(model, drawn)), log_p, rtol=1e-9)


def teacher_forcing_is_likelihood(model: Any, x: np.ndarray) -> None:
    """The loss of all conditionals at once, on given pasts, is the mean negative log_prob (A9)."""
    head = getattr(model, "head", Bits())
    forced = value(head.log_prob(x, _parameters(model, x))).sum(axis=1)
    x = in_shape(model, x)
    np.testing.assert_allclose(log_prob(model, x), forced, rtol=1e-10)
    loss = evaluate(lambda x: loss_of(model)(x, None, Generator(0)), x)
    np.testing.assert_allclose(loss, -forced.mean(), rtol=1e-12)


def gradients(model: Any, loss: Any) -> dict[str, np.ndarray]:
    params = parameters(model)
    return dict(zip(params, grad(loss, list(params.values())), strict=True))


def gradient_matches_differences(model: Any, loss: Callable[[], Any], h: float = 1e-5) -> None:
    """Every entry of the gradient, by central differences."""
    for name, g in gradients(model, loss()).items():
        p = parameters(model)[name]
        for index in np.ndindex(p.shape):
            old = p.data[index]
            p[index] = old + h
            up = loss().item()
            p[index] = old - h
            down = loss().item()
            p[index] = old
            np.testing.assert_allclose(g[index], (up - down) / (2 * h), rtol=1e-5, atol=1e-8)


def nats_on_digits(name: str, seed: int = 0) -> float:
    """Mean −log p of the test digits after training as the zoo does."""
    row = MODELS[name]
    data, (demo,) = load("digits", domain="binary"), row.demos
    model = row.load()(**row.arguments(data), **demo.arguments, seed=seed)
    fit(GradientLearner(model, TrainSettings(**demo.train, seed=seed)), data)
    return -float(log_prob(model, data.test.x).mean())
