"""The fast twins, each tied to its definition by a row of `OPS` (MISSION row K1)."""

from typing import Any

from kernels.table import BackendError, Op, check, rows, twin

__all__ = ["OPS", "BackendError", "Op", "check", "masked_attention", "rows", "twin"]

OPS = rows()
"""Name of the operation → its row."""


def __getattr__(name: str) -> Any:
    """`masked_attention` for torch tensors, found when asked for: it needs torch and triton."""
    if name == "masked_attention":
        from kernels.attention_torch import masked_attention

        return masked_attention
    raise AttributeError(f"module 'kernels' has no attribute {name!r}")
