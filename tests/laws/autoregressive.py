"""Laws of the autoregressive models at any order, for the tests of each (MISSION A1–A3, A9).

Each raises AssertionError when broken. A model that mixes several orders is looked at through one
of them: `conditionals` takes the place of `model.conditionals`, `order` that of `model.order`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

from core import grad, no_grad, value
from core.data import load
from core.random import uniform
from core.state import parameters
from core.train import GradientLearner, TrainSettings, fit
from reference import MODELS
from tests.laws.laws import all_states, chi_square, log_prob


def orders(dim: int) -> st.SearchStrategy[list[int]]:
    return st.permutations(range(dim))


def randomise(model: Any, seed: int, scale: float = 1.0) -> Any:
    """The model with normal parameters, none of them 0."""
    rng = np.random.default_rng(seed)
    for p in parameters(model).values():
        p[...] = scale * rng.normal(size=p.shape)
    return model


def bits(n: int, dim: int, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).random((n, dim)) < 0.5).astype(np.float64)


def evaluate(f: Callable[[Any], Any], x: np.ndarray) -> np.ndarray:
    with no_grad():
        return np.asarray(value(f(x)))


def sees_exactly_the_past(
    model: Any, *, conditionals: Any = None, order: Any = None, n: int = 32
) -> None:
    """Logit i moves with every x_j before i in the order, and with no other by a single bit."""
    conditionals = conditionals or model.conditionals
    rank = np.argsort(model.order if order is None else order)
    x = bits(n, model.dim)
    before = evaluate(conditionals, x)
    for j in range(model.dim):
        flipped = x.copy()
        flipped[:, j] = 1 - flipped[:, j]
        moved = (evaluate(conditionals, flipped) != before).any(axis=0)  # (D,)
        np.testing.assert_array_equal(moved, rank > rank[j], err_msg=f"x_{j} is seen wrongly")


def sums_to_one(model: Any) -> None:
    total = np.exp(log_prob(model, all_states(model.dim))).sum()
    np.testing.assert_allclose(total, 1, rtol=1e-10)


def scores_what_it_sampled(model: Any) -> None:
    """Replayed: what `sample` drew is u_i < p_i in the order, and log_prob is Σ log p of those."""
    drawn = model.sample(64, seed=9)
    u = uniform(9, drawn.shape, dtype=np.float64)
    x, log_p = np.zeros_like(drawn), np.zeros(len(drawn))
    for i in model.order:
        p = 1 / (1 + np.exp(-evaluate(model.conditionals, x)[:, i]))
        x[:, i] = u[:, i] < p
        log_p += np.log(np.where(x[:, i] == 1, p, 1 - p))
    np.testing.assert_array_equal(x, drawn)
    np.testing.assert_allclose(log_prob(model, drawn), log_p, rtol=1e-9)


def samples_follow_log_prob(model: Any, n: int = 20_000) -> None:
    x = model.sample(n, seed=3)
    states = all_states(model.dim)
    codes = (x @ 2.0 ** np.arange(model.dim - 1, -1, -1)).astype(int)
    observed = np.bincount(codes, minlength=len(states))
    assert chi_square(observed, n * np.exp(log_prob(model, states))) > 1e-4


def teacher_forcing_is_likelihood(model: Any, x: np.ndarray) -> None:
    """The loss of all conditionals at once, on given pasts, is the mean negative log_prob (A9)."""
    logits = evaluate(model.conditionals, x)
    forced = -np.mean(np.sum(x * logits - np.logaddexp(0, logits), axis=1))
    loss = evaluate(lambda x: model.loss(x, None, None), x)
    np.testing.assert_allclose(loss, forced, rtol=1e-12)
    np.testing.assert_allclose(loss, -log_prob(model, x).mean(), rtol=1e-12)


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
