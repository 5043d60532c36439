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

from reference import MODELS

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("core", "reference", "kernels", "bench", "tests")
MAY_IMPORT = {
    "core": {"core"},
    "reference": {"core", "reference"},
    "kernels": {"core", "reference", "kernels"},
    "bench": {"core", "reference", "kernels", "bench"},
}
FOLDER_OF = {
    "H": "counting",
    "A": "autoregressive",
    "L": "latent",
    "N": "flows",
    "G": "adversarial",
    "D": "diffusion",
    "C": "conditional",
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


def imported_files(path: Path, tree: ast.AST) -> set[Path]:
    """Our own files that a file imports, wherever in it; what only type checkers read left out."""
    found: set[Path] = set()
    hidden = {id(n) for block in ast.walk(tree) if is_for_types(block) for n in ast.walk(block)}
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        files = {name: file_of(name) for name in names}
        # `from reference.zoo import runs` needs runs.py, and of the package only that it is one.
        inner = {name.rpartition(".")[0] for name, file in files.items() if file is not None}
        found |= {file for name, file in files.items() if file and name not in inner}
    return found - {path}


def is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def file_of(module: str) -> Path | None:
    base = ROOT / module.replace(".", "/")
    tries = (base.with_suffix(".py"), base / "__init__.py")
    ours = module.split(".")[0] in ROOMS
    return next((path for path in tries if ours and path.is_file()), None)


def circles(arrows: dict[Path, set[Path]]) -> list[str]:
    """Files from which arrows lead back to them, by taking away files that none come from."""
    left = dict(arrows)
    while free := [a for a, to in left.items() if not (to & left.keys())]:
        for a in free:
            del left[a]
    while unseen := set(left) - set().union(*left.values()):
        for a in unseen:
            del left[a]
    return sorted(str(path.relative_to(ROOT)) for path in left)


def test_no_circle_among_files():
    paths = [path for room in MAY_IMPORT for path in (ROOT / room).rglob("*.py")]
    arrows = {path: imported_files(path, ast.parse(path.read_text())) for path in paths}
    assert sum(map(len, arrows.values())) > 300
    assert not circles(arrows)


def test_a_circle_would_be_seen():
    a, b, c = (ROOT / name for name in "abc")
    assert circles({a: {b}, b: {a}, c: {a}}) == ["a", "b"]
    assert circles({a: {b}, b: set(), c: {a}}) == []


# Files of reference/ may have 350 lines, models 200, layers 100.
LIMITS = {"reference/layers": 100, "reference": 350} | {
    f"reference/{folder}": 200 for folder in sorted(set(FOLDER_OF.values()))
}


def test_files_are_short():
    for path in (ROOT / "reference").rglob("*.py"):
        folder = path.parent.relative_to(ROOT).as_posix()
        lines = len(path.read_text().splitlines())
        assert lines <= LIMITS.get(folder, LIMITS["reference"]), (
            f"{path.relative_to(ROOT)}: {lines}"
        )


def test_a_model_lives_in_the_folder_of_its_first_mission_row():
    for model in MODELS.values():
        folder = model.target.split(".")[1]
        assert folder == FOLDER_OF[model.rows[0][0]], f"{model.name}: {model.rows[0]}"


def test_the_top_of_reference_is_bare():
    files = list((ROOT / "reference").glob("*.py"))
    assert len(files) <= 5


def test_reference_names_no_twin_not_even_as_a_string():
    """Which twin runs is decided at run time, by name; a model must not know that there is one."""
    for path in (ROOT / "reference").rglob("*.py"):
        assert not re.search(r"[\"']kernels[.:\"']|kernels\.", path.read_text()), path


def test_models_take_densities_and_divergences_from_core():
    """What core.distributions proves is what the pages use."""
    line = "from core.distributions import Normal"
    users = {p.stem for p in (ROOT / "reference").rglob("*.py") if line in p.read_text()}
    assert {"bound", "variational", "gaussian_naive_bayes", "kernel_naive_bayes"} <= users


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


def foreign(source: str) -> set[str]:
    """Top-level names that a module imports and that are neither ours nor Python's."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    return {n.split(".")[0] for n in names} - set(ROOMS) - sys.stdlib_module_names


def unknown_to_mypy(imported: set[str], hook: str, overrides: list[dict[str, Any]]) -> set[str]:
    """Imports that are neither installed for the hook nor excused from being there."""
    excused = {
        m for rule in overrides if rule.get("ignore_missing_imports") for m in rule["module"]
    }
    (line,) = re.findall(r"\[(mypy==.*)\]", hook)
    installed = {*re.findall(r"([\w-]+)==", line), "PIL"}  # which matplotlib brings along
    return {n for n in imported if n not in installed and not {n, f"{n}.*"} & excused}


def test_mypy_finds_what_it_follows_in_a_fresh_clone():
    """The hook and `make lint` have environments with less in them than that of the tests."""
    mypy = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]
    imported = {
        name
        for room in mypy["files"]
        for path in (ROOT / room).rglob("*.py")
        for name in foreign(path.read_text())
    }
    hook = (ROOT / ".pre-commit-config.yaml").read_text()
    assert {"numpy", "hypothesis", "torch"} <= imported
    assert not unknown_to_mypy(imported, hook, mypy["overrides"])
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    used = re.findall(r"(?:mypy|ruff|numpy|typer|rich|matplotlib)==[\d.]+", hook)
    assert len(used) >= 6
    assert not set(used) - set(pins)
    assert unknown_to_mypy({"numpy", "pandas"}, hook, mypy["overrides"]) == {"pandas"}


def test_pages_point_at_what_is_there():
    """Every relative link, and every path that a page or a docstring names."""
    example = "log_sums"  # CONTRIBUTING's new family, which its readers make
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]:
        missing = broken_links(path.parent, path.read_text(encoding="utf-8"))
        assert not [m for m in missing if example not in m], path
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            missing = broken_paths(path.read_text(encoding="utf-8"))
            assert not [m for m in missing if example not in m], path


def broken_links(folder: Path, page: str) -> list[str]:
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page)
    local = [target for target in targets if "://" not in target]
    return [t for t in local if not (folder / t).exists()] + broken_paths(page)


def broken_paths(text: str) -> list[str]:
    """Such as a/b.py in the rooms or docs: a pattern with <…> or * is none."""
    rooms = "|".join((*ROOMS, "docs"))
    named = re.findall(rf"(?<![\w/.-])((?:{rooms})(?:/[\w-]+)+\.(?:py|md))", text)
    return [name for name in named if not (ROOT / name).exists()]


def test_a_link_to_nowhere_would_be_seen():
    gone = "core/" + "gone.py"
    page = f"[a](README.md#use-it) [b]({gone}) and `{gone}`, [c](https://example.org/x)"
    assert broken_links(ROOT, page) == [gone, gone, gone]


def test_readme_commands_are_make_targets():
    readme, makefile = (ROOT / "README.md").read_text(), (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"make ([a-z-]+)", readme))
    assert {"demo", "test"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.M), f"README names make {target}"


def test_readme_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The Python in the README that stands on its own; the first block quotes a model's file.

    The last needs a GPU: tests/kernels/test_attention.py runs it in Triton's interpreter.
    """
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    quoted, *examples, _ = blocks
    for line in quoted.splitlines():
        assert line.strip() in (ROOT / "reference/autoregressive/fvsbn.py").read_text()
    monkeypatch.chdir(tmp_path)  # one leaves a run
    names: dict[str, Any] = {}
    exec(examples[0], names)
    x, t = names["x"].data, np.tanh(names["x"].data)
    np.testing.assert_allclose(names["dy"].data, 2 * t * (1 - t**2))
    np.testing.assert_allclose(names["ddy"], 2 * (1 - t**2) * (1 - 3 * t**2))
    assert x.shape == (5,)
    for example in examples[1:]:
        exec(example, names)
    assert (tmp_path / "samples.png").read_bytes().startswith(b"\x89PNG")
    assert names["history"].validation[-1] < names["history"].validation[0] < 44.4
    np.testing.assert_array_equal(names["counts"], np.histogram(names["x"], names["edges"])[0])
