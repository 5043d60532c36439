"""From text to tokens and back: characters, bytes, or pairs of bytes that often stand together.

    characters   one token a character of the training text; others are UNKNOWN, or an error
    bytes        the 256 bytes of UTF-8: every text has tokens, and no vocabulary has to be learned
    byte-pairs   bytes, and whatever two tokens were most often neighbours, merged again and again
                 until the vocabulary is full (Gage 1994; Sennrich, Haddow & Birch 2016): shorter
                 rows of more different tokens. The merging itself is the `tokenizers` library's.

Whatever the tokens, decode(encode(text)) is the text, where encode accepts it. A tokeniser is kept
in a run as the JSON that it gives. MISSION row A7.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from core.checks import one_of, whole
from core.errors import DataError, InputError

UNKNOWN = "\ufffd"
"""Stands in a vocabulary of characters for every one that the training part does not contain."""

KINDS = ("characters", "bytes", "byte-pairs")
SIZE = 512
"""Tokens of a vocabulary of byte pairs, the 256 bytes among them."""


class Tokeniser(Protocol):
    """What stands for what: token i is shown as vocabulary[i]."""

    kind: str
    vocabulary: tuple[str, ...]

    def encode(self, text: str) -> NDArray[np.int64]:
        """The tokens of a text, (T,)."""

    def decode(self, ids: Any) -> str:
        """The text of tokens (T,)."""

    def as_json(self) -> dict[str, Any]:
        """What `from_json` makes the same of."""


class Characters:
    """A token for each character of a sorted vocabulary, which may end in UNKNOWN.

    >>> Characters(("a", "b")).encode("abba").tolist(), Characters(("a", "b")).decode([1, 0])
    ([0, 1, 1, 0], 'ba')
    """

    kind = "characters"

    def __init__(self, vocabulary: Sequence[str]) -> None:
        self.vocabulary = tuple(vocabulary)

    @classmethod
    def learned(cls, training: str, text: str = "") -> Characters:
        """Of the characters of `training`; UNKNOWN last if `text` has others."""
        known = set(training)
        if not set(text) - known:
            return cls(sorted(known))
        return cls((*sorted(known - {UNKNOWN}), UNKNOWN))

    def encode(self, text: str) -> NDArray[np.int64]:
        """DataError naming the first character that is not there, if UNKNOWN is not either."""
        vocabulary = self.vocabulary
        if any(len(c) != 1 for c in vocabulary):
            raise DataError(
                "text can't be cut into the words of a vocabulary, only into characters"
            )
        known = vocabulary[:-1] if vocabulary[-1] == UNKNOWN else vocabulary
        points = np.array([ord(c) for c in known])
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        ids = np.minimum(np.searchsorted(points, codes.astype(np.int64)), len(points) - 1)
        missing = points[ids] != codes
        if missing.any() and len(known) == len(vocabulary):
            at = int(np.argmax(missing))
            raise DataError(f"character {text[at]!r} at position {at} is not in the vocabulary")
        return np.where(missing, len(points), ids)

    def decode(self, ids: Any) -> str:
        """One character a token."""
        return "".join(self.vocabulary[int(i)] for i in ids)

    def as_json(self) -> dict[str, Any]:
        """The vocabulary."""
        return {"kind": self.kind, "vocabulary": list(self.vocabulary)}


class Bytes:
    """Token i is byte i of UTF-8; bytes that are no whole character are decoded as UNKNOWN.

    >>> Bytes().encode("né").tolist(), Bytes().decode([110, 195, 169])
    ([110, 195, 169], 'né')
    """

    kind = "bytes"

    def __init__(self) -> None:
        self.vocabulary = tuple(chr(i) if 32 <= i < 127 else f"<{i:02X}>" for i in range(256))

    def encode(self, text: str) -> NDArray[np.int64]:
        """One token a byte."""
        return np.frombuffer(text.encode("utf-8"), np.uint8).astype(np.int64)

    def decode(self, ids: Any) -> str:
        """The text that the bytes are."""
        return bytes(int(i) for i in ids).decode("utf-8", errors="replace")

    def as_json(self) -> dict[str, Any]:
        """Nothing but the kind: there is one such vocabulary."""
        return {"kind": self.kind}


class BytePairs:
    """Merges of bytes, as the JSON of a tokenizers.Tokenizer says; see `learned`.

    Raises InputError for another JSON, and where the library is missing.
    """

    kind = "byte-pairs"

    def __init__(self, merges: str) -> None:
        try:
            self._tokenizer = _library().Tokenizer.from_str(merges)
        except Exception as error:  # the library raises no other
            if isinstance(error, InputError):
                raise
            raise InputError(f"merges must be a tokenizer's JSON, got {str(error)!r}") from error
        self.merges = merges
        size = self._tokenizer.get_vocab_size()
        self.vocabulary = tuple(self._tokenizer.id_to_token(i) for i in range(size))

    @classmethod
    def learned(cls, training: str, size: int = SIZE) -> BytePairs:
        """The most frequent pairs of a text, until there are `size` tokens (or no pair is left).

        >>> pairs = BytePairs.learned("low lower lowest " * 9, size=260)
        >>> pairs.vocabulary[256:], pairs.decode(pairs.encode("slow"))
        (('lo', 'low', 'Ġlow', 'Ġlowe'), 'slow')
        """
        size = whole("size", size, 256)
        lib = _library()
        made = lib.Tokenizer(lib.models.BPE())
        made.pre_tokenizer = lib.pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = lib.decoders.ByteLevel()
        alphabet = lib.pre_tokenizers.ByteLevel.alphabet()
        how = {"vocab_size": size, "initial_alphabet": alphabet, "show_progress": False}
        made.train_from_iterator([training], lib.trainers.BpeTrainer(**how))
        return cls(made.to_str())

    def encode(self, text: str) -> NDArray[np.int64]:
        """All merges that apply, in the order in which they were learned."""
        return np.array(self._tokenizer.encode(text).ids, np.int64)

    def decode(self, ids: Any) -> str:
        """The text that the bytes of all tokens are."""
        return str(self._tokenizer.decode([int(i) for i in ids], skip_special_tokens=False))

    def as_json(self) -> dict[str, Any]:
        """The merges."""
        return {"kind": self.kind, "merges": json.loads(self.merges)}


def learned(kind: str, training: str, text: str, size: int = SIZE) -> Tokeniser:
    """A tokeniser of one of KINDS for a training text; `text`: all there is, to find UNKNOWN in."""
    one_of("tokens", kind, KINDS)
    if kind == "bytes":
        return Bytes()
    if kind == "characters":
        return Characters.learned(training, text)
    return BytePairs.learned(training, size)


def from_json(stored: Any) -> Tokeniser:
    """The tokeniser that `as_json` described. Raises InputError for anything else.

    >>> from_json({"kind": "characters", "vocabulary": ["x", "y"]}).decode([1, 1])
    'yy'
    """
    kind = one_of("kind", stored.get("kind") if isinstance(stored, dict) else None, KINDS)
    if kind == "bytes":
        return Bytes()
    if kind == "byte-pairs":
        return BytePairs(json.dumps(stored.get("merges")))
    vocabulary = stored.get("vocabulary")
    if not isinstance(vocabulary, list) or not vocabulary:
        raise InputError(f"vocabulary must be a list of strings, got {vocabulary!r}")
    if wrong := [c for c in vocabulary if not isinstance(c, str)]:
        raise InputError(f"vocabulary must be a list of strings, got {wrong[0]!r} in it")
    return Characters(vocabulary)


def _library() -> Any:
    try:
        import tokenizers
    except ImportError:
        raise InputError(
            'tokens must be characters or bytes: byte-pairs need pip install "genzoo[text]"'
        ) from None
    return tokenizers
