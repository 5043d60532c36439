"""triton-sanitizer, where `make sanitizer` or `make test-deep` has installed it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = Path(sys.prefix) / "sanitizer"
FAULTS = ("load without its mask", "store without its mask", "one key too many")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FOLDER.exists(), reason="triton-sanitizer: run `make sanitizer`"),
]


def sanitized(*arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(map(str, (ROOT, ROOT / "tests", FOLDER)))
    return subprocess.run(
        [FOLDER / "bin" / "triton-sanitizer", "tests/kernels/sanitizer.py", *arguments],
        env={**os.environ, "PYTHONPATH": path, "TRITON_INTERPRET": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


def test_every_kernel_is_in_bounds():
    done = sanitized()
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert len(done.stdout.splitlines()) == 32, done.stdout


@pytest.mark.parametrize("fault", FAULTS)
def test_a_kernel_out_of_bounds_is_reported(fault: str):
    done = sanitized(fault)
    assert done.returncode == 1
    assert "ILLEGAL MEMORY ACCESS DETECTED" in done.stdout
