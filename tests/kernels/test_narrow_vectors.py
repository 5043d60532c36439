"""Twins as they are compiled for a processor with AVX2 alone, in a process of its own."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
from kernels import OPS, check
from kernels.convolution import tile_numba, twin_numba

assert tile_numba._BYTES == 32
dims = dict(n=2, groups=1, c=5, eights=3, more=0, kernel=3, stride=2, dilation=1, padding=1,
            pixels=4, image=7, square=0)
for name, compiled in (("correlate", twin_numba._correlate),
                       ("correlate_taps", twin_numba._correlate_taps)):
    op = OPS[name]
    call = op.call(0, "float32", **dims)
    check(op.load("numba"), call)
    (code,) = compiled.inspect_asm().values()
    assert "ymm" in code and "zmm" not in code, "compiled for other vectors"
    try:
        check(op.wrong["one pixel further"], call)
    except AssertionError:
        continue
    raise SystemExit(f"a wrong {name} was taken")
print("right")
"""


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="not an x86-64 processor")
def test_convolutions_of_half_the_width(tmp_path: Path):
    binding = pytest.importorskip("llvmlite.binding")
    if not binding.get_host_cpu_features().get("avx2"):
        pytest.skip("this processor has no AVX2")
    narrow = {
        "NUMBA_CPU_NAME": "haswell",
        "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma,+bmi,+bmi2,+sse4.2,+popcnt",
        "NUMBA_CACHE_DIR": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, **narrow}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "right\n", done.stderr[-2000:]
