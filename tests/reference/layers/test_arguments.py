"""Every argument of every layer's constructor and call, each wrong in every way, is named."""

from __future__ import annotations

import inspect
import math
import re
from typing import Any

import numpy as np
import pytest

from core import Tensor, grad
from core.errors import InputError
from core.random import Generator
from core.state import parameters
from reference import layers
from reference.layers.spectral import SpectralNorm

RNG = Generator(0, stream="init")
VALID: dict[str, dict[str, Any]] = {
    "Linear": {"n_in": 3, "n_out": 2},
    "MLP": {"sizes": (3, 4, 2)},
    "Embedding": {"n_in": 3, "n_out": 2},
    "LearnedPositions": {"length": 5, "n": 3},
    "SinusoidalPositions": {"n": 4},
    "Rotary": {"n": 4},
    "TimeEmbedding": {"n_in": 4, "n_out": 2},
    "RNNCell": {"n_in": 3, "n_out": 2},
    "GRUCell": {"n_in": 3, "n_out": 2},
    "LSTMCell": {"n_in": 3, "n_out": 2},
    "Attention": {"n_in": 3, "n_out": 8, "heads": 2},
    "TransformerBlock": {"n": 4, "heads": 2},
    "DecoderBlock": {"n": 4, "n_context": 3, "heads": 2},
    "Conv1d": {"n_in": 4, "n_out": 2, "kernel": 3},
    "CausalConv1d": {"n_in": 4, "n_out": 2, "kernel": 3},
    "Conv2d": {"n_in": 4, "n_out": 2, "kernel": 3},
    "ConvTranspose1d": {"n_in": 4, "n_out": 2, "kernel": 3},
    "ConvTranspose2d": {"n_in": 4, "n_out": 2, "kernel": 3},
    "LayerNorm": {"n": 3},
    "RMSNorm": {"n": 3},
    "GroupNorm": {"n": 4, "groups": 2},
    "BatchNorm": {"n": 3},
    "AdaIN": {"n_in": 3, "n_out": 2},
    "Dropout": {"rate": 0.5},
    "SpectralNorm": {"layer": layers.Linear(3, 2, RNG)},
}
NO_SIZE = (0, -1, 2.5, True, math.nan, "3", [3], np.float64(2))
NO_NUMBER = (-1, math.nan, math.inf, True, "1", [1.0], None)
WRONG: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("n_in", "n_out", "n", "length", "heads", "width"), (*NO_SIZE, None)),
    **dict.fromkeys(("key_heads", "n_context"), NO_SIZE),
    **dict.fromkeys(("kernel", "stride", "dilation", "groups"), (*NO_SIZE, None)),
    "padding": (-1, 2.5, True, math.nan, "3", [3], None),
    "mask": (True, "C", 1, 2.5, math.nan, np.ones((2, 4, 3)), np.ones((3, 1, 1), bool)),
    **dict.fromkeys(("rate", "momentum"), (-0.1, 1.5, math.nan, math.inf, True, "1", None)),
    "sizes": (3, "33", (3,), (), (3, 0), (3, True), (3, 2.5), (math.nan, 2), None),
    **dict.fromkeys(("gain", "last_gain", "base", "eps"), NO_NUMBER),
    "dtype": (np.float16, np.int64, "no", object(), True),
    "rng": (None, 0, np.random.default_rng(0), Generator),
    "activation": (None, "tanh", 1),
    "rotary": (1, True, layers.Rotary(2), "yes"),
    "layer": (None, 3, Tensor(np.ones((3, 2)))),
}
NOT_EVEN = {"SinusoidalPositions": "n", "Rotary": "n", "TimeEmbedding": "n_in"}


def made(name: str, **changed: Any) -> Any:
    kind = getattr(layers, name)
    given = {"rng": RNG} if "rng" in inspect.signature(kind).parameters else {}
    return kind(**given | VALID[name] | changed)


def constructor_cases() -> list[tuple[str, str, Any]]:
    found = []
    for name in VALID:
        for argument in inspect.signature(getattr(layers, name)).parameters:
            wrong = (*WRONG[argument], *((3,) if NOT_EVEN.get(name) == argument else ()))
            found += [(name, argument, value) for value in wrong]
    return found


def test_every_layer_is_here():
    listed = {name for name in layers.__all__ if inspect.isclass(getattr(layers, name))}
    assert set(VALID) == listed - {"Cache", "Moments"}
    for name in VALID:
        made(name)


@pytest.mark.parametrize(("name", "argument", "value"), constructor_cases())
def test_constructors_name_what_is_wrong(name: str, argument: str, value: Any):
    with pytest.raises(InputError, match=rf"^{argument}\b.* must .*got "):
        made(name, **{argument: value})


def test_numpy_integers_are_integers():
    assert made("Linear", n_in=np.int64(3), n_out=np.int32(2)).W.shape == (3, 2)
    assert type(made("Attention", heads=np.int64(4)).heads) is int


@pytest.mark.parametrize("what", ["heads", "key_heads"])
def test_heads_must_divide(what: str):
    with pytest.raises(InputError, match=rf"^{what} must divide \w+ = [68], got 4|5"):
        made(
            "Attention", **({"heads": 5} if what == "heads" else {"n_out": 6, "heads": 6, what: 4})
        )


# Calls


@pytest.mark.parametrize("lead", [(), (0,), (1,), (2, 0, 3), (0, 0), (2, 1, 1)])
def test_any_leading_shape(lead: tuple[int, ...]):
    x, ids = np.ones((*lead, 3), np.float32), np.ones(lead, np.int64)
    for name, given in (("Linear", x), ("MLP", x), ("SpectralNorm", x)):
        check_empty(made(name), given, (*lead, 2))
    for name in ("Embedding", "TimeEmbedding"):
        check_empty(made(name), ids, (*lead, 2))
    for name in ("LayerNorm", "RMSNorm"):
        check_empty(made(name), x, (*lead, 3))


def check_empty(layer: Any, x: Any, shape: tuple[int, ...]) -> None:
    """Shape and dtype of the answer, and finite derivatives of the parameters' shapes."""
    y, learned = layer(x), list(parameters(layer).values())
    assert y.shape == shape
    assert y.dtype == np.float32
    for g, p in zip(grad(np.sum(y), learned), learned, strict=True):
        assert g.shape == p.shape
        assert g.dtype == np.float32
        assert np.isfinite(g).all()


X = {"Linear": (2, 3), "MLP": (2, 3), "LearnedPositions": (2, 4, 3), "SinusoidalPositions": (2, 4)}
X |= {"Conv1d": (2, 4, 5), "CausalConv1d": (2, 4, 5), "ConvTranspose1d": (2, 4, 5)}
X |= {"Conv2d": (2, 4, 5, 6), "ConvTranspose2d": (2, 4, 5, 6), "BatchNorm": (2, 3, 5)}
X |= {"LayerNorm": (2, 5, 3), "RMSNorm": (2, 5, 3), "GroupNorm": (2, 4, 5)}
X |= {"Rotary": (2, 5, 4), "Attention": (2, 5, 3), "TransformerBlock": (2, 5, 4)}
X |= {"SpectralNorm": (2, 3)}
CELLS = {"RNNCell": 1, "GRUCell": 1, "LSTMCell": 2}


@pytest.mark.parametrize("name", X)
def test_calls_name_what_is_wrong_with_x(name: str):
    layer, shape = made(name), X[name]
    assert len(layer(np.ones(shape, np.float32))) == 2
    axis = 1 if "Conv" in name or name in ("BatchNorm", "GroupNorm") else len(shape) - 1
    wrong = [None, 3, [[1.0, 2.0, 3.0]], np.ones((), np.float32)]
    wrong += [np.ones((*shape[:axis], n, *shape[axis + 1 :]), np.float32) for n in (0, 1, 7)]
    wrong += [np.ones(shape[:axis], np.float32)]
    if hasattr(layer, "weight") or parameters(layer):
        wrong += [np.ones(shape), np.ones(shape, np.int64), Tensor(np.ones(shape))]
    for x in wrong:
        with pytest.raises(InputError, match=r"^(x|context) must (be|have) .*got "):
            layer(x)


@pytest.mark.parametrize("name", ["SinusoidalPositions", "Rotary"])
def test_positions_refuse_what_is_not_floating(name: str):
    with pytest.raises(InputError, match="x must be float32 or float64, got int64"):
        made(name)(np.ones((2, 4), np.int64))


@pytest.mark.parametrize("name", ["LearnedPositions", "SinusoidalPositions", "Rotary"])
@pytest.mark.parametrize("start", [-1, 2.5, True, math.nan, None])
def test_start_is_named(name: str, start: Any):
    with pytest.raises(InputError, match=r"^start must be"):
        made(name)(np.ones(X[name], np.float32), start=start)


def test_no_position_after_the_last():
    layer = made("LearnedPositions")
    layer(np.ones((1, 3, 3), np.float32), start=2)
    with pytest.raises(InputError, match=re.escape("start + T must be an int in [0, 6), got 6")):
        layer(np.ones((1, 3, 3), np.float32), start=3)


@pytest.mark.parametrize("name", CELLS)
def test_cells_name_what_is_wrong(name: str):
    cell, x = made(name), np.ones((2, 3), np.float32)
    for wrong in (None, np.ones((2, 4), np.float32), np.ones(3, np.float32), np.ones((2, 3))):
        with pytest.raises(InputError, match=r"^x must (be|have) "):
            cell(wrong, cell.start(2))
    h = np.zeros((2, 2))
    for part in (None, h.astype(np.float32)[:1], h.astype(np.float32)[:, :1], h, [[0.0, 0.0]] * 2):
        state = part if CELLS[name] == 1 else (h.astype(np.float32), part)
        with pytest.raises(InputError, match=r"^state must (be|have) "):
            cell(x, state)
    for batch in (-1, 2.5, True, math.nan):
        with pytest.raises(InputError, match=r"^batch must be"):
            cell.start(batch)
    with pytest.raises(InputError, match=r"^x must have shape \(B, T, 3\)"):
        layers.unroll(cell, x)


def test_a_memory_needs_both_parts():
    cell = made("LSTMCell")
    with pytest.raises(InputError, match=r"state must be a tuple \(h, c\), got ndarray"):
        cell(np.ones((2, 3), np.float32), np.zeros((2, 2), np.float32))


@pytest.mark.parametrize("x", [[0.5], [True], [3], [-1], [math.nan], ["a"]])
def test_embedding_names_what_is_wrong(x: Any):
    with pytest.raises(InputError, match=r"^ids must (be|lie)"):
        made("Embedding")(np.array(x))


@pytest.mark.parametrize("t", [[math.nan], [math.inf], ["a"], [True], None, [1j]])
def test_times_are_finite_numbers(t: Any):
    with pytest.raises(InputError, match=r"^t must hold finite numbers"):
        made("TimeEmbedding")(np.array(t))


def test_context_and_mask_are_named():
    attention, x = made("Attention", n_context=4), np.ones((2, 5, 3), np.float32)
    with pytest.raises(InputError, match=r"^context must have shape \(B, K, 4\)"):
        attention(x)
    with pytest.raises(InputError, match=r"^mask must be"):
        attention(x, "causal", np.ones((2, 6, 4), np.float32))


CONVOLUTIONS = [name for name in VALID if "Conv" in name]


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions_want_all_axes(name: str):
    for shape in (X[name][:-1], (*X[name], 3)):
        with pytest.raises(InputError, match=r"^x must have shape \(B, 4, (T|H, W)\), got "):
            made(name)(np.ones(shape, np.float32))


@pytest.mark.parametrize("name", ["Conv2d", "ConvTranspose2d"])
@pytest.mark.parametrize("argument", ["kernel", "stride", "padding"])
@pytest.mark.parametrize("value", [(0, 3), (3, -1), (3, 3, 3), (3,), (2.5, 1), (True, 1), "33"])
def test_pairs_are_of_two_ints(name: str, argument: str, value: Any):
    if argument == "padding" and value == (0, 3):
        return
    with pytest.raises(InputError, match=rf"^{argument} must be an int"):
        made(name, **{argument: value})


@pytest.mark.parametrize("name", ["Conv1d", "CausalConv1d", "Conv2d"])
def test_groups_divide_both_sides(name: str):
    with pytest.raises(InputError, match="groups must divide n_out = 2, got 4"):
        made(name, groups=4)
    with pytest.raises(InputError, match="groups must divide n_in = 3, got 2"):
        made(name, groups=2, n_in=3)


@pytest.mark.parametrize("name", ["Conv1d", "Conv2d"])
@pytest.mark.parametrize("mask", ["A", "B"])
def test_masks_a_and_b_need_a_centre(name: str, mask: str):
    with pytest.raises(InputError, match=f"kernel must have a centre for mask {mask}"):
        made(name, kernel=4, mask=mask)


def test_inputs_shorter_than_a_kernel_are_named():
    for name, shape in (("Conv1d", (1, 4, 2)), ("Conv2d", (1, 4, 2, 5))):
        with pytest.raises(InputError, match=r"^x must be at least"):
            made(name)(np.ones(shape, np.float32))


@pytest.mark.parametrize("name", ["ConvTranspose1d", "ConvTranspose2d"])
@pytest.mark.parametrize("size", [1, 100, (100, 100), (3,), 2.5, math.nan, True, -1])
def test_sizes_that_no_input_gives(name: str, size: Any):
    with pytest.raises(InputError, match="size must be"):
        made(name, stride=2)(np.ones(X[name], np.float32), size)


def test_a_batch_of_one_value_has_no_variance():
    norm = made("BatchNorm")
    for shape in ((1, 3), (0, 3), (1, 3, 1, 1), (0, 3, 5)):
        with pytest.raises(InputError, match="x must have at least two values a channel"):
            norm.batch(np.ones(shape, np.float32))
    with pytest.raises(InputError, match=r"^x must have shape \(B, 3, …\)"):
        norm.batch(np.ones((2, 4), np.float32))


@pytest.mark.parametrize("wrong", [None, np.ones(3), np.ones(2, np.float32), 1.0])
def test_moments_are_named(wrong: Any):
    norm = made("BatchNorm")
    fine = np.ones(3, np.float32)
    for moments in (layers.Moments(fine, wrong), layers.Moments(wrong, fine)):
        with pytest.raises(InputError, match=r"^moments must"):
            norm.follow(moments)
    np.testing.assert_array_equal(norm.mean, 0)  # all or nothing
    np.testing.assert_array_equal(norm.variance, 1)


def test_styles_are_named():
    layer, x = made("AdaIN"), np.ones((4, 2, 5), np.float32)
    for style in (None, np.ones((3, 3), np.float32), np.ones((4, 2), np.float32), np.ones((4, 3))):
        with pytest.raises(InputError, match=r"^style must"):
            layer(x, style)
    for wrong in (None, x[:, :1], x.astype(np.float64), x[:, 0]):
        with pytest.raises(InputError, match=r"^x must"):
            layer(wrong, np.ones((4, 3), np.float32))


def test_dropout_names_what_is_wrong():
    layer = made("Dropout")
    for x in (None, 3, np.ones(3, np.int64), [1.0]):
        with pytest.raises(InputError, match=r"^x must be"):
            layer(x, RNG)
    for rng in (0, np.random.default_rng(0), True):
        with pytest.raises(InputError, match=r"^rng must be"):
            layer(np.ones(3), rng)
    with pytest.raises(InputError, match="rate must be"):
        layers.Dropout(1.0)


def test_caches_are_named():
    attention, x = made("Attention"), np.ones((2, 1, 3), np.float32)
    _, cache = attention.step(x, None)
    for wrong in (tuple(cache), 0, cache.k, {}):
        with pytest.raises(InputError, match="cache must be a Cache or None"):
            attention.step(x, wrong)
    with pytest.raises(InputError, match=r"^k must have the batch and D of q \(1, "):
        attention.attend(x[:1], cache)


def test_representations():
    said = {name: repr(made(name)) for name in VALID}
    assert said == {
        "Linear": "Linear(3 → 2)",
        "MLP": "MLP(3 → 4 → 2, tanh)",
        "Embedding": "Embedding(3 → 2)",
        "LearnedPositions": "LearnedPositions(5 × 3)",
        "SinusoidalPositions": "SinusoidalPositions(4)",
        "Rotary": "Rotary(4)",
        "TimeEmbedding": "TimeEmbedding(4 → 2)",
        "RNNCell": "RNNCell(3 → 2)",
        "GRUCell": "GRUCell(3 → 2)",
        "LSTMCell": "LSTMCell(3 → 2)",
        "Attention": "Attention(3 → 8, 2 heads)",
        "TransformerBlock": "TransformerBlock(4, 2 heads)",
        "DecoderBlock": "DecoderBlock(4 of 3, 2 heads)",
        "Conv1d": "Conv1d(4 → 2, 3)",
        "CausalConv1d": "CausalConv1d(4 → 2, 3, dilation 1)",
        "Conv2d": "Conv2d(4 → 2, 3×3)",
        "ConvTranspose1d": "ConvTranspose1d(4 → 2, 3, stride 1)",
        "ConvTranspose2d": "ConvTranspose2d(4 → 2, 3×3, stride 1×1)",
        "LayerNorm": "LayerNorm(3)",
        "RMSNorm": "RMSNorm(3)",
        "GroupNorm": "GroupNorm(4, 2 groups)",
        "BatchNorm": "BatchNorm(3)",
        "AdaIN": "AdaIN(3 → 2)",
        "Dropout": "Dropout(0.5)",
        "SpectralNorm": "SpectralNorm(Linear(3 → 2))",
    }
    assert isinstance(made("SpectralNorm"), SpectralNorm)
