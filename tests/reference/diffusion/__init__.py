"""Tests of reference.diffusion."""
