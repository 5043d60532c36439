"""Models of text: an end, a window, a prompt, and a step that is the whole sequence's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import grad, value
from core.errors import InputError
from core.random import uniform
from reference import MODELS
from reference.autoregressive.language_model import LanguageModel
from reference.autoregressive.transformer import Transformer
from reference.operations.decoding import decode
from tests.laws.autoregressive import sees_exactly, teacher_forcing_is_likelihood
from tests.laws.explicit import chi_square, frequencies_follow_log_prob, sums_to_one
from tests.laws.subject import all_states, evaluate, log_prob, randomise

NAMES = ("rnn", "lstm", "gru", "transformer")
V = 3
by_name = pytest.mark.parametrize("name", NAMES)


def made(name: str, dim: int = 4, end: int | None = None, seed: int = 0, scale: float = 0.7) -> Any:
    row = MODELS[name]
    sizes = {**row.tiny, "dim": dim, "levels": V, "end": end}
    return randomise(row.load()(**sizes, dtype=np.float64), seed, scale)


def texts(n: int, length: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, V, (n, length))


# Step by step and all at once


def in_steps(model: Any, x: np.ndarray, cuts: list[int]) -> np.ndarray:
    """The logits of what follows x[:, :t] for every t of cuts, from steps between them."""
    state, before, found = model.start(len(x)), 0, []
    for t in cuts:
        logits, state = model.step(x[:, before:t], state)
        found.append(value(logits))
        before = t
    return np.stack(found, axis=1)


def steps_are_the_whole(model: Any, x: np.ndarray, cuts: list[int]) -> None:
    whole = evaluate(model.logits, x)
    np.testing.assert_allclose(in_steps(model, x, cuts), whole[:, cuts], rtol=1e-9, atol=1e-11)


@by_name
@given(length=st.integers(2, 12), dim=st.integers(1, 6), data=st.data())
def test_steps_of_any_size_are_the_whole_sequence(name: str, length: int, dim: int, data: Any):
    """Within the window and beyond; a step of nothing comes first, or of a whole prompt."""
    cuts = sorted(data.draw(st.sets(st.integers(0, length - 1), min_size=1)))
    steps_are_the_whole(made(name, dim), texts(2, length, dim), cuts)


class ForgetsPlaces(Transformer):
    def _network(self) -> Any:
        E, P, *rest = super()._network()
        return E, P[:1] + 0 * P, *rest


class SlidesTooLate(Transformer):
    """Keeps old tokens in the cache: a token too much is seen."""

    def _network(self) -> Any:
        E, P, *rest = super()._network()
        return E, np.concatenate([P, P[-1:]]), *rest


class BeginsAnew(Transformer):
    def step(self, x: Any, state: Any) -> Any:
        return super().step(x, self.start(len(x)))


@pytest.mark.parametrize("kind", [ForgetsPlaces, SlidesTooLate, BeginsAnew])
def test_wrong_steps_are_rejected(kind: Any):
    model = made("transformer")
    model.__class__ = kind
    with pytest.raises((AssertionError, InputError)):
        steps_are_the_whole(model, texts(2, 9), list(range(9)))


# The window


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_a_transformer_sees_its_window_and_no_more(dim: int):
    model, length = made("transformer", dim), 6
    model.dim = length  # for the law: how many variables a row has
    window = np.tri(length, k=-1, dtype=bool) & ~np.tri(length, k=-dim, dtype=bool)

    def conditionals(x: Any) -> Any:
        model.dim = dim
        try:
            return model.conditionals(x)
        finally:
            model.dim = length

    sees_exactly(model, window, conditionals=conditionals, n=24)


def every_place_is_trained(model: Any, x: np.ndarray) -> None:
    """Whatever is used beyond the window was learned on rows inside it."""
    W = model.positions.W
    gradient = grad(np.sum(model.log_prob(x)), W)
    assert np.abs(gradient).max(axis=1).all()


class ReadsOnePlaceMore(Transformer):
    """The token before the first, and `dim` more: the last place is met beyond the window only."""

    def __init__(self, dim: int, *sizes: Any, **how: Any) -> None:
        super().__init__(dim + 1, *sizes, **how)
        self.dim = dim


def test_a_place_that_is_not_trained_is_seen():
    how: Any = {"layers": 1, "heads": 1, "width": 4, "dtype": np.float64}
    model = randomise(ReadsOnePlaceMore(4, V, **how), 0)
    with pytest.raises(AssertionError):
        every_place_is_trained(model, texts(3, 4))


@given(dim=st.integers(1, 6), seed=st.integers(0, 9))
def test_a_transformer_uses_no_place_that_its_rows_do_not_train(dim: int, seed: int):
    every_place_is_trained(made("transformer", dim, seed=seed), texts(3, dim, seed))


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru"])
def test_a_state_sees_all_of_the_past(name: str):
    model = made(name, 7)
    sees_exactly(model, np.tri(7, k=-1, dtype=bool), n=24)


@by_name
def test_texts_longer_than_the_window_have_probabilities(name: str):
    model = made(name, 2)
    model.dim = 4
    total = np.exp(log_prob_of(model, all_states(4, V), 2)).sum()
    np.testing.assert_allclose(total, 1, rtol=1e-10)


def log_prob_of(model: Any, x: np.ndarray, dim: int) -> np.ndarray:
    model.dim = dim
    return log_prob(model, x)


# The end


@by_name
@pytest.mark.parametrize("end", [None, 0, 2])
def test_rows_of_every_length_sum_to_one(name: str, end: int | None):
    """All texts with an end within the row, and the tail of those without, of any width."""
    for width in (1, 2, 4):
        model = made(name, width, end)
        sums_to_one(model, V)
        teacher_forcing_is_likelihood(model, all_states(width, V))


@by_name
def test_a_stream_follows_its_log_prob(name: str):
    frequencies_follow_log_prob(made(name, 3), V)


@by_name
def test_an_end_is_worth_what_the_tail_loses(name: str):
    """p(texts of exactly t tokens) is the tail after t less the tail after t + 1 (F1)."""
    model = made(name, 4, end=1)
    tails = []
    for t in range(1, 5):
        x = all_states(t, V)
        tails.append(np.exp(log_prob(model, x[(x != 1).all(axis=1)])).sum())
    x = all_states(3, V)
    ended = np.exp(log_prob(model, x[(x[:, :2] != 1).all(axis=1) & (x[:, 2] == 1)])).sum()
    np.testing.assert_allclose(ended, tails[1] - tails[2], rtol=1e-10)


@by_name
def test_what_fills_a_row_costs_nothing_and_must_be_the_end(name: str):
    model = made(name, 4, end=1)
    short, wide = np.array([[2, 0, 1]]), np.array([[2, 0, 1, 1, 1, 1]])
    np.testing.assert_allclose(log_prob(model, short), log_prob(model, wide), rtol=1e-12)
    assert log_prob(model, np.array([[2, 1, 0, 1]]))[0] == -np.inf
    each = evaluate(model.log_conditionals, wide)
    assert (each[0, :3] < 0).all()
    assert (each[0, 3:] == 0).all()


# Drawing


@by_name
@given(seed=st.integers(0, 99), k=st.integers(0, 6), length=st.integers(1, 9))
def test_a_prompt_goes_on_as_the_text_it_comes_from(name: str, seed: int, k: int, length: int):
    """Token t is made of the t-th uniform, whether those before were drawn or given."""
    model = made(name, 4, end=0)
    whole = model.sample(3, seed=seed, length=length)
    for i, row in enumerate(whole):
        prompt = row[: min(k, length)]
        if 0 not in prompt:
            again = model.sample(3, seed=seed, length=length, prompt=prompt)
            np.testing.assert_array_equal(again[i], row)
            assert (again[:, : len(prompt)] == prompt).all()


@by_name
@pytest.mark.parametrize(
    "controls", [{}, {"top_k": 1}, {"temperature": 0}, {"top_p": 0.5}], ids=str
)
def test_tokens_are_decoded_from_the_conditionals(name: str, controls: dict[str, Any]):
    model = made(name, 3)
    x = model.sample(5, seed=2, length=8, **controls)
    u, logits = uniform(2, (5, 8), dtype=np.float64), evaluate(model.logits, x)
    for t in range(8):
        np.testing.assert_array_equal(x[:, t], decode(logits[:, t], u[:, t], **controls))


@by_name
def test_draws_given_a_prompt_follow_its_conditionals(name: str):
    model, prompt = made(name, 4), np.array([2, 1, 0, 0, 1, 2])  # longer than the window
    drawn = model.sample(6_000, seed=1, prompt=prompt, length=8)[:, 6:] @ [V, 1]
    rows = np.concatenate([np.tile(prompt, (V * V, 1)), all_states(2, V).astype(int)], axis=1)
    p = np.exp(evaluate(model.log_conditionals, rows)[:, 6:].sum(axis=1))
    assert chi_square(np.bincount(drawn, minlength=V * V), len(drawn) * p) > 1e-4


@by_name
def test_a_stream_is_the_sample_a_token_at_a_time(name: str):
    for end in (None, 0):
        model = made(name, 4, end)
        x = model.sample(3, seed=4, length=9, prompt=np.array([1, 2]))
        drawn = list(model.stream(3, seed=4, length=9, prompt=np.array([1, 2])))
        np.testing.assert_array_equal(x[:, 2 : 2 + len(drawn)], np.stack(drawn, axis=1))
        assert (x[:, 2 + len(drawn) :] == end).all()


@by_name
def test_after_a_stop_comes_nothing_else(name: str):
    model = made(name, 4)
    for end, stop in ((None, 2), (0, 2)):
        model.end = end
        x = model.sample(50, seed=0, length=12, stop=stop)
        stopped = np.cumsum(x == stop, axis=1) > 0
        assert stopped[:, -1].any()
        assert (x[stopped] == stop).all()


def test_rows_are_a_prompt_and_dim_more_unless_said():
    model = made("rnn", 4)
    assert model.sample(2).shape == (2, 4)
    assert model.sample(2, prompt=[1, 1, 2]).shape == (2, 7)
    assert model.sample(0, prompt=[1]).shape == (0, 5)
    assert model.sample(2, prompt=[1, 2], length=2).tolist() == [[1, 2], [1, 2]]


def test_what_a_subclass_owes():
    model = LanguageModel(3, V, None, np.float32)
    for call in (
        lambda: model.logits(None),
        lambda: model.start(1),
        lambda: model.step(None, None),
    ):
        with pytest.raises(NotImplementedError):
            call()


# Bad input


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"prompt": [3]}, r"prompt must hold whole numbers in 0 … 2, got 3"),
        ({"prompt": [-1]}, r"prompt must hold whole numbers in 0 … 2, got -1"),
        ({"prompt": [0.5]}, "prompt must hold whole numbers"),
        ({"prompt": [[1]]}, r"prompt must be tokens of shape \(T,\), got \(1, 1\)"),
        ({"prompt": ["a"]}, "prompt must hold numbers"),
        ({"prompt": [1, 0]}, "prompt must not hold the end token 0"),
        ({"length": 0}, "length must be an int >= 1, got 0"),
        ({"prompt": [1, 2], "length": 1}, "length must be an int >= 2, got 1"),
        ({"stop": 3}, r"stop must be an int in \[0, 3\), got 3"),
        ({"stop": True}, "stop must be an int, got True"),
        ({"temperature": -1}, "temperature must be a finite number >= 0"),
        ({"top_k": 0}, "top_k must be an int >= 1"),
        ({"top_p": 0}, "top_p must be a finite number"),
        ({"min_p": 2}, "min_p must be a finite number"),
    ],
)
@pytest.mark.parametrize("method", ["sample", "stream"])
def test_what_is_wrong_with_drawing_is_named(method: str, how: dict[str, Any], said: str):
    """At once, not when the first token is asked for."""
    with pytest.raises(InputError, match=said):
        getattr(made("transformer", end=0), method)(2, **how)


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (np.array([[3]]), "x must hold whole numbers in 0 … 2, got 3"),
        (np.zeros((2, 0), int), r"x must have shape \(B, T\) with T at least 1, got \(2, 0\)"),
        (np.zeros(3, int), r"x must have shape \(B, T\)"),
    ],
)
@by_name
def test_tokens_outside_the_vocabulary_and_empty_texts_are_named(name: str, x: Any, said: str):
    with pytest.raises(InputError, match=said):
        made(name).log_prob(x)


@pytest.mark.parametrize(("how", "said"), [({"end": 3}, "end must"), ({"heads": 3}, "heads must")])
def test_sizes_that_do_not_fit_are_named(how: dict[str, Any], said: str):
    with pytest.raises(InputError, match=said):
        Transformer(4, V, **{"width": 4, **how})
