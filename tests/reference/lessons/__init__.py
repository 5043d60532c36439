"""Tests of reference.lessons."""
