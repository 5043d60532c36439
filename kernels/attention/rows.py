"""The rows of `OPS` of masked attention, forward and backward (MISSION row K4)."""

from kernels.attention import backward_rows, forward_rows

ROWS = [*forward_rows.ROWS, *backward_rows.ROWS]
