"""Triton kernels stay inside their arrays: exactly, in the interpreter, and by canaries."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_kernels_keep_to_their_arrays():
    pytest.importorskip("torch")
    pytest.importorskip("triton")
    done = subprocess.run(
        [sys.executable, "tests/kernels/triton_bounds.py"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "TRITON_INTERPRET": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    faults = ["load without its mask", "store without its mask", "one key too many"]
    assert done.stdout.splitlines()[-4:] == [*faults, "every kernel"]
