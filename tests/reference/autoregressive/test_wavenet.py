"""WaveNet (MISSION A6): its window is the theoretical one, and sound as whole numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import jacobian, value
from core.learners import loss_of
from core.optim import Adam
from core.state import parameters
from reference.autoregressive import wavenet
from reference.autoregressive.wavenet import WaveNet, inverse_mu_law, mu_law
from reference.layers import CausalConv1d
from tests.laws import autoregressive as laws
from tests.laws import explicit, subject


def make(dim=6, levels=3, seed=1, cls=WaveNet, **how):
    how = {"layers": 2, "width": 12, **how}
    return subject.randomise(cls(dim, levels, dtype=np.float64, **how), seed, 0.5)


def reach(layers, stacks):
    """By following the taps: a kernel of two at each dilation, and the token before the output."""
    seen = {0}
    for _ in range(stacks):
        for i in range(layers):
            seen = seen | {s + 2**i for s in seen}
    return len(seen), max(seen) + 1


def window_by_jacobian(model, T):
    """∂ logits at t / ∂ features at s is 0 unless t − s is in 0 … R − 1, and there it is not."""
    points = np.random.default_rng(0).normal(size=(4, 1, model.width, T))
    J = np.stack([jacobian(model.network, h)[0] for h in points])  # (4, V, T, 1, n, T)
    moved = np.abs(J).max(axis=(0, 1, 3, 4)) > 0
    gap = np.arange(T)[:, None] - np.arange(T)
    np.testing.assert_array_equal(moved, (gap >= 0) & (gap < model.window))


@settings(max_examples=12)
@given(st.integers(1, 4), st.integers(1, 2), st.integers(2, 4), st.integers(0, 99))
def test_it_sees_the_window_that_doubles_with_the_depth(layers, stacks, levels, seed):
    model = make(20, levels, seed, layers=layers, stacks=stacks)
    count, window = reach(layers, stacks)
    assert model.window == window == count
    laws.sees_exactly_the_past(model)


def test_the_window_by_jacobian():
    window_by_jacobian(make(layers=3), 12)
    window_by_jacobian(make(layers=2, stacks=2), 10)


@settings(max_examples=10)
@given(st.integers(1, 5), st.integers(2, 3), st.integers(1, 3), st.integers(0, 99))
def test_a_piece_of_a_stream_is_a_distribution(dim, levels, layers, seed):
    model = make(dim, levels, seed, layers=layers)
    explicit.sums_to_one(model, levels)
    laws.scores_what_it_sampled(model)  # a window at a time is the whole at once
    laws.teacher_forcing_is_likelihood(model, subject.points(model, 5))


class LooksAhead(CausalConv1d):
    """Centred, not causal."""

    def using(self, W, x):
        y = super().using(W, np.pad(x, ((0, 0), (0, 0), (0, self.dilation))))
        return y[:, :, self.dilation :]


class SkipsATap(CausalConv1d):
    """One step further than its dilation."""

    def using(self, W, x):
        return super().using(W, np.pad(x, ((0, 0), (0, 0), (1, 0)))[:, :, :-1])


class ShortWindow(WaveNet):
    """The window is counted without the token next to the output."""

    @property
    def window(self):
        return super().window - 1


@pytest.mark.parametrize("wrong", [LooksAhead, SkipsATap])
def test_a_wrong_convolution_is_rejected(monkeypatch, wrong):
    monkeypatch.setattr(wavenet, "CausalConv1d", wrong)
    with pytest.raises(AssertionError):
        laws.sees_exactly_the_past(make(10))


def test_a_window_that_is_one_too_short_is_rejected():
    with pytest.raises(AssertionError):
        laws.sees_exactly_the_past(make(10, cls=ShortWindow))


def queues_are_the_network(model, T, pieces):
    """The logits of T tokens are those of the network, read a few at a time or all at once."""
    x = np.random.default_rng(0).integers(0, model.levels, (3, T))
    whole = value(model.logits(x))  # (3, T, V)
    seen, state, at = model.begun(x[:, :-1]), None, 0
    for n in pieces:
        logits, state = model.step(seen[:, at : at + n] if at else x[:, : n - 1], state)
        at += n
        np.testing.assert_allclose(logits, whole[:, at - 1], rtol=1e-10, atol=1e-10)


@settings(max_examples=15)
@given(st.integers(1, 4), st.integers(1, 2), st.lists(st.integers(1, 5), min_size=1, max_size=9))
def test_what_is_kept_is_what_the_network_computes(layers, stacks, pieces):
    model = make(4, layers=layers, stacks=stacks)
    queues_are_the_network(model, sum(pieces), pieces)


class ForgetsTheOldest(WaveNet):
    """The queues lose what was read d tokens ago."""

    def step(self, x, state):
        return super().step(x, state if state is None else np.roll(state, 1, axis=2))


class LayersSwapped(WaveNet):
    """Two layers of one dilation get each other's queue."""

    def step(self, x, state):
        half = 0 if state is None else state.shape[2] // 2
        return super().step(x, state if state is None else np.roll(state, half, axis=2))


@pytest.mark.parametrize(("cls", "stacks"), [(ForgetsTheOldest, 1), (LayersSwapped, 2)])
def test_wrong_queues_are_rejected(cls, stacks):
    queues_are_the_network(make(stacks=stacks), 6, [1] * 6)
    with pytest.raises(AssertionError):
        queues_are_the_network(make(cls=cls, stacks=stacks), 6, [1] * 6)


def test_gradient_by_differences():
    model = make(4, 3, layers=2, width=2)
    x = subject.points(model, 3)
    laws.gradient_matches_differences(model, lambda: loss_of(model)(x))


@settings(max_examples=50)
@given(st.integers(2, 300), st.lists(st.floats(-1, 1), min_size=1, max_size=20))
def test_sound_becomes_whole_numbers_and_comes_back(levels, x):
    """Within half a step of the companded scale; and every number comes back as itself."""
    x = np.array(x)
    k = mu_law(x, levels)
    assert k.min() >= 0
    assert k.max() < levels
    every = np.arange(levels)
    np.testing.assert_array_equal(mu_law(inverse_mu_law(every, levels), levels), every)
    assert (np.diff(inverse_mu_law(every, levels)) > 0).all()
    back = inverse_mu_law(k, levels)
    edges = [inverse_mu_law(k + side, levels) for side in (-0.5, 0.5)]
    assert ((edges[0] - 1e-9 <= x) & (x <= edges[1] + 1e-9)).all()
    assert np.abs(back).max() <= 1 + 1e-12


def test_it_learns_a_tone():
    """Of a sine in 16 levels the next number follows from the last few."""
    t = np.arange(400)
    x = mu_law(0.8 * np.sin(2 * np.pi * t / 16), 16).reshape(10, 40).astype(np.int64)
    model = WaveNet(40, 16, layers=3, width=16)
    adam = Adam(parameters(model), lr=0.02)
    for _ in range(60):
        adam.zero_grad()
        loss = loss_of(model)(x)
        loss.backward()
        adam.step()
    assert value(loss).item() / 40 < 0.3  # ln 16 = 2.8 at first
