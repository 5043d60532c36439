"""What a data set is: three splits of rows, and what the numbers in a row mean.

    binary       float32 of 0 and 1                                     levels = 2
    integer      int64 in 0 … levels − 1 (grey levels, counts)          levels = number of values
    continuous   float32 of any size                                    levels = None
    text         int64 indices of `vocabulary`                          levels = None

A row is flat: `Split.x` is (N, D), and `image_shape` says how to show it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from core.errors import DataError, InputError
from core.tensor import Array

Domain = Literal["binary", "integer", "continuous", "text"]
DOMAINS: tuple[Domain, ...] = get_args(Domain)
UNKNOWN = "\ufffd"
"""Stands in a text vocabulary for every character that the training part does not contain."""

_DTYPES: dict[Domain, type[np.generic]] = {
    "binary": np.float32,
    "integer": np.int64,
    "continuous": np.float32,
    "text": np.int64,
}


@dataclass(frozen=True, eq=False)
class Split:
    """x (N, D) rows, y (N,) int64 labels or None. Raises DataError if their lengths differ."""

    x: NDArray[Any]
    y: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        if self.x.ndim != 2:
            raise DataError(f"x must be (N, D), got shape {self.x.shape}")
        if self.y is not None and self.y.shape != self.x.shape[:1]:
            raise DataError(f"{len(self.x)} rows but labels of shape {self.y.shape}")

    def __len__(self) -> int:
        return len(self.x)

    def subset(self, n: int) -> Split:
        """The first n rows, or all if there are fewer."""
        return Split(self.x[:n], None if self.y is None else self.y[:n])


@dataclass(frozen=True, eq=False)
class Dataset:
    """A training, a validation and a test part, and how to read a row.

    classes: labels are 0 … classes − 1; 0 when there are none.
    vocabulary: text only, the character of each id. end: id of the character that ends a row and
    fills what is left of it, where rows are separate strings.
    log_density: exact log p of the distribution that made the data, (B, D) → (B,) nats, where it is
    known; entropy: its entropy in nats.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    domain: Domain
    levels: int | None = None
    image_shape: tuple[int, int] | None = None
    classes: int = 0
    vocabulary: tuple[str, ...] | None = None
    end: int | None = None
    log_density: Callable[[Array], Array] | None = None
    entropy: float | None = None
    doc: str = ""

    @property
    def dim(self) -> int:
        """D, the numbers in a row."""
        return int(self.train.x.shape[1])

    def subset(self, n: int) -> Dataset:
        """The first n rows of each part (all of a part that has fewer). n ≥ 1, else InputError."""
        if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
            raise InputError(f"n must be an int ≥ 1, got {n!r}")
        return self._map(lambda split: split.subset(int(n)))

    def as_domain(self, domain: Domain) -> Dataset:
        """The same rows as another model sees them.

        integer → binary: x ≥ levels // 2 (digits: x ≥ 8, MNIST: x ≥ 128)
        integer, binary → continuous: 2x / (levels − 1) − 1, so [−1, 1]
        binary → integer: the two levels 0 and 1

        Raises DataError where it makes no sense: continuous data have no levels, and the ids of
        characters no order.
        """
        if domain not in DOMAINS:
            raise InputError(f"domain must be one of {', '.join(DOMAINS)}, got {domain!r}")
        if domain == self.domain:
            return self._map(lambda split: Split(_cast(split.x, domain), split.y))
        if self.levels is None or domain == "text":
            raise DataError(f"{self.name}: {self.domain} data can't be read as {domain}")
        half, top = self.levels // 2, self.levels - 1
        convert: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
            "binary": lambda x: x >= half,
            "integer": lambda x: x,
            "continuous": lambda x: _cast(x, "continuous") * (2.0 / top) - 1.0,
        }
        levels = {"binary": 2, "integer": self.levels, "continuous": None}[domain]
        converted = self._map(lambda s: Split(_cast(convert[domain](s.x), domain), s.y))
        return replace(converted, domain=domain, levels=levels)

    def decode(self, ids: Array) -> str:
        """The text of ids (D,), up to `end` if rows have one; of (N, D) the rows, one a line."""
        vocabulary, ids = self._vocabulary(), np.asarray(ids)
        if ids.dtype.kind not in "iu" or ids.ndim not in (1, 2):
            raise InputError(f"ids must be integers (D,) or (N, D), got {ids.dtype} {ids.shape}")
        if ids.size and not (ids.min() >= 0 and ids.max() < len(vocabulary)):
            raise InputError(
                f"ids must lie in 0 … {len(vocabulary) - 1}, got {ids.min()} … {ids.max()}"
            )
        if ids.ndim == 2:
            return "\n".join(self.decode(row) for row in ids)
        if self.end is not None and self.end in ids:
            ids = ids[: int(np.argmax(ids == self.end))]
        return "".join(vocabulary[i] for i in ids)

    def encode(self, text: str) -> NDArray[np.int64]:
        """The ids (len(text),) of a text. Raises DataError for a character that has none."""
        return encode(text, self._vocabulary())

    def _vocabulary(self) -> tuple[str, ...]:
        if self.vocabulary is None:
            raise InputError(f"{self.name} is {self.domain} data: only text has a vocabulary")
        return self.vocabulary

    def _map(self, f: Callable[[Split], Split]) -> Dataset:
        return replace(self, train=f(self.train), validation=f(self.validation), test=f(self.test))


def encode(text: str, vocabulary: tuple[str, ...]) -> NDArray[np.int64]:
    """Indices of the characters of text in a sorted vocabulary, which may end in UNKNOWN.

    Raises DataError naming the first character that is not there, if UNKNOWN is not either.
    """
    known = vocabulary[:-1] if vocabulary[-1] == UNKNOWN else vocabulary
    points = np.array([ord(c) for c in known])
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.int64)
    ids = np.minimum(np.searchsorted(points, codes), len(points) - 1)
    missing = points[ids] != codes
    if missing.any() and len(known) == len(vocabulary):
        at = int(np.argmax(missing))
        raise DataError(f"character {text[at]!r} at position {at} is not in the vocabulary")
    return np.where(missing, len(points), ids)


def _cast(x: NDArray[Any], domain: Domain) -> NDArray[Any]:
    return x.astype(_DTYPES[domain], copy=False)
