"""The fast twins, each tied to its definition by a row of `OPS` (MISSION row K1)."""

import hashlib
import os
import sys
from pathlib import Path
from typing import Any

from kernels.table import BackendError, Op, check, require, rows, twin

__all__ = ["OPS", "BackendError", "Op", "check", "masked_attention", "rows", "twin"]


def _key_numba_cache() -> None:
    """Key the cache by the sources: Numba doesn't see a change in a file it inlined from."""
    here = Path(__file__).parent
    sources = b"".join(path.read_bytes() for path in sorted(here.glob("*_numba.py")))
    key = hashlib.sha256(sources).hexdigest()[:16]
    os.environ.setdefault("NUMBA_CACHE_DIR", str(here / "__pycache__" / f"numba-{key}"))
    if "numba" in sys.modules:  # which has read its environment by now
        sys.modules["numba"].config.CACHE_DIR = os.environ["NUMBA_CACHE_DIR"]


_key_numba_cache()
OPS = rows()
"""Name of the operation → its row."""


def __getattr__(name: str) -> Any:
    """`masked_attention` for torch tensors, found when asked for; BackendError without Triton."""
    if name == "masked_attention":
        require("triton")
        from kernels.attention_torch import masked_attention

        return masked_attention
    raise AttributeError(f"module 'kernels' has no attribute {name!r}")
