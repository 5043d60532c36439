"""Every Triton kernel compiled ahead of time: registers, shared memory, tensor cores."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from core.errors import InputError

pytest.importorskip("torch")
pytest.importorskip("triton")

ROOT = Path(__file__).parents[2]
SOME = (
    "forward,sm_90,bf16,128,intervals",
    "decode,sm_80,fp16,64,packed",
    "dq,sm_90,bf16,64,intervals",
    "dkv,gfx942,fp16,64,intervals",
    "columns,sm_80,i32,64,intervals",
    "list,gfx942,i32,64,columns",
    "merge,sm_90,bf16,48,splits 2",
    "step,sm_90,bf16,256,guided odd-small",
    "step,sm_80,bf16,256,plain even-small",
    "dkv,sm_89,bf16,128,intervals",
    "draw,gfx942,fp32,256,normal even-small",
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
    from kernels.binaries import KERNELS, SMALL, TARGETS, cells

    launched = {
        name
        for path in (ROOT / "kernels").rglob("*_triton.py")
        for name in (line.split("(")[0][4:] for line in path.read_text().splitlines())
        if name.endswith("_kernel")
    }
    assert launched == {kernel.fn.__name__ for kernel in KERNELS.values()}
    found = {(c.kernel, c.target) for c in cells() if c.target not in SMALL}
    assert found == {(k, t) for k in KERNELS for t in TARGETS}


@pytest.mark.parametrize("shared", [99 << 10, 100 << 10, 163 << 10, 227 << 10, 1 << 30])
def test_blocks_fit_any_card(shared: int):
    """Every head, by the bound that each binary keeps to; the table's where there is room."""
    from kernels.attention.configurations import configuration, shared_memory

    for kernel, itemsize, head in product(
        ("forward", "decode", "dq", "dkv"), (2, 4), range(1, 257)
    ):
        for target, own in (("sm_80", 163 << 10), ("sm_90", 227 << 10)):
            *blocks, block_d = configuration(kernel, itemsize, head, target, shared)
            assert head <= block_d < max(2 * head, 17)
            assert min(blocks[:2]) >= 16
            if shared < own:
                assert shared_memory(kernel, tuple(blocks), itemsize, block_d) <= shared
            else:
                assert (*blocks, block_d) == configuration(kernel, itemsize, head, target)


def test_a_card_that_is_too_small_is_named():
    from kernels.attention.configurations import configuration

    with pytest.raises(InputError, match="heads too large for this device's shared memory"):
        configuration("dkv", 4, 256, "sm_80", 32 << 10)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ((8, 0, 163), ("sm_80", 163 << 10)),
        ((8, 9, 99), ("sm_80", 99 << 10)),
        ((9, 0, 227), ("sm_90", 227 << 10)),
        ((12, 0, 99), ("sm_80", 99 << 10)),
        ((10, 0, 227), ("sm_80", 227 << 10)),
    ],
)
def test_an_unknown_card_is_asked_what_it_has(name: Any, expected: Any, monkeypatch: Any):
    import torch

    from kernels.device import card

    major, minor, kilobytes = name
    told = SimpleNamespace(major=major, minor=minor, shared_memory_per_block_optin=kilobytes << 10)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: told)
    monkeypatch.setattr(torch.version, "hip", None)
    assert card(torch.device("cuda")) == expected


def test_a_small_cards_own_limit_counts():
    from kernels.binaries import Binary, Cell, fault

    cell = Cell("forward", "sm_89", "bf16", 128, "intervals")
    fits = Binary(255, 90 << 10, 0, 0, "HMMA", "", 0, 300, 16)
    assert fault(cell, fits) == ""
    assert (
        fault(cell, fits._replace(shared=100 << 10)) == "102400 bytes of shared memory, of 101376"
    )


def test_an_unfit_binary_is_noticed():
    from kernels.binaries import Binary, Cell, fault

    cell, good = (
        Cell("forward", "sm_90", "bf16", 128, "packed"),
        Binary(255, 0, 0, 9, "HGMMA", "64x64x16", 0, 300, 16),
    )
    assert fault(cell, good) == ""
    assert fault(cell, good._replace(tensor="HMMA")) == "HMMA in use"
    assert fault(cell, good._replace(tensor="")) == "no tensor core in use"
    assert fault(cell, good._replace(spills=1)) == "1 spills in loops"
    assert fault(cell, good._replace(scalar=1)) == "1 products without tensor cores"
    assert fault(cell, good._replace(shape="64x32x16")) == "64x32x16 in use, not 64x64"
    assert fault(cell._replace(size=24), good._replace(shape="64x32x16")) == ""
    assert fault(cell._replace(size=24), good._replace(shape="64x16x16")) != ""
    for kernel, size, narrow in (("forward", 192, True), ("dq", 128, True), ("dkv", 192, False)):
        other = cell._replace(kernel=kernel, size=size)
        assert (fault(other, good._replace(shape="64x32x16")) != "") == narrow
    assert "shared" in fault(cell, good._replace(shared=(227 << 10) + 1))
    more = good._replace(shared=231_425)  # than 2 stages of 128 × 128 blocks are said to take
    assert fault(cell, more) == (
        "231425 bytes of shared memory, where at most 231424 are reckoned with"
    )
    assert fault(cell, more, (128, 128, 3, 8, 128)) == ""
    other = cell._replace(target="sm_80")
    assert "shared" in fault(other, Binary(255, (163 << 10) + 1, 0, 0, "HMMA", "", 0, 300, 16))
    amd, fits = cell._replace(target="gfx942"), Binary(255, 64 << 10, 0, 0, "MFMA", "", 0, 300, 0)
    assert fault(amd, fits) == ""
    assert fault(amd, fits._replace(spills=1)) == "1 spills in loops"
    assert fault(amd, fits._replace(tensor="")) == "no tensor core in use"
    too_much = fits._replace(shared=(64 << 10) + 1)
    assert fault(amd, too_much) == "65537 bytes of shared memory, of 65536"
    assert fault(cell._replace(dtype="fp32"), good._replace(tensor="", scalar=2)) == ""
    step = cell._replace(kernel="step", size=256, variant="plain even")
    assert fault(step, good._replace(tensor="", access=8)) == "8 bytes at once, of 16"
    assert fault(step, good._replace(tensor="")) == ""
    assert fault(step._replace(variant="plain odd"), good._replace(tensor="", access=4)) == ""
    backward = cell._replace(kernel="dkv", size=256)
    assert fault(backward, good._replace(tensor="HMMA")) == ""
    assert fault(backward._replace(size=128), good._replace(tensor="HMMA")) == "HMMA in use"


AMD = """
.LBB0_1:
\tv_mfma_f32_32x32x8_bf16 a[0:15], v[0:1], v[2:3], a[0:15]
\tscratch_store_dword off, v1, off
.LBB0_2:
\tscratch_load_dword v1, off, off
\ts_cbranch_scc1 .LBB0_2
\ts_cbranch_scc1 .LBB0_3
.LBB0_3:
\tscratch_load_dword v1, off, off
    .vgpr_count:     128
    .vgpr_spill_count: 3
"""
NVIDIA = """
 Function forward_kernel:
  REG:255 STACK:8 SHARED:0 LOCAL:0 CONSTANT[0]:592
        /*0b00*/  STL [R1+0x4], R7 ;                     /* 0x0000000001007387 */
        /*0b10*/  HGMMA.64x128x16.F32.BF16 R24, gdesc[UR8], R24 ;  /* 0x0 */
                                                         /* 0x0000000b10007387 */
        /*0b20*/  @P0 BRA 0xb40 ;                        /* 0x0000000b10007387 */
        /*0b30*/  STL.64 [R1+0x8], R8 ;                  /* 0x0 */
        /*0b40*/  HGMMA.64x64x16.F32.BF16 R24, gdesc[UR8], R24 ;
        /*0b50*/  @!P1 BRA 0xb10 ;                       /* 0x0000000b60007387 */
        /*0b60*/  LDL R7, [R1+0x4] ;                     /* 0x0000000b00007387 */
        /*0b70*/  EXIT ;
        /*0b80*/  BRA 0xb80;                             /* 0xfffffffc00fc7947 */
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
        return binaries.read(SimpleNamespace(metadata=SimpleNamespace(shared=77), asm=asm))

    assert read("amdgcn", AMD) == Binary(128, 77, 1, 2, "MFMA", "", 1, 3, 0)
    assert read("amdgcn", AMD.replace("v_mfma", "v_fma")).tensor == ""
    assert read("amdgcn", AMD.replace("scratch", "other"))[2:4] == (3, 0)
    monkeypatch.setattr(binaries, "disassembled", lambda text: text)
    assert read("cubin", NVIDIA) == Binary(255, 77, 1, 2, "HGMMA", "64x64x16", 1, 3, 4)
    outside = NVIDIA.replace("STL.64", "STG.64")
    wide = NVIDIA.replace("LDL R7", "LDG.E.128.CONSTANT R4").replace("STL [", "STG.E.64 [")
    assert read("cubin", wide).access == 16
    assert read("cubin", wide.replace("128", "U8")).access == 8
    assert read("cubin", outside) == Binary(255, 77, 0, 2, "HGMMA", "64x64x16", 1, 3, 4)
    forwards = NVIDIA.replace("BRA 0xb10", "BRA 0xb70")
    assert read("cubin", forwards)[2:4] == (0, 3)
    assert read("cubin", NVIDIA.replace("HGMMA", "HMMA"))[4:6] == ("HMMA", "")
    assert read("cubin", NVIDIA.replace("HGMMA", "FFMA")).tensor == ""


def test_loops_within_loops_and_jumps_past_them():
    """The longest innermost one is told; what an outer loop spills counts as well."""
    from kernels.binaries import in_loops

    text = "a: x\nb: spill\nc: x\nd: x\ne: to c\nf: to a\ng: spill\nh: to z\ni: to h\n"
    assert in_loops(text, r"^(\w): ", r"to (\w)", "spill") == (1, 2, 3)
    assert in_loops("a: x\nb: to b\n", r"^(\w): ", r"to (\w)", "spill") == (0, 0, 0)
    text = "a: x\nb: to e\nc: spill\nd: x\ne: to f\nf: to a\ng: to h\nh: x\n"
    assert in_loops(text, r"^(\w): ", r"to (\w)", "spill") == (1, 1, 3)


def test_a_misspelt_cell_is_named_before_any_is_compiled(monkeypatch: Any, capsys: Any):
    from kernels import binaries

    monkeypatch.setattr(binaries, "build", lambda cell: pytest.fail("compiled"))
    assert binaries.main([SOME[0], "forwards"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "'forwards' names no cell" in line


@pytest.mark.parametrize("part", ["0/4", "5/4", "4", "1/0", "-1/4", "1/4/4", "one"])
def test_a_shard_that_is_none_is_named(part: str, capsys: Any):
    from kernels import binaries

    assert binaries.main(["all", f"--shard={part}"]) == 1
    assert (
        f"--shard must be I/N with 1 ≤ I ≤ N, such as 1/4, got '{part}'" in capsys.readouterr().err
    )


def test_shards_are_all_cells_once(monkeypatch: Any):
    from kernels import binaries

    built: list[Any] = []
    monkeypatch.setattr(binaries, "_report", lambda named: built.extend(named) or 0)
    sizes = []
    for i in range(1, 8):
        assert binaries.main(["forward", "merge", "--shard", f"{i}/7"]) == 0
        sizes.append(len(built) - sum(sizes))
    wanted = [c for c in binaries.cells() if c.kernel in ("forward", "merge")]
    assert sorted(built) == sorted(wanted)
    assert max(sizes) - min(sizes) <= 1


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
    "spills on sm_80": ("sm_80", (128, 64, 1, 4), "spills in loops"),
    "spills on gfx942": ("gfx942", (128, 128, 1, 2), "spills in loops"),
    "shared memory of sm_80": ("sm_80", (64, 64, 6, 8), "bytes of shared memory, of 166912"),
    "shared memory of gfx942": ("gfx942", (32, 128, 3, 4), "bytes of shared memory, of 65536"),
}
SCALAR = "scores without tensor cores"


@pytest.mark.parametrize("case", [*UNFIT, SCALAR])
def test_an_unfit_kernel_is_rejected(case: str, tmp_path: Path):
    done = run(__file__, case, str(tmp_path))
    assert done.returncode == 0, done.stderr[-3000:]
    expected = UNFIT[case][-1] if case in UNFIT else "1 products without tensor cores"
    assert expected in done.stdout


def unfit(case: str, folder: Path) -> str:
    """The fault found in a planted kernel."""
    from kernels import binaries
    from kernels.attention import configurations as table

    configurations = table.CONFIGURATIONS
    table.OTHER_TARGETS.clear()
    if case == SCALAR:
        cell = binaries.Cell("forward", "sm_90", "bf16", 32, "intervals")
        configurations["forward", 2][32] = (64, 32, 1, 4)
        dot = 'tl.dot(q, tl.trans(k_j), input_precision="ieee")'
        slow = 'tl.dot(q.to(tl.float32), tl.trans(k_j.to(tl.float32)), input_precision="ieee")'
        changed = module(folder, dot, slow, "forward_kernel")
        binaries.KERNELS["forward"] = changed.forward_kernel
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
