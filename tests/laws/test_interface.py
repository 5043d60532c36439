"""Every model's signatures are those of the Protocols its kind owes (`reference.owes.OWES`)."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from inspect import Parameter
from typing import Any

import numpy as np
import pytest

from core import value
from core.data import load
from core.errors import InputError
from core.learners import mean_loss
from core.random import Generator
from core.state import parameters
from reference import KINDS, MODELS, Model
from reference.owes import OWES, Bounded, Plays
from tests.laws.subject import build, examples, loss_of, make, objectives

CONDITION = Parameter("y", Parameter.POSITIONAL_OR_KEYWORD, default=None)
ROWS = list(MODELS.values())
SAMPLED = [row for row in ROWS if hasattr(row.load(), "sample")]


def by_name(rows: Any) -> Any:
    return pytest.mark.parametrize("row", rows, ids=lambda row: row.name)


def arguments(function: Callable[..., Any]) -> list[Parameter]:
    """Its parameters but `self`, without annotations."""
    found = inspect.signature(function).parameters.values()
    return [p.replace(annotation=Parameter.empty) for p in found if p.name != "self"]


def methods(protocol: type) -> Mapping[str, Callable[..., Any]]:
    """The methods that a Protocol asks for, its parents' included."""
    names = [n for cls in protocol.__mro__ for n in vars(cls) if not n.startswith("_")]
    return {n: getattr(protocol, n) for n in names}


# The laws, of a class, so that a wrong class can be planted


def has_what_its_kind_owes(cls: type, kind: str) -> None:
    for protocol in OWES[kind]:
        for name, wanted in methods(protocol).items():
            assert hasattr(cls, name), f"{cls.__name__} has no {name}"
            agrees(getattr(cls, name), wanted)


def agrees(method: Callable[..., Any], wanted: Callable[..., Any]) -> None:
    """The Protocol's parameters, then y=None, then whatever has a name and a default."""
    own, owed = arguments(method), arguments(wanted)
    left = [p for p in own if p not in owed and p != CONDITION]
    assert [p for p in own if p in owed] == owed, f"{method.__qualname__}{own} is not {owed}"
    for p in left:
        told = f"{method.__qualname__}: {p} must be keyword-only, with a default"
        assert p.kind is Parameter.KEYWORD_ONLY, told
        assert p.default is not Parameter.empty, told


def constructs_from_the_data(
    cls: type, from_data: set[str], *, drawn: bool, dtype: bool = True
) -> None:
    """By position only what follows from the data; by name the rest, seed and dtype last."""
    own = arguments(cls)
    positional = [p for p in own if p.kind is not Parameter.KEYWORD_ONLY]
    assert positional, f"{cls.__name__} takes nothing from the data"
    for p in positional:
        assert p.kind is Parameter.POSITIONAL_OR_KEYWORD, f"{cls.__name__}: {p}"
        assert p.default is Parameter.empty, f"{cls.__name__}: {p} must be keyword-only"
        assert p.name in from_data, f"{cls.__name__}: {p} does not follow from the data"
    for p in own[len(positional) :]:
        assert p.default is not Parameter.empty, f"{cls.__name__}: {p} must have a default"
    if dtype:
        name = own[-1].replace(default=None).name
        assert name == "dtype", f"{cls.__name__} must take dtype, last"
        assert own[-1].default is np.float32
    seeds = [p.default for p in own if p.name == "seed"]
    assert seeds == [0] or (not seeds and not drawn), f"{cls.__name__} must take seed=0"


def losses_take_x_y_rng(model: Any) -> None:
    for loss, _ in objectives(model):
        assert arguments(loss) == arguments(Bounded.loss), f"{loss.__name__}{arguments(loss)}"


def does_not_write_the_default_loss_again(model: Any, x: np.ndarray, y: Any) -> None:
    """An explicit model has a loss of its own only if it is another than −mean log p."""
    if not hasattr(model, "log_prob") or not hasattr(model, "loss"):
        return
    values = {value(loss_of(model)(x, y, Generator(seed))).item() for seed in range(20)}
    assert len(values) > 1, f"{type(model).__name__}.loss is −mean log_prob: leave it out"


@by_name(ROWS)
def test_methods_are_those_of_the_protocols(row: Model):
    has_what_its_kind_owes(row.load(), row.kind)
    for protocol in OWES[row.kind]:
        assert isinstance(build(row), protocol)


@by_name(ROWS)
def test_constructors_take_what_the_data_give_and_the_rest_by_name(row: Model):
    data = row.demos[0].data if row.demos else "digits"
    from_data = set(row.arguments(load(data, domain=row.domain, n=50)))
    drawn, dtype = row.training == "gradient", row.family != "classifies only"
    constructs_from_the_data(row.load(), from_data, drawn=drawn, dtype=dtype)


@by_name([row for row in ROWS if row.training == "gradient"])
def test_losses_have_one_signature_and_none_is_written_twice(row: Model):
    losses_take_x_y_rng(make(row).model)
    model = row.load()(**{**row.tiny, **({"masks": 9} if row.name == "made" else {})})
    does_not_write_the_default_loss_again(model, *examples(row, 8))


def test_every_kind_owes_something():
    assert set(OWES) == set(KINDS)


# Models with one wrong signature


class Right:
    def __init__(self, dim, *, hidden=3, seed=0, dtype=np.float32): ...

    def sample(self, n, *, seed=0, temperature=1.0): ...

    def log_prob(self, x, y=None): ...

    def elbo(self, x, y=None, rng=None): ...

    def loss(self, x, y=None, rng=None): ...


def test_a_right_signature_passes():
    has_what_its_kind_owes(Right, "latent")
    constructs_from_the_data(Right, {"dim"}, drawn=True)


WRONG = {
    "labels before data": {"elbo": lambda self, y, x, rng=None: None},
    "no labels": {"loss": lambda self, x, rng=None: None},
    "labels that must be given": {"loss": lambda self, x, y, rng=None: None},
    "noise that must be given": {"elbo": lambda self, x, y=None, *, rng: None},
    "another name for x": {"loss": lambda self, batch, y=None, rng=None: None},
    "a number of samples among the arguments": {"elbo": lambda self, x, y=None, rng=None, k=1: 0},
    "seed by position": {"sample": lambda self, n, seed=0: None},
    "no seed": {"sample": lambda self, n: None},
    "an option without default": {"sample": lambda self, n, *, seed=0, steps: None},
    "no bound": {"elbo": None},
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_method_is_rejected(what: str):
    ((name, method),) = WRONG[what].items()
    body = {**vars(Right), **WRONG[what]}
    if method is None:
        del body[name]
    with pytest.raises(AssertionError):
        has_what_its_kind_owes(type("Wrong", (), body), "latent")


WRONG_CONSTRUCTORS = {
    "a size by position": lambda self, dim, hidden=3, *, seed=0, dtype=np.float32: None,
    "a size that must be given": lambda self, dim, *, hidden, seed=0, dtype=np.float32: None,
    "what the data don't give": lambda self, dim, hidden, *, seed=0, dtype=np.float32: None,
    "nothing from the data": lambda self, *, hidden=3, seed=0, dtype=np.float32: None,
    "no seed": lambda self, dim, *, dtype=np.float32: None,
    "another seed": lambda self, dim, *, seed=1, dtype=np.float32: None,
    "no dtype": lambda self, dim, *, seed=0: None,
    "float64": lambda self, dim, *, seed=0, dtype=np.float64: None,
}


@pytest.mark.parametrize("what", WRONG_CONSTRUCTORS)
def test_a_wrong_constructor_is_rejected(what: str):
    wrong = type("Wrong", (), {"__init__": WRONG_CONSTRUCTORS[what]})
    with pytest.raises(AssertionError):
        constructs_from_the_data(wrong, {"dim"}, drawn=True)


def test_a_loss_that_is_the_default_is_rejected():
    model = build(MODELS["nade"])
    x, y = examples(MODELS["nade"], 8)
    does_not_write_the_default_loss_again(model, x, y)
    model.loss = lambda x, y=None, rng=None: -np.mean(model.log_prob(x))
    with pytest.raises(AssertionError):
        does_not_write_the_default_loss_again(model, x, y)


def test_a_loss_that_needs_its_noise_by_position_is_rejected():
    model = build(MODELS["gan"])
    losses_take_x_y_rng(model)
    model.objectives = lambda: [(lambda x, rng: None, parameters(model))]
    assert isinstance(model, Plays)
    with pytest.raises(AssertionError):
        losses_take_x_y_rng(model)


# What learners make of it


def test_the_default_loss_is_the_mean_negative_log_prob_given_the_labels_if_it_takes_any():
    class Joint:
        def log_prob(self, x, y=None):
            return np.arange(len(x)) * (1.0 if y is None else y)

    class Marginal:
        def log_prob(self, x):
            return np.arange(float(len(x)))

    x, y = np.zeros((4, 1)), np.array([1, 2, 3, 4])
    assert loss_of(Joint())(x) == -1.5
    assert loss_of(Joint())(x, y) == mean_loss(Joint(), x, y) == -(2 + 6 + 12) / 4
    assert loss_of(Marginal())(x, y) == mean_loss(Marginal(), x, y) == -1.5


def test_validation_leaves_no_graph_whatever_it_asks():
    for name in ("nade", "made", "vae", "ddpm"):
        row = MODELS[name]
        model, (x, y) = build(row), examples(row, 8)
        asked = {"vae": "decode", "ddpm": "denoiser"}.get(name, "conditionals")
        seen, right = [], getattr(model, asked)

        def spy(*args, right=right, seen=seen, **how):
            seen.append(right(*args, **how))
            return seen[-1]

        setattr(model, asked, spy)
        mean_loss(model, x, y)
        assert seen, f"{name} was not asked"
        for out in seen:
            assert all(
                isinstance(a, np.ndarray) for a in (out if isinstance(out, tuple) else [out])
            )


@by_name([row for row in ROWS if row.training == "gradient" and row.family == "bounded likelihood"])
def test_a_method_that_draws_names_the_generator_it_misses(row: Model):
    model, (x, _) = build(row), examples(row, 4)
    for method in (model.elbo, model.loss):
        with pytest.raises(InputError, match=r"^rng must be a core\.random\.Generator"):
            method(x)


# What is said of a model, and of one that has gone wrong


@by_name(ROWS)
def test_a_model_shows_what_it_is(row: Model):
    model = build(row)
    shown = repr(model)
    assert shown.startswith(type(model).__name__)
    assert "object at 0x" not in shown
    for name, setting in row.tiny.items():
        if isinstance(setting, int) and (row.training == "gradient" or hasattr(model, name)):
            assert f"{name}={setting}" in shown


@by_name([row for row in SAMPLED if row.training == "gradient"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_model_whose_parameters_are_not_finite_does_not_sample(row: Model, bad: float):
    model = build(row)
    model.sample(3)
    name, p = list(parameters(model).items())[-1]
    p[tuple(n - 1 for n in p.shape)] = bad
    with pytest.raises(InputError, match=rf"parameters of {type(model).__name__} .* but {name}"):
        model.sample(3)


@by_name([row for row in SAMPLED if row.training != "gradient"])
def test_a_model_that_counted_nan_does_not_sample(row: Model):
    model = make(row).model
    for name, array in leaves(model).items():
        if array.dtype.kind == "f":
            old, array.flat[0] = array.flat[0], np.nan
            with pytest.raises(
                InputError, match=rf"parameters of {type(model).__name__} .* {name}"
            ):
                model.sample(3)
            array.flat[0] = old
    model.sample(3)


def leaves(model: Any) -> dict[str, np.ndarray]:
    """Its arrays themselves, by name."""
    every = ((n, a if isinstance(a, list) else [a]) for n, a in vars(model).items())
    return {n: a for n, some in every for a in some if isinstance(a, np.ndarray)}


@by_name(SAMPLED)
@pytest.mark.parametrize("n", [-1, 2.5, True, "3", None])
def test_how_many_to_sample_is_a_whole_number(row: Model, n: Any):
    with pytest.raises(InputError, match=r"\bn\b|shape"):
        make(row).model.sample(n)
