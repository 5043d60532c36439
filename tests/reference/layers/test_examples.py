"""Every layer has an example in its docstring, and it runs."""

from __future__ import annotations

import doctest
import inspect
from importlib import import_module
from pathlib import Path

import pytest

from reference import layers

FOLDER = Path(layers.__file__).parent
MODULES = sorted(path.stem for path in FOLDER.glob("*.py"))


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str):
    failed, _ = doctest.testmod(import_module(f"reference.layers.{name}"))
    assert not failed


@pytest.mark.parametrize("name", sorted(set(layers.__all__) - {"Cache", "Moments", "sinusoidal"}))
def test_whoever_is_called_first_has_an_example(name: str):
    assert ">>>" in (inspect.getdoc(getattr(layers, name)) or "")
