"""Tests of reference.conditional."""
