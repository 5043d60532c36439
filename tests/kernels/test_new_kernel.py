"""CONTRIBUTING's new kernel, followed to the letter in a copy of the checkout."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kernels.measure import Measured, bounds, main, rejections, round_up
from tests.kernels.test_kernels import OPS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("## New kernel")[2].partition("\n## ")[0]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy with the three files of the page, its __init__ and its family."""
    root = tmp_path_factory.mktemp("checkout")
    for room in ("core", "reference", "kernels", "bench", "docs", "tests"):
        ignored = shutil.ignore_patterns("__pycache__", "results")
        shutil.copytree(ROOT / room, root / room, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", root)
    for path, text in re.findall(r"```python\n# (\S+)\n(.*?)```", SECTION, re.S):
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    (root / "kernels/log_sums/__init__.py").write_text('"""Logs of sums."""\n')
    (line,) = re.findall(r'`FAMILIES`.*: `("\w+",)`', SECTION)
    replace(root / "kernels/table.py", "FAMILIES = (", f"FAMILIES = (\n    {line}")
    return root


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{old} stands {text.count(old)} times in {path}"
    path.write_text(text.replace(old, new), encoding="utf-8")


def run(root: Path, *command: str) -> str:
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    env |= {"PYTHONPATH": str(root), "NUMBA_CACHE_DIR": str(root / "cache")}
    done = subprocess.run(
        [sys.executable, *command], cwd=root, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_page_followed_to_the_letter(checkout: Path):
    """Measured, pasted, written, proven and timed; the planted fault that overflows is rejected."""
    measure, write = re.findall(r"`python (-m \S+(?: \w+)?)`", SECTION)
    said = run(checkout, *measure.split())
    assert re.search(r"without the maximum: rejected in \d\d of 50 calls\n", said)
    rows = checkout / "kernels/log_sums/rows.py"
    for old in ("floor={},", 'cap={"float32": 1.0, "float64": 1.0},'):
        (line,) = (x for x in said.split("\n") if x.strip().startswith(old.split("=")[0] + "="))
        replace(rows, old, line.strip())
    assert re.search(r'cap=\{"float32": [1-9]e-0[67], "float64": [1-9]e-1[56]\}', rows.read_text())
    run(checkout, *write.split())
    assert "## log_sum_exp" in (checkout / "docs/operations.md").read_text(encoding="utf-8")
    proof, price = re.findall(r"^python (.*)$", SECTION, re.M)
    assert re.search(r"(\d+) passed", run(checkout, *proof.split()))
    timed = run(checkout, *price.split())
    assert "log_sum_exp 4096x256" in timed
    assert "2 passed" in timed


def test_bounds_are_twice_the_measured_and_no_less_than_two_eps():
    assert [round_up(x) for x in (1.0, 1.1, 9.5, 2e-7, 2.01e-7)] == [1.0, 2.0, 10.0, 2e-7, 3e-7]
    assert bounds(Measured(1e-7, 1e-6), "float32") == (3e-7, 2e-6)
    assert bounds(Measured(0.0, 0.0), "float64") == (5e-16, 5e-16)


def test_what_cannot_be_measured_is_said_in_a_line(capsys: pytest.CaptureFixture[str]):
    assert main(["nothing"]) == 1
    assert "operation must be one of histogram, " in capsys.readouterr().err
    assert main(["intervals"]) == 0
    assert "whole numbers are exact" in capsys.readouterr().out
    assert main(["histogram", "--backend", "triton"]) == 1
    assert "histogram has no triton twin" in capsys.readouterr().err


def test_a_fault_that_hides_is_counted():
    from dataclasses import replace

    op = replace(OPS["count_categories"], wrong={"none": OPS["count_categories"].load()})
    assert rejections(op) == {"none": 0}
