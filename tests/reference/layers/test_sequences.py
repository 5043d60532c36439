"""Step by step equals the whole sequence: cells, and attention with its cache."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import Tensor, grad, value
from core.random import Generator
from core.state import parameters
from reference import layers
from reference.operations import masks
from tests.reference.layers.cases import normal, shaken, sizes, source

SEEDS = st.integers(0, 2**31)
CELLS = [layers.RNNCell, layers.GRUCell, layers.LSTMCell]


def check_steps(kind: Any, seed: int) -> None:
    """A loop of calls gives what the row does, but for the order of sums; so does a row cut in two.

    In every output, the last state, and all derivatives of a function of both.
    """
    rng = np.random.default_rng(seed)
    n, m, B, T = sizes(rng, 4, 6)
    cell = shaken(kind(n, m, source(rng), dtype=np.float64), rng)
    x, cut = Tensor(normal(rng, np.float64, B, T, n)), int(rng.integers(T + 1))
    leaves = [x, *parameters(cell).values()]
    start = tuple(Tensor(normal(rng, np.float64, B, m)) for _ in parts(cell.start(B)))
    leaves += start
    state = start if len(start) > 1 else start[0]
    whole = layers.unroll(cell, x, state)
    first, between = layers.unroll(cell, x[:, :cut], state)
    second, end = layers.unroll(cell, x[:, cut:], between)
    outputs = []
    for t in range(T):
        state = cell(x[:, t], state)
        outputs.append(cell.output(state))
    found = [whole, (np.stack(outputs, 1), state), (np.concatenate([first, second], 1), end)]
    weights = [normal(rng, np.float64, *v.shape) for v in (whole[0], *parts(whole[1]))]
    ways = []
    for h, last in found:
        results = [h, *parts(last)]
        total = sum(np.sum(w * v) for w, v in zip(weights, results, strict=True))
        ways.append([*(v.data for v in results), *grad(total, leaves)])
    for way in ways[1:]:
        for a, b in zip(way, ways[0], strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-13 * (1 + np.abs(b).max(initial=0)))


def parts(state: Any) -> tuple[Any, ...]:
    return state if isinstance(state, tuple) else (state,)


@pytest.mark.parametrize("kind", CELLS)
@given(seed=SEEDS)
def test_a_loop_of_steps_equals_the_whole(kind: Any, seed: int):
    check_steps(kind, seed)


class ForgetsTheStart(layers.GRUCell):
    def sequence(self, x: Any, state: Any) -> Any:
        return super().sequence(x, 0 * state)


class ReadsBackwards(layers.RNNCell):
    def sequence(self, x: Any, state: Any) -> Any:
        return super().sequence(x[:, ::-1], state)


class HandsOnTheOldMemory(layers.LSTMCell):
    def sequence(self, x: Any, state: Any) -> Any:
        h, (last, _) = super().sequence(x, state)
        return h, (last, state[1] + 0 * last)


class CutsThroughTime(layers.LSTMCell):
    def sequence(self, x: Any, state: Any) -> Any:
        return super().sequence(x, tuple(value(s) for s in state))


@pytest.mark.parametrize(
    "kind", [ForgetsTheStart, ReadsBackwards, HandsOnTheOldMemory, CutsThroughTime]
)
def test_wrong_sequences_are_rejected(kind: Any):
    rejected = 0
    for seed in range(20):
        try:
            check_steps(kind, seed)
        except AssertionError:
            rejected += 1
    assert rejected >= 10


@pytest.mark.parametrize("kind", CELLS)
@given(seed=SEEDS)
def test_padding_changes_nothing_that_is_counted(kind: Any, seed: int):
    """Sequences of several lengths in one batch: each as if it were alone, and no slope beyond."""
    rng = np.random.default_rng(seed)
    n, m, B, T = sizes(rng, 4, 6)
    cell = shaken(kind(n, m, source(rng), dtype=np.float64), rng)
    lengths = rng.integers(0, T + 1, B)
    seen = np.arange(T) < lengths[:, None]  # (B, T)
    x = Tensor(normal(rng, np.float64, B, T, n))
    h, _ = layers.unroll(cell, x)
    (slope,) = grad(np.sum(np.where(seen[:, :, None], h * h, 0.0)), [x])
    for b, length in enumerate(lengths):
        own = Tensor(x.data[b : b + 1, :length].copy())
        alone, _ = layers.unroll(cell, own)
        np.testing.assert_allclose(h.data[b, :length], alone.data[0], rtol=0, atol=1e-13)
        (its,) = grad(np.sum(alone * alone), [own])
        np.testing.assert_allclose(slope[b, :length], its[0], rtol=0, atol=1e-12)
        assert (slope[b, length:] == 0).all()


@pytest.mark.parametrize("kind", CELLS)
def test_later_steps_never_reach_back(kind: Any):
    rng = np.random.default_rng(0)
    cell = shaken(kind(2, 3, source(rng), dtype=np.float64), rng)
    x = Tensor(normal(rng, np.float64, 1, 5, 2))
    h, _ = layers.unroll(cell, x)
    for t in range(5):
        (g,) = grad(np.sum(h[:, t]), [x])
        assert (g[:, t + 1 :] == 0).all()
        assert (np.abs(g[:, : t + 1]) > 0).all()


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize(("B", "T"), [(0, 3), (2, 0), (0, 0), (1, 1)])
def test_empty_sequences(kind: Any, B: int, T: int):
    cell = kind(2, 3, Generator(0))
    h, state = layers.unroll(cell, np.ones((B, T, 2), np.float32))
    assert h.shape == (B, T, 3)
    assert h.dtype == np.float32
    assert cell.output(state).shape == (B, 3)


def any_attention(rng: Any) -> tuple[Any, Any, Any]:
    """A layer, a sequence, and a mask that limits what is seen further."""
    groups, key_heads, half, n, B, T = sizes(rng, 6)
    how = {"rotary": layers.Rotary(2 * half) if rng.random() < 0.5 else None}
    heads = groups * key_heads
    layer = layers.Attention(
        n, heads * 2 * half, heads, source(rng), key_heads=key_heads, dtype=np.float64, **how
    )
    mask = masks.window(int(rng.integers(5))) if rng.random() < 0.5 else None
    return shaken(layer, rng), normal(rng, np.float64, B, T + 1, n), mask


def in_parts(layer: Any, x: Any, mask: Any, rng: Any) -> Any:
    """The sequence cut at random places, each part with what the cache holds."""
    T = x.shape[1]
    cuts = sorted({0, T, *(int(t) for t in rng.integers(0, T + 1, 2))})
    cache, parts = None, []
    for a, b in pairwise(cuts):
        y, cache = layer.step(x[:, a:b], cache, mask)
        parts.append(y)
    return np.concatenate(parts, axis=1)


def check_cache(seed: int, kind: Any = None) -> None:
    rng = np.random.default_rng(seed)
    layer, x, mask = any_attention(rng)
    layer.__class__ = kind or layer.__class__
    leaves = [Tensor(x), *parameters(layer).values()]
    c = normal(rng, np.float64, *x.shape[:2], layer.n_out)
    seen = masks.causal() & masks.as_mask(mask)
    whole, cached = layer(leaves[0], seen), in_parts(layer, leaves[0], mask, rng)
    np.testing.assert_allclose(cached.data, whole.data, atol=1e-12)
    pairs = zip(grad(np.sum(c * cached), leaves), grad(np.sum(c * whole), leaves), strict=True)
    for a, b in pairs:
        np.testing.assert_allclose(a, b, atol=1e-10)


@given(seed=SEEDS)
def test_cached_equals_recomputed(seed: int):
    check_cache(seed)


class ForgetsPlaces(layers.Attention):
    def memory(self, context: Any, start: int = 0) -> Any:
        return super().memory(context)


class ForgetsTheCache(layers.Attention):
    def step(self, x: Any, cache: Any, mask: Any = None) -> Any:
        return super().step(x, None, mask)


class SeesLater(layers.Attention):
    def step(self, x: Any, cache: Any, mask: Any = None) -> Any:
        later = self.memory(x, cache.length if cache else 0)
        cache = cache.extended(later) if cache else later
        return self.attend(x, cache, mask), cache


class ForgetsTheMask(layers.Attention):
    def step(self, x: Any, cache: Any, mask: Any = None) -> Any:
        return super().step(x, cache)


class CutsTheGraph(layers.Attention):
    def step(self, x: Any, cache: Any, mask: Any = None) -> Any:
        cut = layers.Cache(*(value(a) for a in cache)) if cache else None
        return super().step(x, cut, mask)


@pytest.mark.parametrize(
    "kind", [ForgetsPlaces, ForgetsTheCache, SeesLater, ForgetsTheMask, CutsTheGraph]
)
def test_wrong_caches_are_rejected(kind: Any):
    rejected = 0
    for seed in range(30):
        try:
            check_cache(seed, kind)
        except AssertionError:
            rejected += 1
    assert rejected >= 5


def test_a_cache_is_a_value():
    rng = np.random.default_rng(1)
    layer, x, _ = any_attention(rng)
    _, cache = layer.step(x[:, :1], None)
    before = [np.array(a.data) for a in cache]
    one, _ = layer.step(x[:, 1:], cache)
    two, _ = layer.step(x[:, 1:], cache)
    np.testing.assert_array_equal(one.data, two.data)
    assert all(np.array_equal(a, b.data) for a, b in zip(before, cache, strict=True))


@pytest.mark.parametrize(("B", "Q", "K"), [(0, 2, 3), (2, 0, 3), (2, 3, 0), (0, 0, 0), (1, 1, 1)])
def test_attention_over_nothing(B: int, Q: int, K: int):
    """Queries that see no key give what o makes of 0."""
    layer = shaken(layers.Attention(3, 4, 2, Generator(0), n_context=5), np.random.default_rng(0))
    x, u = np.ones((B, Q, 3), np.float32), np.ones((B, K, 5), np.float32)
    y = layer(x, context=u)
    assert y.shape == (B, Q, 4)
    if K == 0:
        np.testing.assert_array_equal(y.data, np.broadcast_to(layer.o.b.data, (B, Q, 4)))
    assert all(np.isfinite(g).all() for g in grad(np.sum(y), list(parameters(layer).values())))


@given(seed=SEEDS)
def test_turned_products_depend_on_the_distance_alone(seed: int):
    rng = np.random.default_rng(seed)
    half, s, t, by = sizes(rng, 4, 50)
    turn = layers.Rotary(2 * half)
    q, k = normal(rng, np.float64, 2, 1, 2 * half)
    here = turn(q, start=t) @ turn(k, start=s).T
    there = turn(q, start=t + by) @ turn(k, start=s + by).T
    np.testing.assert_allclose(here, there, atol=1e-11)
    np.testing.assert_allclose(np.linalg.norm(turn(q, start=t)), np.linalg.norm(q))
    np.testing.assert_array_equal(turn(q), q)


@pytest.mark.parametrize("shape", [(0, 3, 4), (2, 0, 4), (0, 4), (5, 4)])
def test_positions_take_empty_batches(shape: Any):
    x = np.ones(shape, np.float32)
    for layer in (
        layers.Rotary(4),
        layers.SinusoidalPositions(4),
        layers.LearnedPositions(7, 4, Generator(0)),
    ):
        assert layer(x).shape == shape
        assert layer(x).dtype == np.float32
