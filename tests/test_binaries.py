"""Every Triton kernel compiled ahead of time: registers, shared memory, tensor cores."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from core.errors import InputError

pytest.importorskip("torch")
pytest.importorskip("triton")

ROOT = Path(__file__).parents[1]
SOME = (
    "forward,sm_90,bf16,128,intervals",
    "decode,sm_80,fp16,64,packed",
    "dq,sm_90,bf16,64,intervals",
    "dkv,gfx942,fp16,64,intervals",
    "delta,sm_80,fp32,80,rows",
    "merge,sm_90,bf16,48,splits 2",
    "step,sm_90,bf16,256,guided odd",
    "draw,gfx942,fp32,256,normal even",
)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Compiling and the interpreter exclude each other in one process."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True
    )


def test_binaries_keep_to_registers_and_use_tensor_cores():
    """Some of them; `make binaries` does all."""
    done = run("-m", "kernels.binaries", *SOME)
    lines = done.stdout.splitlines()
    unfit = [line for line in lines if not line.endswith("\tfit")]
    assert not unfit, "\n".join(unfit)
    assert done.returncode == 0, done.stderr[-3000:]
    assert [line.split("\t")[0] for line in lines] == list(SOME)


def test_every_kernel_has_cells():
    """Each @triton.jit function that ends in _kernel, on every target."""
    from kernels.binaries import _KERNELS, TARGETS, cells

    launched = {
        name
        for path in (ROOT / "kernels").glob("*_triton.py")
        for name in (line.split("(")[0][4:] for line in path.read_text().splitlines())
        if name.endswith("_kernel")
    }
    assert launched == {kernel.fn.__name__ for kernel in _KERNELS.values()}
    assert {(c.kernel, c.target) for c in cells()} == {(k, t) for k in _KERNELS for t in TARGETS}


def test_an_unfit_binary_is_noticed():
    from kernels.binaries import Binary, Cell, fault

    cell, good = Cell("forward", "sm_90", "bf16", 128, "packed"), Binary(255, 0, 0, "HGMMA", 0)
    assert fault(cell, good) == ""
    assert fault(cell, good._replace(tensor="HMMA")) == "HMMA in use"
    assert fault(cell, good._replace(tensor="")) == "no tensor core in use"
    assert fault(cell, good._replace(spills=7)) == "7 spills"
    assert fault(cell, good._replace(scalar=1)) == "1 products without tensor cores"
    assert "shared" in fault(cell, good._replace(shared=(227 << 10) + 1))
    other = cell._replace(target="sm_80")
    assert "shared" in fault(other, Binary(255, (163 << 10) + 1, 0, "HMMA", 0))
    assert fault(cell._replace(dtype="fp32"), good._replace(tensor="", scalar=2)) == ""
    backward = cell._replace(kernel="dkv", size=256)
    assert fault(backward, good._replace(tensor="HMMA")) == ""
    assert fault(backward._replace(size=128), good._replace(tensor="HMMA")) == "HMMA in use"


def test_a_misspelt_cell_is_named():
    from kernels.binaries import main

    with pytest.raises(InputError, match="'forwards' names no cell"):
        main(["forwards"])


# Planted: this file, run as a script, compiles kernels that aren't fit and prints what is wrong

UNFIT = {
    "a configuration that spills": "spills",
    "scores without tensor cores": "3 products without tensor cores",
    "more than the shared memory": "bytes of shared memory, of 166912",
}


@pytest.mark.parametrize("case", UNFIT)
def test_an_unfit_kernel_is_rejected(case: str, tmp_path: Path):
    done = run(__file__, case, str(tmp_path))
    assert done.returncode == 0, done.stderr[-3000:]
    assert UNFIT[case] in done.stdout


def unfit(case: str, folder: Path) -> str:
    """The fault found in a planted kernel."""
    from kernels import attention_triton, binaries

    configurations = attention_triton.CONFIGURATIONS
    attention_triton.OTHER_TARGETS.clear()
    if case == "scores without tensor cores":
        cell = binaries.Cell("forward", "sm_90", "bf16", 32, "intervals")
        configurations["forward", 2][32] = (64, 32, 1, 4)
        dot = 'tl.dot(q, tl.trans(k), input_precision="ieee")'
        slow = 'tl.dot(q.to(tl.float32), tl.trans(k.to(tl.float32)), input_precision="ieee")'
        changed = module(folder, dot, slow, "_forward_blocks")
        binaries._KERNELS["forward"] = changed.forward_kernel
    elif case == "a configuration that spills":
        cell = binaries.Cell("forward", "sm_80", "bf16", 128, "intervals")
        configurations["forward", 2][128] = (128, 64, 1, 4)
    else:
        cell = binaries.Cell("forward", "sm_80", "bf16", 128, "intervals")
        configurations["forward", 2][128] = (64, 64, 6, 8)
    return binaries.fault(cell, binaries.build(cell))


def module(folder: Path, old: str, new: str, where: str) -> Any:
    """attention_triton with a piece of the function `where` changed."""
    source = (ROOT / "kernels" / "attention_triton.py").read_text()
    before, after = source.split(f"def {where}(")
    assert old in after.split("@triton.jit")[0]
    path = folder / "changed.py"
    path.write_text(f"{before}def {where}({after.replace(old, new, 1)}")
    spec = importlib.util.spec_from_file_location("changed", path)
    assert spec
    assert spec.loader
    changed = importlib.util.module_from_spec(spec)
    sys.modules["changed"] = changed
    spec.loader.exec_module(changed)
    return changed


if __name__ == "__main__":
    print(unfit(sys.argv[1], Path(sys.argv[2])))
