"""Functions from outside: docs/your-kernel.md as it stands, and what its commands refuse."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from core.errors import InputError
from kernels import OPS
from kernels.foreign import adapted, find, find_operation, on_tensors
from kernels.search import SHOWN, report, smallest
from reference.zoo.cli import app

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/your-kernel.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.S)
COMMANDS = re.findall(r"^\$ genzoo (.*)$\n((?:(?!\$ )(?!```).*\n)*)", PAGE, re.M)

DRAWN = re.compile(
    r"in call \d+|array\([^)]*\)|\.call\(.*\)|got \S+, the definition has [^;]*;[^,]*"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's files."""
    here = tmp_path_factory.mktemp("yours")
    for kind, text in BLOCKS:
        name = re.match(r"# (\w+\.py)\n", text)
        if kind == "python" and name:
            (here / name[1]).write_text(text, encoding="utf-8")
    return here


def run(folder: Path, *command: str) -> str:
    """All that a command says, in this folder."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    env["PYTHONPATH"] = os.pathsep.join([str(ROOT), env.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.stderr + done.stdout


def test_the_commands_are_there():
    """Entry points are read from the install: after a change of pyproject.toml, install again."""
    assert {entry.name for entry in entry_points(group="genzoo.commands")} == {"check", "bench"}
    shown = CliRunner().invoke(app, ["--help"]).output
    assert re.search(r"^  check +Check a function of yours", shown, re.M)
    assert re.search(r"^  bench +Time a function of yours", shown, re.M)


@pytest.mark.parametrize(("command", "said"), COMMANDS, ids=[c[:40] for c, _ in COMMANDS])
def test_the_page_says_what_its_commands_say(folder: Path, command: str, said: str):
    if "--torch" in command:
        pytest.importorskip("torch")
    found = run(folder, "-m", "reference", *shlex.split(command))
    if command.startswith("check"):
        # Hypothesis takes constants from the modules around: which smallest call it ends at varies.
        found, said = (DRAWN.sub("…", x.rstrip()) for x in (found, said))
        assert found == said
        return
    names = re.findall(r"^  (\S+) ", said, re.M)
    assert found.splitlines()[0] == said.splitlines()[0]
    assert {"yours", "genzoo", "definition", "numpy"} <= set(names)
    assert {*re.findall(r"^  (\S+) ", found, re.M)} == {*names}, "also who isn't timed is named"
    timed = re.findall(r"^  (\S+) .* \[.*\]", found, re.M)
    present = {name for name in names if "-" not in name or find_spec(name.replace("-", "_"))}
    assert set(timed) == present


def test_the_page_draws_the_call_again(folder: Path):
    ((code, output),) = re.findall(
        r"```python\n(from kernels.*?)```\n\n```output\n(.*?)```", PAGE, re.S
    )
    assert run(folder, "-c", code) == output


def test_the_pages_test_passes_and_finds_the_fault(folder: Path):
    (test,) = (text for _, text in BLOCKS if text.startswith("# test_mended.py"))
    assert "1 passed" in run(folder, "-m", "pytest", "-q", "test_mended.py")
    (folder / "test_mykernel.py").write_text(test.replace("mended", "mykernel"))
    said = run(folder, "-m", "pytest", "-q", "test_mykernel.py")
    assert re.search(r"histogram is wrong at \[\d+\]: got \d+, the definition has \d+", said)
    assert re.search(r'call=OPS\["histogram"\].call\(\d+, "float64", ', said)


def test_a_wrong_function_is_not_timed(folder: Path):
    command = "bench mykernel:histogram --op histogram --without weights --dim n=100"
    said = run(folder, "-m", "reference", *command.split())
    assert "shrunk to the smallest" in said
    assert said.endswith("nothing is timed\n")
    assert "definition  " not in said


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("check mykernel:histogram --op histogrm", "operation must be one of histogram, "),
        ("check mykernel:other --op histogram", "mykernel must have a function other, got None"),
        ("check mykernel --op histogram", "must be package.module:function, got 'mykernel'"),
        ("check nowhere:f --op histogram", "nowhere:f can't be imported: No module named"),
        ("check mended:histogram --op histogram --dim n", "--dim must be NAME=N, got 'n'"),
        ("check mended:histogram --op histogram --dim m=1", "dims of histogram must be one of"),
        ("check mended:histogram --op histogram --without x", "without of histogram must be one"),
        ("check mended:histogram --op histogram --dtype f", "dtype of histogram must be one of"),
        ("bench mended:histogram --op histogram --case x", "--case must be in one of 1-D, "),
    ],
)
def test_what_cannot_be_asked_is_one_line(folder: Path, command: str, said: str):
    (line,) = run(folder, "-m", "reference", *command.split()).splitlines()
    assert line.startswith("genzoo: ")
    assert said in line


# In a Python session


def test_a_function_is_found_wherever_it_lies():
    assert find("numpy:histogram") is np.histogram
    assert find("numpy:random.default_rng") is np.random.default_rng
    assert find_operation("step") is OPS["step"]


def test_arguments_at_their_default_may_be_left_out():
    """What a function has no name for is left out where nothing is lost, and never else."""
    attention, q = OPS["masked_attention"], np.ones((1, 1, 1, 1), np.float32)
    call = {"q": q, "k": q, "v": 3 * q}
    short = adapted(lambda q, k, v: v, attention)
    assert short(**call, mask=None, scale=None) == 3
    with pytest.raises(InputError, match="the function must take scale, as masked_attention does"):
        short(**call, mask=None, scale=0.5)
    assert adapted(lambda **any: any["scale"], attention)(**call, scale=0.5) == 0.5


def test_tensors_go_in_and_arrays_come_out():
    torch = pytest.importorskip("torch")
    seen: list[Any] = []

    def both(x: Any, edges: Any, n: int) -> Any:
        seen[:] = [x, *edges, n]
        return x.requires_grad_() * 2, edges[0]

    x, edges = np.arange(6.0)[::-2], [np.arange(3.0), np.arange(4)]
    doubled, first = on_tensors(both)(x, edges=edges, n=3)
    assert all(isinstance(t, torch.Tensor) for t in seen[:-1])
    assert seen[-1] == 3
    np.testing.assert_array_equal(doubled, 2 * x)
    assert isinstance(first, np.ndarray)


def test_whatever_a_function_raises_is_a_fault():
    def broken(x: Any, edges: Any, weights: Any = None) -> Any:
        raise KeyError("a bug")

    fault = smallest(broken, OPS["histogram"])
    assert fault is not None
    assert fault.said == "histogram raised KeyError: 'a bug'"
    assert fault.after == 1


def test_one_call_and_two_answers_is_an_error():
    state = SimpleNamespace(calls=0)

    def changing(x: Any, edges: Any, weights: Any = None) -> Any:
        state.calls += 1
        return OPS["histogram"].load()(x, edges, weights) + (state.calls == 3)

    with pytest.raises(InputError, match="histogram must come out the same every time"):
        smallest(changing, OPS["histogram"])


def test_large_arguments_are_told_by_shape():
    few = OPS["histogram"].call(0, "float32", n=SHOWN, bins=2, edges=0, weighted=0, odd=0)
    many = OPS["histogram"].call(0, "float32", n=300, bins=2, edges=0, weighted=0, odd=5)
    fault = SimpleNamespace(said="wrong", after=1)
    shown = [report("f", SimpleNamespace(call=c, **vars(fault))) for c in (few, many)]  # type: ignore[arg-type]
    assert "x       = array([" in shown[0]
    assert "x       = float32 of shape (300,), with NaN\n" in shown[1]
