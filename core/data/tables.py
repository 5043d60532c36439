"""A .csv (or .tsv: tabs) as numbers: a column of numbers as it is, one of words coded 0 … K − 1.

One row a line. A first line without a number is a header. The labels stand in the column that
`label` names (of a file without a header, its number from 1); else in one called y, label or class,
unless label is "none". Cells such as "", NA, nan and ? are missing, which is an error unless
`missing` says what to do. A first column that counts the rows and is called so (id, index, or
nothing) is left out.
"""

from __future__ import annotations

import csv
import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from core.data.arrays import reading
from core.data.units import Column, Units
from core.errors import DataError

Missing = Literal["error", "drop", "mean"]
MISSING: tuple[Missing, ...] = get_args(Missing)
_ABSENT = {"", "na", "n/a", "nan", "null", "none", "?"}
_LABELS = ("y", "label", "class")
_INDICES = {"", "id", "index", "row", "rownames", "unnamed: 0", "#"}
_FEW = 20
"""Rows from which on words and labels that hardly ever repeat are taken for names."""


_LOOKED_AT = 10_000
"""Cells of a column whose decimals are counted."""


@dataclass(frozen=True)
class Table:
    """Rows x (N, D), NaN where a cell is missing; labels y (N,), words or whole numbers, or None.

    units: the columns, not yet standardised. notes: what the reader should know.
    """

    x: NDArray[np.float64]
    y: NDArray[Any] | None
    units: Units
    label: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Column:
    """The cells of a column, and where it stands."""

    path: Path
    name: str
    where: str  # for an error: its name, or its number if there is no header
    cells: Sequence[str]
    lines: Sequence[int]

    def fail(self, row: int, fault: str) -> DataError:
        line = self.lines[row]
        return DataError(f"{self.path}: line {line}, column {self.where}: {fault}")


def read_table(
    path: Path,
    *,
    label: str | None = None,
    missing: Missing = "error",
    known: Units | None = None,
) -> Table:
    """The table in a file. known: the columns of a run, whose order and codes are then taken.

    Raises DataError that names the file, line and column.
    """
    columns = _columns(path)
    found = _label(path, columns, label, optional=known is not None)
    rest = [column for column in columns if column is not found]
    if not rest:
        raise DataError(f"{path}: x (train) is empty: its only column holds the labels")
    rest, notes = _without_index(rest) if known is None else (_those(path, rest, known), ())
    read = [_numbers(column, missing, known) for column in rest]
    x = np.stack([numbers for numbers, _ in read], axis=1)
    y = None if found is None else _words_or_numbers(found, missing)
    units = known or Units(tuple(column for _, column in read))
    if missing == "drop":
        rows = [*x.T, *([] if found is None else [_nan_if_absent(found)])]
        whole = ~np.any(np.isnan(rows), axis=0)
        if not whole.all():
            notes = (*notes, f"{np.sum(~whole)} rows with missing values left out")
        x, y = x[whole], None if y is None else y[whole]
    elif np.isnan(x).any():
        notes = (*notes, f"{np.isnan(x).sum()} missing values filled with their column's mean")
    return Table(x, y, units, "" if found is None else found.name, notes)


def _columns(path: Path) -> list[_Column]:
    rows, lines = [], []
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    with reading(path), path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter)
        for cells in reader:
            if cells:
                rows.append([cell.strip() for cell in cells])
                lines.append(reader.line_num)
    if not rows:
        raise DataError(f"{path}: is empty")
    header = rows[0] if not any(map(_is_number, rows[0])) else None
    if header is not None:
        rows, lines = rows[1:], lines[1:]
        if not rows:
            raise DataError(f"{path}: has a header but no rows")
    width = len(header or rows[0])
    for row, line in zip(rows, lines, strict=True):
        if len(row) != width:
            raise DataError(f"{path}: line {line} has {len(row)} columns, expected {width}")
    names = header or [str(j + 1) for j in range(width)]
    return [
        _Column(path, name, repr(name) if header else name, cells, lines)
        for name, cells in zip(names, zip(*rows, strict=True), strict=True)
    ]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _absent(cell: str) -> bool:
    return cell.lower() in _ABSENT


# Which columns


def _label(path: Path, columns: list[_Column], label: str | None, optional: bool) -> _Column | None:
    """The column that holds the labels."""
    named = [c for c in columns if c.name == label] or [
        c for c in columns if label is not None and c.name.lower() == label.lower()
    ]
    if label is None:
        named = [c for c in columns if c.name.lower() in _LABELS]
        if len(named) > 1:
            raise DataError(
                f"{path}: has {len(named)} columns of labels ({', '.join(_LABELS)}); "
                "--label NAME says which"
            )
    elif not named and label != "none" and not optional:
        names = [column.name for column in columns]
        close = difflib.get_close_matches(label, names)
        hint = f"did you mean {' or '.join(close)}?" if close else f"it has {', '.join(names)}"
        raise DataError(f"{path}: has no column {label!r} for labels; {hint}")
    return named[0] if named else None


def _without_index(columns: list[_Column]) -> tuple[list[_Column], tuple[str, ...]]:
    """The columns but a first one that counts the rows, and what is to be said about it."""
    first = columns[0]
    if len(columns) == 1 or first.where == first.name:
        return columns, ()
    start = first.cells[0]
    if start not in ("0", "1") or list(first.cells) != [
        str(int(start) + i) for i in range(len(first.cells))
    ]:
        return columns, ()
    if first.name.lower() in _INDICES:
        return columns[1:], (f"column {first.where} counts the rows and is left out",)
    return columns, (f"column {first.where} counts the rows: is it data?",)


def _those(path: Path, columns: list[_Column], known: Units) -> list[_Column]:
    """The columns that a run knows, in its order."""
    if columns[0].where == columns[0].name and len(columns) == len(known.columns):
        named = zip(columns, known.names, strict=True)  # no header
        return [replace(column, name=name) for column, name in named]
    by_name = {column.name: column for column in columns}
    absent = [name for name in known.names if name not in by_name]
    if absent:
        raise DataError(f"{path}: has no column {absent[0]!r}, only {', '.join(by_name)}")
    return [by_name[name] for name in known.names]


# What is in them


def _numbers(
    column: _Column, missing: Missing, known: Units | None
) -> tuple[NDArray[np.float64], Column]:
    """The numbers of a column, or the codes of its words; NaN where one is missing."""
    here = [cell for cell in column.cells if not _absent(cell)]
    if missing == "error" and len(here) < len(column.cells):
        row = next(i for i, cell in enumerate(column.cells) if _absent(cell))
        count = len(column.cells) - len(here)
        raise column.fail(
            row,
            f"expected a finite number, got {column.cells[row]!r} ({count} missing in this column; "
            "--missing drop leaves such rows out, mean fills them)",
        )
    if not here:
        raise DataError(f"{column.path}: column {column.where} has no values")
    told = None if known is None else known.columns[known.names.index(column.name)]
    words = not any(map(_is_number, here)) if told is None else told.kind == "category"
    if words:
        return _codes(column, here, None if told is None else told.names)
    x = _all_numbers(column)
    values = x[~np.isnan(x)]
    kind: Any = "whole" if bool((values == np.floor(values)).all()) else "real"
    decimals = max(map(_decimals, here[:_LOOKED_AT])) if kind == "real" else None
    low, high = float(values.min()), float(values.max())
    return x, Column(column.name, kind, low, high, decimals=decimals)


def _all_numbers(column: _Column) -> NDArray[np.float64]:
    """The cells as numbers, NaN where one is missing."""
    try:
        x = np.fromiter(map(float, column.cells), np.float64, len(column.cells))
        if np.isfinite(x).all():
            return x
    except ValueError:
        pass  # one by one: a cell is missing, or wrong
    return np.array([_number(column, i) for i in range(len(column.cells))], np.float64)


def _number(column: _Column, row: int) -> float:
    cell = column.cells[row]
    if _absent(cell):
        return math.nan
    if _is_number(cell) and math.isfinite(float(cell)):
        return float(cell)
    raise column.fail(row, f"expected a finite number, got {cell[:40]!r}")


def _nan_if_absent(column: _Column) -> NDArray[np.float64]:
    return np.array([math.nan if _absent(cell) else 0.0 for cell in column.cells])


def _decimals(cell: str) -> int:
    """Digits behind the point, of 1.5e-3 four."""
    if "e" not in cell and "E" not in cell:
        return min(17, len(cell.partition(".")[2]))
    mantissa, _, exponent = cell.lower().partition("e")
    digits = len(mantissa.partition(".")[2])
    return min(17, max(0, digits - int(exponent or 0)))


def _codes(
    column: _Column, here: list[str], names: tuple[str, ...] | None
) -> tuple[NDArray[np.float64], Column]:
    """Words as 0 … K − 1 in alphabetical order, or in the order that a run has."""
    names = tuple(sorted(set(here))) if names is None else names
    if len(here) >= _FEW and len(names) > len(here) / 2:
        raise DataError(
            f"{column.path}: column {column.where} has {len(names)} different words in "
            f"{len(here)} rows: names are no categories; leave it out of the file"
        )
    code = {name: float(k) for k, name in enumerate(names)}
    for row, cell in enumerate(column.cells):
        if cell not in code and not _absent(cell):
            raise column.fail(row, f"expected one of {', '.join(names)}, got {cell[:40]!r}")
    x = np.array([code.get(cell, math.nan) for cell in column.cells])
    return x, Column(column.name, "category", 0.0, len(names) - 1.0, names)


def _words_or_numbers(column: _Column, missing: Missing) -> NDArray[Any]:
    """Labels as whole numbers if all are, else as words."""
    here = [cell for cell in column.cells if not _absent(cell)]
    if len(here) < len(column.cells) and missing != "drop":
        row = next(i for i, cell in enumerate(column.cells) if _absent(cell))
        raise column.fail(row, "a label is missing; --missing drop leaves such rows out")
    if len(here) >= _FEW and len(set(here)) > len(here) / 2:
        raise DataError(
            f"{column.path}: y (train), column {column.where}, has {len(set(here))} different "
            f"values in {len(here)} rows, labels repeat; --label none reads it as a number"
        )
    if not all(map(_is_number, here)):
        return np.array(column.cells)
    numbers = np.array([float(cell) for cell in column.cells if not _absent(cell)] or [0.0])
    if not (numbers == np.floor(numbers)).all():
        raise DataError(
            f"{column.path}: y (train), column {column.where}, must be whole numbers or words; "
            "--label none reads it as a number"
        )
    return np.array([0.0 if _absent(cell) else float(cell) for cell in column.cells])
