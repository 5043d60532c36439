"""Every lesson is listed, loads, runs, and says which rows of the mission it teaches."""

from __future__ import annotations

import doctest
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from reference import lessons
from reference.lessons import LESSONS

FOLDER = Path(lessons.__file__).parent


def test_every_module_is_listed_once():
    modules = {f"reference.lessons.{path.stem}" for path in FOLDER.glob("[!_]*.py")}
    assert [lesson.module for lesson in LESSONS.values()] == sorted(
        {lesson.module for lesson in LESSONS.values()}
    )
    assert {lesson.module for lesson in LESSONS.values()} == modules


@pytest.mark.parametrize("name", LESSONS)
def test_lessons_have_one_form(name: str):
    lesson = LESSONS[name]
    module = lesson.load()
    assert lesson.name == name
    assert lesson.title
    assert lesson.rows
    assert all(re.fullmatch(r"[A-Z]\d+", row) for row in lesson.rows)
    assert all(re.search(rf"\b{row}\b", module.__doc__ or "") for row in lesson.rows)
    assert inspect.signature(module.run).parameters["seed"].default == 0
    assert not doctest.testmod(module).failed


@pytest.mark.parametrize("name", LESSONS)
def test_the_same_seed_gives_the_same_numbers(name: str):
    run = LESSONS[name].load().run
    assert run(1) == run(1)


def test_the_list_is_light():
    code = "import sys, reference.lessons; print('reference.lessons.backprop' in sys.modules)"
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=FOLDER.parents[1], capture_output=True, text=True
    )
    assert out.stdout.strip() == "False"
