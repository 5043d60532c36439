"""Numbers and dates in words: every translation is right, and no prompt is in two parts."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.data import load, pairs
from core.errors import DataError, InputError

VALUE = {**{w: i for i, w in enumerate(pairs.in_words(n) for n in range(20))}}
VALUE |= {pairs.in_words(n): n for n in range(20, 100, 10)}


def read(text: str) -> int:
    """The number that words mean, by another road: each word adds or multiplies."""
    total, group = 0, 0
    for word in text.replace("-", " ").split():
        if word == "thousand":
            total, group = 1000 * group, 0
        else:
            group = 100 * group if word == "hundred" else group + VALUE[word]
    return total + group


@given(n=st.integers(0, pairs.MOST - 1))
def test_words_mean_the_number(n: int):
    assert read(pairs.in_words(n)) == n
    assert "".join(pairs.words(pairs.in_words(n))) == pairs.in_words(n)


def test_days_of_a_month():
    said = [pairs.ordinal(n) for n in range(1, 32)]
    assert len(set(said)) == 31
    assert said[:5] == ["first", "second", "third", "fourth", "fifth"]
    assert [said[n - 1] for n in (8, 9, 12, 20, 21, 30)] == [
        "eighth",
        "ninth",
        "twelfth",
        "twentieth",
        "twenty-first",
        "thirtieth",
    ]


def given_texts(data, part) -> list[str]:
    vocabulary = data.given["y"].vocabulary
    return ["".join(vocabulary[i] for i in row) for row in part.y]


@pytest.mark.parametrize("name", pairs.SETS)
def test_x_translates_y_and_none_is_in_two_parts(name: str):
    data = load(name, n=3000, seed=3)
    texts = [given_texts(data, part) for part in data.parts]
    for part, some in zip(data.parts, texts, strict=True):
        told = data.decode(part.x).split("\n")
        assert told == [pairs.SETS[name].translate(text) for text in some]
    train, validation, test = map(set, texts)
    assert not train & (validation | test)
    assert not validation & test
    assert [len(part) for part in data.parts] == [3000, 1000, 2000]
    more, other = load(name, n=3500, seed=3), load(name, n=3000, seed=4)
    assert given_texts(more, more.train)[:3000] == texts[0]
    assert given_texts(other, other.train) != texts[0]
    assert not set(given_texts(other, other.train)) & (validation | test)


def test_all_words_are_trained_on_and_all_lengths_come_up():
    data = load("numbers")
    assert set(range(len(data.vocabulary))) == set(np.unique(data.train.x).tolist())
    lengths = np.bincount(data.train.y.lengths, minlength=7)
    assert (np.abs(lengths[1:7] / 20_000 - 1 / 6) < 0.015).all()


@pytest.mark.parametrize("bad", ["2026-02-30", "2026-13-01", "x", "", None, "2026"])
def test_what_is_no_day_is_told(bad):
    with pytest.raises(InputError, match="date must be"):
        pairs.date_in_words(bad)


@pytest.mark.parametrize("bad", [-1, 10**6, 2.5, "3", True])
def test_what_is_no_number_is_told(bad):
    with pytest.raises(InputError, match="n must be"):
        pairs.in_words(bad)


def english_russian():
    try:
        return load("english-russian", download=False)
    except DataError as error:
        pytest.skip(str(error))


def test_real_sentences_and_their_translations():
    data = english_russian()
    assert [len(part) for part in data.parts] == [800, 100, 100]
    told = [line for part in data.parts for line in data.decode(part.x).split("\n")]
    asked = [text for part in data.parts for text in given_texts(data, part)]
    boss = asked.index("My boss let me leave early today.")
    assert told[boss] == "Мой начальник отпустил меня сегодня пораньше."
    assert all(re.search("[а-яё]", line) for line in told)
    assert not any(re.search("[а-яё]", text) for text in asked)
