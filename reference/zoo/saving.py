"""Samples into files: pictures, films, sounds, text, arrays."""

from __future__ import annotations

import io
from collections.abc import Sequence
from math import inf
from pathlib import Path

import numpy as np

from core.checkpoint import write_atomic
from core.data import Column, Units
from core.errors import InputError
from core.samples import Batch, Padded
from reference.zoo.pictures import suffix

SHOWN = (".png", ".gif", ".wav", ".txt")


def save_picture(picture: bytes | str, run: Path, name: str, out: Path | None) -> Path:
    """Write samples to `out` or into the run; what they were given for, beside them."""
    ending = suffix(picture)
    if out is None:
        path = run / f"{name}{ending}"
    elif name.startswith("given-"):
        path = out.with_name(f"{out.stem}-{name}{ending}")
    elif out.suffix in SHOWN and out.suffix != ending:
        raise InputError(f"--out must end in {ending} or .npz for these samples, got {out}")
    else:
        path = out
    write_atomic(path, picture if isinstance(picture, bytes) else f"{picture}\n".encode())
    return path


def save_table(
    x: Batch, path: Path, units: Units | None, labels: Sequence[str] | None = None
) -> None:
    """Samples as a .csv with a header, in the units, types and ranges of the columns.

    labels: a last column, its name and then one cell for each sample.
    """
    if isinstance(x, Padded) or x.ndim != 2:
        raise InputError(f"--out must not be a .csv for samples of shape {x.shape[1:]}, got {path}")
    names = tuple(f"x{j + 1}" for j in range(x.shape[1]))
    units = units or Units(tuple(Column(name, "real", -inf, inf) for name in names))
    write_atomic(path, f"{units.text(x, labels)}\n".encode())


def save_arrays(x: Batch, path: Path) -> None:
    """Samples as a file that can be trained on: .npz, or .npy of samples of one length."""
    out = io.BytesIO()
    if path.suffix == ".npz" and isinstance(x, Padded):
        np.savez(out, allow_pickle=False, x=x.data, **{"x.lengths": x.lengths})
    elif path.suffix == ".npz":
        np.savez(out, allow_pickle=False, x=x)
    elif isinstance(x, Padded):
        raise InputError("--out must end in .npz or .txt for samples of different lengths")
    else:
        np.save(out, x, allow_pickle=False)
    write_atomic(path, out.getvalue())
