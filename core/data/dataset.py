"""What a data set is: three splits of samples, and what their numbers mean.

    binary       float32 of 0 and 1                                     levels = 2
    integer      int64 in 0 … levels − 1 (grey levels, counts)          levels = number of values
    continuous   float32 of any size                                    levels = None
    text         int64 indices of `vocabulary`                          levels = None

A sample has one of these shapes, and a data set is turned from one into another by `as_shape`:

    flat         (D,)             rows; how to show them is said by `image_shape`, `rate` …
    sequence     (T,)             Padded: each with its own length
    grid         (H, W)           grey images
    image        (C, H, W)        images with C = 1 or 3 colours
    film         (T, C, H, W)     `fps` images a second

What comes with a sample, `y`, is a label, or a text (Padded ids), an image (C, H, W) in [−1, 1], a
sound in [−1, 1] or plain numbers, or several of these by name; `given` says which.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from core.checks import whole
from core.data.tokenisers import Characters, Tokeniser
from core.data.units import Units
from core.errors import DataError, InputError
from core.samples import Batch, Meaning, Padded, apply, count, take
from core.tensor import Array

Domain = Literal["binary", "integer", "continuous", "text"]
DOMAINS: tuple[Domain, ...] = get_args(Domain)
Shape = Literal["flat", "sequence", "grid", "image", "film"]
SHAPES: tuple[Shape, ...] = get_args(Shape)

_DTYPES: dict[Domain, type[np.generic]] = {
    "binary": np.float32,
    "integer": np.int64,
    "continuous": np.float32,
    "text": np.int64,
}


@dataclass(frozen=True, eq=False)
class Split:
    """Samples x (N, …) and what comes with each: labels y (N,) int64, another batch, or None.

    Raises DataError if x has no samples' axis or y another number of rows.
    """

    x: Batch
    y: Batch = None

    def __post_init__(self) -> None:
        if len(self.x.shape) < 2:
            raise DataError(f"x must be (N, D), got shape {self.x.shape}")
        if self.y is not None and count(self.y) != len(self.x):
            shape = getattr(self.y, "shape", f"{count(self.y)} rows")
            raise DataError(f"{len(self.x)} rows but labels of shape {shape}")

    def __len__(self) -> int:
        return len(self.x)

    def subset(self, n: int) -> Split:
        """The first n rows, or all if there are fewer."""
        return self.take(slice(n))

    def take(self, rows: Any) -> Split:
        """Some of the rows, each with what comes with it."""
        return Split(self.x[rows], take(self.y, rows))


@dataclass(frozen=True, eq=False)
class Dataset:
    """A training, a validation and a test part, and how to read a row.

    image_shape: (H, W), in colour (C, H, W), of films (T, C, H, W). fps: images a second of a film.
    rate: numbers a second of a sound.
    classes: labels are 0 … classes − 1; 0 when there are none. class_names: what the file calls
    them. given: the meaning of y where it is no label, by name; "y" where it is one thing.
    units: of a table's columns, whose numbers x holds standardised if it is so loaded. label: the
    column that y comes from. missing, seed, source: how and by what name or path it was loaded.
    notes: what was done to the file.
    vocabulary: text only, what each id stands for; tokeniser: if that is more than a character.
    end: id of the token that ends a row and fills what is left of it, where rows are strings.
    log_density: exact log p of the distribution that made the data, (B, D) → (B,) nats, where it is
    known; entropy: its entropy in nats.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    domain: Domain
    levels: int | None = None
    image_shape: tuple[int, ...] | None = None
    classes: int = 0
    class_names: tuple[str, ...] = ()
    given: Mapping[str, Meaning] = field(default_factory=dict)
    rate: int | None = None
    fps: int | None = None
    vocabulary: tuple[str, ...] | None = None
    tokeniser: Tokeniser | None = None
    end: int | None = None
    log_density: Callable[[Array], Array] | None = None
    entropy: float | None = None
    doc: str = ""
    units: Units | None = None
    label: str = ""
    missing: str = "error"
    seed: int = 0
    source: str = ""
    notes: tuple[str, ...] = ()

    @property
    def dim(self) -> int:
        """D, the numbers in a sample; in the longest where lengths differ."""
        return math.prod(self.train.x.shape[1:])

    @property
    def parts(self) -> tuple[Split, Split, Split]:
        """Training, validation, test."""
        return self.train, self.validation, self.test

    @property
    def summary(self) -> str:
        """What was read, in one line."""
        rows = sum(map(len, self.parts))
        if self.units is not None:
            what = f"{rows} rows × {_plural(len(self.units.columns), 'column')}"
        else:
            what = f"{rows} samples of {' × '.join(map(str, self.image_shape or (self.dim,)))}"
        of = [f"labels: {f'{self.label} ' if self.label else ''}({self.classes})"]
        of = of if self.classes else [f"with {', '.join(self.given)}"] if self.given else []
        line = ", ".join([what, self.domain, *of])
        return "; ".join([line, *self.notes])

    def subset(self, n: int) -> Dataset:
        """The first n rows of each part (all of a part that has fewer). n ≥ 1, else InputError."""
        n = whole("n", n, 1)
        return self._map(lambda split: split.subset(n))

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
            return self.with_numbers(lambda x: _cast(x, domain))
        if self.levels is None or domain == "text":
            table = self.units is not None and domain != "text"
            cure = "; `levels` in an .npz says that whole numbers are grey levels" if table else ""
            raise DataError(f"{self.name}: {self.domain} data can't be read as {domain}{cure}")
        half, top = self.levels // 2, self.levels - 1
        convert: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
            "binary": lambda x: x >= half,
            "integer": lambda x: x,
            "continuous": lambda x: _cast(x, "continuous") * (2.0 / top) - 1.0,
        }
        levels = {"binary": 2, "integer": self.levels, "continuous": None}[domain]
        converted = self.with_numbers(lambda x: _cast(convert[domain](x), domain))
        units = self.units
        if units is not None and domain == "continuous":
            units = units.moved(top / 2, top / 2)
        return replace(converted, domain=domain, levels=levels, units=units)

    def as_shape(self, shape: Shape) -> Dataset:
        """The same samples in the shape that a model takes; only what is known is reshaped.

        flat: rows (D,), unless their lengths differ. sequence: Padded; of rows with an end, the
        length is what stands before it. grid, image, film: if the data are such. DataError else.
        """
        if shape not in SHAPES:
            raise InputError(f"shape must be one of {', '.join(SHAPES)}, got {shape!r}")
        sizes = self.image_shape or ()
        kind = {0: "sequence", 2: "grid", 3: "image", 4: "film"}[len(sizes)]
        if shape == "sequence" and not sizes:
            return self._map(lambda split: Split(self._sequences(split.x), split.y))
        if shape == "flat":
            return self._map(lambda split: Split(self._flat(split.x), split.y))
        if kind == "image" and shape == "grid" and sizes[0] == 1:
            sizes = sizes[1:]
        elif kind == "grid" and shape == "image":
            sizes = (1, *sizes)
        elif kind != shape:
            names = {"sequence": "rows of numbers", "grid": "grey images", "film": "films"}
            held = names.get(kind, "images in colour")
            raise DataError(f"{self.name}: {held} can't be read as {shape} samples")
        return self._map(lambda split: Split(split.x.reshape(-1, *sizes), split.y))

    def _flat(self, x: Batch) -> Batch:
        if not isinstance(x, Padded):
            return x.reshape(len(x), -1)
        if len(set(x.lengths.tolist()) - {x.shape[1]}) > 0:
            low, high = x.lengths.min(), x.lengths.max()
            raise DataError(
                f"{self.name}: samples of {low} … {high} numbers can't be read as flat rows of one "
                "length"
            )
        return x.data.reshape(len(x), -1)

    def _sequences(self, x: Batch) -> Padded:
        if isinstance(x, Padded):
            return x
        full = np.full(len(x), x.shape[1], np.int64)
        if self.end is None:
            return Padded(x, full)
        ended = x == self.end
        return Padded(x, np.where(ended.any(axis=1), ended.argmax(axis=1), full))

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
        return self.tokens.decode(ids)

    def encode(self, text: str) -> NDArray[np.int64]:
        """The ids (T,) of a text. Raises DataError for a character that has none."""
        return self.tokens.encode(text)

    @property
    def tokens(self) -> Tokeniser:
        """From text to ids and back; InputError for what is no text."""
        return self.tokeniser or Characters(self._vocabulary())

    def with_numbers(self, change: Callable[[NDArray[Any]], NDArray[Any]]) -> Dataset:
        """All samples changed number by number."""
        return self._map(lambda split: Split(apply(change, split.x), split.y))

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
    return Characters(vocabulary).encode(text)


def _plural(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _cast(x: NDArray[Any], domain: Domain) -> NDArray[Any]:
    return x.astype(_DTYPES[domain], copy=False)
