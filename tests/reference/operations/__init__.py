"""Tests of reference.operations."""
