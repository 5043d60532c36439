"""StyleGAN: styles by layer, noise by layer, truncation, mixing, both ways to set a style (G4)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import no_grad, value
from core.errors import InputError
from core.functional import conv2d
from core.random import Generator
from core.state import parameters
from reference.adversarial.stylegan import StyleGAN
from reference.adversarial.stylegan2 import StyleGAN2

SHAPE = (1, 8, 8)
BOTH = pytest.mark.parametrize("cls", [StyleGAN, StyleGAN2])


def draw(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def random(cls, seed=0, **arguments):
    """A small one away from its first parameters, so that noise has a say."""
    model = cls(SHAPE, latent=4, width=2, dtype=np.float64, **arguments)
    for i, p in enumerate(parameters(model).values()):
        p[...] = p.data + 0.4 * draw(seed + i, *p.shape)
    return model


def activations(model, w, seed):
    """What every layer gives, (B, channels, h, w) each, with the noise of `sample`."""
    found = []
    inner = model.g.activations
    model.g.activations = lambda *args: found.append(inner(*args)) or found[0]
    with no_grad():
        model.images_of(w, seed)
    del model.g.activations
    return [value(h) for h in found[0]]


def styles(model, n, seed):
    with no_grad():
        return np.array(value(model.styles(model._latents(n, seed))))


# Mixing


def mixing_swaps_exactly(model, layers):
    """The styles of the chosen layers are the other's, those of the rest its own, bit by bit; and
    what comes before the first of them is its own too."""
    own, other = styles(model, 3, 5), styles(model, 3, 6)
    seen = {}
    draw_of = model.images_of
    model.images_of = lambda w, seed: (seen.update(w=np.array(w)), draw_of(w, seed))[1]
    mixed = model.mix(3, seed=5, other=6, layers=layers)
    del model.images_of
    for i in range(model.layers):
        np.testing.assert_array_equal(seen["w"][i], (other if i in layers else own)[i])
    before = activations(model, own, 5)
    after = activations(model, seen["w"], 5)
    first = min(layers, default=model.layers)
    for i in range(model.layers):
        same = np.array_equal(before[i], after[i])
        assert same == (i < first), f"layer {i}"
    if not layers:
        np.testing.assert_array_equal(mixed, model.sample(3, seed=5))


@BOTH
@given(layers=st.sets(st.integers(0, 4)))
@settings(max_examples=12)
def test_mixing_swaps_exactly_the_chosen_layers(cls, layers):
    mixing_swaps_exactly(random(cls), sorted(layers))


@BOTH
def test_one_layer_too_many_or_a_style_for_all_is_rejected(cls):
    class OneTooMany(cls):
        def mix(self, n, *, seed, other, layers):
            return super().mix(n, seed=seed, other=other, layers=[*layers, max(layers) + 1])

    class AllLayers(cls):
        def mix(self, n, *, seed, other, layers):
            return super().mix(n, seed=seed, other=other, layers=range(self.layers))

    for wrong in (OneTooMany, AllLayers):
        with pytest.raises(AssertionError):
            mixing_swaps_exactly(random(wrong), [1, 2])


@BOTH
def test_all_layers_swapped_are_the_others_styles_under_own_noise(cls):
    model = random(cls)
    mixed = model.mix(3, seed=5, other=6, layers=range(5))
    with no_grad():
        wanted = value(model.images_of(styles(model, 3, 6), 5))
    np.testing.assert_array_equal(mixed, wanted)
    with pytest.raises(InputError, match=r"^layers must be an int in \[0, 5\)"):
        model.mix(3, layers=[5])


def test_training_mixes_from_the_second_layer_on():
    """The first layer's style is of one latent; from some layer on, of two in some samples."""
    model, seen = random(StyleGAN), []
    inner = model.g.__class__.__call__
    one = {}

    class Spy(model.g.__class__):
        def __call__(self, w, noise):
            seen.append(np.array(value(w)))
            return inner(self, w, noise)

    model.g.__class__ = Spy
    with no_grad():
        model._fakes(200, Generator(3))
        rng = Generator(3)
        one = value(model.styles(rng.normal((200, 4), dtype=np.float64)))
        two = value(model.styles(rng.normal((200, 4), dtype=np.float64)))
    (w,) = seen
    from_one, from_two = ((w == z).all(axis=2) for z in (one, two))  # (layers, samples)
    assert (from_one ^ from_two).all()
    assert from_one[0].all()
    assert (np.diff(from_two.astype(int), axis=0) >= 0).all()  # one cut, and the rest is of `two`
    assert 0.3 < from_two[-1].mean() < 0.7


# Truncation


@BOTH
def test_truncation_draws_styles_to_the_mean(cls):
    model = random(cls)
    w, seen = styles(model, 3, 5), {}
    model.images_of = lambda w, seed: (seen.update(w=np.array(w)), np.zeros((3, *SHAPE)))[1]
    half = {}
    for psi in (0.0, 0.5, 1.0):
        model.sample(3, seed=5, psi=psi)
        half[psi] = seen["w"]
    np.testing.assert_allclose(half[1.0], w, atol=1e-12)
    np.testing.assert_allclose(half[0.5], (half[0.0] + w) / 2, atol=1e-12)
    assert np.ptp(half[0.0], axis=(0, 1)).max() < 1e-12  # one style for all
    z = model._latents(1000, 0)
    with no_grad():
        np.testing.assert_allclose(half[0.0][0, 0], np.mean(value(model.mapping(z)), axis=0))
    for bad in (-0.1, np.nan, "a"):
        with pytest.raises(InputError, match=r"^psi must be"):
            model.sample(2, psi=bad)


@BOTH
def test_the_mapping_sees_directions_only(cls):
    model, z = random(cls), draw(0, 4, 4)
    with no_grad():
        np.testing.assert_allclose(model.mapping(3 * z), model.mapping(z), rtol=1e-6)
    with pytest.raises(InputError, match=r"^z must have shape"):
        model.styles(draw(0, 4, 3))


# Noise


@BOTH
@pytest.mark.parametrize("layer", range(5))
def test_noise_of_a_layer_is_felt_from_there_on(cls, layer):
    model, w = random(cls), styles(random(cls), 2, 5)
    noise = [draw(i, 2, 1, *size) for i, size in enumerate(model.g.sizes)]
    other = [n + 1.0 * draw(9, *n.shape) if i == layer else n for i, n in enumerate(noise)]
    with no_grad():
        a, b = ([value(h) for h in model.g.activations(w, n)] for n in (noise, other))
    assert [np.array_equal(x, y) for x, y in zip(a, b, strict=True)] == [
        i < layer for i in range(5)
    ]


@BOTH
def test_without_strength_noise_does_nothing(cls):
    """As training begins."""
    model = cls(SHAPE, latent=4, width=2)
    w = np.zeros((5, 2, 4), np.float32)
    np.testing.assert_array_equal(value(model.images_of(w, 1)), value(model.images_of(w, 2)))


# How a style is set


def kernels_are_the_papers(model):
    """StyleGAN2's layer: a convolution with W″ of its own for each sample, written out."""
    g, w = model.g, styles(model, 3, 5)
    noise = [np.zeros((3, 1, *size)) for size in g.sizes]
    with no_grad():
        h = value(g.activations(w, noise)[1])  # the input of the third layer
        wanted, found = [], value(g.activations(w, noise)[2])
        s = 1 + value(g.styles[2](w[2]))
        for b in range(3):
            W1 = g.W[2].data * s[b][:, None, None]  # modulation
            W2 = W1 / np.sqrt(np.sum(W1**2, axis=(1, 2, 3), keepdims=True) + 1e-8)
            y = conv2d(h[b : b + 1], W2, padding=1) + g.b[2].data
            wanted.append(np.sqrt(2) * np.maximum(y, 0.2 * y))
    np.testing.assert_allclose(found, np.concatenate(wanted), atol=1e-10)


def test_weights_are_modulated_and_demodulated():
    kernels_are_the_papers(random(StyleGAN2))
    wrong = random(StyleGAN2)
    wrong.g.styles[2].b[...] = np.nan_to_num(wrong.g.styles[2].b.data) + 1

    class Unmodulated(type(wrong.g)):
        def activations(self, w, noise):
            return super().activations(0 * w, noise)

    wrong.g.__class__ = Unmodulated
    with pytest.raises(AssertionError):
        kernels_are_the_papers(wrong)


def test_demodulation_takes_the_styles_size_away_and_adain_the_contents():
    """Styles k times as large change nothing in a demodulated layer; AdaIN leaves each channel
    with the mean and size that the style says, whatever came in."""
    two = random(StyleGAN2)
    for layer in two.g.styles:
        layer.W[...] = 0 * layer.W.data
    w = styles(two, 2, 5)
    noise = [np.zeros((2, 1, *size)) for size in two.g.sizes]
    with no_grad():
        a = value(two.g.activations(w, noise)[4])
        for layer in two.g.styles:
            layer.b[...] = 3 * (1 + layer.b.data) - 1
        np.testing.assert_allclose(value(two.g.activations(w, noise)[4]), a, atol=1e-6)
    one, w = random(StyleGAN), styles(random(StyleGAN), 2, 5)
    with no_grad():
        h = value(one.g.activations(w, [draw(i, 2, 1, *s) for i, s in enumerate(one.g.sizes)])[4])
        st_ = value(one.g.styles[4].affine(w[4])).reshape(2, 2, -1)
    np.testing.assert_allclose(h.mean(axis=(2, 3)), st_[:, 1], atol=1e-3)
    np.testing.assert_allclose(h.std(axis=(2, 3)), np.abs(1 + st_[:, 0]), rtol=1e-2, atol=1e-2)


@BOTH
def test_sides_are_multiples_of_four(cls):
    assert cls((3, 8, 12), latent=2, width=1).sample(2).shape == (2, 3, 8, 12)
    with pytest.raises(InputError, match=r"^shape must have H and W that are multiples of 4"):
        cls((1, 10, 8))
