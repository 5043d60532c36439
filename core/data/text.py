"""Text as rows of character ids.

A running text is cut into rows of `block` characters, one after the other, so `split.x.ravel()` is
the text again: first 90 % training (nanoGPT's cut), then two halves of the last 10 %: validation
and test. nanoGPT's published figures are on all of that last 10 %. Up to block − 1 characters at
the end of each part do not fill a row and are left out.

A list of words has one row a word, as wide as the longest word plus one, ended and filled with the
newline character (`Dataset.end`).

The vocabulary is the sorted characters of the training part; other characters become UNKNOWN.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core import random
from core.checks import whole
from core.data.arrays import reading
from core.data.dataset import UNKNOWN, Dataset, Split, encode
from core.errors import DataError


def read_text(path: Path) -> str:
    """A UTF-8 file with its line ends made newlines and its byte order mark dropped."""
    with reading(path):
        raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 text: byte {error.start} is bad") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def stream(name: str, text: str, *, block: int = 64, doc: str = "") -> Dataset:
    """A running text in rows (N, block). Raises DataError if a part would have no row."""
    block = whole("block", block, 1)
    cut, end = len(text) * 9 // 10, len(text)
    parts = text[:cut], text[cut : (cut + end) // 2], text[(cut + end) // 2 :]
    if len(parts[1]) < block:
        raise DataError(
            f"{name}: {end} characters are too few for rows of {block}: its validation part, "
            f"5 %, has {len(parts[1])}"
        )
    vocabulary = _vocabulary(parts[0], text)
    rows = (encode(p[: len(p) // block * block], vocabulary).reshape(-1, block) for p in parts)
    train, validation, test = map(Split, rows)
    return Dataset(name, train, validation, test, "text", vocabulary=vocabulary, doc=doc)


def words(name: str, text: str, *, doc: str = "") -> Dataset:
    """One word a line, shuffled once for all, 80 % training, 10 % validation, 10 % test."""
    lines = np.array([line + "\n" for line in text.split("\n") if line])
    if len(lines) < 10:
        raise DataError(f"{name}: {len(lines)} words are too few to split, 10 needed")
    order = random.permutation(0, len(lines), stream="data")
    cuts = len(lines) * 8 // 10, len(lines) * 9 // 10
    parts = np.split(lines[order], cuts)
    vocabulary = _vocabulary("".join(parts[0]), text)
    width = int(np.char.str_len(lines).max())
    train, validation, test = (Split(_pad(part.tolist(), width, vocabulary)) for part in parts)
    end = vocabulary.index("\n")
    return Dataset(name, train, validation, test, "text", vocabulary=vocabulary, end=end, doc=doc)


def _pad(part: list[str], width: int, vocabulary: tuple[str, ...]) -> NDArray[np.int64]:
    return encode("".join(word.ljust(width, "\n") for word in part), vocabulary).reshape(-1, width)


def _vocabulary(training: str, text: str) -> tuple[str, ...]:
    """Sorted characters of training; UNKNOWN last if the text has others."""
    known = set(training)
    if not set(text) - known:
        return tuple(sorted(known))
    return (*sorted(known - {UNKNOWN}), UNKNOWN)
