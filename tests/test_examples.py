"""The examples in docstrings run and say what they say; every model has one."""

from __future__ import annotations

import doctest
import pkgutil
from importlib import import_module
from types import ModuleType
from typing import Any

import pytest

import core
import reference
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


@pytest.mark.parametrize("name", [*modules(core), *modules(reference)])
def test_examples_run(name: str):
    assert failures(FINDER.find(import_module(name), name)) == 0


def has_an_example(cls: type) -> None:
    (own,) = [t for t in FINDER.find(cls, cls.__name__, globs={}) if t.name == cls.__name__]
    told = "".join(example.source for example in own.examples)
    assert cls.__name__ in told, f"{cls.__name__} has no example that makes one"


@pytest.mark.parametrize("row", MODELS.values(), ids=lambda row: row.name)
def test_a_model_has_an_example(row: Any):
    has_an_example(row.load())


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
