"""Masked kernels never look ahead; running moments move only when told; noise only with an rng."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import Tensor, grad
from core.random import Generator
from core.state import describe, load_state, parameters, state
from reference import layers
from tests.reference.layers.cases import normal, shaken

RNG = Generator(0, stream="init")
ODD = st.sampled_from([1, 3, 5])


def reach(layer: Any, shape: tuple[int, ...], at: tuple[int, ...]) -> Any:
    """bool: which places of x, channels aside, the output at `at` depends on."""
    x = Tensor(np.random.default_rng(0).normal(size=shape))
    y = layer(x)
    (g,) = grad(np.sum(y[(slice(None), slice(None), *at)]), [x])
    return (g != 0).any((0, 1))


@given(h=ODD, w=ODD, kind=st.sampled_from("AB"), depth=st.integers(1, 3))
def test_masked_layers_see_the_pixels_before(h: int, w: int, kind: str, depth: int):
    """One layer with mask A or B, then others with B: nothing ahead, and for A not itself."""
    how = {"padding": (h // 2, w // 2), "dtype": np.float64}
    stack = [layers.Conv2d(1, 2, (h, w), RNG, mask=kind, **how)]
    stack += [layers.Conv2d(2, 2, (h, w), RNG, mask="B", **how) for _ in range(depth - 1)]

    def network(x: Any) -> Any:
        for layer in stack:
            x = layer(x)
        return x

    H, W = 7, 6
    for i, j in ((0, 0), (3, 2), (6, 5)):
        seen = reach(network, (1, 1, H, W), (i, j)).ravel()
        place = i * W + j
        assert not seen[place + 1 :].any()
        assert seen[place] == (kind == "B")
        if (w > 1 and j > 0) or (kind == "B"):
            assert seen.any()


@given(k=st.integers(1, 4), d=st.integers(1, 4), groups=st.integers(1, 2))
def test_causal_convolutions_see_every_dth_step_back(k: int, d: int, groups: int):
    layer = layers.CausalConv1d(2, 2, k, RNG, dilation=d, groups=groups, dtype=np.float64)
    for t in (0, 5, 15):
        expected = np.isin(np.arange(16), t - d * np.arange(k))
        np.testing.assert_array_equal(reach(layer, (1, 2, 16), (t,)), expected)


def test_a_general_mask():
    """RGB order: the outputs of colour c see the inputs of colours up to c."""
    seen = np.tri(3, dtype=bool)[:, :, None, None]
    layer = layers.Conv2d(3, 3, 1, RNG, mask=seen, dtype=np.float64)
    x = Tensor(np.ones((1, 3, 1, 1)))
    y = layer(x)
    for c in range(3):
        (g,) = grad(np.sum(y[:, c]), [x])
        np.testing.assert_array_equal(g.ravel() != 0, np.arange(3) <= c)


def test_masks_are_derived_and_masked_weights_do_not_learn():
    layer = layers.Conv2d(2, 3, 3, RNG, mask="A", padding=1)
    assert list(state(layer)) == ["W", "b"]
    (g,) = grad(np.sum(np.square(layer(np.ones((1, 2, 4, 4), np.float32)))), [layer.W])
    assert not g[:, :, 1, 1:].any()
    assert not g[:, :, 2].any()
    assert g[:, :, 0].all()
    assert describe(layer).splitlines()[-1].split() == ["total", "57", "learned", "float32"]


@pytest.mark.parametrize("mask", [None, "A", "B"])
@pytest.mark.parametrize("groups", [1, 4])
def test_the_first_weights_keep_the_variance(mask: Any, groups: int):
    layer = layers.Conv2d(64, 64, 5, RNG, mask=mask, groups=groups, dtype=np.float64)
    x = np.random.default_rng(0).normal(size=(4, 64, 12, 12))
    assert np.var(layer(x).data) == pytest.approx(1, rel=0.1)
    for kind, stride in ((layers.ConvTranspose2d, 2), (layers.ConvTranspose2d, 1)):
        layer = kind(64, 64, 4, RNG, stride=stride, dtype=np.float64)
        inside = layer(x).data[:, :, 4:-4, 4:-4]
        assert np.var(inside) == pytest.approx(1, rel=0.1)


EMPTY = [(0, 4, 5), (2, 4, 0), (0, 4, 0), (1, 4, 1)]


@pytest.mark.parametrize("shape", EMPTY)
def test_norms_of_nothing(shape: Any):
    x = np.ones(shape, np.float32)
    for layer in (layers.GroupNorm(4, 2), layers.BatchNorm(4)):
        assert layer(x).shape == shape
        assert np.isfinite(layer(x).data).all()
    style = np.ones((shape[0], 3), np.float32)
    assert np.isfinite(layers.AdaIN(3, 4, RNG)(x, style).data).all()
    rows = np.swapaxes(x, 1, 2)
    for layer in (layers.LayerNorm(4), layers.RMSNorm(4)):
        y = layer(rows)
        assert y.shape == rows.shape
        assert all(np.isfinite(g).all() for g in grad(np.sum(y), list(parameters(layer).values())))


@pytest.mark.parametrize("B", [0, 1])
def test_convolutions_of_empty_batches(B: int):
    made = [
        (layers.Conv1d(2, 3, 3, RNG), (B, 2, 3), (B, 3, 1)),
        (layers.CausalConv1d(2, 3, 3, RNG), (B, 2, 1), (B, 3, 1)),
        (layers.Conv2d(2, 3, 3, RNG), (B, 2, 3, 4), (B, 3, 1, 2)),
        (layers.ConvTranspose1d(2, 3, 3, RNG), (B, 2, 1), (B, 3, 3)),
        (layers.ConvTranspose2d(2, 3, 3, RNG), (B, 2, 1, 1), (B, 3, 3, 3)),
    ]
    for layer, given_shape, expected in made:
        y = layer(np.ones(given_shape, np.float32))
        assert y.shape == expected
        for g in grad(np.sum(y), list(parameters(layer).values())):
            assert g.shape
            assert np.isfinite(g).all()


# Batch norm


def test_moments_move_only_by_following():
    norm, x = layers.BatchNorm(3, momentum=0.5), normal(np.random.default_rng(0), "f4", 8, 3)
    for _ in range(2):
        y, moments = norm.batch(x)
    np.testing.assert_array_equal(norm.mean, 0)
    np.testing.assert_allclose(np.mean(y.data, axis=0), 0, atol=1e-6)
    norm.follow(moments)
    np.testing.assert_allclose(norm.mean, 0.5 * x.mean(0), rtol=1e-5)
    np.testing.assert_allclose(norm.variance, 0.5 + 0.5 * x.var(0, ddof=1), rtol=1e-5)
    once = norm(x).data
    np.testing.assert_array_equal(norm(x).data, once)


def test_moments_are_kept_and_not_learned():
    norm, other = layers.BatchNorm(3), layers.BatchNorm(3)
    norm.follow(norm.batch(np.arange(12, dtype=np.float32).reshape(4, 3))[1])
    assert list(parameters(norm)) == ["gamma", "beta"]
    assert list(state(norm)) == ["gamma", "beta", "mean", "variance"]
    load_state(other, state(norm))
    x = np.ones((2, 3), np.float32)
    np.testing.assert_array_equal(norm(x).data, other(x).data)
    assert "and 6 kept" in describe(norm)


# Dropout


def test_noise_only_with_an_rng():
    layer, x = layers.Dropout(0.5), np.ones((64, 64), np.float32)
    assert layer(x) is x
    one, two = layer(x, Generator(1, "dropout")), layer(x, Generator(1, "dropout"))
    np.testing.assert_array_equal(one, two)
    source = Generator(1, "dropout")
    assert not np.array_equal(layer(x, source), layer(x, source))
    assert one.mean() == pytest.approx(1, abs=5 / 64)
    assert layers.Dropout(0.0)(x, source).all()


@given(rate=st.floats(0, 0.95), seed=st.integers(0, 2**31))
def test_the_expectation_stays(rate: float, seed: int):
    x = np.ones(40_000)
    y = layers.Dropout(rate)(x, Generator(seed, "dropout"))
    assert abs(y.mean() - 1) <= 6 * np.sqrt(rate / (1 - rate) / x.size)
    assert set(np.round(np.unique(y), 12)) <= {0.0, round(1 / (1 - rate), 12)}


def test_style_decides_mean_and_deviation():
    layer = shaken(layers.AdaIN(3, 2, RNG, dtype=np.float64), np.random.default_rng(0))
    x, style = (normal(np.random.default_rng(1), np.float64, *s) for s in ((4, 2, 50, 3), (4, 3)))
    y, affine = layer(x, style).data, layer.affine(style).data
    np.testing.assert_allclose(y.mean((2, 3)), affine[:, 2:], atol=1e-12)
    np.testing.assert_allclose(y.std((2, 3)), np.abs(1 + affine[:, :2]), rtol=1e-4)
