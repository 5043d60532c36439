"""Tests of reference.flows."""
