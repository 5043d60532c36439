"""Where a run's data come from: read as its model takes them, remembered, and found again."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.data import Dataset, Units, load, path_of
from core.data.tokenisers import Tokeniser
from core.errors import CheckpointError, DataError, InputError
from reference import Model
from reference.zoo.remember import checksum
from reference.zoo.runs import Opened, units_of
from reference.zoo.showing import tokeniser


def read(
    name: str,
    row: Model,
    *,
    seed: int,
    data_dir: Path | None = None,
    domain: str | None = None,
    standardise: bool | Units = True,
    **how: Any,
) -> Dataset:
    """A data set in the domain and shape that the row takes; a table's columns standardised.

    standardise: False, or the units of a run in place of the table's own. how: label and missing,
    as `load` has them.
    """
    kind: Any = {"domain": domain or row.domain, "shape": row.shape}
    kind |= {"progress": sys.stderr.isatty(), "standardise": standardise}
    return load(name, seed=seed, data_dir=data_dir, **kind, **how)


def read_again(
    opened: Opened, name: str | None, *, seed: int, data_dir: Path | None = None
) -> Dataset:
    """What a run was trained on, or the data set `name`, in the units of the run.

    Raises DataError if the file is no longer where it was; warns if it has changed.
    """
    config = opened.config
    if name is None:
        name = config.get("data", "")
        _check_unmoved(name, config.get("checksum"))
    how: dict[str, Any] = {key: config[key] for key in ("label", "missing") if key in config}
    how |= {"domain": config.get("domain"), "standardise": units_of(config) or False}
    if opened.row.domain == "text":
        how |= {"tokens": tokens_of(config), "block": config["arguments"].get("dim", 64)}
    return read(name, opened.row, seed=seed, data_dir=data_dir, **how)


def tokens_of(config: Mapping[str, Any]) -> Tokeniser:
    """Of the text that a run was trained on. CheckpointError if it was none."""
    try:
        return tokeniser(config["show"])
    except (AttributeError, KeyError, InputError) as error:
        said = str(error) if isinstance(error, InputError) else "doesn't say what the tokens are"
        raise CheckpointError(f"config.json: {said}") from error


def _check_unmoved(name: str, stored: Any) -> None:
    path = path_of(name) if stored is not None else None
    if path is None:
        return
    if not path.is_file():
        raise DataError(f"{path}: no such file: the data of this run have moved; --data says where")
    if checksum(path) != stored:
        warnings.warn(f"{path} has changed since the run was trained on it", stacklevel=2)
