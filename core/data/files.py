"""A user's own data, by path.

.npz    `x`, and with each sample a label, a text, an image, a sound, or several of these, by keys
        that `core.data.fields` explains. A single array of any name is `x`. `levels` (a number) and
        `image_shape` (H, W) or (C, H, W) say more about flat rows. Other names are left alone, but
        not such as begin with x or y, which are likely misspelt.
.npy    x.
.csv    (.tsv: tabs) a table of numbers and words, as `core.data.tables` reads it.
text    any other file, as UTF-8 (core.data.text.stream).

Parts that are not given are drawn from the training rows, a tenth each, by `seed`.

What the numbers are: all 0 and 1: binary. Grey levels only where the file says so, by `levels` or
by the shape of an image: then whole numbers up to 255 (65 535 if their type is an integer one) are
integer, with levels = largest + 1, or 256 if bytes go beyond 127. Anything else, ages and counts
too, is continuous. Labels are whole numbers or strings; those that occur are the classes.

Continuous rows keep their units: `standardise` gives every column mean 0 and variance 1 over the
training rows, and `Dataset.units` knows the way back.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core import random
from core.data import fields, text
from core.data.arrays import read_npy, read_npz, reading
from core.data.dataset import Dataset, Domain, Split
from core.data.fields import Field, is_whole, within
from core.data.tables import Missing, read_table
from core.data.units import Column, Units
from core.errors import DataError
from core.samples import Batch, Meaning, Padded

SUFFIXES = (".npz", ".npy", ".csv", ".tsv", ".txt")
_TELLS_APART = 1e-4
"""Of a column's spread: a rounding error to float32 that loses what the column says."""


def load_file(
    path: Path,
    *,
    seed: int = 0,
    cut: text.Cut = text.PLAIN,
    label: str | None = None,
    missing: Missing = "error",
    standardise: bool | Units = False,
) -> Dataset:
    """The data set in a file. Raises DataError that names the file and the fault.

    label, missing: as `load` has them. standardise: or the units of a run, which the columns then
    get in place of their own.
    """
    with reading(path):
        if not path.is_file():
            what = "is not a regular file" if path.exists() else "no such file"
            raise DataError(f"{path}: {what}")
    known = standardise if isinstance(standardise, Units) else None
    kind = path.suffix.lower()
    if label is not None and kind not in (".csv", ".tsv"):
        raise DataError(f"{path}: has no column {label!r} for labels: only .csv and .tsv name them")
    if kind in (".csv", ".tsv"):
        table = read_table(path, label=label, missing=missing, known=known)
        found = {"x": Field(path, "x", {"train": table.x}, missing=missing)}
        if table.y is not None:
            found["y"] = Field(path, "y", {"train": table.y})
        said = {"units": table.units, "label": table.label, "notes": table.notes}
        return _dataset(path, found, said, seed, standardise)
    if kind in (".npz", ".npy"):
        found = _npz(path) if kind == ".npz" else _npy(path)
        found["x"].missing = missing
        return _dataset(path, found, {}, seed, standardise)
    return text.stream(path.name, text.read_text(path), cut=cut, doc=str(path))


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


# From things to data set


def _dataset(
    path: Path,
    found: dict[str, Field],
    said: dict[str, Any],
    seed: int,
    standardise: bool | Units,
) -> Dataset:
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
    if x.missing == "drop":
        splits = {part: split.take(_complete_rows(split.x)) for part, split in splits.items()}
    parts = _complete(path, splits, seed)
    data = replace(Dataset(path.name, *parts, about.pop("domain"), doc=str(path)), **about, **said)
    if isinstance(standardise, Units):
        return _in_units(replace(data, domain="continuous", levels=None), standardise)
    if data.units is None and data.domain == "continuous" and _is_table(data):
        data = replace(data, units=_unnamed(data))
    return data if data.units is None else _as_table(path, data, data.units, standardise)


def _complete_rows(x: Batch) -> Any:
    """Which rows have no missing value."""
    return slice(None) if isinstance(x, Padded) else ~np.isnan(x.astype(np.float64)).any(axis=1)


def _is_table(data: Dataset) -> bool:
    """Whether samples are rows of columns, not images or sounds."""
    plain = data.image_shape is None and data.rate is None
    return plain and not isinstance(data.train.x, Padded)


def _unnamed(data: Dataset) -> Units:
    """Columns of an array."""
    x = np.concatenate([part.x for part in (data.train, data.validation, data.test)])
    columns = []
    for j, column in enumerate(x.T.astype(np.float64)):
        low, high = float(np.nanmin(column)), float(np.nanmax(column))
        whole = bool((column[~np.isnan(column)] % 1 == 0).all())
        columns.append(Column(f"x{j + 1}", "whole" if whole else "real", low, high))
    return Units(tuple(columns))


def _as_table(path: Path, data: Dataset, units: Units, standardise: bool) -> Dataset:
    """Missing values filled; columns for float32: standardised, or in their units if that does."""
    data = _filled(data)
    if data.domain != "continuous":
        return data
    if standardise:
        return _in_units(data, units.fitted(data.train.x.astype(np.float64)))
    x = data.train.x.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        spread, off = x.std(axis=0), np.abs(x - x.astype(np.float32)).max(axis=0)
        lost = (np.ptp(x, axis=0) > 0) & (off > _TELLS_APART * spread)  # one value needs no telling
    if lost.any():
        name = units.names[int(np.argmax(lost))]
        raise DataError(
            f"{path}: column {name!r}: float32 can't tell its values apart; "
            "load(…, standardise=True) takes its mean away first"
        )
    return data


def _filled(data: Dataset) -> Dataset:
    """Missing values as the mean of the column's training rows, in whole columns the nearest."""
    x, units = data.train.x.astype(np.float64), data.units
    if units is None or not any(np.isnan(part.x).any() for part in data.parts):
        return data
    mean = np.nanmean(x, axis=0)
    for j, column in enumerate(units.columns):
        if column.kind == "category":  # the word that is there most often
            codes = x[:, j][~np.isnan(x[:, j])].astype(np.int64)
            mean[j] = np.bincount(codes).argmax()
        elif column.kind == "whole":
            mean[j] = np.rint(mean[j])
    return data.with_numbers(lambda x: np.where(np.isnan(x), mean, x))


def _in_units(data: Dataset, units: Units) -> Dataset:
    return replace(_filled(data).with_numbers(units.standardise), units=units)


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
    parts = [one.data if isinstance(one, Padded) else _known(one) for one in flat.values()]
    whole = all(is_whole(one) and one.min(initial=0) >= 0 for one in parts)
    top, levels = int(max(one.max(initial=0) for one in parts)), x.whole("levels", 2, 65536)
    if levels is not None:
        if not whole or top >= levels:
            x.fail(f"must be whole numbers below levels = {levels}")
        return ("binary" if levels == 2 else "integer"), levels
    if whole and top <= 1:
        return "binary", 2
    grey = "image_shape" in x.about or fields.kind_of(x) in ("image", "film")
    if (
        not grey
        or not whole
        or top > (65535 if all(one.dtype.kind in "iu" for one in parts) else 255)
    ):
        return "continuous", None
    bytes_ = all(one.dtype == np.uint8 for one in parts)
    return "integer", 256 if bytes_ and top > 127 else top + 1


def _known(x: NDArray[Any]) -> NDArray[Any]:
    """The numbers that are not missing."""
    return x[~np.isnan(x)] if x.dtype.kind == "f" else x


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
