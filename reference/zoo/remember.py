"""What a run remembers of its data."""

from __future__ import annotations

import hashlib
from pathlib import Path

from core.data import NAMES, path_of


def remembered(name: str) -> dict[str, str]:
    """What config.json says of a data set: its name, or the path and checksum of a file."""
    known = name in NAMES or Path(name).expanduser().is_file()
    path = path_of(name) if known else None  # else data that were made, not read
    if path is None:
        return {"data": name}
    return {"data": str(path.resolve()), "checksum": checksum(path)}


def checksum(path: Path) -> str:
    """The first 64 bits of a file's SHA-256, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
