"""The arithmetic coder is lossless and within 2 bits of −log₂ p, for any distribution and model."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.data import load
from core.errors import InputError
from core.random import Generator
from reference.autoregressive.fvsbn import FVSBN
from reference.autoregressive.made import MADE
from reference.autoregressive.rnade import RNADE
from reference.counting.markov import MarkovTable
from reference.counting.naive_bayes import BernoulliNaiveBayes
from reference.judges import coding
from reference.judges.coding import decode, encode
from tests.laws.subject import bits, log_prob, randomise

chances = st.lists(st.one_of(st.just(0.0), st.floats(1e-12, 1.0)), min_size=1, max_size=6).filter(
    any
)


@st.composite
def messages(draw):
    """A table of conditionals p(· | last symbol), and a message that it allows."""
    p = np.array(draw(chances))
    k = len(p)
    table = np.stack([np.roll(p, shift) for shift in range(k)]) / p.sum()
    message, last = [], 0
    for _ in range(draw(st.integers(0, 60))):
        last = draw(st.sampled_from(np.flatnonzero(table[last]).tolist()))
        message.append(last)
    return message, lambda past: table[past[-1] if past else 0]


@given(messages())
def test_lossless_and_within_two_bits(made):
    message, following = made
    code = encode(message, following)
    bits = sum(-np.log2(following(message[:i])[x]) for i, x in enumerate(message))
    assert decode(code, len(message), following) == message
    assert bits - 1e-6 <= len(code) <= bits + 2 + 1e-6


def test_the_hardly_possible_has_a_code_as_well():
    """Below the grid of probabilities, where rounding would make it impossible."""
    rare = lambda _: np.array([1 - 1e-20, 1e-20])  # noqa: E731
    assert decode(encode([1, 0, 1], rare), 3, rare) == [1, 0, 1]


def test_a_message_is_read_from_the_front_of_a_stream():
    """Its interval holds every continuation of the code."""
    fair = lambda _: np.full(3, 1 / 3)  # noqa: E731
    for seed in range(20):
        message = Generator(seed).integers(0, 3, (9,)).tolist()
        code = encode(message, fair)
        assert all(decode(code + tail, 9, fair) == message for tail in ("0", "1", "000", "111"))


@pytest.mark.parametrize("fault", ["one bit less", "a rounded interval", "another model"])
def test_wrong_coders_are_rejected(fault, monkeypatch):
    skew = lambda past: np.array([0.9, 0.09, 0.01])[[(i + len(past)) % 3 for i in range(3)]]  # noqa: E731
    wrong = 0
    for seed in range(30):
        message = Generator(seed).integers(0, 3, (20,)).tolist()
        code, model = encode(message, skew), skew
        if fault == "one bit less":
            code = code[:-1]
        elif fault == "another model":
            model = lambda past: skew(past)[::-1]  # noqa: E731
        else:
            code = code[:-3] + "000"
        try:
            wrong += decode(code, 20, model) != message
        except InputError:
            wrong += 1
    assert wrong >= 10


@given(seed=st.integers(0, 2**31), order=st.permutations(range(7)))
def test_a_model_reads_what_it_wrote_in_any_order(seed, order):
    model = randomise(FVSBN(7, order=order), seed)
    x = bits(5, 7, seed)
    codes = coding.compress(model, x)
    np.testing.assert_array_equal(coding.decompress(model, codes), x)
    nats = -log_prob(model, x)
    assert [len(code) for code in codes] == pytest.approx(nats / np.log(2) + 1.5, abs=0.5 + 1e-4)


def test_whoever_writes_in_another_order_is_not_read():
    one, other = (randomise(FVSBN(7, order=order), 0) for order in (range(7), range(6, -1, -1)))
    x = bits(5, 7)
    codes = coding.compress(one, x)
    with contextlib.suppress(InputError):
        assert (coding.decompress(other, codes) != x).any()


def test_digits_are_coded_by_what_counting_knows_of_them():
    data = load("digits", domain="binary")
    model = MarkovTable(64, order=4, alpha=0.2).fit(data.train.x)
    x = data.test.x[:20]
    codes = coding.compress(model, x)
    np.testing.assert_array_equal(coding.decompress(model, codes[:2]), x[:2])
    assert np.mean([len(code) for code in codes]) < 40  # of 64 pixels


@pytest.mark.parametrize(
    "model", [MADE(4, masks=2), RNADE(3), BernoulliNaiveBayes(4, 2)], ids=lambda m: type(m).__name__
)
def test_models_that_are_no_chain_of_whole_numbers_are_told(model):
    for call in (
        lambda: coding.compress(model, bits(2, 4)),
        lambda: coding.decompress(model, ["0"]),
    ):
        with pytest.raises(
            InputError, match="model must be a chain .* got " + type(model).__name__
        ):
            call()


def test_bad_input_is_told():
    fair = lambda _: np.array([0.5, 0.5, 0.0])  # noqa: E731
    for call, told in (
        (lambda: encode([2], fair), "probability > 0, got 2"),
        (lambda: encode([3], fair), "got 3"),
        (lambda: encode([0], lambda _: np.array([0.5, 0.2])), "sum 1"),
        (lambda: encode([0], lambda _: np.array([np.nan, 1.0])), "sum 1"),
        (lambda: decode("", 1, fair), "string of 0 and 1"),
        (lambda: decode("012", 1, fair), "string of 0 and 1"),
    ):
        with pytest.raises(InputError, match=told):
            call()
    assert coding.encode([], fair) == "0"
