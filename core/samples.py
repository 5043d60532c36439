"""Samples of any shape: sequences of several lengths, several things at once, and their meaning.

A batch is an array (B, …), a `Padded` where the samples differ in length, or a dict of such by
name; `take` picks rows of all three.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from core.errors import InputError

Kind = Literal["label", "numbers", "image", "text", "sound", "film"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, eq=False)
class Padded:
    """Sequences of different lengths: data (B, T, …), of which lengths (B,) count in each row.

    What lies beyond a row's length is padding and means nothing. Raises InputError if the lengths
    are not whole numbers in 0 … T, one for each row.

        >>> x = Padded.of([np.array([1, 2, 3]), np.array([4])])
        >>> x.data.tolist(), x.lengths.tolist(), len(x[1:])
        ([[1, 2, 3], [4, 0, 0]], [3, 1], 1)
    """

    data: NDArray[Any]
    lengths: NDArray[np.int64]

    def __post_init__(self) -> None:
        data, n = self.data, self.lengths
        if data.ndim < 2 or n.shape != data.shape[:1] or n.dtype.kind not in "iu":
            raise InputError(
                f"lengths must be whole numbers, one for each row of (B, T), "
                f"got {n.dtype} {n.shape} for {data.shape}"
            )
        if n.size and not (n.min() >= 0 and n.max() <= data.shape[1]):
            raise InputError(f"lengths must lie in 0 … {data.shape[1]}, got {n.min()} … {n.max()}")

    @classmethod
    def of(cls, rows: Sequence[NDArray[Any]], *, fill: float = 0) -> Padded:
        """Rows (T_b, …) side by side, filled up to the longest."""
        lengths = np.array([len(row) for row in rows], np.int64)
        longest = max(1, int(lengths.max(initial=0)))
        shape = (len(rows), longest, *(rows[0].shape[1:] if rows else ()))
        data = np.full(shape, fill, rows[0].dtype if rows else np.float32)
        for into, row in zip(data, rows, strict=True):
            into[: len(row)] = row
        return cls(data, lengths)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, rows: Any) -> Padded:
        """Some of the rows: a slice, or an array of indices."""
        return Padded(self.data[rows], self.lengths[rows])

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Each row (T_b, …) without its padding."""
        return (row[:n] for row, n in zip(self.data, self.lengths, strict=True))

    @property
    def shape(self) -> tuple[int, ...]:
        """(B, T, …), T the room for the longest."""
        return self.data.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of data."""
        return self.data.dtype

    @property
    def mask(self) -> NDArray[np.bool_]:
        """(B, T): True where an entry counts, False where it is padding."""
        here: NDArray[np.bool_] = np.arange(self.data.shape[1]) < self.lengths[:, None]
        return here


Batch = Any  # NDArray | Padded | Mapping[str, NDArray | Padded]


def take(batch: Batch, rows: Any) -> Batch:
    """Some rows of a batch (None stays None)."""
    if isinstance(batch, Mapping):
        return {name: take(one, rows) for name, one in batch.items()}
    return None if batch is None else batch[rows]


def count(batch: Batch) -> int:
    """How many rows a batch has; -1 if its parts disagree."""
    if isinstance(batch, Mapping):
        counts = {count(one) for one in batch.values()}
        return counts.pop() if len(counts) == 1 else -1
    return len(batch)


def apply(change: Callable[[NDArray[Any]], NDArray[Any]], x: Batch) -> Batch:
    """x with its numbers changed one by one; lengths stay."""
    return Padded(change(x.data), x.lengths) if isinstance(x, Padded) else change(x)


def arrays(batch: Batch) -> Iterator[NDArray[Any]]:
    """The arrays that a batch is made of, lengths too, in a fixed order."""
    if isinstance(batch, Mapping):
        for name in sorted(batch):
            yield from arrays(batch[name])
    elif isinstance(batch, Padded):
        yield from (batch.data, batch.lengths)
    elif batch is not None:
        yield batch


def rows(x: Batch) -> NDArray[Any]:
    """x as flat rows (N, D), with its padding where it has some."""
    data: NDArray[Any] = x.data if isinstance(x, Padded) else x
    return data.reshape(len(data), math.prod(data.shape[1:]))


def entries(x: Batch) -> float:
    """How many numbers a sample of x has, on average where lengths differ."""
    if isinstance(x, Padded):
        return float(x.lengths.mean()) * math.prod(x.shape[2:])
    return float(math.prod(x.shape[1:]))


@dataclass(frozen=True)
class Meaning:
    """What a part of a sample is: enough to show one.

    kind: label (one of `names`), numbers, image (C, H, W), text (ids of `vocabulary`), sound
    (`rate` numbers in [−1, 1] a second), film (T, C, H, W) at `fps` images a second. shape: of a
    sample, () for a label; (T,) is the longest.
    """

    kind: Kind
    shape: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    vocabulary: tuple[str, ...] = ()
    rate: int | None = None
    fps: int | None = None
