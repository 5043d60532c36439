"""Tests of reference.zoo."""
