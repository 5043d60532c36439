"""`genzoo lesson` and `genzoo scene`, as somebody types them."""

from __future__ import annotations

import sys

import pytest

from reference.lessons import LESSONS, Fact, backprop
from reference.zoo import cli


@pytest.fixture
def genzoo(monkeypatch, capsys, tmp_path):
    """Run a command line in an empty folder: its exit status, what it printed, its error."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["genzoo", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return (stop.value.code or 0, *capsys.readouterr())

    return run


def test_all_lessons_are_listed_with_their_rows(genzoo):
    status, out, _ = genzoo("lesson")
    assert status == 0
    assert [line.split("\t")[0] for line in out.splitlines()[1:]] == list(LESSONS)


@pytest.mark.parametrize("name", ["backprop", "F7", "f7"])
def test_a_lesson_is_shown_by_its_name_or_by_a_row(genzoo, name):
    status, out, _ = genzoo("lesson", name)
    assert status == 0
    assert "nodes visited in a chain of 30 doublings\t31\t= 31 ± 0\tyes" in out


def test_a_law_that_does_not_hold_is_an_error(genzoo, monkeypatch):
    monkeypatch.setattr(backprop, "facts", lambda _: [Fact("a number", "2", "= 1", holds=False)])
    status, out, err = genzoo("lesson", "backprop")
    assert (status, "NO" in out) == (1, True)
    assert err == "genzoo: a law of backprop does not hold\n"


def test_an_unknown_lesson_is_told(genzoo):
    status, _, err = genzoo("lesson", "F99")
    assert status == 1
    assert "backprop" in err
    assert "'F99'" in err


@pytest.mark.parametrize(
    ("text", "file", "magic"),
    [
        ("a red cube left of a blue cylinder", "scene.png", b"\x89PNG"),
        ("a red cube moving left", "scene.gif", b"GIF89a"),
        ("Cube('red', (-0.5, 0, 0)), Sphere(color='blue', size=0.3)", "scene.png", b"\x89PNG"),
    ],
)
def test_a_scene_leaves_its_picture(genzoo, tmp_path, text, file, magic):
    status, out, err = genzoo("scene", text, "--pixels", "32")
    assert (status, err) == (0, "")
    assert out.splitlines()[-1] == f"is {file}"
    assert (tmp_path / file).read_bytes().startswith(magic)


def test_what_a_scene_cannot_be_is_told(genzoo, tmp_path):
    for arguments, told in (
        (["a red cone"], "cone"),
        (["a red cube", "--out", "x.gif"], ".png"),
    ):
        status, _, err = genzoo("scene", *arguments)
        assert (status, told in err, err.count("\n")) == (1, True, 1)
    assert not list(tmp_path.iterdir())
