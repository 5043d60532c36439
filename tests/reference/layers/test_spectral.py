"""Spectral norm: what is asked twice is answered once, and following finds σ(W)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InputError
from core.random import Generator
from core.state import load_state, parameters, state
from reference import layers

SEEDS = st.integers(0, 2**31)


def normed(seed: int = 0, n: int = 4, m: int = 3, dtype: Any = np.float64) -> Any:
    rng = Generator(seed, stream="init")
    return layers.SpectralNorm(layers.Linear(n, m, rng, gain=3.0, dtype=dtype), rng)


@given(seed=SEEDS, n=st.integers(1, 5), m=st.integers(1, 5))
def test_following_finds_the_largest_singular_value(seed: int, n: int, m: int):
    layer = normed(seed, n, m)
    before = [layer.sigma().item()]
    for _ in range(500):
        layer.follow()
        before.append(layer.sigma().item())
    assert (np.diff(before) >= -1e-12).all()  # from below
    found = np.linalg.svd(layer.weight().data, compute_uv=False)
    np.testing.assert_allclose(found[0], 1, rtol=2e-2)


def test_asking_changes_nothing():
    layer, x = normed(), np.ones((2, 4))
    v = np.array(layer.v)
    once = layer(x).data
    np.testing.assert_array_equal(layer(x).data, once)
    np.testing.assert_array_equal(layer.v, v)
    layer.follow()
    assert not np.array_equal(layer.v, v)


def test_the_vector_is_kept_and_not_learned():
    layer, other = normed(), normed(1)
    assert list(parameters(layer)) == ["layer.W", "layer.b"]
    assert list(state(layer)) == ["layer.W", "layer.b", "v"]
    layer.follow()
    load_state(other, state(layer))
    np.testing.assert_array_equal(layer(np.ones((2, 4))).data, other(np.ones((2, 4))).data)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype(dtype: Any):
    layer = normed(dtype=dtype)
    layer.follow()
    assert layer.v.dtype == layer.weight().dtype == layer(np.ones((1, 4), dtype)).dtype == dtype


def test_zeros_have_no_direction():
    rng = Generator(0)
    with pytest.raises(InputError, match="layer must have a weight other than 0"):
        layers.SpectralNorm(layers.Linear(3, 2, rng, gain=0.0), rng)
