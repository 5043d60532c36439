"""Tokens: every text comes back from them, and what has none is named."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.data import load, tokenisers
from core.data.tokenisers import UNKNOWN, BytePairs, Bytes, Characters, Tokeniser, from_json
from core.errors import DataError, InputError

pytest.importorskip("tokenizers")
TEXT = "the cat sat on the mat, naïve öl 😀\n" * 20
PAIRS = BytePairs.learned(TEXT, 270)
ANY = st.text(st.characters(exclude_categories=["Cs"]))


def comes_back(made: Tokeniser, text: str) -> None:
    ids = made.encode(text)
    assert ids.dtype == np.int64
    assert not ids.size or 0 <= ids.min() <= ids.max() < len(made.vocabulary)
    assert made.decode(ids) == text


@given(ANY)
@pytest.mark.parametrize("made", [Bytes(), PAIRS], ids=["bytes", "byte-pairs"])
def test_every_text_comes_back(made: Tokeniser, text: str):
    comes_back(made, text)


@given(st.text("abcß€😀\n"))
def test_texts_of_known_characters_come_back(text: str):
    comes_back(Characters(sorted("abcß€😀\n")), text)


def test_what_loses_something_is_rejected():
    class Lower(Bytes):
        def encode(self, text: str) -> Any:
            return super().encode(text.lower())

    with pytest.raises(AssertionError):
        comes_back(Lower(), "A")


@given(ANY, ANY)
def test_bytes_are_those_of_utf8(a: str, b: str):
    assert Bytes().encode(a).tolist() == list(a.encode())
    joined = np.concatenate([Bytes().encode(a), Bytes().encode(b)])
    np.testing.assert_array_equal(Bytes().encode(a + b), joined)


def test_pairs_are_merges_of_bytes_and_shorten_what_they_were_learned_from():
    assert len(PAIRS.vocabulary) == len(set(PAIRS.vocabulary)) == 270
    assert BytePairs.learned(TEXT, 270).vocabulary == PAIRS.vocabulary
    few = BytePairs.learned(TEXT, 256)
    assert len(few.encode(TEXT)) == len(TEXT.encode())
    assert len(PAIRS.encode(TEXT)) < 0.7 * len(TEXT.encode())
    assert len(BytePairs.learned("aa", 400).vocabulary) < 400  # no pair is left


def test_half_a_character_is_unknown():
    assert Bytes().decode([195]) == UNKNOWN
    assert PAIRS.decode(PAIRS.encode("😀")[:1]) == UNKNOWN


def test_other_characters_are_unknown_or_an_error():
    assert Characters.learned("ab").vocabulary == ("a", "b")
    made = Characters.learned("ab", "abc")
    assert made.encode("cab").tolist() == [2, 0, 1]
    with pytest.raises(DataError, match="character 'c' at position 1 is not in the vocabulary"):
        Characters("ab").encode("ac")
    with pytest.raises(DataError, match="can't be cut into the words"):
        Characters(["one", "two"]).encode("one")


@pytest.mark.parametrize("made", [Bytes(), PAIRS, Characters("ab")], ids=lambda made: made.kind)
def test_a_tokeniser_is_its_json(made: Tokeniser):
    again = from_json(made.as_json())
    assert (again.kind, again.vocabulary) == (made.kind, made.vocabulary)
    np.testing.assert_array_equal(again.encode("abba"), made.encode("abba"))


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        (None, "kind must be one of characters, bytes, byte-pairs, got None"),
        ({"kind": "words"}, "kind must be one of"),
        ({"kind": "characters"}, "vocabulary must be a list of strings, got None"),
        ({"kind": "characters", "vocabulary": []}, "vocabulary must be"),
        ({"kind": "characters", "vocabulary": ["a", 3]}, "vocabulary must be .* got 3 in it"),
        ({"kind": "byte-pairs", "merges": {"model": 3}}, "merges must be a tokenizer's JSON"),
    ],
)
def test_other_json_is_named(stored: Any, said: str):
    with pytest.raises(InputError, match=said):
        from_json(stored)


def test_sizes_and_kinds_are_named():
    with pytest.raises(InputError, match="size must be an int >= 256, got 255"):
        BytePairs.learned("a", 255)
    with pytest.raises(InputError, match="tokens must be one of characters, bytes, byte-pairs"):
        load("digits", tokens="words")


def test_without_the_library_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(InputError, match=r'byte-pairs need pip install "genzoo\[text\]"'):
        tokenisers.learned("byte-pairs", "abc", "abc")


# Data sets of other tokens


@pytest.mark.parametrize("tokens", ["bytes", "byte-pairs"])
def test_a_file_in_other_tokens_is_the_same_text(tmp_path: Any, tokens: str):
    path = tmp_path / "poem.txt"
    path.write_text(TEXT * 10)
    data = load(path, tokens=tokens, block=8)
    assert data.tokeniser is not None
    assert data.vocabulary == data.tokeniser.vocabulary
    whole = data.decode(data.train.x.ravel()).rstrip(UNKNOWN)  # a row may end within a character
    assert (TEXT * 10).startswith(whole)
    assert len(whole) > 0.85 * len(TEXT * 10)
    assert load(path, block=8).tokeniser is None
    again = load(path, tokens=data.tokens, block=8)
    np.testing.assert_array_equal(again.train.x, data.train.x)


def test_another_file_in_the_tokens_of_the_first(tmp_path: Any):
    (tmp_path / "a.txt").write_text("abcd" * 200)
    (tmp_path / "b.txt").write_text("dcba" * 200)
    (tmp_path / "c.txt").write_text("abce" * 200)
    first = load(tmp_path / "a.txt", block=8)
    other = load(tmp_path / "b.txt", block=8, tokens=first.tokens)
    assert other.train.x[0].tolist() == [3, 2, 1, 0] * 2
    with pytest.raises(DataError, match="character 'e' at position 3 is not in the vocabulary"):
        load(tmp_path / "c.txt", block=8, tokens=first.tokens)
