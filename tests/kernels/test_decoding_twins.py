"""Texts in Numba (MISSION K3): the same tokens as the readable loops, through every door.

test_kernels.py puts small calls of every kind, and the wrong twins, through the table's check.
Here: long runs, the tie rule itself, batches and threads, models, streams, and bad input.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from core.errors import InputError
from core.operation import backend
from kernels import OPS, Call, check
from kernels.decoding.ties import margins, ties
from reference import MODELS
from tests.laws.explicit import frequencies_follow_log_prob
from tests.laws.subject import randomise

LOOPS = ("rnn_sample", "transformer_sample")
LONG: dict[str, dict[str, int]] = {
    "rnn_sample": {"n": 30, "t": 3, "T": 200, "H": 12, "wider": 0, "layers": 2, "V": 9},
    "transformer_sample": {
        "n": 20, "t": 3, "T": 120, "seen": 2, "places": 70, "layers": 2, "heads": 2, "D": 8, "V": 9,
    },
}  # fmt: skip
TEXTS = ("rnn", "gru", "lstm", "transformer")
by_name = pytest.mark.parametrize("name", TEXTS)


def arguments(name: str, dtype: str, seed: int, **dims: int) -> dict[str, Any]:
    dims = {
        **LONG[name],
        "controls": 0,
        **({"cell": seed % 3} if name == "rnn_sample" else {}),
        **dims,
    }
    return OPS[name].make(np.random.default_rng(seed), dims, dtype)


@pytest.mark.parametrize("name", LOOPS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("controls", [0, 8])
def test_long_texts_are_the_definitions(name: str, dtype: str, controls: int):
    """Beyond the window as well; of float32, but for ties."""
    op = OPS[name]
    for seed in range(3 if name == "rnn_sample" else 1):
        call = Call(op, arguments(name, dtype, seed, controls=controls), dtype, name)
        check(op.load("numba"), call)


@pytest.mark.parametrize("name", LOOPS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_text_does_not_see_its_batch_nor_the_threads(name: str, dtype: str):
    import numba

    twin, whole = OPS[name].load("numba"), arguments(name, dtype, 2, n=37, T=30)
    results, kept = twin(**whole), numba.get_num_threads()
    batch = {"u": 0, "x": 0, "state": 2, "seen": 0, "cache": 2}
    for rows in (slice(0, 1), slice(5, 9), slice(8, 37)):
        part = {
            k: np.moveaxis(np.moveaxis(v, batch[k], 0)[rows], 0, batch[k]) if k in batch else v
            for k, v in whole.items()
        }
        own = twin(**part)
        np.testing.assert_array_equal(own[0], results[0][rows])
        np.testing.assert_array_equal(own[-1], results[-1][:, :, rows])
    try:
        numba.set_num_threads(1)
        for one, many in zip(twin(**whole), results, strict=True):
            np.testing.assert_array_equal(one, many)
    finally:
        numba.set_num_threads(kept)


@pytest.mark.parametrize("name", LOOPS)
def test_a_text_in_parts_is_the_whole(name: str):
    """The state that a call leaves is what the next goes on from, to the last bit."""
    twin, whole = OPS[name].load("numba"), arguments(name, "float32", 1, T=60)
    drawn, *_ = twin(**whole)
    names = ("state",) if name == "rnn_sample" else ("seen", "cache")
    call, parts = dict(whole), []
    for a, b in ((0, 1), (1, 2), (2, 20), (20, 60)):
        own, *state = twin(**{**call, "u": whole["u"][:, a:b]})
        call |= {"x": own[:, -1:], **dict(zip(names, state, strict=True))}
        parts.append(own)
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), drawn)


# The tie rule


@pytest.mark.parametrize(
    ("u", "token", "tied"), [(0.5 - 1e-6, 1, 1), (0.5 + 1e-6, 2, 1), (0.79, 1, 0), (0.1, 2, 0)]
)
def test_a_tie_is_a_token_at_its_boundary(u: float, token: int, tied: int):
    logits = np.log(np.array([[0.2, 0.3, 0.5]], np.float32))
    assert ties(np.array([token]), logits, np.array([u], np.float32)) == tied


@pytest.mark.parametrize(("u", "token"), [(0.5, 0), (0.49, 1), (0.51, 2), (0.99, 1)])
def test_any_other_token_is_wrong(u: float, token: int):
    logits = np.log(np.array([[0.2, 0.3, 0.5]], np.float32))
    with pytest.raises(AssertionError, match="a token is wrong"):
        ties(np.array([token]), logits, np.array([u], np.float32))


@pytest.mark.parametrize(
    ("controls", "near"),
    [
        ({"top_p": 0.5 + 1e-6}, 1e-6),
        ({"min_p": 0.6 + 1e-6}, 1e-6),
        ({"top_k": 1}, np.log(0.5 / 0.3)),
        ({"temperature": 0.0}, np.log(0.5 / 0.2)),
        ({}, 0.4),
    ],
    ids=str,
)
def test_what_a_control_compares_is_a_boundary(controls: Any, near: float):
    """Of token 0, which u = 0.4 is 0.4 away from."""
    logits, u = np.log(np.array([[0.2, 0.3, 0.5]])), np.array([0.4])
    found = margins(np.array([0]), logits, u, **controls)[0]
    np.testing.assert_allclose(found, near, rtol=1e-6)


# Models


def made(name: str, end: int | None = None, dtype: Any = np.float64, dim: int = 6) -> Any:
    row = MODELS[name]
    return randomise(
        row.load()(**{**row.tiny, "dim": dim, "levels": 5, "end": end}, dtype=dtype), 0
    )


@by_name
@pytest.mark.parametrize("end", [None, 1])
@pytest.mark.parametrize(
    "how",
    [
        {},
        {"length": 90},
        {"prompt": [2, 0, 3], "length": 11, "temperature": 0.7, "top_p": 0.9},
        {"prompt": [2, 0, 3, 4, 4, 0, 2, 3], "length": 8},
        {"length": 80, "stop": 3, "top_k": 3},
        {"temperature": 0, "length": 70},
        {"min_p": 0.2, "length": 20},
    ],
    ids=str,
)
def test_models_draw_the_same_texts_on_the_back_end(name: str, end: int | None, how: Any):
    """Whole and as a stream; prompt, stop and controls; beyond the window and a block."""
    model = made(name, end)
    expected, stream = model.sample(7, seed=3, **how), list(model.stream(7, seed=3, **how))
    with backend("numba") as used:
        np.testing.assert_array_equal(model.sample(7, seed=3, **how), expected)
        np.testing.assert_array_equal(list(model.stream(7, seed=3, **how)), stream)
        assert model.sample(0, **how).shape == (0, expected.shape[1])
    loop = "transformer_sample" if name == "transformer" else "rnn_sample"
    assert any(key.endswith(loop) for key in used) or len(how.get("prompt", ())) == 8


@by_name
def test_frequencies_on_the_back_end_follow_log_prob(name: str):
    row = MODELS[name]
    model = randomise(row.load()(**{**row.tiny, "dim": 3, "end": None}, dtype=np.float64), 0, 0.7)
    with backend("numba"):
        frequencies_follow_log_prob(model, row.tiny["levels"])


def test_images_are_drawn_the_same_on_the_back_end():
    row = MODELS["image-gpt"]
    order = [3, 0, 2, 1]
    for classes in (None, 3):
        model = row.load()(**row.tiny, order=order, classes=classes, dtype=np.float64)
        model = randomise(model, 1)
        expected = model.sample(40, seed=2, temperature=0.8)
        with backend("numba") as used:
            np.testing.assert_array_equal(model.sample(40, seed=2, temperature=0.8), expected)
        assert "reference.autoregressive.transformer:transformer_sample" in used


# Bad input


@pytest.mark.parametrize(("name", "x"), [("rnn_sample", 10), ("transformer_sample", -1)])
def test_what_is_wrong_is_named_as_in_the_definition(name: str, x: int):
    good = arguments(name, "float32", 0, n=3, T=4)
    wrong = [
        ({"u": good["u"] + 1}, r"u must lie in \[0, 1\)"),
        ({"x": np.full((3, 1), x)}, rf"x must hold whole numbers in 0 … 9, got {x}"),
        ({"temperature": -1.0}, "temperature must be"),
        ({"top_k": 0}, "top_k must be"),
        ({"c": np.full_like(good["c"], np.nan)}, "logits must be finite"),
    ]
    for change, said in wrong:
        for run in (OPS[name].load(), OPS[name].load("numba")):
            with pytest.raises(InputError, match=said):
                run(**{**good, **change})


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("rnn_sample", {"state": np.zeros((2, 1, 3, 11), np.float32)}, "state must have shape"),
        ("rnn_sample", {"c": np.zeros(4, np.float32)}, "c must have shape"),
        ("rnn_sample", {"V": np.zeros((12, 9))}, "V must be float32, got float64"),
        ("rnn_sample", {"cells": []}, "cells must be RNNCells"),
        ("transformer_sample", {"blocks": []}, "blocks must be TransformerBlocks"),
        ("transformer_sample", {"P": np.zeros((9, 5), np.float32)}, "P must have shape"),
        ("transformer_sample", {"seen": np.zeros((3, 1), int)}, "cache must have shape"),
    ],
)
def test_what_does_not_fit_is_named(name: str, change: Any, said: str):
    good = arguments(name, "float32", 0, n=3, T=4)
    with pytest.raises(InputError, match=said):
        OPS[name].load("numba")(**{**good, **change})


@pytest.mark.parametrize("logit", [np.nan, np.inf, -np.inf])
def test_logits_that_make_no_token_are_named(logit: float):
    z = np.zeros((2, 3))
    z[1] = logit
    for run in (OPS["decode"].load(), OPS["decode"].load("numba")):
        with pytest.raises(InputError, match="logits must be finite"):
            run(z, np.zeros(2))
