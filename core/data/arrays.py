"""Arrays out of files nobody has vouched for: .npz, .npy, IDX (MNIST's format) and .amat.

Nothing is unpickled. Whatever is wrong with a file, the error is a DataError that names it.
"""

from __future__ import annotations

import csv
import gzip
import lzma
import math
import struct
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import DataError

_DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    OverflowError,
    MemoryError,
    RuntimeError,  # an encrypted zip member
    NotImplementedError,  # an unknown compression method
    SyntaxError,  # a header that is no Python literal
    tokenize.TokenError,
    struct.error,
    zipfile.BadZipFile,
    lzma.LZMAError,
    zlib.error,
    csv.Error,
)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what the standard library and NumPy raise on a damaged file into one DataError."""
    try:
        yield
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except _DAMAGE as error:
        raise DataError(f"{path}: can't be read: {one_line(error)}") from error


def one_line(error: BaseException) -> str:
    """The first line of an error's message, or its type if it has none."""
    text = str(error).strip()
    return text.splitlines()[0][:200] if text else type(error).__name__


def read_npy(path: Path) -> NDArray[Any]:
    """The array of a .npy file."""
    with reading(path), path.open("rb") as file:
        return _array(path, file)


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a .npz file by name; members that are no arrays are an error."""
    with reading(path), zipfile.ZipFile(path) as archive:
        out = {}
        for member in archive.namelist():
            if not member.endswith(".npy"):
                raise DataError(f"{path}: holds {member!r}, which is not an array")
            with archive.open(member) as file:
                out[member.removesuffix(".npy")] = _array(path, file)
    return out


def _array(path: Path, file: Any) -> NDArray[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # headers written by Python 2
        array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    if file.read(1):
        raise DataError(f"{path}: has bytes after the end of an array")
    return array


def read_idx(path: Path) -> NDArray[np.uint8]:
    """An array of bytes in the IDX format, gzipped: 0 0 8 ndim, big-endian uint32 sizes, data."""
    with reading(path), gzip.open(path) as file:
        raw = file.read()
    if len(raw) < 4 or raw[:3] != b"\0\0\x08" or len(raw) < 4 + 4 * raw[3]:
        raise DataError(f"{path}: is not an IDX file of unsigned bytes")
    start = 4 + 4 * raw[3]
    shape = struct.unpack(f">{raw[3]}I", raw[4:start])
    if len(raw) - start != math.prod(shape):
        raise DataError(f"{path}: has {len(raw) - start} bytes of data, its header says {shape}")
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)


def read_amat(path: Path) -> NDArray[np.uint8]:
    """A table (N, D) of single digits 0 and 1 between spaces, one row a line."""
    with reading(path):
        raw = np.frombuffer(path.read_bytes().rstrip() + b"\n", np.uint8)
    digit = (raw | 1) == ord("1")
    if not (digit | np.isin(raw, list(b" \r\n"))).all() or (digit[1:] & digit[:-1]).any():
        raise DataError(f"{path}: is not a table of 0 and 1 between spaces")
    widths = np.diff(np.cumsum(digit)[raw == ord("\n")], prepend=0)
    if not widths[0] or (widths != widths[0]).any():
        raise DataError(f"{path}: its lines have {widths.min()} to {widths.max()} columns")
    bits: NDArray[np.uint8] = raw[digit] - np.uint8(ord("0"))
    return bits.reshape(len(widths), -1)
