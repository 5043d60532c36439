"""Every bad argument of a constructor, and data of every dtype at a model's door, are told by name.

The space is read off the signatures: an argument is a number, a list of sizes, a name or a switch
by what its default or the row's tiny configuration is.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from core import value
from core.errors import InputError
from core.learners import objectives
from core.random import Generator
from reference import MODELS, Model
from tests.laws.subject import build, evaluate, examples, reconstruct, shape_of

ROWS = list(MODELS.values())
TRAINED = [row for row in ROWS if row.training == "gradient"]

BAD: dict[type, tuple[Any, ...]] = {
    int: (-1, 2.5, math.nan, True, "3", [1], np.float32(2)),
    float: (math.nan, math.inf, True, "1", [1.0]),
    str: ("nonsense", 3, None, True, ["eps"]),
    bool: ("no", 1, 0, None),
    tuple: ([0], [-1], [2.5], [True], ["3"], 8, "8", None, math.nan, [[1]]),
}
"""What no argument of this type may be."""


NAMED: dict[str, tuple[Any, ...]] = {
    "dtype": (np.int64, "float16", None, "nonsense", 3),
    "levels": (0, *BAD[int]),
    "shape": ([], [8, 8], [0, 2, 2], [1, 2.5, 2], "abc", 8, None),
    "channels": ([2] * 9, *BAD[tuple]),
    "free": (-1.0, *BAD[float]),
    "window": (0, *BAD[int]),
    "features": (0, *BAD[int]),
    "kernel": (0, 1, 4, *BAD[int]),
    "first": (0, 2, *BAD[int]),
    "mixture": (0, *BAD[int]),
    "std": (0, -1.0, *BAD[float]),
    "sigma": (0, -1.0, *BAD[float]),
    "penalty": tuple(bad for bad in BAD[str] if bad is not None),
    "priors": ([1.0], [0.5, 0.6, 0.7], [-1.0, 1.0, 1.0], [math.nan, 0.5, 0.5], 3, "abc"),
    "bandwidth": (0, -1.0, math.nan, math.inf, True, "3", [1]),
    "bins": (0, -1, 2.5, True, "3", [1], [0, 2], [2.5, 2]),
    "low": ("a", math.nan, True, [0.0], 4.0),
    "high": ("a", math.inf, True, [0.0]),
    "edges": ([[0.0, 1.0]], [[1.0, 0.0]] * 2, [[0.0, math.nan]] * 2, [[0.0]] * 2, 3, "ab"),
}
"""What arguments may not be that are of several types, or None by default."""

INSTEAD = ("edges", "levels")
"""Arguments that take the place of a tiny configuration's others."""

POSITIVE = (
    "dim",
    "classes",
    "levels",
    "components",
    "latent",
    "masks",
    "layers",
    "steps",
    "examples",
)
"""Numbers of which there must be one at least."""


def bad_arguments(row: Model) -> Iterator[tuple[str, Any]]:
    """Names of the constructor's arguments, each with what it may not be."""
    for name, p in inspect.signature(row.load()).parameters.items():
        usual, dim = row.tiny.get(name, p.default), math.prod(shape_of(row))
        kind = tuple if isinstance(usual, list) else int if usual is None else type(usual)
        if name == "order" and usual is None:
            bad: tuple[Any, ...] = ([0], [0] * dim, [0.5] * dim, "012345", 3)
        else:
            bad = NAMED[name] if name in NAMED else BAD[kind]
        yield from ((name, b) for b in (*bad, *(0,) * (name in POSITIVE)))


def names(row: Model) -> set[str]:
    return set(inspect.signature(row.load()).parameters)


CASES = [(row, name, bad) for row in ROWS for name, bad in bad_arguments(row)]


def refuses(cls: type, row: Model, name: str, bad: Any) -> None:
    taken = inspect.signature(cls).parameters.values()
    needed = {p.name for p in taken if p.default is inspect.Parameter.empty}
    size = {n: v for n, v in row.tiny.items() if name not in INSTEAD or n in needed}
    with pytest.raises(InputError) as caught:
        cls(**{**size, name: bad})
    told = str(caught.value)
    assert told.startswith(f"{name} must "), told
    assert "\n" not in told


@pytest.mark.parametrize(
    ("row", "name", "bad"), CASES, ids=[f"{r.name}-{name}-{bad!r}" for r, name, bad in CASES]
)
def test_a_bad_argument_is_named(row: Model, name: str, bad: Any):
    refuses(row.load(), row, name, bad)


def test_every_argument_of_every_model_was_tried():
    for row in ROWS:
        assert {name for r, name, _ in CASES if r is row} == names(row)


@pytest.mark.parametrize(("name", "bad"), [("hidden", [0]), ("dim", True), ("seed", 2.5)])
def test_a_model_that_takes_it_all_is_rejected(name: str, bad: Any):
    class Careless:
        def __init__(self, dim, *, hidden=(3,), seed=0, dtype=np.float32): ...

    with pytest.raises(pytest.fail.Exception):
        refuses(Careless, MODELS["made"], name, bad)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_numpys_numbers_are_numbers(row: Model):
    """A grid search over np.arange must not be refused."""
    made = {n: np.int64(v) if isinstance(v, int) else v for n, v in row.tiny.items()}
    assert repr(row.load()(**made)) == repr(row.load()(**row.tiny))


SECOND = np.zeros((2, 2), np.float32)  # two samples of two variables
CALLS: dict[tuple[str, str], tuple[Any, tuple[Any, ...]]] = {
    ("made", "k"): (lambda m, k: m.conditionals(np.zeros((2, m.dim)), k=k), (-1, 9, 0.5, True)),
    ("vae", "steps"): (lambda m, n: m.interpolate(*np.zeros((2, 2, m.dim)), n), (0, 2.5, True)),
    ("vae", "j"): (lambda m, j: m.traverse(np.zeros((2, m.dim)), j, [0.0]), (-1, 9, 0.5, True)),
    ("vae", "values"): (
        lambda m, v: m.traverse(np.zeros((2, m.dim)), 0, v),
        ([], [math.nan], ["a"], [True]),
    ),
    ("vae", "k"): (
        lambda m, k: m.importance_log_prob(np.zeros((2, m.dim)), rng=Generator(0), k=k),
        (0, 2.5, True, math.nan),
    ),
    ("real-nvp", "z"): (
        lambda m, z: m.forward(z),
        (SECOND[:, :1], SECOND[0], SECOND * math.nan, None, SECOND.tolist()),
    ),
    ("real-nvp", "x"): (lambda m, x: m.inverse(x), (SECOND[:, :1], SECOND * math.nan, None)),
    ("ddpm", "t"): (lambda m, t: m.epsilon(SECOND, t), (-1, 0, 99, 2.5, True, np.array([1, -1]))),
    ("ddpm", "steps"): (lambda m, n: m.sample(2, steps=n), (0, 99, 2.5, True)),
    ("ddpm", "eta"): (lambda m, e: m.sample(2, sampler="ddim", eta=e), (-1, 2, math.nan, "a")),
    ("ddpm", "sampler"): (lambda m, s: m.sample(2, sampler=s), (None, "euler", 3)),
}
"""Arguments of methods beside data, sizes and seeds: the call, and what they may not be."""


@pytest.mark.parametrize(("name", "argument"), CALLS)
def test_a_bad_argument_of_a_method_is_named(name: str, argument: str):
    call, wrong = CALLS[name, argument]
    model = MODELS[name].load()(**MODELS[name].tiny)
    for bad in wrong:
        with pytest.raises(InputError, match=rf"\b{argument} must ") as caught:
            call(model, bad)
        assert "\n" not in str(caught.value)


# Data at the door


def answers(model: Any, x: Any) -> list[np.ndarray]:
    """What the model makes of x: every loss, and whichever scores it has."""
    told = hasattr(model, "greedy")  # of something that is no label
    y = None if told else np.zeros(len(x), np.int64)  # for models that need a label
    out = [np.asarray(value(loss(x, y, Generator(0)))) for loss, _ in objectives(model)]
    if hasattr(model, "log_prob"):
        out.append(evaluate(model.log_prob, x))
    if hasattr(model, "elbo"):
        out.append(evaluate(lambda x: model.elbo(x, rng=Generator(0)), x))
    if hasattr(model, "reconstruct"):
        out.append(reconstruct(model, x, np.zeros(len(x), np.int64)))
    return out


def dtype_is_the_models(model: Any, x: np.ndarray) -> None:
    """x in any dtype that loses nothing is x: the same bits, in the model's dtype."""
    wanted = answers(model, x.astype(model.dtype))
    assert all(a.dtype == model.dtype for a in wanted)
    for dtype in (bool, np.int8, np.uint8, np.int64, np.float16, np.float32, np.float64):
        for a, b in zip(answers(model, x.astype(dtype)), wanted, strict=True):
            assert a.dtype == b.dtype, dtype
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("row", TRAINED, ids=lambda row: row.name)
def test_bits_integers_and_the_other_float_are_taken_where_they_fit(row: Model, dtype: Any):
    model = row.load()(**row.tiny, dtype=dtype)
    dtype_is_the_models(model, (examples(row, 6)[0] > 0).astype(np.float64))


@pytest.mark.parametrize(
    "row", [r for r in TRAINED if r.domain == "continuous"], ids=lambda r: r.name
)
def test_what_does_not_fit_is_refused_with_the_cast_that_rounds_it(row: Model):
    model = row.load()(**row.tiny)
    x = np.full((3, *shape_of(row)), 1 / 3)
    with pytest.raises(
        InputError, match=r"^x must be float32, got float64 .*x.astype\(np.float32\)"
    ):
        answers(model, x)
    answers(model, x.astype(np.float32))
    for bad, told in ((x.astype(complex), "numbers"), (x.tolist(), "an array")):
        with pytest.raises(InputError, match=rf"^x must .*{told}"):
            answers(model, bad)


@pytest.mark.parametrize("row", TRAINED, ids=lambda row: row.name)
def test_no_rows_are_scored_as_none(row: Model):
    model, x = build(row), np.zeros((0, *shape_of(row)))
    if hasattr(model, "log_prob"):
        assert evaluate(model.log_prob, x).shape == (0,)
    if hasattr(model, "elbo"):
        assert value(model.elbo(x, rng=Generator(0))).shape == (0,)
    if hasattr(model, "importance_log_prob"):
        assert value(model.importance_log_prob(x, rng=Generator(0), k=3)).shape == (0,)
    if hasattr(model, "sample"):
        assert model.sample(0).shape == x.shape
    if hasattr(model, "reconstruct"):
        assert reconstruct(model, x, np.zeros(0, np.int64)).shape == x.shape


def test_a_model_that_rounds_in_silence_is_rejected():
    model = build(MODELS["real-nvp"])
    right = model.log_prob
    model.log_prob = lambda x: right(x.astype(np.float16).astype(np.float64) * 1.25)
    with pytest.raises(AssertionError):
        dtype_is_the_models(model, np.eye(2) + 1e-3)
