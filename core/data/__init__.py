"""Data sets by name or by path, ready for a model.

    data = load("digits", domain="binary")
    data.train.x          # (1297, 64) float32 of 0 and 1
    data.train.y          # (1297,) int64

What a data set is stands in `dataset` and `core.samples`, the named ones in `sets`, `toys`,
`arithmetic`, `pairs` and `scenes`, a user's own files in `files`, `fields` and `text`, where files
are found in `homes`.
"""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from core.checks import one_of, whole
from core.data import arithmetic, homes, pairs, scenes, sets
from core.data.dataset import DOMAINS, SHAPES, Dataset, Domain, Shape, Split
from core.data.files import SUFFIXES, load_file
from core.data.tables import MISSING, Missing
from core.data.text import Cut
from core.data.tokenisers import KINDS, UNKNOWN, Tokeniser
from core.data.toys import TOYS, toy
from core.data.units import Column, Units
from core.errors import DataError, InputError
from core.samples import Meaning, Padded

__all__ = [
    "DOMAINS",
    "NAMES",
    "SHAPES",
    "UNKNOWN",
    "Column",
    "Dataset",
    "Domain",
    "Entry",
    "Meaning",
    "Padded",
    "Shape",
    "Split",
    "Units",
    "catalogue",
    "fetch",
    "load",
    "path_of",
]

NAMES: tuple[str, ...] = ("digits", *TOYS, "sums", *pairs.SETS, *scenes.SETS, *sets.SOURCES)
"""The data sets that come with the install, then those that are downloaded."""


@dataclass(frozen=True)
class Entry:
    """A line of the catalogue. size: bytes to download. where: installed, local, cached, absent."""

    name: str
    doc: str
    licence: str
    size: int
    where: str


def load(
    name_or_path: str | os.PathLike[str],
    *,
    data_dir: str | os.PathLike[str] | None = None,
    seed: int = 0,
    domain: Domain | None = None,
    shape: Shape | None = None,
    n: int | None = None,
    block: int = 64,
    tokens: str | Tokeniser = "characters",
    label: str | None = None,
    missing: Missing = "error",
    standardise: bool | Units = False,
    download: bool = True,
    progress: bool = False,
) -> Dataset:
    """A data set by its name in NAMES, or the one in a file.

    name_or_path: a path is what has a folder or a suffix such as .npz, or exists; names come first.
    data_dir: where downloaded sets are looked for before the cache; else GENZOO_DATA.
    seed: draws toys and scenes and splits a user's file; the other named sets have one fixed split.
    domain: what the numbers should be (Dataset.as_domain); None leaves them as they are.
    shape: of a sample (Dataset.as_shape); None: flat rows, or sequences where lengths differ.
    n: training rows: toys, pairs and scenes draw that many, other sets keep the first n. None:
    20 000 of toys and pairs, 10 000 of scenes, 2 000 of films, and all.
    block: tokens in a row of running text. tokens: what those of a text are, "characters", "bytes"
    or "byte-pairs" (core.data.tokenisers), or the tokeniser of another data set.
    label: of a table, the column with the labels; "none": none. None: y, label or class.
    missing: what is done about missing values of a table: error, drop (the row), or mean (of the
    column's training rows; the most frequent word).
    standardise: give the columns of a file's real numbers mean 0 and variance 1 over the training
    rows (Dataset.units knows the way back), or the offset and scale of another data set's units.
    download: False raises where a file would have to be downloaded. progress: bars on stderr.

    Raises DataError for a name, file, download or domain that can't be used, InputError for other
    arguments.

    >>> data = load("digits", domain="binary")
    >>> data.summary, data.train.x.shape
    ('1797 samples of 8 × 8, binary, labels: (10)', (1297, 64))
    """
    n = None if n is None else whole("n", n, 1)
    if domain is not None and domain not in DOMAINS:
        raise InputError(f"domain must be one of {', '.join(DOMAINS)}, got {domain!r}")
    if missing not in MISSING:
        raise InputError(f"missing must be one of {', '.join(MISSING)}, got {missing!r}")
    if isinstance(tokens, str):
        one_of("tokens", tokens, KINDS)
    if name_or_path in NAMES and (label is not None or missing != "error"):
        given = "label" if label is not None else "missing"
        raise InputError(f"{given} must be left out for {name_or_path}: it is of a user's own file")
    name = name_or_path if isinstance(name_or_path, str) else ""
    if name in TOYS:
        data = toy(name, n=n or 20_000, seed=seed)
    elif name == "sums":
        data = arithmetic.sums(n=n or 20_000, seed=seed)
    elif name in pairs.SETS:
        data = pairs.SETS[name].make(n=n or 20_000, seed=seed)
    elif name in scenes.SETS:
        data = scenes.SETS[name].make(n=n or scenes.SETS[name].n, seed=seed)
    elif name == "digits":
        data = sets.digits()
    elif name in sets.SOURCES:
        source = sets.SOURCES[name]
        found = homes.paths(source, data_dir=data_dir, download=download, progress=progress)
        data = source.read(source.name, source.doc, found, Cut(block, tokens))
    else:
        read: Any = {"label": label, "missing": missing, "standardise": standardise}
        data = load_file(_path(name_or_path), seed=seed, cut=Cut(block, tokens), **read)
    where = name if name in NAMES else str(Path(data.doc).resolve())
    data = replace(data, source=where, missing=missing, seed=seed)
    if n is not None:
        data = replace(data, train=data.train.subset(n))
    data = data.as_domain(domain or data.domain)
    return data if shape is None else data.as_shape(shape)


def fetch(
    name: str, *, data_dir: str | os.PathLike[str] | None = None, progress: bool = False
) -> tuple[Path, ...]:
    """Make sure that a named data set is on this machine; the paths of its files.

    () for a set that needs no file. Raises DataError: an unknown name, a failed download.
    """
    if name not in NAMES:
        raise _unknown(name)
    if name not in sets.SOURCES:
        return ()
    return homes.paths(sets.SOURCES[name], data_dir=data_dir, progress=progress)


def catalogue(data_dir: str | os.PathLike[str] | None = None) -> tuple[Entry, ...]:
    """Every named data set, in the order of NAMES."""
    installed = [("digits", sets.DIGITS, "CC BY 4.0")]
    installed += [(name, made.doc, "none needed") for name, made in TOYS.items()]
    installed += [("sums", arithmetic.DOC, "none needed")]
    installed += [(name, made.doc, "none needed") for name, made in pairs.SETS.items()]
    installed += [(name, made.doc, "none needed") for name, made in scenes.SETS.items()]
    return (
        *(Entry(name, doc, licence, 0, "installed") for name, doc, licence in installed),
        *(
            Entry(s.name, s.doc, s.licence, s.size, homes.place(s, data_dir))
            for s in sets.SOURCES.values()
        ),
    )


def path_of(name: str) -> Path | None:
    """The path that a name stands for; None for one of NAMES. Raises DataError as `load` does."""
    return None if name in NAMES else _path(name)


def _path(given: str | os.PathLike[str]) -> Path:
    """The path that is meant. Raises DataError for what is neither a path nor a name."""
    if isinstance(given, os.PathLike):
        return Path(given)
    if not isinstance(given, str):
        raise InputError(f"name_or_path must be a str or a path, got {type(given).__name__}")
    path = Path(given).expanduser()
    looks_like_one = os.sep in given or path.suffix.lower() in SUFFIXES
    if looks_like_one or (given and os.path.exists(path)):
        return path
    raise _unknown(given)


def _unknown(name: object) -> DataError:
    close = difflib.get_close_matches(str(name).lower(), NAMES)
    hint = f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(NAMES)}"
    return DataError(f"unknown data set {name!r}; {hint} (a file is given by its path)")
