"""PixelCNN, masked and gated (MISSION A6, A8): what a pixel sees, colour by colour."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import jacobian, value
from core.data import load
from core.errors import InputError
from core.learners import loss_of
from reference.autoregressive import gated_pixelcnn, pixelcnn
from reference.autoregressive.gated_pixelcnn import GatedLayer, GatedPixelCNN
from reference.autoregressive.images import raster
from reference.autoregressive.pixelcnn import PixelCNN
from reference.judges.likelihood import likelihood, takes_condition
from reference.layers import Conv2d, colour_mask
from tests.laws import autoregressive as laws
from tests.laws import explicit, subject


def masked(shape=(1, 3, 2), levels=2, seed=1, cls=PixelCNN, **how):
    how = {"features": 12, "layers": 2, "first": 3, **how}
    return subject.randomise(cls(shape, levels, dtype=np.float64, **how), seed, 0.5)


def gated(shape=(1, 2, 2), levels=2, seed=1, cls=GatedPixelCNN, **how):
    how = {"features": 24, "layers": 3, "first": 3, **how}
    return subject.randomise(cls(shape, levels, dtype=np.float64, **how), seed, 0.5)


# What is seen in theory: relations among (c, i, j), layer upon layer, as Boolean matrices


def relation(shape, sees):
    """(D, D): whether a feature at p may look at one at q, where sees(rows up, columns right,
    colour of p, colour of q) says so.
    """
    every = list(itertools.product(*map(range, shape)))
    return np.array(
        [[sees(i - k, m - j, c, d) for d, k, m in every] for c, i, j in every], dtype=bool
    )


def inside(up, right, reach):
    return abs(up) <= reach and abs(right) <= reach


def earlier(up, right):
    return up > 0 or (up == 0 and right < 0)


def seen_by_masks(model):
    """One mask A, then a mask B for every block: 1×1 kernels let colours see no more than that."""
    at, a, b = (0, 0), model.first // 2, 1
    A = relation(
        model.shape,
        lambda u, r, c, d: inside(u, r, a) and (earlier(u, r) or ((u, r) == at and d < c)),
    )
    B = relation(
        model.shape,
        lambda u, r, c, d: inside(u, r, b) and (earlier(u, r) or ((u, r) == at and d <= c)),
    )
    for _ in range(model.layers):
        A = (B.astype(int) @ A) > 0
    return A


def seen_by_stacks(model):
    """v_l = above v_{l−1}, whatever its colours;  h_1 = left ∪ v_1,  h_l = left h_{l−1} ∪ v_l."""
    v = relation(model.shape, lambda u, r, c, d: inside(u, r, model.first // 2) and u > 0)
    h = v | relation(
        model.shape,
        lambda u, r, c, d: u == 0 and -(model.first // 2) <= r and (r < 0 or (r == 0 and d < c)),
    )
    k = model.kernel // 2
    above = relation(model.shape, lambda u, r, c, d: inside(u, r, k) and u >= 0)
    left = relation(
        model.shape, lambda u, r, c, d: u == 0 and -k <= r and (r < 0 or (r == 0 and d <= c))
    )
    for _ in range(model.layers - 1):
        v = (above.astype(int) @ v) > 0
        h = ((left.astype(int) @ h) > 0) | v
    return h


def past(shape):
    """(D, D): what comes before in the raster."""
    rank = np.argsort(raster(shape))
    return rank[None] < rank[:, None]


def jacobian_sees(model, seen):
    """∂ parameters / ∂ pixels is 0 where nothing is seen, and only there."""
    points = np.random.default_rng(0).normal(size=(5, 1, *model.shape))
    J = np.stack([jacobian(model.network, v)[0] for v in points])  # (5, C, H, W, P, 1, C, H, W)
    moved = np.abs(J).max(axis=(0, 4)).reshape(model.dim, model.dim) > 0
    np.testing.assert_array_equal(moved, seen)


SHAPES = st.tuples(st.sampled_from([1, 1, 2, 3]), st.integers(1, 4), st.integers(1, 4))


@settings(max_examples=10)
@given(SHAPES, st.integers(1, 3), st.sampled_from([1, 3, 5, 7]), st.integers(0, 99))
def test_a_masked_pixel_sees_what_its_masks_let_through(shape, layers, first, seed):
    model = masked(shape, 3, seed, layers=layers, first=first)
    seen = seen_by_masks(model)
    assert not (seen & ~past(shape)).any()
    laws.sees_exactly(model, seen)


@settings(max_examples=10)
@given(SHAPES, st.integers(1, 4), st.sampled_from([3, 5]), st.sampled_from([3, 5]))
def test_a_gated_pixel_sees_what_its_stacks_reach(shape, layers, kernel, first):
    model = gated(shape, 3, layers=layers, kernel=kernel, first=first)
    seen = seen_by_stacks(model)
    assert not (seen & ~past(shape)).any()
    laws.sees_exactly(model, seen)


def test_receptive_fields_by_jacobian():
    jacobian_sees(
        masked((1, 5, 5), layers=1, features=8), seen_by_masks(masked((1, 5, 5), layers=1))
    )
    jacobian_sees(gated((1, 5, 5), layers=2), seen_by_stacks(gated((1, 5, 5), layers=2)))
    jacobian_sees(gated((3, 2, 3), layers=3), past((3, 2, 3)))


def test_masks_have_a_blind_spot_and_stacks_have_none():
    """However many layers: what lies further right than up is not seen; two stacks see it all."""
    shape = (1, 4, 5)
    every = list(itertools.product(range(4), range(5)))
    cone = np.array([[m - j <= i - k for k, m in every] for i, j in every]) & past(shape)
    deep = masked(shape, layers=6)
    laws.sees_exactly(deep, cone)
    assert (past(shape) & ~cone).sum() == 25
    laws.sees_exactly(gated(shape, layers=5), past(shape))
    laws.sees_exactly_the_past(gated(shape, layers=5))


@settings(max_examples=12)
@given(
    st.sampled_from([(1, 2, 2), (1, 1, 5), (3, 1, 2), (2, 2, 1), (1, 3, 1)]),
    st.sampled_from([2, 3]),
    st.booleans(),
    st.integers(0, 99),
)
def test_they_are_distributions(shape, levels, both, seed):
    model = (gated if both else masked)(shape, levels, seed)
    explicit.sums_to_one(model, levels)
    laws.scores_what_it_sampled(model)
    laws.teacher_forcing_is_likelihood(model, subject.points(model, 5))


@pytest.mark.parametrize("mixture", [1, 3])
def test_mixtures_of_discretised_logistics_are_distributions(mixture):
    model = gated((1, 1, 3), 5, mixture=mixture)
    explicit.sums_to_one(model, 5)
    laws.scores_what_it_sampled(model)
    laws.sees_exactly_the_past(model)
    explicit.frequencies_follow_log_prob(model, 5, n=4000)


def test_256_grey_levels_cost_a_mixture_few_parameters():
    model = gated((1, 2, 2), 256, mixture=2)
    explicit.sums_to_one(gated((1, 1, 1), 256, mixture=2), 256)
    assert value(model.conditionals(np.zeros((1, 1, 2, 2)))).shape == (1, 1, 2, 2, 6)


# The models with one mistake


def patched(monkeypatch, module, name, wrong):
    monkeypatch.setattr(module, name, wrong)


def mask_b_first(kind, *sizes):
    return colour_mask("B", *sizes)


def all_colours_at_once(kind, kernel, n_in, n_out, colours):
    """Every colour sees all colours of its own pixel, but its own where kind is A."""
    return colour_mask(kind, kernel, n_in, n_out, 1) | (
        np.arange(n_in) % colours != (np.arange(n_out) % colours)[:, None]
    ).reshape(n_out, n_in, 1, 1) & colour_mask("B", kernel, n_in, n_out, 1)


def colours_in_reverse(kind, kernel, n_in, n_out, colours):
    return colour_mask(kind, kernel, n_in, n_out, colours)[::-1, ::-1]


def colours_alike(kind, kernel, n_in, n_out, colours):
    """No colour sees another of its own pixel."""
    return colour_mask(kind, kernel, n_in, n_out, 1)


@pytest.mark.parametrize("module", [pixelcnn, gated_pixelcnn])
@pytest.mark.parametrize(
    "wrong", [mask_b_first, all_colours_at_once, colours_in_reverse, colours_alike]
)
def test_wrong_masks_are_rejected(monkeypatch, module, wrong):
    make = masked if module is pixelcnn else gated
    laws.sees_exactly(make((3, 1, 2)), past((3, 1, 2)))
    monkeypatch.setattr(module, "colour_mask", wrong)
    with pytest.raises(AssertionError):
        laws.sees_exactly(make((3, 1, 2)), past((3, 1, 2)))


class SeesItsRow(GatedLayer):
    """The vertical stack ends a row too late."""

    def __call__(self, v, h, y):
        k = self.above.kernel[1] // 2
        late = np.pad(v, ((0, 0), (0, 0), (0, k), (0, 0)))[:, :, k:]
        return super().__call__(late, h, y)


class StandsOneRowBack(GatedLayer):
    """The vertical stack misses the row above."""

    def __call__(self, v, h, y):
        return super().__call__(np.pad(v, ((0, 0), (0, 0), (1, 0), (0, 0)))[:, :, :-1], h, y)


class HasNoLink(GatedLayer):
    """The horizontal stack is never told what lies above."""

    def __call__(self, v, h, y):
        self.link.W[...] = 0
        return super().__call__(v, h, y)


class SwapsTheHalves(GatedLayer):
    """With an odd number of features for each colour, halves of a gate are of other colours."""

    def __init__(self, n_in, n_out, kernel, colours, rng, **how):
        super().__init__(n_in, n_out, kernel, colours, rng, **how)
        self.left._mask = np.roll(self.left._mask, n_out // 2, axis=0)


@pytest.mark.parametrize("wrong", [SeesItsRow, StandsOneRowBack, HasNoLink])
def test_wrong_stacks_are_rejected(monkeypatch, wrong):
    monkeypatch.setattr(gated_pixelcnn, "GatedLayer", wrong)
    with pytest.raises(AssertionError):
        laws.sees_exactly_the_past(gated((1, 3, 3)))


def test_features_shifted_by_a_colour_are_rejected(monkeypatch):
    monkeypatch.setattr(gated_pixelcnn, "GatedLayer", SwapsTheHalves)
    with pytest.raises(AssertionError):
        laws.sees_exactly(gated((3, 1, 2), features=3), past((3, 1, 2)))


def test_kernels_are_those_of_a_masked_square():
    """Cropped kernels give what a square kernel does whose other weights are 0."""
    layer, v = gated(layers=2).stack[1], np.random.default_rng(0).normal(size=(2, 24, 5, 4))
    square = Conv2d(24, 48, 3, laws.Generator(0), padding=1, dtype=np.float64)
    square.W[...] = np.pad(value(layer.above.W), ((0, 0), (0, 0), (0, 1), (0, 0)))
    square.b[...] = value(layer.above.b)
    np.testing.assert_allclose(value(layer.above(v))[:, :, :5], value(square(v)), atol=1e-12)


# Classes


def test_a_class_moves_the_conditionals_and_p_of_x_is_the_mean():
    model = gated((1, 2, 2), classes=3)
    x = subject.in_shape(model, subject.all_states(4))
    given = [np.exp(value(model.log_prob(x, np.full(16, k)))) for k in range(3)]
    for p in given:
        np.testing.assert_allclose(p.sum(), 1, rtol=1e-10)
    assert np.abs(given[0] - given[1]).max() > 1e-3
    np.testing.assert_allclose(np.exp(value(model.log_prob(x))), np.mean(given, axis=0))
    explicit.frequencies_follow_log_prob(model, n=5000)


def test_samples_are_of_the_class_that_was_asked_for():
    model = gated((1, 2, 2), classes=2)
    states = subject.in_shape(model, subject.all_states(4))
    for k in range(2):
        codes = subject.flat(model.sample(5000, seed=2, y=k)) @ [8, 4, 2, 1]
        expected = 5000 * np.exp(value(model.log_prob(states, np.full(16, k))))
        found = np.bincount(codes.astype(int), minlength=16)
        assert explicit.chi_square(found, expected) > 1e-4
    mixed = model.sample(4, seed=1, y=np.array([0, 1, 0, 1]))
    np.testing.assert_array_equal(mixed[1], model.sample(4, seed=1, y=1)[1])


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda m, x: m.log_prob(x, np.array([0, 3])), r"y must lie in 0 … 2, got 0 … 3"),
        (lambda m, x: m.log_prob(x, np.array([0])), r"y must be integers of shape \(2,\)"),
        (lambda m, x: m.conditionals(x), r"y must be 2 labels in 0 … 2, got none"),
        (lambda m, x: m.sample(2, y=7), r"y must lie in 0 … 2, got 7"),
        (lambda m, x: gated().sample(2, y=1), r"y must be left out"),
        (lambda m, x: m.log_prob(x[:, 0], None), r"x must have shape \(B, 1, 2, 2\)"),
        (lambda m, x: m.log_prob(x + 2, None), r"x must hold 0 and 1 only, got 2"),
        (lambda m, x: GatedPixelCNN([2, 2], 2), r"shape must be \(C, H, W\)"),
        (lambda m, x: GatedPixelCNN([3, 2, 2], 2, features=4), r"features must be a multiple of 3"),
        (lambda m, x: PixelCNN([3, 2, 2], 2, features=4), r"features must be a multiple of 3"),
        (lambda m, x: GatedPixelCNN([1, 2, 2], 2, classes=0), r"classes must be an int >= 1"),
    ],
)
def test_what_is_wrong_is_named(call, told):
    with pytest.raises(InputError, match=told):
        call(gated((1, 2, 2), classes=3), np.zeros((2, 1, 2, 2)))


def test_gradients_by_differences():
    small, y = {"features": 1, "layers": 2}, np.array([0, 1, 0])
    mixture = gated((1, 1, 2), 3, mixture=2, **small)
    for model in (masked(**small), gated(classes=2, **small), mixture):
        x = subject.in_shape(model, subject.points(model, 3))
        laws.gradient_matches_differences(model, lambda m=model, x=x: loss_of(m)(x, y))


def test_drawing_needs_only_the_rows_so_far():
    """Conditionals of the rows above do not change with what stands below."""
    for model in (masked((1, 4, 3)), gated((1, 4, 3))):
        x = subject.in_shape(model, subject.points(model, 5))
        whole = subject.evaluate(model.network, 2 * x - 1)
        for rows in (1, 2, 3):
            some = subject.evaluate(model.network, 2 * x[:, :, :rows] - 1)
            np.testing.assert_allclose(whole[:, :, :rows], some, atol=1e-12)


def test_colours_come_in_their_order():
    assert math.prod((3, 2, 2)) == len(raster((3, 2, 2)))
    np.testing.assert_array_equal(raster((3, 1, 2)), [0, 2, 4, 1, 3, 5])


def test_without_classes_what_comes_with_an_image_is_passed_by():
    """Scenes come with captions: a model of images alone is trained, scored and drawn from."""
    data = load("scenes", domain="integer", shape="image", n=4)
    data = replace(data, test=data.test.subset(2))
    assert data.given
    model = GatedPixelCNN([3, 32, 32], 256, features=3, layers=1, mixture=2)
    assert not takes_condition(model)
    assert takes_condition(gated(classes=2))
    assert loss_of(model)(data.train.x, data.train.y).item() > 0
    assert likelihood(model, data).count == 2
