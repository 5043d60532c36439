"""Tests of reference.judges."""
