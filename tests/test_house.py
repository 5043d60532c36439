"""The house itself: arrows between rooms, what importing costs, how it installs."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("core", "reference", "kernels", "bench", "tests")
MAY_IMPORT = {
    "core": {"core"},
    "reference": {"core", "reference"},
    "kernels": {"core", "reference", "kernels"},
    "bench": {"core", "reference", "kernels", "bench"},
}
HEAVY = {"torch", "triton", "matplotlib", "sklearn", "numba", "pooch", "typer", "rich", "pandas"}


def imported_rooms(source: str) -> set[str]:
    """Our own top-level names that a module imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return {name.split(".")[0] for name in names} & set(ROOMS)


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_arrows_run_one_way(room: str):
    for path in sorted((ROOT / room).rglob("*.py")):
        against = imported_rooms(path.read_text()) - MAY_IMPORT[room]
        assert not against, f"{path.relative_to(ROOT)} imports {against}"


def test_a_backward_arrow_would_be_seen():
    assert imported_rooms("def f():\n    from kernels.x import y") == {"kernels"}
    assert imported_rooms("import reference.autoregressive.nade as n") == {"reference"}


def test_importing_is_light():
    code = f"import sys, core, reference; print(sorted({HEAVY!r} & set(sys.modules)))"
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize("room", ["core", "reference", "kernels", "bench"])
def test_rooms_are_imported_from_the_checkout(room: str, tmp_path: Path):
    """`kernels` is also a package on PyPI; this one must be ours, from whatever folder."""
    code = f"import {room}; print({room}.__file__)"
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert Path(out.stdout.strip()).is_relative_to(ROOT)


def test_a_build_that_is_not_editable_is_refused(tmp_path: Path):
    pytest.importorskip("hatchling")
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation"]
    out = subprocess.run(
        [*pip, "--target", str(tmp_path), str(ROOT)], capture_output=True, text=True, check=False
    )
    assert out.returncode != 0
    assert "pip install -e ." in out.stdout + out.stderr
    assert not any(tmp_path.iterdir())


def test_every_dependency_is_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    wanted = project["dependencies"] + extras
    names = {re.split(r"[\[<>=; ]", line)[0].lower() for line in wanted} - {"genzoo"}
    pins = (ROOT / "constraints.txt").read_text().lower()
    missing = {
        n for n in names if not re.search(rf"^{re.escape(n)}==", pins.replace("_", "-"), re.M)
    }
    assert not missing


def test_readme_commands_are_make_targets():
    readme, makefile = (ROOT / "README.md").read_text(), (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"make ([a-z-]+)", readme))
    assert {"demo", "test"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.M), f"README names make {target}"


def test_readme_examples_run():
    """The Python in the README that stands on its own; the first block quotes a model's file.

    The last needs a GPU: tests/kernels/test_attention.py runs it in Triton's interpreter.
    """
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    quoted, *examples, _ = blocks
    for line in quoted.splitlines():
        assert line.strip() in (ROOT / "reference/autoregressive/fvsbn.py").read_text()
    names: dict[str, Any] = {}
    exec(examples[0], names)
    x, t = names["x"].data, np.tanh(names["x"].data)
    np.testing.assert_allclose(names["dy"].data, 2 * t * (1 - t**2))
    np.testing.assert_allclose(names["ddy"], 2 * (1 - t**2) * (1 - 3 * t**2))
    assert x.shape == (5,)
    for example in examples[1:]:
        exec(example, names)
    np.testing.assert_array_equal(names["counts"], np.histogram(names["x"], names["edges"])[0])
