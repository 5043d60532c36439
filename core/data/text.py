"""Text as rows of token ids: characters, unless other tokens are asked for.

A running text is cut into rows of `block` tokens, one after the other, so `split.x.ravel()` is the
text again: first 90 % training (nanoGPT's cut), then two halves of the last 10 %: validation
and test. nanoGPT's published figures are on all of that last 10 %. Up to block − 1 tokens at
the end of each part do not fill a row and are left out.

A list of words has one row a word, as wide as the longest word plus one, ended and filled with the
newline character (`Dataset.end`).

The vocabulary is the sorted characters of the training part; other characters become UNKNOWN.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from core import random
from core.checks import whole
from core.data.arrays import reading
from core.data.dataset import Dataset, Split
from core.data.tokenisers import Tokeniser, learned
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


class Cut(NamedTuple):
    """How text becomes rows: tokens in a row of running text, and what a token is."""

    block: int = 64
    tokens: str | Tokeniser = "characters"


PLAIN = Cut()
"""64 characters."""


def stream(name: str, text: str, *, cut: Cut = PLAIN, doc: str = "") -> Dataset:
    """A running text in rows (N, block). Raises DataError if a part would have no row."""
    block = whole("block", cut.block, 1)
    at, end = len(text) * 9 // 10, len(text)
    parts = text[:at], text[at : (at + end) // 2], text[(at + end) // 2 :]
    if not all(parts):
        raise DataError(f"{name}: a text of {end} characters is too short to be cut in three parts")
    made = _tokeniser(cut.tokens, parts[0], text)
    ids = [made.encode(part) for part in parts]
    if len(ids[1]) < block:
        raise DataError(
            f"{name}: {end} characters are too few for rows of {block}: its validation part, "
            f"5 %, has {len(ids[1])}"
        )
    train, validation, test = (Split(i[: len(i) // block * block].reshape(-1, block)) for i in ids)
    return Dataset(name, train, validation, test, "text", **_about(made), doc=doc)


def words(name: str, text: str, *, cut: Cut = PLAIN, doc: str = "") -> Dataset:
    """One word a line, shuffled once for all, 80 % training, 10 % validation, 10 % test."""
    lines = np.array([line + "\n" for line in text.split("\n") if line])
    if len(lines) < 10:
        raise DataError(f"{name}: {len(lines)} words are too few to split, 10 needed")
    order = random.permutation(0, len(lines), stream="data")
    cuts = len(lines) * 8 // 10, len(lines) * 9 // 10
    parts = [part.tolist() for part in np.split(lines[order], cuts)]
    made = _tokeniser(cut.tokens, "".join(parts[0]), text)
    (end,) = made.encode("\n")
    rows = [[made.encode(line) for line in part] for part in parts]
    width = max(len(ids) for part in rows for ids in part)
    train, validation, test = (Split(_filled(part, width, end)) for part in rows)
    return Dataset(name, train, validation, test, "text", **_about(made), end=int(end), doc=doc)


def _filled(rows: list[NDArray[np.int64]], width: int, end: int) -> NDArray[np.int64]:
    """Rows side by side, filled up with the end."""
    return np.stack([np.pad(ids, (0, width - len(ids)), constant_values=end) for ids in rows])


def _tokeniser(tokens: str | Tokeniser, training: str, text: str) -> Tokeniser:
    return learned(tokens, training, text) if isinstance(tokens, str) else tokens


def _about(made: Tokeniser) -> dict[str, Any]:
    own = None if made.kind == "characters" else made
    return {"vocabulary": made.vocabulary, "tokeniser": own}
