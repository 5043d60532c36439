"""Images drawn in Numba (MISSION K3): what is kept is what a whole pass would compute.

test_kernels.py puts small calls of every kind, and the wrong twins, through the table's check.
Here: the parameters behind each value, batches and threads, the models, and bad input.
"""

from __future__ import annotations

import numba
import numpy as np
import pytest
from hypothesis import given, settings

from core.errors import InputError
from core.operation import backend
from kernels import OPS, Call
from kernels.sampling.gated_pixelcnn_numba import gated_pixelcnn_sample, gated_pixelcnn_trace
from kernels.sampling.image_rows import (
    gated_pixelcnn_parameters,
    pixelcnn_parameters,
    token_ties,
)
from kernels.sampling.pixelcnn_numba import pixelcnn_sample, pixelcnn_trace
from reference.autoregressive.gated_pixelcnn import GatedPixelCNN
from reference.autoregressive.pixelcnn import PixelCNN
from tests.laws import explicit, subject

TWINS = [
    ("pixelcnn_sample", pixelcnn_trace, pixelcnn_parameters),
    ("gated_pixelcnn_sample", gated_pixelcnn_trace, gated_pixelcnn_parameters),
]
by_name = pytest.mark.parametrize(("name", "trace", "parameters"), TWINS, ids=lambda v: str(v)[:5])


def in_float64(v):
    if isinstance(v, list | tuple):
        return [in_float64(entry) for entry in v]
    return v.astype(np.float64) if isinstance(v, np.ndarray) else v


@by_name
def test_what_is_kept_is_what_a_whole_pass_computes(name, trace, parameters):
    """The twin's parameters are off by no more than twice what a whole pass is, and 8 eps."""

    @settings(max_examples=60)
    @given(OPS[name].calls())
    def holds(call: Call) -> None:
        rest = {k: v for k, v in call.arguments.items() if k != "u"}
        x, theta = trace(**call.arguments)
        np.testing.assert_array_equal(x, OPS[name].load("numba")(**call.arguments))
        if not x.size:
            return
        whole = parameters(x, **rest)
        exact = parameters(in_float64(x), **{k: in_float64(v) for k, v in rest.items()})
        size, eps = max(1, np.abs(exact).max()), np.finfo(call.dtype).eps
        own = np.abs(whole - exact).max()
        assert theta.dtype == call.dtype
        assert np.abs(theta - exact).max() <= 2 * own + 8 * eps * size

    holds()


@by_name
def test_an_image_does_not_see_its_batch_nor_the_threads(name, trace, parameters):
    dims = dict.fromkeys(OPS[name].dims, 2) | {"n": 5, "pixels": 12, "told": 1}
    call = OPS[name].call(3, "float32", **{k: dims[k] for k in OPS[name].dims})
    arguments = call.arguments
    x, theta = trace(**arguments)
    for run in (slice(0, 1), slice(3, 4), slice(1, 5)):
        part = {k: arguments[k][run] for k in OPS[name].entries if k in arguments}
        part_x, part_theta = trace(**arguments | part)
        np.testing.assert_array_equal(part_x, x[run])
        np.testing.assert_array_equal(part_theta, theta[run])
    kept = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        np.testing.assert_array_equal(trace(**arguments)[1], theta)
    finally:
        numba.set_num_threads(kept)


@by_name
@pytest.mark.parametrize("levels", [1, 4])
def test_many_float64_values_are_identical(name, trace, parameters, levels):
    dims = dict.fromkeys(OPS[name].dims, 1) | {"n": 60, "pixels": 144, "h": 5, "levels": levels}
    call = OPS[name].call(levels, "float64", **dims)
    expected = OPS[name].load()(**call.arguments)
    assert 0.02 < (expected == 0).mean() < 0.98
    np.testing.assert_array_equal(OPS[name].load("numba")(**call.arguments), expected)


MODELS = [
    (PixelCNN([1, 4, 3], 2, features=4, layers=2), None),
    (PixelCNN([3, 2, 3], 5, features=6, layers=2, first=3), None),
    (GatedPixelCNN([1, 4, 3], 2, features=4, layers=3, classes=4), None),
    (GatedPixelCNN([1, 4, 3], 2, features=4, layers=3, classes=4), 2),
    (GatedPixelCNN([3, 2, 3], 4, features=6, layers=2, kernel=5, first=5), None),
    (GatedPixelCNN([3, 2, 3], 16, features=6, layers=2, mixture=3, classes=2), 1),
]


@pytest.mark.parametrize(("model", "y"), MODELS, ids=lambda v: type(v).__name__)
def test_models_sample_the_same_under_the_back_end(model, y):
    """Classes, colours, every head."""
    model, given_y = subject.randomise(model, 3, 0.3), {} if y is None else {"y": y}
    expected = model.sample(20, seed=4, **given_y)
    with backend("numba") as used:
        own = model.sample(20, seed=4, **given_y)
        assert model.sample(0).shape == (0, *model.shape)
    assert any("image_sampling" in key for key in used)
    assert own.dtype == expected.dtype == np.float32
    np.testing.assert_array_equal(own, expected)


def on_numba(sample):
    def run(*args, **how):
        with backend("numba"):
            return sample(*args, **how)

    return run


@pytest.mark.parametrize(
    ("model", "levels"),
    [
        (PixelCNN([3, 1, 2], 2, features=6, layers=1, first=3, dtype=np.float64), 2),
        (GatedPixelCNN([1, 2, 2], 3, features=4, layers=2, dtype=np.float64), 3),
        (GatedPixelCNN([1, 1, 3], 4, features=4, layers=2, mixture=2, dtype=np.float64), 4),
        (GatedPixelCNN([1, 2, 2], 2, features=4, layers=2, classes=3, dtype=np.float64), 2),
    ],
)
def test_frequencies_follow_log_prob(monkeypatch, model, levels):
    model = subject.randomise(model, 5, 0.3)
    monkeypatch.setattr(model, "sample", on_numba(model.sample))
    explicit.frequencies_follow_log_prob(model, levels, n=6000)


def test_ties_are_counted_and_wrong_values_found():
    u = np.array([0.5, 0.5, 0.2], np.float32)
    p = np.array([[0.1, 0.2, 0.7], [0.5, 0.25, 0.25], [0.1, 0.1, 0.8]], np.float32)
    assert token_ties(np.array([2.0, 0.0, 2.0]), u, p) == 0
    p[1] += np.float32([-1e-6, 1e-6, 0])
    assert token_ties(np.array([2.0, 0.0, 2.0]), u, p) == 1
    for wrong in ([1.0, 0.0, 2.0], [2.0, 2.0, 2.0], [2.0, 0.0, 0.0]):
        with pytest.raises(AssertionError, match="a value is wrong"):
            token_ties(np.array(wrong), u, p)


PLAIN = dict.fromkeys(OPS["pixelcnn_sample"].dims, 2) | {"n": 2, "layers": 1}
GATED = dict.fromkeys(OPS["gated_pixelcnn_sample"].dims, 2) | {"n": 2, "told": 1, "mixture": 0}


def plain_call():
    return OPS["pixelcnn_sample"].call(0, "float32", **PLAIN).arguments


def gated_call():
    return OPS["gated_pixelcnn_sample"].call(0, "float32", **GATED).arguments


def replaced(layers, k, change):
    return [*layers[:k], change(layers[k]), *layers[k + 1 :]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: {"u": a["u"][0]}, r"^u must have shape \(n, C, H, W\), got \(2, 2, 1\)"),
        (lambda a: {"u": a["u"].astype(int)}, "^u must be float32 or float64, got int64"),
        (lambda a: {"u": a["u"] + 1}, r"^u must lie in \[0, 1\), got 1"),
        (lambda a: {"u": a["u"] * np.float32(np.nan)}, r"^u must lie in \[0, 1\), got nan"),
        (lambda a: {"u": a["u"][:, :0]}, "^u must have at least one colour"),
        (lambda a: {"u": a["u"].astype(float)}, "^W of layer 0 must be float64, got float32"),
        (lambda a: {"levels": 1}, "^levels must be an int >= 2, got 1"),
        (lambda a: {"levels": 5}, r"^W of layer 5 must have shape \(10, 8, h, w\)"),
        (lambda a: {"layers": a["layers"][1:]}, "^layers must be 1, 3 for each block and 2, got 5"),
        (
            lambda a: {"layers": replaced(a["layers"], 1, lambda v: v[0])},
            r"^layer 1 must be \(W, b\), got ndarray",
        ),
        (
            lambda a: {"layers": replaced(a["layers"], 2, lambda v: (v[0][..., 1:], v[1]))},
            "^layer 2 must have odd kernels and a multiple of 2 outputs",
        ),
        (
            lambda a: {"layers": replaced(a["layers"], 3, lambda v: (v[0][1:], v[1][1:]))},
            r"^W of layer 3 must have shape \(8, 4, h, w\)",
        ),
        (
            lambda a: {"layers": replaced(a["layers"], 4, lambda v: (v[0], v[1][1:]))},
            r"^b of layer 4 must have shape \(8,\), got \(7,\)",
        ),
    ],
)
def test_bad_arguments_of_pixelcnn_are_named(change, message):
    arguments = plain_call()
    with pytest.raises(InputError, match=message):
        pixelcnn_sample(**arguments | change(arguments))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: {"told": a["told"][:, :1]}, r"^told must have shape \(2, 2, 16\)"),
        (lambda a: {"layers": []}, "^layers must be one or more, and leave two, got 0 and 2"),
        (lambda a: {"leave": a["leave"][:1]}, "^layers must be one or more, and leave two"),
        (lambda a: {"mixture": 0}, "^mixture must be an int >= 1, got 0"),
        (lambda a: {"mixture": 2}, r"^W of leave 1 must have shape \(12, 4, 1, 1\)"),
        (
            lambda a: {"layers": [replaced(a["layers"][0], 0, lambda v: (v[0][:, :, 1:], v[1]))]},
            r"^above of layer 0 must have 4, 8, … outputs and a kernel of odd width",
        ),
        (
            lambda a: {"layers": a["layers"][::-1]},
            r"^W of above of layer 0 must have shape \(2p, 2, h, w\)",
        ),
        (
            lambda a: {"layers": replaced(a["layers"], 1, lambda v: v[:3])},
            "^layer 1 must be above, left, link and out, got 3",
        ),
        (
            lambda a: {"layers": replaced(a["layers"], 1, lambda v: [v[0], v[1], v[3], v[3]])},
            r"^W of link of layer 1 must have shape \(8, 8, 1, 1\)",
        ),
        (
            lambda a: {"leave": replaced(a["leave"], 0, lambda v: (v[0][1:], v[1][1:]))},
            "^leave 0 must have a multiple of 2 outputs, got 3",
        ),
    ],
)
def test_bad_arguments_of_gated_pixelcnn_are_named(change, message):
    arguments = gated_call()
    with pytest.raises(InputError, match=message):
        gated_pixelcnn_sample(**arguments | change(arguments))
