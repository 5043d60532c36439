"""WaveNets drawn in Numba (MISSION K3): batches, threads, models, and bad input.

test_kernels.py puts small calls of every kind, and the wrong twins, through the table's check.
"""

from __future__ import annotations

import numba
import numpy as np
import pytest

from core.errors import InputError
from core.operation import backend
from kernels import OPS
from kernels.decoding.wavenet_numba import wavenet_sample
from reference.autoregressive.wavenet import WaveNet
from tests.laws import explicit, subject

DIMS = {"n": 19, "t": 3, "T": 8, "p": 6, "V": 5, "layers": 3, "odd": 0, "controls": 0}


def call(dtype="float32", **dims):
    return OPS["wavenet_sample"].call(1, dtype, **{**DIMS, **dims}).arguments


def test_many_float64_tokens_are_identical():
    arguments = call("float64", n=40, T=500, V=12, p=8, layers=4)
    tokens, state = wavenet_sample(**arguments)
    expected, after = OPS["wavenet_sample"].load()(**arguments)
    np.testing.assert_array_equal(tokens, expected)
    np.testing.assert_allclose(state, after, atol=1e-12)


def test_a_text_does_not_see_its_batch_nor_the_threads():
    arguments = call()
    tokens, state = wavenet_sample(**arguments)
    for rows in (slice(0, 1), slice(7, 8), slice(2, 19)):
        part = {k: arguments[k][rows] for k in ("u", "x", "state")}
        part_tokens, part_state = wavenet_sample(**arguments | part)
        np.testing.assert_array_equal(part_tokens, tokens[rows])
        np.testing.assert_array_equal(part_state, state[rows])
    kept = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        np.testing.assert_array_equal(wavenet_sample(**arguments)[1], state)
    finally:
        numba.set_num_threads(kept)


def test_it_goes_on_where_it_stopped():
    """Two halves are the whole: the state and the last token are all that is needed."""
    arguments = call(T=8)
    tokens, state = wavenet_sample(**arguments)
    u = arguments["u"]
    first, between = wavenet_sample(**arguments | {"u": u[:, :3]})
    rest = {"u": u[:, 3:], "x": first[:, -1:], "state": between}
    second, last = wavenet_sample(**arguments | rest)
    np.testing.assert_array_equal(np.concatenate([first, second], axis=1), tokens)
    np.testing.assert_array_equal(last, state)


HOW = [
    {},
    {"prompt": [1, 2, 1], "temperature": 0.7},
    {"length": 200, "top_k": 2},
    {"stop": 2, "top_p": 0.9, "length": 90},
]


@pytest.mark.parametrize("how", HOW, ids=str)
@pytest.mark.parametrize("stacks", [1, 2])
def test_models_sample_the_same_under_the_back_end(how, stacks):
    model = WaveNet(12, 4, end=0, layers=3, stacks=stacks, width=8)
    model = subject.randomise(model, 2, 0.4)
    expected = model.sample(30, seed=3, **how)
    with backend("numba") as used:
        own = model.sample(30, seed=3, **how)
        assert model.sample(0, **how).shape[0] == 0
    assert "reference.autoregressive.wavenet:wavenet_sample" in used
    np.testing.assert_array_equal(own, expected)


def test_frequencies_follow_log_prob(monkeypatch):
    model = subject.randomise(WaveNet(4, 3, layers=2, width=4, dtype=np.float64), 4, 0.5)
    plain = model.sample

    def on_numba(*args, **how):
        with backend("numba"):
            return plain(*args, **how)

    monkeypatch.setattr(model, "sample", on_numba)
    explicit.frequencies_follow_log_prob(model, 3, n=6000)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: {"u": a["u"] + 1}, r"^u must lie in \[0, 1\)"),
        (lambda a: {"x": a["x"] + 9}, r"^x must hold whole numbers in 0 … 5"),
        (lambda a: {"state": a["state"][..., 1:]}, r"^state must have shape \(19, 6, 7\)"),
        (lambda a: {"E": a["E"].astype(float)}, "^state must be float64, got float32"),
        (lambda a: {"E": a["E"][:4], "x": 0 * a["x"]}, "^E must have a vector for each of 5"),
        (lambda a: {"dilations": [1, 2, 0]}, "^dilations must be an int >= 1, got 0"),
        (lambda a: {"skip": a["skip"][1:]}, "^dilations, dilated and skip must be as many"),
        (lambda a: {"residual": a["skip"]}, "^dilations, dilated and skip must be as many"),
        (lambda a: {"leave": a["leave"][1:]}, "^leave must be two layers, got 1"),
        (lambda a: {"leave": a["leave"][::-1]}, r"^W of leave 1 must have shape \(n, 5, 1\)"),
        (
            lambda a: {"dilated": [a["skip"][0], *a["dilated"][1:]]},
            r"^W of dilated 0 must have shape \(12, 6, 2\), got \(6, 6, 1\)",
        ),
        (lambda a: {"temperature": -1.0}, "^temperature must be a finite number >= 0"),
    ],
)
def test_bad_arguments_are_named(change, message):
    arguments = call()
    with pytest.raises(InputError, match=message):
        wavenet_sample(**arguments | change(arguments))
