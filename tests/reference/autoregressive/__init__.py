"""Tests of reference.autoregressive."""
