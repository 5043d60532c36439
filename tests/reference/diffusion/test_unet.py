"""Laws of the U-Net (D4): sizes of any parity, every skip, the time and the label count."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import no_grad
from core.errors import InputError
from core.random import Generator
from core.state import parameters
from reference.diffusion.unet import DDPMUNet, UNet
from reference.layers import GroupNorm


def network(colours=1, size=2, channels=(4, 8), blocks=1, heads=2, classes=3):
    how = {"blocks": blocks, "heads": heads, "classes": classes, "dtype": np.float64}
    net = UNet(colours, size, channels, rng=Generator(0, stream="init"), **how)
    for i, p in enumerate(parameters(net).values()):
        p[...] = p.data + 0.3 * np.random.default_rng(i).normal(size=p.shape)
    return net


def called(net, x, tau=500.0, y=0):
    with no_grad():
        return net(x, np.array([tau]), None if net.condition.labels is None else np.full(len(x), y))


def image(*shape):
    return np.random.default_rng(9).normal(size=shape)


@given(H=st.integers(1, 9), W=st.integers(1, 9), levels=st.integers(1, 3), C=st.integers(1, 2))
def test_images_of_any_size_come_back_as_large(H, W, levels, C):
    net = network(C, 3, (4,) * levels, classes=None)
    assert called(net, image(2, C, H, W)).shape == (2, C, H, W, 3)


def every_skip_matters(net, x):
    """With any one of the skips replaced by zeros the output is another."""
    whole, descend = called(net, x), net._descend
    count = len(descend(net.first(x), np.zeros((1, 16)))[1])
    assert count == 2 * len(net.down)
    for k in range(count):

        def without(h, c, k=k):
            h, skips = descend(h, c)
            skips[k] = 0 * skips[k]
            return h, skips

        net._descend = without
        changed = np.abs(called(net, x) - whole).max()
        net._descend = descend
        assert changed > 1e-3, f"skip {k} does not matter"


def test_every_skip_matters():
    every_skip_matters(network(channels=(4, 4, 8)), image(2, 1, 5, 6))


def test_a_network_that_leaves_out_a_skip_is_rejected():
    net = network(channels=(4, 4, 8))
    ascend = net._ascend
    net._ascend = lambda h, c, skips: ascend(h, c, [0 * skips[0], *skips[1:]])
    with pytest.raises(AssertionError, match="skip 0"):
        every_skip_matters(net, image(2, 1, 5, 6))


def what_is_told_counts(net, x):
    """Two times and four labels, no label among them, are eight answers."""
    told = [called(net, x, tau, y) for tau in (500.0, 501.0) for y in range(4)]
    for i, a in enumerate(told):
        for b in told[:i]:
            assert np.abs(a - b).max() > 1e-6
    return told


def test_the_time_and_the_label_count_and_none_is_a_label_of_its_own():
    net, x = network(), image(3, 1, 5, 6)
    told = what_is_told_counts(net, x)
    with no_grad():
        each = net(x, np.array([500.0, 501.0, 500.0]), np.array([0, 1, 3]))
    np.testing.assert_allclose(each[0], told[0][0], atol=1e-12)
    np.testing.assert_allclose(each[1], told[5][1], atol=1e-12)
    np.testing.assert_allclose(each[2], told[3][2], atol=1e-12)


class Shift:
    """Tells a block by a shift of its channels, which the norm behind it has for itself alone."""

    def __init__(self, block):
        self.told, n = block.told, block.conv.n_out
        self.alone, block.norms[1] = GroupNorm(n, n, dtype=np.float64), self.shifted

    def __call__(self, c):
        s, self.t = np.split(self.told(c), 2, axis=1)
        return np.concatenate([0 * s, 0 * s], axis=1)

    def shifted(self, a):
        return self.alone(a + self.t[:, :, None, None])


def test_a_norm_that_takes_out_what_is_told_is_rejected():
    """Before a norm of each channel alone, a shift of the channel is nothing."""
    net = network()
    for block in (*net.middle, *(b for some in (*net.down, *net.up) for b in some)):
        block.told = Shift(block)
    with pytest.raises(AssertionError):
        what_is_told_counts(net, image(3, 1, 5, 6))


def test_the_middle_sees_all_of_the_image():
    """Through attention a pixel moves the corner farthest from it; without, kernels don't reach."""
    reach = []
    for attends in (True, False):
        net, x = network(channels=(4, 4), classes=None), image(1, 1, 40, 40)
        if not attends:
            net.attention = lambda h: h
            for block in (*net.middle, *net.down[0], *net.down[1], *net.up[0], *net.up[1]):
                block.norms = [lambda h: h, lambda h: h]  # group norm sees all as well
            net.norm = lambda h: h
        y = x.copy()
        y[0, 0, 0, 0] += 1
        reach.append(np.abs(called(net, y) - called(net, x))[0, 0, -1, -1].max())
    assert reach[0] > 1e-8
    assert reach[1] == 0


@pytest.mark.parametrize(
    ("bad", "match"),
    [
        ({"channels": []}, "^the number of channels must be an int >= 1"),
        ({"channels": [0]}, "^channels must be an int >= 1"),
        ({"heads": 3}, "^heads must divide n_out = 4"),
        ({"shape": [3, 2]}, r"^shape must be \(C, H, W\)"),
        ({"blocks": 0}, "^blocks must be an int >= 1"),
        ({"classes": 0}, "^classes must be an int >= 1"),
        ({"drop": 1.5}, "^drop must be a finite number >= 0 and <= 1"),
    ],
)
def test_bad_sizes_are_refused(bad, match):
    with pytest.raises(InputError, match=match):
        DDPMUNet(**{"shape": [1, 3, 3], "channels": [4], "steps": 4, **bad})
