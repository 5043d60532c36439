"""The arithmetic coder is lossless and within 2 bits of −log₂ p, for any distribution and model."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InputError
from core.random import Generator
from reference.judges import coding
from reference.judges.coding import decode, encode

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
