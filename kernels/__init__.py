"""The fast twins, each tied to its definition by a row of `OPS` (MISSION row K1)."""

from kernels.table import BackendError, Op, check, rows, twin

__all__ = ["OPS", "BackendError", "Op", "check", "rows", "twin"]

OPS = rows()
"""Name of the operation → its row."""
