"""N1 of images: every bijection is undone and knows its determinant, alone and in a whole flow."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtri

from core import jacobian, no_grad, value
from core.data import load
from core.errors import InputError
from core.random import Generator
from core.state import parameters
from core.train import TrainSettings, fit
from reference.flows.actnorm import ActNorm
from reference.flows.conv_net import ConvNet
from reference.flows.gaussianise import Gaussianise
from reference.flows.glow import ChannelCoupling, Glow
from reference.flows.image_flow import ImageFlow
from reference.flows.invertible_1x1 import Invertible1x1, rotation
from reference.flows.logit import Logit
from reference.flows.multi_scale import MultiScale, pieces
from reference.flows.multi_scale_real_nvp import MultiScaleRealNVP, checkerboard, first_half
from reference.flows.nice import NICE, AdditiveCoupling, Scale
from reference.flows.real_nvp import Coupling
from reference.flows.squeeze import Squeeze

seeds = st.integers(0, 10_000)


def net(n_in: int, n_out: int, seed: int, dtype: Any) -> Any:
    return ConvNet(n_in, n_out, 3, Generator(seed), dtype=dtype)


def masked(mask: Callable[..., Any]) -> Callable[..., Any]:
    def make(shape, seed, dtype):
        b = mask(shape).astype(dtype)
        return Coupling(b, net(len(b), 2 * len(b), seed, dtype))

    return make


def multi_scale(shape, seed, dtype):
    scales = [[ActNorm(4 * shape[0] * 2**i, dtype), Squeeze()] for i in range(2)]
    scales[0].insert(0, ChannelCoupling(4 * shape[0], 3, Generator(seed), dtype))
    return MultiScale(shape, scales)


def counted(shape, seed, dtype):
    layer = Gaussianise(7, dtype)
    layer.start(7 * np.random.default_rng(seed).beta(0.3, 0.6, size=(5, *shape)))
    return layer


Make = Callable[[tuple[int, int, int], int, Any], Any]
LAYERS: dict[str, Make] = {
    "squeeze": lambda shape, seed, dtype: Squeeze(),
    "actnorm": lambda shape, seed, dtype: ActNorm(shape[0], dtype),
    "1x1": lambda shape, seed, dtype: Invertible1x1(rotation(shape[0], Generator(seed), dtype)),
    "channel coupling": lambda shape, seed, dtype: ChannelCoupling(
        shape[0], 3, Generator(seed), dtype
    ),
    "checkerboard": masked(checkerboard),
    "channel mask": masked(first_half),
    "gaussianise": counted,
    "logit": lambda shape, seed, dtype: Logit(7),
    "additive": lambda shape, seed, dtype: AdditiveCoupling(
        checkerboard(shape).astype(dtype), net(shape[0], shape[0], seed, dtype)
    ),
    "multi-scale": multi_scale,
}
PIXELS = ("logit", "gaussianise")
names = st.sampled_from(sorted(LAYERS))
shapes = st.tuples(st.sampled_from([4, 8]), st.sampled_from([4, 8]), st.just(4))


def shaken(name, shape, seed, dtype=np.float64, size=0.3):
    layer, rng = LAYERS[name](shape, seed, dtype), np.random.default_rng(seed)
    for p in parameters(layer).values():
        p[...] = p.data + (size * rng.normal(size=p.shape)).astype(dtype)
    return layer


def images(name, shape, n, seed, dtype=np.float64):
    """What `inverse` takes: of the logit pixels, else any numbers."""
    rng = np.random.default_rng(seed)
    x = 7 * rng.random((n, *shape)) if name in PIXELS else rng.normal(size=(n, *shape))
    return x.astype(dtype)


# The laws, of a layer and of what its inverse takes


def is_undone(layer, x, tolerance=1e-10):
    with no_grad():
        z, log_det = layer.inverse(x)
        again, back = layer.forward(z)
    assert log_det.shape == back.shape == (len(x),)
    assert log_det.dtype == z.dtype == again.dtype == x.dtype
    np.testing.assert_allclose(again, x, atol=tolerance, rtol=tolerance)
    np.testing.assert_allclose(back, -log_det, atol=100 * tolerance, rtol=tolerance)


def knows_its_determinant(layer, x):
    with no_grad():
        z = value(layer.inverse(x)[0])
    for way, a in (("inverse", x[0]), ("forward", z[0])):
        f = getattr(layer, way)
        J = jacobian(lambda t, f=f: np.reshape(f(t[None])[0], (-1,)), a)
        with no_grad():
            log_det = value(f(a[None])[1])[0]
        J = np.reshape(J, (a.size, a.size))
        np.testing.assert_allclose(log_det, np.linalg.slogdet(J)[1], atol=1e-9, rtol=1e-9)


def is_right(layer, x):
    is_undone(layer, x)
    knows_its_determinant(layer, x)


@given(names, shapes, seeds, st.booleans())
def test_a_layer_is_undone(name, shape, seed, double):
    dtype = np.float64 if double else np.float32
    layer, x = shaken(name, shape, seed, dtype), images(name, shape, 3, seed, dtype)
    is_undone(layer, x, 1e-10 if double else 1e-4)


@settings(max_examples=20)
@given(names, seeds)
def test_a_layers_determinant_is_that_of_autograds_jacobian(name, seed):
    shape = (4, 4, 4) if name == "multi-scale" else (4, 2, 2)
    knows_its_determinant(shaken(name, shape, seed), images(name, shape, 1, seed))


@pytest.mark.parametrize("make", [Glow, MultiScaleRealNVP])
@pytest.mark.parametrize("seed", range(3))
def test_a_whole_model_is_undone_and_knows_its_determinant(make, seed):
    model = whole(make, seed)
    x = 5 * np.random.default_rng(seed).random((4, 1, 4, 4))
    is_undone(model.flow, x, 1e-9)
    knows_its_determinant(model.flow, x)
    single = whole(make, seed, np.float32)
    is_undone(single.flow, x.astype(np.float32), 1e-4)


def whole(make, seed, dtype=np.float64):
    sizes = {"steps": 2} if make is Glow else {}
    model = make([1, 4, 4], 5, scales=2, width=3, seed=seed, dtype=dtype, **sizes)
    rng = np.random.default_rng(seed)
    for p in parameters(model).values():
        p[...] = p.data + (0.1 * rng.normal(size=p.shape)).astype(dtype)
    return model


# Layers with one fault


def _negated(right):
    return lambda a: (right(a)[0], -right(a)[1])


def _both(layer, wrap):
    layer.forward, layer.inverse = wrap(layer.forward), wrap(layer.inverse)


def _one_pixel_only(layer):
    """Σ log s without H · W."""
    _both(layer, lambda right: lambda a: (right(a)[0], right(a)[1] / 4))


def _the_wrong_sign(layer):
    _both(layer, _negated)


def _transposed(layer):
    """Wᵀ undoes a rotation, and nothing else."""
    right = layer.forward
    layer.forward = lambda z: (
        np.reshape(layer.W.T @ np.reshape(z, (*z.shape[:2], -1)), z.shape),
        right(z)[1],
    )


def _the_mask_swapped_on_the_way_back(layer):
    right = layer.inverse

    def inverse(y):
        layer.b = 1 - layer.b
        try:
            return right(y)
        finally:
            layer.b = 1 - layer.b

    layer.inverse = inverse


def _counts_what_passes(layer):
    """Σ s over all pixels, those that are left alone too."""

    def wrap(right, sign):
        def way(a):
            s = layer.scale * np.tanh(np.split(layer.network(layer.b * a), 2, axis=1)[0])
            return right(a)[0], sign * np.sum(s, axis=(1, 2, 3))

        return way

    layer.forward, layer.inverse = wrap(layer.forward, 1), wrap(layer.inverse, -1)


def _halves_exchanged(layer):
    right = layer.forward
    layer.forward = lambda z: right(np.roll(z, 1, axis=1))


def _blocks_in_another_order(layer):
    right = layer.forward
    layer.forward = lambda x: right(np.reshape(x, (len(x), 4, -1, *x.shape[2:])).swapaxes(1, 2)
                                    .reshape(x.shape))  # fmt: skip


def _without_the_levels(layer):
    extra = np.log(7)
    _both(layer, lambda right: lambda a: (right(a)[0], right(a)[1] + extra))


FAULTS = [
    ("actnorm", _one_pixel_only),
    ("actnorm", _the_wrong_sign),
    ("1x1", _one_pixel_only),
    ("1x1", _transposed),
    ("1x1", _the_wrong_sign),
    ("checkerboard", _the_mask_swapped_on_the_way_back),
    ("checkerboard", _counts_what_passes),
    ("channel mask", _the_mask_swapped_on_the_way_back),
    ("channel coupling", _the_wrong_sign),
    ("additive", _the_mask_swapped_on_the_way_back),
    ("logit", _without_the_levels),
    ("logit", _the_wrong_sign),
    ("gaussianise", _without_the_levels),
    ("gaussianise", _the_wrong_sign),
    ("squeeze", _blocks_in_another_order),
    ("multi-scale", _halves_exchanged),
]


@pytest.mark.parametrize(("name", "fault"), FAULTS, ids=lambda a: getattr(a, "__name__", a))
def test_a_planted_fault_is_rejected(name, fault):
    shape = (8, 4, 4) if name == "squeeze" else (4, 4, 4) if name == "multi-scale" else (4, 2, 2)
    layer, x = shaken(name, shape, 1), images(name, shape, 2, 1)
    fault(layer)
    with pytest.raises(AssertionError):
        is_right(layer, x)


# Each layer's own


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3))
def test_squeezing_puts_each_block_into_the_channels(C, h, w):
    x = np.random.default_rng(0).normal(size=(2, C, 2 * h, 2 * w))
    z, log_det = Squeeze().inverse(x)
    assert (log_det == 0).all()
    for c, i, j in itertools.product(range(C), range(2), range(2)):
        np.testing.assert_array_equal(z[:, 4 * c + 2 * i + j], x[:, c, i::2, j::2])


@given(seeds, st.floats(0.1, 10), st.floats(-10, 10))
def test_activation_normalisation_starts_with_the_moments_of_a_batch(seed, scale, shift):
    layer, x = ActNorm(3, np.float64), scale * images("", (3, 4, 4), 9, seed) + shift
    layer.start(x)
    with no_grad():
        z = value(layer.inverse(x)[0])
    np.testing.assert_allclose(z.mean(axis=(0, 2, 3)), 0, atol=1e-9)
    np.testing.assert_allclose(z.std(axis=(0, 2, 3)), 1, atol=1e-9)


def test_a_channel_that_never_changes_stays_finite():
    layer = ActNorm(1)
    layer.start(np.ones((4, 1, 2, 2), np.float32))
    z, log_det = layer.inverse(np.ones((4, 1, 2, 2), np.float32))
    assert np.isfinite(value(z)).all()
    assert np.isfinite(value(log_det)).all()


def test_every_layer_of_a_model_starts_with_what_the_ones_before_leave():
    data = load("digits", domain="integer", shape="image")
    model = Glow([1, 8, 8], 17, steps=3, width=8)
    x = data.train.x[:200]
    model.begin(x, Generator(0))
    seen = []
    with no_grad():
        h = model.flow.chain[1].inverse(x.astype(np.float32) + Generator(0).uniform(x.shape))[0]
        for i, scale in enumerate(model.flow.chain[0].scales):
            h = np.split(h, 2, axis=1)[0] if i else h
            for g in reversed(scale):
                h = value(g.inverse(h)[0])
                if isinstance(g, ActNorm):
                    seen.append((h.mean(axis=(0, 2, 3)), h.std(axis=(0, 2, 3))))
    assert len(seen) == 6
    for mean, std in seen:
        np.testing.assert_allclose(mean, 0, atol=1e-4)
        np.testing.assert_allclose(std, 1, atol=1e-3)


def test_training_starts_with_the_first_batch():
    data = load("digits", domain="integer", shape="image", n=200)
    losses = {}
    for name in ("started", "not started"):
        model = Glow([1, 8, 8], 17, steps=2, width=8)
        if name == "not started":
            model.begin = lambda x, rng: None
        how = TrainSettings(epochs=1, batch_size=200, lr=1e-6)
        losses[name] = fit(model, data, settings=how).train[0]
    assert losses["started"] < losses["not started"] - 5


@given(seeds, st.integers(1, 6))
def test_w_is_p_l_u_and_what_it_was_made_of(seed, n):
    W = np.random.default_rng(seed).normal(size=(n, n))
    layer = Invertible1x1(W)
    np.testing.assert_allclose(value(layer.W), W, atol=1e-12)
    for p in parameters(layer).values():
        p[...] = np.random.default_rng(seed + 1).normal(size=p.shape)
    log_det = value(layer.inverse(np.ones((1, n, 1, 1)))[1])
    np.testing.assert_allclose(log_det[0], np.linalg.slogdet(value(layer.W))[1], atol=1e-9)


@pytest.mark.parametrize(
    ("W", "told"),
    [
        (np.zeros((3, 3)), "invertible, got a matrix of condition number"),
        (np.ones((2, 2)), "invertible"),
        (np.diag([1.0, 1e-9]).astype(np.float32), "invertible"),
        (np.diag([1.0, np.nan]), "finite"),
        (np.ones((2, 3)), r"matrix \(C, C\), got shape \(2, 3\)"),
        (np.eye(2, dtype=int), "float32 or float64"),
    ],
)
def test_what_can_not_be_undone_is_told(W, told):
    with pytest.raises(InputError, match=told):
        Invertible1x1(W)


def test_rotations_are_rotations_of_every_angle():
    first = np.stack([rotation(2, Generator(seed), np.float64)[0] for seed in range(400)])
    np.testing.assert_allclose((first**2).sum(1), 1, atol=1e-12)
    angles = np.sort(np.arctan2(first[:, 1], first[:, 0]))
    assert np.abs(angles / (2 * np.pi) + 0.5 - np.arange(400) / 400).max() < 0.1


def test_pixels_are_normal_once_they_are_gaussianised():
    x = load("digits", domain="integer", shape="image").train.x
    x = x + np.random.default_rng(0).random(x.shape)
    layer = Gaussianise(17, np.float64)
    layer.start(x)
    z, log_det = layer.inverse(x)
    at = np.linspace(0.05, 0.95, 19)
    np.testing.assert_allclose(np.quantile(z, at), ndtri(0.01 + 0.98 * at), atol=0.02)
    p = (1 + np.bincount(np.floor(x).astype(int).ravel())) / (x.size + 17)
    independent = np.log(p)[np.floor(x).astype(int)].sum(axis=(1, 2, 3))
    log_p = (-0.5 * z**2 - 0.5 * np.log(2 * np.pi)).sum(axis=(1, 2, 3)) + log_det
    np.testing.assert_allclose(log_p, independent, atol=64 * 0.03)


@pytest.mark.parametrize("layer", [Logit(7), Gaussianise(7, np.float64)])
def test_pixels_out_of_range_are_told(layer):
    for far in (7.5, -0.5):
        with pytest.raises(InputError, match=rf"x must lie in \[0, 7\], got {far}"):
            layer.inverse(np.full((1, 1, 1, 1), far))


@pytest.mark.parametrize(("shape", "scales"), [((1, 6, 6), 2), ((1, 7, 8), 1), ((1, 4, 4), 3)])
def test_an_image_that_can_not_be_halved_is_told(shape, scales):
    for make in (Glow, MultiScaleRealNVP):
        with pytest.raises(InputError, match=rf"^scales must halve .* got {scales}"):
            make(shape, 4, scales=scales, width=2)


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3))
def test_pieces_are_all_of_the_image(C, scales, h, w):
    shape = (C, h * 2**scales, w * 2**scales)
    found = pieces(shape, scales)
    assert sum(np.prod(piece) for piece in found) == np.prod(shape)
    assert len(found) == scales


# Densities


def of_two_pixels(seed: int, *last: Any) -> ImageFlow:
    """A flow of images of two channels and one pixel, whose density can be integrated."""
    rng, dtype = Generator(seed), np.float64
    steps: list[Any] = []
    for _ in range(3):
        coupling = ChannelCoupling(2, 4, rng, dtype)
        steps += [coupling, Invertible1x1(rotation(2, rng, dtype)), ActNorm(2, dtype)]
    flow = ImageFlow([2, 1, 1], [Rows(), *steps, *last], dtype)
    noise = np.random.default_rng(seed)
    for p in parameters(flow).values():
        p[...] = p.data + 0.15 * noise.normal(size=p.shape)
    steps[-1].log_s[...] = (
        steps[-1].log_s.data - 0.7
    )  # narrower than a normal: else Gaussianise has poles at its ends
    return flow


class Rows:
    """Rows (B, 2) as images (B, 2, 1, 1)."""

    def forward(self, z):
        return np.reshape(z, (len(z), 2, 1, 1)), np.zeros(len(z))

    def inverse(self, x):
        return np.reshape(x, (len(x), 2)), np.zeros(len(x))


def integral(flow: ImageFlow, low: float, high: float, n: int = 400) -> float:
    """∫ p over the square, by the midpoint rule."""
    step = (high - low) / n
    side = low + step * (np.arange(n) + 0.5)
    x = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2, 1, 1)
    with no_grad():
        return float(np.exp(value(flow.log_prob(x))).sum()) * step**2


def integrates_to_one(seed: int) -> None:
    assert integral(of_two_pixels(seed), -12, 12) == pytest.approx(1, abs=1e-3)
    for last, share in ((Logit(4), 0.05), (Gaussianise(4, np.float64), 0.01)):
        beyond = 4 * share / (1 - 2 * share) - 1e-9  # where the sigmoid ends, or Φ
        found = integral(of_two_pixels(seed, last), -beyond, 4 + beyond)
        assert found == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_a_density_of_two_pixels_integrates_to_one(seed):
    integrates_to_one(seed)


@pytest.mark.parametrize("part", [ActNorm, Invertible1x1, Logit, Gaussianise])
def test_a_density_without_part_of_its_jacobian_does_not(part, monkeypatch):
    right = part.inverse
    monkeypatch.setattr(part, "inverse", lambda self, x: (right(self, x)[0], np.zeros(len(x))))
    with pytest.raises(AssertionError):
        integrates_to_one(0)


# NICE


@given(seeds, st.integers(2, 5))
def test_nice_moves_no_volume_but_by_its_scale(seed, dim):
    model = NICE(dim, layers=3, hidden=(4,), dtype=np.float64)
    rng = np.random.default_rng(seed)
    for p in parameters(model).values():
        p[...] = rng.normal(size=p.shape)
    x = rng.normal(size=(5, dim))
    with no_grad():
        _, log_det = model.inverse(x)
    np.testing.assert_allclose(log_det, -model.scale.s.data.sum(), atol=1e-12)
    knows_its_determinant(model, x)
    is_undone(Scale(dim, np.float64), x)


# As a model of pixels


def test_a_model_of_pixels_learns_digits():
    data = load("digits", domain="integer", shape="image")
    model = Glow([1, 8, 8], 17, steps=2, width=16)
    how = TrainSettings(epochs=2, batch_size=50, lr=5e-3, clip_norm=100.0)
    history = fit(model, data, settings=how)
    assert history.validation[-1] < 64 * np.log(17) - 45  # uniform: 181 nats
    x = model.sample(50, seed=0)
    assert ((x == np.floor(x)) & (x >= 0) & (x <= 16)).all()
    assert abs(x.mean() - data.train.x.mean()) < 1.5


@pytest.mark.parametrize("x", [np.zeros((2, 1, 8, 4)), np.zeros((2, 64)), [[0.0]], None])
def test_images_of_another_shape_are_told(x):
    model = Glow([1, 8, 8], 17, steps=1, width=2)
    with pytest.raises(InputError, match=r"^x must "):
        model.flow.log_prob(x)
