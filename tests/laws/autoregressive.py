"""What every autoregressive model owes, in any order (MISSION rows A1 to A9).

A model that mixes several orders is looked at through one of them: `conditionals` takes the place
of `model.conditionals`, `order` that of `model.order`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

from core import grad
from core.data import load
from core.random import Generator, uniform
from core.state import parameters
from core.train import GradientLearner, TrainSettings, fit
from reference import MODELS
from tests.laws.explicit import resamples
from tests.laws.subject import Subject, all_states, bits, evaluate, log_prob, loss_of


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

    A model with a window (`order` is then the number d of variables it looks back) sees the last d.
    """
    conditionals = conditionals or model.conditionals
    own = getattr(model, "order", None) if order is None else order
    places, window = (own, model.dim) if np.ndim(own) == 1 else (range(model.dim), own)
    rank = np.argsort(places)
    x = bits(n, model.dim)
    before = _parameters(conditionals, x)
    for j in range(model.dim):
        flipped = x.copy()
        flipped[:, j] = 1 - flipped[:, j]
        moved = (_parameters(conditionals, flipped) != before).any(axis=(0, 2))  # (D,)
        seen = (rank > rank[j]) & (rank <= rank[j] + (model.dim if window is None else window))
        np.testing.assert_array_equal(moved, seen, err_msg=f"x_{j} is seen wrongly")


def _parameters(conditionals: Callable[[Any], Any], x: np.ndarray) -> np.ndarray:
    """(B, D, parameters of each conditional)."""
    return evaluate(conditionals, x).reshape(len(x), x.shape[1], -1)


def log_prob_sums_the_conditionals(s: Subject) -> None:
    """log p(x) = Σ_i log p(x_i | x_<i) with the conditionals that the model reports (A9)."""
    if not resamples(s.model):
        teacher_forcing_is_likelihood(s.model, all_states(s.dim))


def sampling_inverts_the_conditionals(s: Subject) -> None:
    """`scores_what_it_sampled`, where one order makes all samples."""
    if not resamples(s.model):
        scores_what_it_sampled(s.model)


def orders(dim: int) -> st.SearchStrategy[list[int]]:
    return st.permutations(range(dim))


def scores_what_it_sampled(model: Any) -> None:
    """Replayed: what `sample` drew is u_i < p_i in the order, and log_prob is Σ log p of those."""
    drawn = model.sample(64, seed=9)
    u = uniform(9, drawn.shape, dtype=np.float64)
    x, log_p = np.zeros_like(drawn), np.zeros(len(drawn))
    order = getattr(model, "order", None)
    for i in order if np.ndim(order) == 1 else range(model.dim):
        logit = _parameters(model.conditionals, x)[:, i, -1]
        p = 1 / (1 + np.exp(-logit))
        x[:, i] = u[:, i] < p
        log_p += np.log(np.where(x[:, i] == 1, p, 1 - p))
    np.testing.assert_array_equal(x, drawn)
    np.testing.assert_allclose(log_prob(model, drawn), log_p, rtol=1e-9)


def teacher_forcing_is_likelihood(model: Any, x: np.ndarray) -> None:
    """The loss of all conditionals at once, on given pasts, is the mean negative log_prob (A9)."""
    logits = _parameters(model.conditionals, x)[..., -1]
    forced = np.sum(x * logits - np.logaddexp(0, logits), axis=1)
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
