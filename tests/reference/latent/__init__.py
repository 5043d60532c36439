"""Tests of reference.latent."""
