"""Tests of reference.counting."""
