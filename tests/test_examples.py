"""The examples in docstrings run and say what they say; every model has one."""

from __future__ import annotations

import doctest
import pkgutil
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

import pytest

import core
import reference
from core.operation import operations
from reference import MODELS

FINDER = doctest.DocTestFinder(exclude_empty=True)
SKIPPED = ("reference.zoo", "reference.__main__", "reference.estimators")
"""The command line and what needs scikit-learn: no examples there, and slow to import."""


def modules(package: ModuleType) -> list[str]:
    found = pkgutil.walk_packages(package.__path__, package.__name__ + ".")
    return [m.name for m in found if not m.name.startswith(SKIPPED)]


def failures(examples: list[doctest.DocTest]) -> int:
    runner = doctest.DocTestRunner(verbose=False)
    return sum(runner.run(example).failed for example in examples)


@pytest.mark.parametrize(
    "name", [*modules(core), *modules(reference), "kernels.table", "kernels.calls", "kernels.proof"]
)
def test_examples_run(name: str):
    assert failures(FINDER.find(import_module(name), name)) == 0


def has_an_example(cls: type) -> None:
    (own,) = [t for t in FINDER.find(cls, cls.__name__, globs={}) if t.name == cls.__name__]
    told = "".join(example.source for example in own.examples)
    assert cls.__name__ in told, f"{cls.__name__} has no example that makes one"


@pytest.mark.parametrize("row", MODELS.values(), ids=lambda row: row.name)
def test_a_model_has_an_example(row: Any):
    has_an_example(row.load())


def called_first() -> Iterator[tuple[str, Any]]:
    """What a reader calls first beside models: operations, layers, the engine's own names."""
    for key in operations():
        module, _, name = key.partition(":")
        if not name.endswith(".backward"):  # the other half of a function: nobody calls it first
            yield key, getattr(import_module(module), name)
    for room, but in ((import_module("reference.layers"), set()), (core, {"Array", "vjps"})):
        for name in sorted(set(room.__all__) - but):
            yield f"{room.__name__}.{name}", getattr(room, name)
    for name in ("SGD", "Adam", "AdamW", "EMA", "clip_grad_norm", "cosine"):
        yield f"core.optim.{name}", getattr(import_module("core.optim"), name)
    yield "core.data.load", import_module("core.data").load
    yield "likelihood", import_module("reference.judges.likelihood").likelihood


@pytest.mark.parametrize(("name", "thing"), [pytest.param(*f, id=f[0]) for f in called_first()])
def test_what_is_called_first_has_an_example(name: str, thing: Any):
    assert ">>>" in (thing.__doc__ or ""), f"{name} has no example in its docstring"


def test_an_example_that_is_wrong_or_missing_is_found(capsys):
    def wrong():
        """It doubles.

        >>> 1 + 1
        3
        """

    assert failures(FINDER.find(wrong, "wrong", globs={})) == 1
    assert "Got" in capsys.readouterr().out

    class Bare:
        """Says nothing."""

    with pytest.raises((AssertionError, ValueError)):
        has_an_example(Bare)
