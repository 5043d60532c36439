"""A user's own data, by path.

.npz    `x` (N, D), (N, H, W) or (N, H, W, 1), labels `y` (N,); or the parts: `x_train`,
        `x_validation`, `x_test`, `y_train`, … (`valid` and `val` also name validation). A single
        array of any name is `x`. `levels` (a number) and `image_shape` (H, W) say more about it.
        Other names are left alone, but not such as begin with x or y, which are likely misspelt.
.npy    x.
.csv    (.tsv: tabs) one row a line, numbers only. A first line without a number is a header; a
        column called y, label or class holds the labels.
text    any other file, as UTF-8 (core.data.text.stream).

Parts that are not given are drawn from the training rows, a tenth each, by `seed`.

What the numbers are is read off them. All 0 and 1: binary. Whole and ≥ 0, up to 255 (65 535 if
their type is an integer one): integer, with levels = largest + 1, or 256 if bytes go beyond 127.
Anything else: continuous. Labels are whole numbers 0 … K − 1, K at most the number of rows.
"""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core import random
from core.data import text
from core.data.arrays import read_npy, read_npz, reading
from core.data.dataset import Dataset, Domain, Split
from core.errors import DataError

Arrays = dict[str, NDArray[Any]]

SUFFIXES = (".npz", ".npy", ".csv", ".tsv", ".txt")
_PARTS = {
    "": "train",
    "_train": "train",
    "_validation": "validation",
    "_valid": "validation",
    "_val": "validation",
    "_test": "test",
}
_LABELS = ("y", "label", "class")


@dataclass
class _Table:
    """What a file holds: rows and labels by part, and what it says about them."""

    path: Path
    x: Arrays
    y: Arrays
    levels: int | None = None
    image_shape: tuple[int, int] | None = None

    def error(self, fault: str) -> DataError:
        return DataError(f"{self.path}: {fault}")


def load_file(path: Path, *, seed: int = 0, block: int = 64) -> Dataset:
    """The data set in a file. Raises DataError that names the file and the fault."""
    with reading(path):
        if not path.is_file():
            what = "is not a regular file" if path.exists() else "no such file"
            raise DataError(f"{path}: {what}")
    readers = {".npz": _npz, ".npy": _npy, ".csv": _csv, ".tsv": _csv}
    if read := readers.get(path.suffix.lower()):
        return _dataset(read(path), seed)
    return text.stream(path.name, text.read_text(path), block=block, doc=str(path))


# From file to table


def _npy(path: Path) -> _Table:
    return _Table(path, {"train": read_npy(path)}, {})


def _npz(path: Path) -> _Table:
    arrays = read_npz(path)
    if len(arrays) == 1:
        arrays = {"x": next(iter(arrays.values()))}
    table = _Table(path, {}, {}, *_hints(path, arrays))
    for key, array in arrays.items():
        _place(table, key, array)
    if "train" not in table.x:
        raise table.error(f"has no array x or x_train, only {', '.join(arrays) or 'nothing'}")
    return table


def _place(table: _Table, key: str, array: NDArray[Any]) -> None:
    """Put an array under its part, by its name."""
    if key[:1] not in ("x", "y"):
        return
    part = _PARTS.get(key[1:])
    if part is None:
        raise table.error(f"array {key!r} is none of x, y, x_train, y_train, x_validation, …")
    rows = table.x if key[0] == "x" else table.y
    if part in rows:
        raise table.error(f"array {key!r} is the second one for the {part} part")
    rows[part] = array


def _hints(path: Path, arrays: Arrays) -> tuple[int | None, tuple[int, int] | None]:
    """levels and image_shape, where the file has them."""
    levels, shape = arrays.get("levels"), arrays.get("image_shape")
    if levels is not None and not (_whole(levels) and levels.size == 1 and _in(levels, 2, 65536)):
        raise DataError(f"{path}: levels must be one integer in 2 … 65536, got {levels}")
    if shape is not None and not (_whole(shape) and shape.shape == (2,) and _in(shape, 1, 2**31)):
        raise DataError(f"{path}: image_shape must be two integers ≥ 1, got {shape}")
    return (
        None if levels is None else int(levels.item()),
        None if shape is None else (int(shape[0]), int(shape[1])),
    )


def _csv(path: Path) -> _Table:
    head = list(itertools.islice(_lines(path), 2))
    if not head:
        raise DataError(f"{path}: is empty")
    line, cells = head[0]
    names = None if any(map(_is_number, cells)) else [cell.strip().lower() for cell in cells]
    if names and len(head) == 1:
        raise DataError(f"{path}: has a header but no rows")
    x = _numbers(path, names, line)
    labels = [j for j, name in enumerate(names or ()) if name in _LABELS]
    if len(labels) > 1:
        raise DataError(f"{path}: has {len(labels)} columns of labels ({', '.join(_LABELS)})")
    y = {"train": x[:, labels[0]]} if labels else {}
    return _Table(path, {"train": np.delete(x, labels, axis=1)}, y)


def _numbers(path: Path, names: list[str] | None, line: int) -> NDArray[np.float64]:
    """All rows (N, D) after a header that ends on the given line. Any fault is looked up."""
    try:
        x = np.loadtxt(
            path,
            delimiter=_delimiter(path),
            skiprows=line if names else 0,
            ndmin=2,
            comments=None,
            quotechar='"',
            encoding="utf-8-sig",
        )
    except ValueError:
        raise _bad_cell(path, names) from None
    if x.shape[1] != len(names or x[0]) or not np.isfinite(x).all():
        raise _bad_cell(path, names)
    return x


def _bad_cell(path: Path, names: list[str] | None) -> DataError:
    """The first line or cell that is not what it should be."""
    rows = itertools.islice(_lines(path), 1 if names else 0, None)
    width = len(names) if names else None
    for line, cells in rows:
        width = width or len(cells)
        if len(cells) != width:
            return DataError(f"{path}: line {line} has {len(cells)} columns, expected {width}")
        for j, cell in enumerate(cells):
            if not (_is_number(cell) and math.isfinite(float(cell))):
                column = repr(names[j]) if names else j + 1
                fault = f"expected a finite number, got {cell[:40]!r}"
                return DataError(f"{path}: line {line}, column {column}: {fault}")
    return DataError(f"{path}: can't be read as a table of numbers")


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of each line that is not blank."""
    with reading(path), path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=_delimiter(path))
        for cells in reader:
            if cells:
                yield reader.line_num, cells


def _delimiter(path: Path) -> str:
    return "\t" if path.suffix.lower() == ".tsv" else ","


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


# From table to data set


def _dataset(table: _Table, seed: int) -> Dataset:
    flat = {part: _flatten(table, part) for part in table.x}
    if len({x.shape[1] for x in flat.values()}) > 1:
        raise table.error(f"rows differ in size: { {p: x.shape for p, x in table.x.items()} }")
    domain, levels = _domain(table, list(flat.values()))
    labels = _labels(table)
    splits = {part: Split(x, labels.get(part)) for part, x in flat.items()}
    return Dataset(
        table.path.name,
        *_complete(table, splits, seed),
        domain,
        levels,
        image_shape=_picture(table, flat["train"].shape[1]),
        classes=max((int(y.max()) + 1 for y in labels.values()), default=0),
        doc=str(table.path),
    )


def _flatten(table: _Table, part: str) -> NDArray[Any]:
    """Rows (N, D) of a part, seen to be finite numbers."""
    x = table.x[part]
    if x.dtype.kind not in "biuf":
        raise table.error(f"x ({part}) must hold numbers, got {x.dtype}")
    if x.ndim not in (1, 2, 3) and not (x.ndim == 4 and x.shape[3] == 1):
        raise table.error(f"x ({part}) must be (N, D), (N, H, W) or (N, H, W, 1), got {x.shape}")
    if x.size == 0:
        raise table.error(f"x ({part}) is empty: shape {x.shape}")
    x = x.reshape(len(x), -1)
    with np.errstate(over="ignore"):
        fits = np.isfinite(x.astype(np.float32))
    if not fits.all():
        row, column = np.argwhere(~fits)[0]
        fault = f"expected a finite float32, got {x[row, column]}"
        raise table.error(f"x ({part}), row {row}, column {column}: {fault}")
    return x


def _domain(table: _Table, parts: list[NDArray[Any]]) -> tuple[Domain, int | None]:
    """What the numbers are, and how many values they have."""
    whole = all(_whole(x) and x.min() >= 0 for x in parts)
    top = int(max(x.max() for x in parts))
    if table.levels is not None:
        if not whole or top >= table.levels:
            raise table.error(f"x must be whole numbers below levels = {table.levels}")
        return ("binary" if table.levels == 2 else "integer"), table.levels
    if whole and top <= 1:
        return "binary", 2
    if not whole or top > (65535 if all(x.dtype.kind in "iu" for x in parts) else 255):
        return "continuous", None
    bytes_ = all(x.dtype == np.uint8 for x in parts)
    return "integer", 256 if bytes_ and top > 127 else top + 1


def _labels(table: _Table) -> dict[str, NDArray[np.int64]]:
    """Labels of every part, or of none."""
    if table.y and table.y.keys() != table.x.keys():
        raise table.error(f"has rows for {', '.join(table.x)} but labels for {', '.join(table.y)}")
    rows = sum(len(x) for x in table.x.values())
    for part, y in table.y.items():
        if y.shape != table.x[part].shape[:1]:
            raise table.error(
                f"y ({part}) must be one label a row, {table.x[part].shape[:1]}, got {y.shape}"
            )
        if not (_whole(y) and _in(y, 0, rows - 1)):
            raise table.error(f"y ({part}) must be whole numbers in 0 … {rows - 1} (rows − 1)")
    return {part: y.astype(np.int64) for part, y in table.y.items()}


def _complete(table: _Table, splits: dict[str, Split], seed: int) -> tuple[Split, Split, Split]:
    """Train, validation, test; what is missing is a tenth of the training rows."""
    missing = [part for part in ("validation", "test") if part not in splits]
    train = splits["train"]
    size = max(1, len(train) // 10)
    if len(train) <= size * len(missing):
        raise table.error(f"{len(train)} rows are too few to split")
    order = random.permutation(seed, len(train), stream="data") if missing else np.arange(0)
    for i, part in enumerate(missing):
        splits[part] = _take(train, order[i * size : (i + 1) * size])
    if missing:
        splits["train"] = _take(train, order[size * len(missing) :])
    return splits["train"], splits["validation"], splits["test"]


def _take(split: Split, rows: NDArray[np.int64]) -> Split:
    return Split(split.x[rows], None if split.y is None else split.y[rows])


def _picture(table: _Table, dim: int) -> tuple[int, int] | None:
    """(H, W), told by the file or by the shape of x."""
    x = table.x["train"]
    shape = table.image_shape or (x.shape[1:3] if x.ndim > 2 else None)
    if shape is not None and math.prod(shape) != dim:
        raise table.error(f"image_shape {shape} does not fit rows of {dim} numbers")
    return shape


def _whole(x: NDArray[Any]) -> bool:
    return x.dtype.kind in "biu" or (x.dtype.kind == "f" and bool((x == np.floor(x)).all()))


def _in(x: NDArray[Any], low: int, high: int) -> bool:
    return bool(x.size) and bool(x.min() >= low) and bool(x.max() <= high)
