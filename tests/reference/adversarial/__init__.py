"""Tests of reference.adversarial."""
