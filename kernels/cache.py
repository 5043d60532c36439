"""Where compiled code is kept between runs, also by a user who may not write to the checkout."""

from __future__ import annotations

import os
import stat
import tempfile
import warnings
from pathlib import Path


def cache_folder(wanted: Path) -> Path:
    """The folder wanted, or else one of the user's own among temporary files, with a warning."""
    if _can_be_made(wanted):
        return wanted
    found = _own_folder() / wanted.name
    warnings.warn(
        f"{wanted} can't be written, so compiled code is kept in {found}; "
        "set NUMBA_CACHE_DIR to keep it elsewhere",
        RuntimeWarning,
        stacklevel=3,
    )
    return found


def _can_be_made(folder: Path) -> bool:
    there = next(path for path in (folder, *folder.parents) if path.exists())
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def _own_folder() -> Path:
    """Kept from run to run; a fresh one where somebody else could plant code in it."""
    user = getattr(os, "getuid", lambda: 0)()
    folder = Path(tempfile.gettempdir()) / f"genzoo-{user}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if stat.S_ISDIR(found.st_mode) and found.st_uid == user and not found.st_mode & 0o022:
        return folder
    return Path(tempfile.mkdtemp(prefix="genzoo-"))
