"""The rows of `OPS` that decode, and that draw texts (MISSION rows F9, K3)."""

from kernels.decoding import decode_rows, recurrent_rows, transformer_rows, wavenet_rows

ROWS = [*decode_rows.ROWS, *recurrent_rows.ROWS, *transformer_rows.ROWS, *wavenet_rows.ROWS]
