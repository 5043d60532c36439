"""The definitions of operations that have fast twins: the shortest correct NumPy, for the eye.

A definition never gets faster at the cost of a line; a twin does, and is proved equal to it. Here
are those that no single model owns: `histogram`, `alias` (drawing from a table), `masks` (which
keys a query may see), `intervals` and `lowering` (the same in O(S) numbers), `attention`,
`diffusion_step`, `decoding` (the next token). MISSION rows F9, K1 to K6.
"""
