"""A user's own data, by path.

.npz    `x`, and with each sample a label, a text, an image, a sound, or several of these, by keys
        that `core.data.fields` explains. A single array of any name is `x`. `levels` (a number) and
        `image_shape` (H, W) or (C, H, W) say more about flat rows. Other names are left alone, but
        not such as begin with x or y, which are likely misspelt.
.npy    x.
.csv    (.tsv: tabs) one row a line, numbers only. A first line without a number is a header; a
        column called y, label or class holds the labels.
text    any other file, as UTF-8 (core.data.text.stream).

Parts that are not given are drawn from the training rows, a tenth each, by `seed`.

What the numbers are is read off them. All 0 and 1: binary. Whole and ≥ 0, up to 255 (65 535 if
their type is an integer one): integer, with levels = largest + 1, or 256 if bytes go beyond 127.
Anything else: continuous. Labels are whole numbers or strings; those that occur are the classes.
"""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core import random
from core.data import fields, text
from core.data.arrays import read_npy, read_npz, reading
from core.data.dataset import Dataset, Domain, Split
from core.data.fields import Field, is_whole, within
from core.errors import DataError
from core.samples import Batch, Meaning, Padded

SUFFIXES = (".npz", ".npy", ".csv", ".tsv", ".txt")
_LABELS = ("y", "label", "class")


def load_file(path: Path, *, seed: int = 0, block: int = 64) -> Dataset:
    """The data set in a file. Raises DataError that names the file and the fault."""
    with reading(path):
        if not path.is_file():
            what = "is not a regular file" if path.exists() else "no such file"
            raise DataError(f"{path}: {what}")
    readers: dict[str, Callable[[Path], dict[str, Field]]]
    readers = {".npz": _npz, ".npy": _npy, ".csv": _csv, ".tsv": _csv}
    if read := readers.get(path.suffix.lower()):
        return _dataset(path, read(path), seed)
    return text.stream(path.name, text.read_text(path), block=block, doc=str(path))


# From file to its things


def _npy(path: Path) -> dict[str, Field]:
    return {"x": Field(path, "x", {"train": read_npy(path)})}


def _npz(path: Path) -> dict[str, Field]:
    arrays = read_npz(path)
    if len(arrays) == 1:
        arrays = {"x": next(iter(arrays.values()))}
    found = fields.sort_out(path, arrays)
    for hint in ("levels", "image_shape"):
        if hint in arrays:
            found["x"].about[hint] = arrays[hint]
    return found


def _csv(path: Path) -> dict[str, Field]:
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
    found = {"x": Field(path, "x", {"train": np.delete(x, labels, axis=1)})}
    if labels:
        found["y"] = Field(path, "y", {"train": x[:, labels[0]]})
    return found


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


# From things to data set


def _dataset(path: Path, found: dict[str, Field], seed: int) -> Dataset:
    x, y = found["x"], {name: one for name, one in found.items() if name != "x"}
    _check_rows(x, y)
    about, samples = _read_x(x)
    given = {name.removeprefix("y."): fields.read_given(one) for name, one in y.items()}
    label = given.get("y")
    if label is not None and label[0].kind == "label":
        names = label[0].names
        about |= {"classes": len(names), "class_names": names}
    else:
        about["given"] = {name: meaning for name, (meaning, _) in given.items()}
    splits = {part: Split(one, _with(given, part)) for part, one in samples.items()}
    parts = _complete(path, splits, seed)
    return Dataset(path.name, *parts, doc=str(path), **about)


def _with(given: dict[str, tuple[Meaning, dict[str, Batch]]], part: str) -> Batch:
    """What comes with the samples of a part: one thing, several by name, or nothing."""
    values = {name: parts[part] for name, (_, parts) in given.items()}
    return values if given.keys() - {"y"} else values.get("y")


def _check_rows(x: Field, y: dict[str, Field]) -> None:
    """What comes with the samples does so in every part, once for each."""
    if "y" in y and len(y) > 1:
        raise DataError(f"{x.path}: has both y and {', '.join(sorted(y.keys() - {'y'}))}")
    for name, one in y.items():
        if one.parts.keys() != x.parts.keys():
            what = "labels" if name == "y" else name
            have = f"rows for {', '.join(x.parts)} but {what} for {', '.join(one.parts)}"
            raise DataError(f"{x.path}: has {have}")
        for part, array in one.parts.items():
            rows = x.parts[part].shape[:1]
            if array.shape[:1] != rows:
                one.fail(f"must be one label a row, {rows}, got {array.shape}", part)


def _read_x(x: Field) -> tuple[dict[str, Any], dict[str, Batch]]:
    """What a Dataset says of its samples, and these by part: flat, but where lengths differ."""
    kind = fields.kind_of(x)
    if kind == "label":
        x.fail("can't be labels: they come with something")
    if kind == "text":
        texts, vocabulary = fields.text(x)
        return {"domain": "text", "vocabulary": vocabulary}, dict(texts)
    parts = {part: fields.numbers(x, part, kind) for part in x.parts}
    if len({one.shape[1:] for one in parts.values()}) > 1:
        raise DataError(
            f"{x.path}: rows differ in size: { {p: one.shape for p, one in x.parts.items()} }"
        )
    if kind == "sound":
        parts = {part: fields.loudness(x, part, one) for part, one in parts.items()}
    shape = next(iter(parts.values())).shape[1:]
    flat: dict[str, Batch] = {part: one.reshape(len(one), -1) for part, one in parts.items()}
    if x.lengths:
        flat = {part: fields.padded_part(x, part, one) for part, one in flat.items()}
    domain, levels = ("continuous", None) if kind == "sound" else _domain(x, flat)
    about = {"domain": domain, "levels": levels, "image_shape": _picture(x, shape, kind)}
    about |= {"rate": x.whole("rate", 1, 10**6), "fps": x.whole("fps", 1, 1000)}
    return about, flat


def _domain(x: Field, flat: dict[str, Batch]) -> tuple[Domain, int | None]:
    """What the numbers are, and how many values they have."""
    parts = [one.data if isinstance(one, Padded) else one for one in flat.values()]
    whole = all(is_whole(one) and one.min() >= 0 for one in parts)
    top, levels = int(max(one.max() for one in parts)), x.whole("levels", 2, 65536)
    if levels is not None:
        if not whole or top >= levels:
            x.fail(f"must be whole numbers below levels = {levels}")
        return ("binary" if levels == 2 else "integer"), levels
    if whole and top <= 1:
        return "binary", 2
    if not whole or top > (65535 if all(one.dtype.kind in "iu" for one in parts) else 255):
        return "continuous", None
    bytes_ = all(one.dtype == np.uint8 for one in parts)
    return "integer", 256 if bytes_ and top > 127 else top + 1


def _picture(x: Field, shape: tuple[int, ...], kind: str) -> tuple[int, ...] | None:
    """(H, W), (C, H, W) or (T, C, H, W), told by the file or by the shape of x."""
    told = x.about.get("image_shape")
    if told is None:
        plain = kind == "image" and shape[0] == 1
        return None if kind not in ("image", "film") else shape[1:] if plain else shape
    if not (is_whole(told) and told.shape in ((2,), (3,)) and within(told, 1, 2**31)):
        raise DataError(f"{x.path}: image_shape must be two or three integers ≥ 1, got {told}")
    sizes = tuple(map(int, told))
    if math.prod(sizes) != math.prod(shape) or (len(sizes) == 3 and sizes[0] not in (1, 3)):
        raise DataError(
            f"{x.path}: image_shape {sizes} does not fit rows of {math.prod(shape)} numbers"
        )
    return sizes


def _complete(path: Path, splits: dict[str, Split], seed: int) -> tuple[Split, Split, Split]:
    """Train, validation, test; what is missing is a tenth of the training rows."""
    missing = [part for part in ("validation", "test") if part not in splits]
    train = splits["train"]
    size = max(1, len(train) // 10)
    if len(train) <= size * len(missing):
        raise DataError(f"{path}: {len(train)} rows are too few to split")
    order = random.permutation(seed, len(train), stream="data") if missing else np.arange(0)
    for i, part in enumerate(missing):
        splits[part] = train.take(order[i * size : (i + 1) * size])
    if missing:
        splits["train"] = train.take(order[size * len(missing) :])
    return splits["train"], splits["validation"], splits["test"]
