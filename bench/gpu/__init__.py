"""Proofs and timings of the Triton kernels on a GPU."""
