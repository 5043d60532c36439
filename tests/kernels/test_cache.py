"""Compiled code is kept where the checkout can't be written, never in a stranger's hands."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kernels import cache

ROOT = Path(__file__).parents[2]
PROGRAM = """
import numpy as np
from core.operation import backend
from reference.operations import masks
from reference.operations.attention import masked_attention
x = np.ones((1, 1, 3, 2), np.float32)
with backend("numba"):
    print(masked_attention(x, x, x, masks.causal()).sum())
"""


def installed(folder: Path) -> Path:
    """A copy whose caches can't be written, not even by root: a file is in their place."""
    for room in ("core", "reference", "kernels"):
        shutil.copytree(ROOT / room, folder / room, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "docs").mkdir()
    shutil.copy(ROOT / "docs/MISSION.md", folder / "docs")
    for path in (*folder.rglob("*.py"), folder / "kernels/x"):
        place = path.parent / "__pycache__"
        if not place.exists():
            place.touch()
    return folder


@pytest.mark.parametrize("stranger", [False, True])
def test_twins_run_where_neither_checkout_nor_home_can_be_written(tmp_path: Path, stranger: bool):
    pytest.importorskip("numba")
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    own = temporary / f"genzoo-{os.getuid()}"
    if stranger:
        own.mkdir()
        own.chmod(0o777)
    environment = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"}
    environment |= {"HOME": os.devnull, "XDG_CACHE_HOME": os.devnull, "TMPDIR": str(temporary)}
    environment["PYTHONPATH"] = str(installed(tmp_path / "copy"))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=temporary, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "6.0\n", done.stderr[-2000:]
    assert "can't be written, so compiled code is kept in" in done.stderr
    kept = {path.relative_to(temporary).parts[0] for path in temporary.rglob("*.nbi")}
    assert len(kept) == 1
    assert (own.name in kept) == (not stranger)


def test_a_folder_that_can_be_made_is_taken(tmp_path: Path):
    assert cache.cache_folder(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert not list(tmp_path.iterdir())
