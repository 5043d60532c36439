"""ImageGPT (MISSION A7, A9): the palette, orders, classes, and a cache that changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from core import Tensor, value
from core.checkpoint import load_arrays, save_arrays
from core.errors import InputError
from core.learners import loss_of
from core.state import load_state, state
from reference.autoregressive.image_gpt import ImageGPT
from reference.autoregressive.palette import learned_palette, nearest, painted
from tests.laws import autoregressive as laws
from tests.laws import explicit, subject

GREYS = [[0], [1], [2]]
ORDER = [3, 0, 2, 1]


def make(shape=(1, 2, 2), palette=GREYS, seed=1, cls=ImageGPT, **how):
    how = {"layers": 1, "heads": 2, "width": 8, **how}
    levels = int(np.max(palette)) + 1
    return subject.randomise(cls(shape, levels, palette, dtype=np.float64, **how), seed, 0.5)


# The palette


IMAGES = arrays.arrays(
    np.int64,
    st.tuples(st.integers(1, 4), st.sampled_from([1, 3]), st.integers(1, 5), st.integers(1, 5)),
    elements=st.integers(0, 255),
)


def paints_in_the_nearest(find, x, palette):
    """No other colour is nearer to a pixel than the one it gets."""
    k = find(x, palette)
    pixels = np.moveaxis(x, 1, -1)[..., None, :]
    d = ((pixels - palette) ** 2).sum(-1)
    assert k.shape == (len(x), *x.shape[2:])
    np.testing.assert_array_equal(np.take_along_axis(d, k[..., None], -1)[..., 0], d.min(-1))


@settings(max_examples=30)
@given(IMAGES, st.integers(2, 40))
def test_a_palette_has_colours_that_occur_or_their_means(x, colours):
    palette = learned_palette(x, colours)
    found = np.unique(np.moveaxis(x, 1, -1).reshape(-1, x.shape[1]), axis=0)
    assert len(palette) == len(np.unique(palette, axis=0)) <= colours
    assert palette.min() >= found.min()
    assert palette.max() <= found.max()
    if len(found) <= colours:
        np.testing.assert_array_equal(painted(nearest(x, palette), palette), x)
    paints_in_the_nearest(nearest, x, palette)


def test_k_means_beats_colours_at_random():
    """Three clouds of colours, three colours: the means of the clouds."""
    rng = np.random.default_rng(0)
    means = np.array([[30, 30, 200], [200, 40, 40], [120, 220, 60]])
    x = np.clip(np.round(means[rng.integers(0, 3, 900)] + rng.normal(size=(900, 3)) * 9), 0, 255)
    x = x.astype(np.int64).reshape(9, 10, 10, 3).transpose(0, 3, 1, 2)
    palette = learned_palette(x, 3)
    assert np.abs(palette - means[np.argsort(means[:, 0])]).max() < 4
    np.testing.assert_array_equal(palette, learned_palette(x, 3))
    error = ((painted(nearest(x, palette), palette) - x) ** 2).mean()
    assert error < 90


def test_the_farthest_colour_is_rejected():
    x = np.arange(9).reshape(1, 1, 3, 3)
    palette = np.array([[0], [4], [8]])
    paints_in_the_nearest(nearest, x, palette)
    with pytest.raises(AssertionError):
        paints_in_the_nearest(lambda x, p: len(p) - 1 - nearest(x, p), x, palette)


# The model


class SeesTheNext(ImageGPT):
    """What stands before the first pixel is forgotten: everything is told a pixel too early."""

    def _logits(self, tokens, y):
        late = np.concatenate([tokens[:, 1:], tokens[:, :1]], axis=1)
        return super()._logits(late, y)


class ForgetsTheOrder(ImageGPT):
    """Pixels are read row by row, whatever the order."""

    def _tokens(self, x):
        return super()._tokens(x)[:, np.argsort(self.order)]


class DrawsInTheRaster(ImageGPT):
    """The t-th pixel drawn is put at t."""

    def sample(self, n, *, seed=0, **how):
        x = super().sample(n, seed=seed, **how).reshape(n, -1)
        return x[:, self.order].reshape(n, *self.shape)


class StandsStill(ImageGPT):
    """With a cache every pixel has the position of the first."""

    def sample(self, n, *, seed=0, **how):
        right = self.positions.W
        self.positions.W = Tensor(np.tile(value(right)[:1], (len(value(right)), 1)))
        try:
            return super().sample(n, seed=seed, **how)
        finally:
            self.positions.W = right


@settings(max_examples=10)
@given(laws.orders(4), st.sampled_from([GREYS, [[0], [1]]]), st.integers(1, 2))
def test_in_any_order_it_is_a_distribution_that_sees_exactly_the_past(order, palette, layers):
    model = make(palette=palette, order=order, layers=layers)
    explicit.sums_to_one(model, len(palette))
    laws.sees_exactly_the_past(model)
    laws.scores_what_it_sampled(model)  # whose conditionals are computed anew for every pixel
    laws.teacher_forcing_is_likelihood(model, subject.points(model, 6))


@pytest.mark.parametrize(
    ("law", "wrong"),
    [
        (laws.sees_exactly_the_past, SeesTheNext),
        (laws.sees_exactly_the_past, ForgetsTheOrder),
        (laws.scores_what_it_sampled, SeesTheNext),
        (laws.scores_what_it_sampled, DrawsInTheRaster),
        (laws.scores_what_it_sampled, StandsStill),
        (lambda m: explicit.sums_to_one(m, 3), SeesTheNext),
    ],
)
def test_the_law_rejects(law, wrong):
    with pytest.raises(AssertionError):
        law(make(order=ORDER, cls=wrong))


def test_colours_are_one_token_a_pixel():
    """An image of three colours has as many tokens as one of greys."""
    palette = np.array([[0, 0, 0], [9, 0, 0], [0, 9, 3], [9, 9, 9]])
    model = make((3, 1, 3), palette.tolist())
    tokens = subject.all_states(3, 4).astype(int).reshape(-1, 1, 3)
    x = painted(tokens, palette)
    np.testing.assert_allclose(np.exp(subject.log_prob(model, x)).sum(), 1, rtol=1e-10)
    drawn = model.sample(30, seed=2)
    np.testing.assert_array_equal(painted(nearest(drawn, palette), palette), drawn)
    near = np.clip(x + np.random.default_rng(0).integers(-1, 2, x.shape), 0, 9)
    np.testing.assert_allclose(subject.log_prob(model, near), subject.log_prob(model, x))


def test_a_class_moves_the_conditionals_and_p_of_x_is_the_mean():
    model = make(classes=3)
    x = subject.in_shape(model, subject.all_states(4, 3))
    given = [np.exp(value(model.log_prob(x, np.full(81, k)))) for k in range(3)]
    np.testing.assert_allclose([p.sum() for p in given], 1, rtol=1e-10)
    assert np.abs(given[0] - given[1]).max() > 1e-3
    np.testing.assert_allclose(np.exp(value(model.log_prob(x))), np.mean(given, axis=0))
    codes = subject.flat(model.sample(4000, seed=2, y=1)) @ [27, 9, 3, 1]
    found = np.bincount(codes.astype(int), minlength=81)
    assert explicit.chi_square(found, 4000 * given[1]) > 1e-4
    mixed = model.sample(4, seed=1, y=np.array([0, 1, 2, 1]))
    np.testing.assert_array_equal(mixed[2], model.sample(4, seed=1, y=2)[2])


def test_the_most_probable_pixel_each_time():
    model = make(order=ORDER)
    x = model.sample(3, seed=1, temperature=0)
    best = subject.evaluate(model.conditionals, x).argmax(-1)
    np.testing.assert_array_equal(best[:, None], x)
    np.testing.assert_array_equal(model.sample(3, seed=7, top_k=1), x)


def test_the_palette_is_kept_in_the_file(tmp_path):
    model, other = make(), make(palette=[[0], [2], [1]], seed=5)
    save_arrays(tmp_path / "m.safetensors", state(model))
    load_state(other, load_arrays(tmp_path / "m.safetensors")[0])
    np.testing.assert_array_equal(other.palette, GREYS)
    np.testing.assert_array_equal(other.sample(4, seed=1), model.sample(4, seed=1))


def test_gradient_by_differences():
    model = make((1, 1, 3), layers=1, width=2, heads=1, classes=2)
    x, y = subject.in_shape(model, subject.points(model, 3)), np.array([0, 1, 1])
    laws.gradient_matches_differences(model, lambda: loss_of(model)(x, y))


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: make(order=[0, 1, 1, 2]), "order must hold each of 0, …, 3 once"),
        (lambda: make(order=[0, 1]), "order must hold each of 0, …, 3 once"),
        (lambda: make(palette=[[1], [1]]), "palette must be at least 2 different colours"),
        (lambda: ImageGPT([1, 2, 2], 3, [[0], [3]]), "palette must .* in 0 … 2"),
        (lambda: ImageGPT([3, 2, 2], 3, GREYS), "palette must .* colours of 3 numbers"),
        (lambda: make(classes=3).sample(2, y=3), "y must lie in 0 … 2, got 3"),
        (lambda: make().sample(2, y=0), "y must be left out"),
        (lambda: make().sample(2, temperature=-1.0), "temperature must"),
        (lambda: make().sample(2, top_p=0.0), "top_p must"),
        (lambda: make().log_prob(np.full((1, 1, 2, 2), 3)), "x must hold whole numbers in 0 … 2"),
    ],
)
def test_what_is_wrong_is_named(call, told):
    with pytest.raises(InputError, match=told):
        call()
