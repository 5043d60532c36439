"""Texts with their translations, of which all is known: numbers and dates in words.

    numbers    "417"          four hundred seventeen               below a million
    dates      "2026-11-25"   the twenty-fifth of November 2026    in 1000 … 2999

y is what is given, in characters; x its translation, in words. Each number and each day belongs to
one part, so that none that is held out is trained on; but all numbers below a hundred are trained
on, for that is where the words are. How many digits a number has is drawn first, so that "417" is
not lost among six-digit ones.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core import random
from core.checks import whole
from core.data.dataset import Dataset, Split
from core.errors import InputError
from core.samples import Meaning, Padded

_SMALL = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
          "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
          "nineteen"]  # fmt: skip
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_ORDINAL = {"one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth",
            "nine": "ninth", "twelve": "twelfth", "twenty": "twentieth",
            "thirty": "thirtieth"}  # fmt: skip
_MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August", "September",
           "October", "November", "December"]  # fmt: skip
MOST = 10**6
HELD_OUT = 1_000, 2_000
END = "\n"


def in_words(n: int) -> str:
    """A number in 0 … 999 999 as it is said.

    >>> in_words(417), in_words(80_021)
    ('four hundred seventeen', 'eighty thousand twenty-one')
    """
    n = whole("n", n, 0, MOST - 1)
    if n < 20:
        return _SMALL[n]
    if n < 100:
        return _TENS[n // 10 - 2] + (f"-{_SMALL[n % 10]}" if n % 10 else "")
    unit, name = (1000, "thousand") if n >= 1000 else (100, "hundred")
    rest = f" {in_words(n % unit)}" if n % unit else ""
    return f"{in_words(n // unit)} {name}{rest}"


def ordinal(n: int) -> str:
    """A number in 1 … 31 as a day of a month.

    >>> ordinal(3), ordinal(20), ordinal(31)
    ('third', 'twentieth', 'thirty-first')
    """
    tens, _, last = in_words(whole("n", n, 1, 31)).rpartition("-")
    return f"{tens}{'-' * bool(tens)}{_ORDINAL.get(last, f'{last}th')}"


def date_in_words(date: str) -> str:
    """A day, "YYYY-MM-DD", as it is said. InputError for what is no day.

    >>> date_in_words("2026-11-25")
    'the twenty-fifth of November 2026'
    """
    try:
        day = datetime.strptime(date, "%Y-%m-%d")
    except (ValueError, TypeError) as error:
        raise InputError(f"date must be a day as YYYY-MM-DD, got {date!r}") from error
    return f"the {ordinal(day.day)} of {_MONTHS[day.month - 1]} {day.year:04d}"


def words(text: str) -> list[str]:
    """A text in pieces: words and digits, each with the space or hyphen before it.

    >>> words("the twenty-fifth of May 12")
    ['the', ' twenty', '-fifth', ' of', ' May', ' 1', '2']
    """
    return re.findall(r"[ -]?(?:[A-Za-z]+|\d)", text)


@dataclass(frozen=True)
class Set:
    """A data set of translations. given: the characters of y; draw: texts by seed, part, size."""

    name: str
    doc: str
    given: str
    translate: Callable[[str], str]
    draw: Callable[[int, int, int], list[str]]

    def make(self, *, n: int = 20_000, seed: int = 0) -> Dataset:
        """n training pairs, 1 000 for validation and 2 000 for test; more prolong the sequence.

        >>> data = SETS["numbers"].make(n=3)
        >>> print(data.decode(data.train.x))
        seven
        five
        nine hundred eighty-four
        """
        sizes = (whole("n", n, 1), *HELD_OUT)
        y = [self.draw(seed, part, size) for part, size in enumerate(sizes)]
        x = [[words(self.translate(text)) for text in part] for part in y]
        return paired(self.name, x, y, vocabulary=tuple(self.given), doc=self.doc)


def paired(
    name: str,
    x: Sequence[Sequence[Sequence[str]]],
    y: Sequence[Sequence[str]],
    *,
    vocabulary: tuple[str, ...],
    doc: str,
) -> Dataset:
    """Texts y by part, of characters of the vocabulary, and their translations x in pieces."""
    known = tuple(sorted({END, *(piece for part in x for row in part for piece in row)}))
    longest = max(len(row) for part in x for row in part)
    rows = [_ids(part, known, longest + 1) for part in x]
    place = {c: i for i, c in enumerate(vocabulary)}
    given = [Padded.of([np.array([place[c] for c in text]) for text in part]) for part in y]
    width = max(one.shape[1] for one in given)
    train, validation, test = map(Split, rows, given)
    about: Any = {"vocabulary": known, "end": known.index(END), "doc": doc}
    about["given"] = {"y": Meaning("text", (width,), vocabulary=vocabulary)}
    return Dataset(name, train, validation, test, "text", **about)


def _ids(rows: Sequence[Sequence[str]], known: tuple[str, ...], width: int) -> NDArray[np.int64]:
    """Rows of pieces as ids, filled up with the end."""
    place = {piece: i for i, piece in enumerate(known)}
    out = np.full((len(rows), width), place[END])
    for into, row in zip(out, rows, strict=True):
        into[: len(row)] = [place[piece] for piece in row]
    return out


def _draw_numbers(seed: int, part: int, n: int) -> list[str]:
    """Of 1 … 6 digits alike; those that are held out have three at least."""
    digits = random.integers(seed, 2 if part else 0, 6, (n,), step=part, stream="data")
    u = _uniforms(seed, part, n)
    return [str(_nth(_numbers(part, int(d)), v)) for d, v in zip(digits, u, strict=True)]


def _draw_dates(seed: int, part: int, n: int) -> list[str]:
    return [str(_FIRST + _nth(_days(part), u)) for u in _uniforms(seed, part, n)]


def _uniforms(seed: int, part: int, n: int) -> Any:
    """Of the stream "data" digits are steps 0 … 2, these 3 … 5, the parts 6: none share noise."""
    return random.uniform(seed, (n,), step=3 + part, stream="data", dtype=np.float64)


def _nth(some: NDArray[np.int64], u: float) -> int:
    return int(some[int(u * len(some))])


@cache
def _numbers(part: int, digits: int) -> NDArray[np.int64]:
    """The numbers of a part that have so many digits and one."""
    low: int = 10**digits if digits else 0
    high: int = 10 ** (digits + 1)
    of = np.where(np.arange(MOST) < 100, 0, _part_of(MOST))[low:high]
    return low + np.flatnonzero(of == part)


@cache
def _days(part: int) -> NDArray[np.int64]:
    """The days of a part, from the first on."""
    return np.flatnonzero(_part_of(int((_BEYOND - _FIRST).astype(int))) == part)


@cache
def _part_of(n: int) -> NDArray[np.int64]:
    """Of each of n things its part, whatever the seed: a tenth is for validation, one for test."""
    dealt = random.integers(0, 0, 10, (n,), step=6, stream="data")
    part: NDArray[np.int64] = np.maximum(dealt - 7, 0)
    return part


_FIRST, _BEYOND = np.datetime64("1000-01-01"), np.datetime64("3000-01-01")
SETS: dict[str, Set] = {
    "numbers": Set(
        "numbers",
        'numbers below a million, in words: "417", four hundred seventeen',
        "0123456789",
        lambda text: in_words(int(text)),
        _draw_numbers,
    ),
    "dates": Set(
        "dates",
        'days of the years 1000 to 2999, in words: "2026-11-25", the twenty-fifth of November 2026',
        "-0123456789",
        date_in_words,
        _draw_dates,
    ),
}
