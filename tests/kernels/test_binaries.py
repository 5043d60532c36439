"""Every Triton kernel compiled ahead of time: registers, shared memory, tensor cores."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("triton")

ROOT = Path(__file__).parents[2]
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


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Compiling and the interpreter exclude each other in one process."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"} | variables
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
        for path in (ROOT / "kernels").rglob("*_triton.py")
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
    assert fault(cell, good._replace(spills=1)) == "1 spills"
    assert fault(cell, good._replace(scalar=1)) == "1 products without tensor cores"
    assert "shared" in fault(cell, good._replace(shared=(227 << 10) + 1))
    other = cell._replace(target="sm_80")
    assert "shared" in fault(other, Binary(255, (163 << 10) + 1, 0, "HMMA", 0))
    amd, fits = cell._replace(target="gfx942"), Binary(255, 64 << 10, 0, "MFMA", 0)
    assert fault(amd, fits) == ""
    assert fault(amd, fits._replace(spills=1)) == "1 spills"
    assert fault(amd, fits._replace(tensor="")) == "no tensor core in use"
    too_much = fits._replace(shared=(64 << 10) + 1)
    assert fault(amd, too_much) == "65537 bytes of shared memory, of 65536"
    assert fault(cell._replace(dtype="fp32"), good._replace(tensor="", scalar=2)) == ""
    backward = cell._replace(kernel="dkv", size=256)
    assert fault(backward, good._replace(tensor="HMMA")) == ""
    assert fault(backward._replace(size=128), good._replace(tensor="HMMA")) == "HMMA in use"


AMD = """
    .vgpr_count:     128
    .vgpr_spill_count: 3
    v_mfma_f32_32x32x8_bf16 a[0:15], v[0:1], v[2:3], a[0:15]
"""
NVIDIA = """
 Function forward_kernel:
  REG:255 STACK:8 SHARED:0 LOCAL:0 CONSTANT[0]:592
        /*0b10*/  HGMMA.64x128x16.F32.BF16 R24, gdesc[UR8], R24 ;
        /*0b20*/  STL [R1+0x4], R7 ;
        /*0b30*/  STL.64 [R1+0x8], R8 ;
        /*0b40*/  LDL R7, [R1+0x4] ;
"""
TTGIR = """
    %1 = ttng.warp_group_dot %a, %b, %c : tensor<64x64xbf16, #shared> -> tensor<64x64xf32, #mma>
    %2 = tt.dot %d, %e, %f : tensor<64x64xf32, #ttg.dot_op<{parent = #blocked}>>
"""


def test_what_is_read_from_a_binary(monkeypatch: Any):
    """Short pieces of what the compilers write, with figures that no default gives."""
    from kernels import binaries
    from kernels.binaries import Binary

    def read(kind: str, text: str) -> Binary:
        asm = {"ttgir": TTGIR, kind: text}
        return binaries._read(SimpleNamespace(metadata=SimpleNamespace(shared=77), asm=asm))

    assert read("amdgcn", AMD) == Binary(128, 77, 3, "MFMA", 1)
    assert read("amdgcn", AMD.replace("v_mfma", "v_fma")) == Binary(128, 77, 3, "", 1)
    monkeypatch.setattr(binaries, "_disassembled", lambda text: text)
    assert read("cubin", NVIDIA) == Binary(255, 77, 10, "HGMMA", 1)
    stores = NVIDIA.replace("STACK:8", "STACK:0").replace("HGMMA", "HMMA")
    assert read("cubin", stores) == Binary(255, 77, 2, "HMMA", 1)
    assert read("cubin", stores.replace("HMMA", "FFMA").replace("STL", "STG")).tensor == ""


def test_a_misspelt_cell_is_named_before_any_is_compiled(monkeypatch: Any, capsys: Any):
    from kernels import binaries

    monkeypatch.setattr(binaries, "build", lambda cell: pytest.fail("compiled"))
    assert binaries.main([SOME[0], "forwards"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "'forwards' names no cell" in line


@pytest.mark.parametrize(("arguments", "status"), [([], 2), (["--help"], 0), (["--al"], 2)])
def test_cells_are_to_be_named(arguments: list[str], status: int, capsys: Any):
    from kernels import binaries

    with pytest.raises(SystemExit) as end:
        binaries.main(arguments)
    assert end.value.code == status
    assert "usage: python -m kernels.binaries" in "".join(capsys.readouterr())


def test_the_interpreter_compiles_nothing_and_says_so():
    done = run("-m", "kernels.binaries", "all", TRITON_INTERPRET="1")
    (line,) = done.stderr.splitlines()
    assert "unset TRITON_INTERPRET" in line
    assert done.returncode == 1


# Planted: this file, run as a script, compiles kernels that aren't fit and prints what is wrong

UNFIT = {  # target, configuration at head size 128: (block_q, block_k, stages, warps), fault
    "spills on sm_80": ("sm_80", (128, 64, 1, 4), "spills"),
    "spills on gfx942": ("gfx942", (128, 128, 3, 4), "spills"),
    "shared memory of sm_80": ("sm_80", (64, 64, 6, 8), "bytes of shared memory, of 166912"),
    "shared memory of gfx942": ("gfx942", (32, 128, 3, 4), "bytes of shared memory, of 65536"),
}
SCALAR = "scores without tensor cores"


@pytest.mark.parametrize("case", [*UNFIT, SCALAR])
def test_an_unfit_kernel_is_rejected(case: str, tmp_path: Path):
    done = run(__file__, case, str(tmp_path))
    assert done.returncode == 0, done.stderr[-3000:]
    expected = UNFIT[case][-1] if case in UNFIT else "3 products without tensor cores"
    assert expected in done.stdout


def unfit(case: str, folder: Path) -> str:
    """The fault found in a planted kernel."""
    from kernels import binaries
    from kernels.attention import twin_triton as attention_triton

    configurations = attention_triton.CONFIGURATIONS
    attention_triton.OTHER_TARGETS.clear()
    if case == SCALAR:
        cell = binaries.Cell("forward", "sm_90", "bf16", 32, "intervals")
        configurations["forward", 2][32] = (64, 32, 1, 4)
        dot = 'tl.dot(q, tl.trans(k), input_precision="ieee")'
        slow = 'tl.dot(q.to(tl.float32), tl.trans(k.to(tl.float32)), input_precision="ieee")'
        changed = module(folder, dot, slow, "_forward_blocks")
        binaries._KERNELS["forward"] = changed.forward_kernel
    else:
        target, configurations["forward", 2][128], _ = UNFIT[case]
        cell = binaries.Cell("forward", target, "bf16", 128, "intervals")
    return binaries.fault(cell, binaries.build(cell))


def module(folder: Path, old: str, new: str, where: str) -> Any:
    """attention_triton with a piece of the function `where` changed."""
    source = (ROOT / "kernels/attention/twin_triton.py").read_text()
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
