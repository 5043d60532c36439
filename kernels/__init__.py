"""The fast twins, each tied to its definition by a row of `OPS` (MISSION row K1)."""

import hashlib
import os
import sys
from pathlib import Path
from typing import Any

from core.errors import BackendError
from core.operation import register_twins
from kernels.cache import cache_folder
from kernels.calls import Call
from kernels.proof import check
from kernels.table import Op, require, rows

__all__ = ["OPS", "BackendError", "Call", "Op", "check", "masked_attention", "rows"]


def _key_numba_cache() -> None:
    """Key the cache by the sources: Numba doesn't see a change in a file it inlined from."""
    here = Path(__file__).parent
    files = sorted(here.rglob("*_numba.py"))
    sources = [path.relative_to(here).as_posix().encode() + path.read_bytes() for path in files]
    key = hashlib.sha256(b"\0".join(sources)).hexdigest()[:16]
    if "NUMBA_CACHE_DIR" not in os.environ:
        os.environ["NUMBA_CACHE_DIR"] = str(cache_folder(here / "__pycache__" / f"numba-{key}"))
    if "numba" in sys.modules:  # which has read its environment by now
        sys.modules["numba"].config.CACHE_DIR = os.environ["NUMBA_CACHE_DIR"]


_key_numba_cache()
OPS = rows()
"""Name of the operation → its row."""
for _op in OPS.values():
    register_twins(_op)


def __getattr__(name: str) -> Any:
    """`masked_attention` for torch tensors, found when asked for; BackendError without Triton."""
    if name == "masked_attention":
        require("triton")
        from kernels.attention.torch_function import masked_attention

        return masked_attention
    raise AttributeError(f"module 'kernels' has no attribute {name!r}")
