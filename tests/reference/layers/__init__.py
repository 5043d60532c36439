"""Tests of reference.layers."""
