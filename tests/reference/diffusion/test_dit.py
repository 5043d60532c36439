"""Laws of the diffusion transformer (D4): patches, places, and what is told."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import no_grad
from core.errors import InputError
from core.random import Generator
from core.state import parameters
from reference.diffusion.dit import DiT, PatchTransformer, image, patches


def network(shaken=True, patch=2, size=2, layers=2, classes=3, colours=1):
    how = {"patch": patch, "width": 8, "layers": layers, "heads": 2, "classes": classes}
    rng = Generator(0, stream="init")
    net = PatchTransformer(colours, size, rng=rng, dtype=np.float64, **how)
    for i, p in enumerate(parameters(net).values() if shaken else ()):
        p[...] = p.data + 0.3 * np.random.default_rng(i).normal(size=p.shape)
    return net


def called(net, x, tau=500.0, y=0):
    with no_grad():
        return net(x, np.array([tau]), np.full(len(x), y))


def draw(*shape):
    return np.random.default_rng(9).normal(size=shape)


def patches_come_back(cut, H, W, C, p):
    x = draw(2, C, H, W)
    tokens, grid = cut(x, p)
    assert tokens.shape == (2, grid[0] * grid[1], C * p * p)
    back = image(tokens, grid, p, C, 1)[..., 0]
    np.testing.assert_array_equal(back[:, :, :H, :W], x)
    assert not back[:, :, H:].any()
    assert not back[:, :, :, W:].any()
    first = tokens[:, 0].reshape(2, C, p, p)
    np.testing.assert_array_equal(first[:, :, : min(p, H), : min(p, W)], x[:, :, :p, :p])


@given(H=st.integers(1, 9), W=st.integers(1, 9), C=st.integers(1, 3), p=st.integers(1, 4))
def test_patches_come_back(H, W, C, p):
    patches_come_back(patches, H, W, C, p)


def test_patches_that_are_rows_of_pixels_are_rejected():
    def wrong(x, p):
        tokens, grid = patches(x, p)
        return x.reshape(tokens.shape), grid

    with pytest.raises(AssertionError):
        patches_come_back(wrong, 4, 4, 1, 2)


@given(H=st.integers(1, 7), W=st.integers(1, 7), patch=st.integers(1, 3))
def test_images_of_any_size_come_back_as_large(H, W, patch):
    assert called(network(patch=patch, colours=2), draw(2, 2, H, W)).shape == (2, 2, H, W, 2)


def test_every_block_begins_as_the_identity():
    net, x = network(shaken=False), draw(2, 5, 8)
    with no_grad():
        for block in net.blocks:
            np.testing.assert_array_equal(block(x, draw(1, 1, 8)), x)
    assert not called(net, draw(2, 1, 4, 4)).any()


def what_counts(net, x):
    """Both times, all labels, every block and both its halves move the output."""
    told = [called(net, x, tau, y) for tau in (500.0, 501.0) for y in range(4)]
    for i, a in enumerate(told):
        assert all(np.abs(a - b).max() > 1e-6 for b in told[:i]), "what is told does not matter"
    for block in net.blocks:
        for half in ("attention", "mlp"):
            part = getattr(block, half)
            setattr(block, half, lambda a: 0 * a)
            changed = np.abs(called(net, x) - told[0]).max()
            setattr(block, half, part)
            assert changed > 1e-6, f"{half} does not matter"


def test_what_is_told_and_every_block_count():
    what_counts(network(), draw(2, 1, 4, 6))


def test_a_gate_that_stays_shut_is_rejected():
    net = network()
    tell = net.blocks[1].tell
    net.blocks[1].tell = lambda c: np.concatenate([tell(c)[..., :40], 0 * tell(c)[..., 40:]], -1)
    with pytest.raises(AssertionError, match="mlp does not matter"):
        what_counts(net, draw(2, 1, 4, 6))


def test_places_count_and_nothing_else_tells_patches_apart(monkeypatch):
    """Turned round, patches are another image; without places they would be the same, turned."""
    from reference.diffusion import dit

    net, x = network(patch=1), draw(1, 1, 1, 6)
    turned = called(net, x[..., ::-1])[..., ::-1, :]
    assert np.abs(turned - called(net, x)).max() > 1e-3
    monkeypatch.setattr(dit, "positions", lambda h, w, n: np.zeros((h * w, n)))
    turned = called(net, x[..., ::-1])[..., ::-1, :]
    np.testing.assert_allclose(turned, called(net, x), atol=1e-12)


def test_rows_and_columns_are_told_apart():
    net, x = network(patch=1), draw(1, 1, 5, 5)
    across = np.swapaxes(called(net, np.swapaxes(x, 2, 3)), 2, 3)
    assert np.abs(across - called(net, x)).max() > 1e-3


@pytest.mark.parametrize(
    ("bad", "match"),
    [
        ({"patch": 0}, "^patch must be an int >= 1"),
        ({"width": 6}, "^width must be a multiple of 4"),
        ({"heads": 3}, "^heads must divide n_out = 8"),
        ({"layers": 0}, "^layers must be an int >= 1"),
    ],
)
def test_bad_sizes_are_refused(bad, match):
    with pytest.raises(InputError, match=match):
        DiT(**{"shape": [1, 3, 3], "width": 8, "steps": 4, **bad})
