"""Compile the attention kernels ahead of time, no GPU needed, and read the binaries (row K4).

A kernel is fit when it keeps everything in registers, and when float16 and bfloat16 use the tensor
cores. `python -m kernels.attention_binaries all` prints registers, shared memory, spills and the
tensor-core instruction of every kernel. Must run without TRITON_INTERPRET.
"""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from kernels import attention_triton as kernels

TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
_KERNELS = {"forward": kernels.forward_kernel, "dq": kernels.dq_kernel, "dkv": kernels.dkv_kernel}
_SIZES = {"fp16": 2, "bf16": 2, "fp32": 4}
_FLOAT32 = ("lse_ptr", "delta_ptr", "dlse_ptr")


class Cell(NamedTuple):
    """What is compiled: kernel "forward", "dq" or "dkv"; dtype "fp16", "bf16" or "fp32"."""

    kernel: str
    target: str
    dtype: str
    head: int
    packed: bool


class Binary(NamedTuple):
    """registers a thread, bytes of shared memory, spills (0 is none), tensor-core instruction."""

    registers: int
    shared: int
    spills: int
    tensor: str


def cells() -> list[Cell]:
    """Every (kernel, target, dtype, head size, class of mask) in use."""
    heads = (16, 64, 80, 128, 256)
    return [Cell(*c) for c in itertools.product(_KERNELS, TARGETS, _SIZES, heads, (False, True))]


def build(cell: Cell) -> Binary:
    """Compile one cell. Raises what the compiler raises."""
    kernel = _KERNELS[cell.kernel]
    block_q, block_k, stages, warps, block_d = kernels.configuration(
        cell.kernel, _SIZES[cell.dtype], cell.head, cell.target
    )
    constants = {
        "H": 8, "GROUP": 2, "D": cell.head, "BLOCK_D": block_d,
        "BLOCK_Q": block_q, "BLOCK_K": block_k, "PACKED": cell.packed,
    }  # fmt: skip
    signature = {name: _type(name, cell.dtype, constants) for name in kernel.arg_names}
    pointers = [i for i, name in enumerate(kernel.arg_names) if name.endswith("_ptr")]
    attrs = {(i,): [["tt.divisibility", 16]] for i in pointers}
    source = ASTSource(kernel, signature=signature, constexprs=constants, attrs=attrs)
    options = {"num_warps": warps, "num_stages": stages, "enable_fp_fusion": True}
    return _read(triton.compile(source, target=TARGETS[cell.target], options=options))


def _type(name: str, dtype: str, constants: dict[str, Any]) -> str:
    if name in constants:
        return "constexpr"
    if name in ("scale", "dq_scale", "dk_scale"):
        return "fp32"
    if not name.endswith("_ptr"):
        return "i32"
    named = {"start_ptr": "*i32", "stop_ptr": "*i32", "bits_ptr": "*u8"}
    named |= {"blocks_ptr": "*i32", "counts_ptr": "*i32", **dict.fromkeys(_FLOAT32, "*fp32")}
    return named.get(name, f"*{dtype}")


def _read(compiled: Any) -> Binary:
    shared = compiled.metadata.shared
    if "amdgcn" in compiled.asm:
        text = compiled.asm["amdgcn"]
        registers, spills = (
            int(re.findall(rf"\.{field}:\s*(\d+)", text)[0])
            for field in ("vgpr_count", "vgpr_spill_count")
        )
        return Binary(registers, shared, spills, "MFMA" if "v_mfma" in text else "")
    usage = _resource_usage(compiled.asm["cubin"])
    sass = compiled.asm["sass"]
    registers, stack = (int(re.findall(rf"{field}:(\d+)", usage)[-1]) for field in ("REG", "STACK"))
    tensor = next((name for name in ("HGMMA", "HMMA") if name in sass), "")
    # LOCAL reads 0 even where registers are spilled: only the stores themselves tell.
    return Binary(registers, shared, stack + len(re.findall(r"\bSTL", sass)), tensor)


def _resource_usage(cubin: bytes) -> str:
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        return subprocess.run(
            [tool, "-res-usage", file.name], capture_output=True, text=True, check=True
        ).stdout


def fault(cell: Cell, binary: Binary) -> str:
    """Why the binary isn't fit, or "". float32 products are exact, so they use no tensor core.

    On sm_90 a backward kernel at head size 256 has a choice of HMMA or spilling, and may use HMMA.
    """
    if binary.spills:
        return f"{binary.spills} spills"
    if cell.dtype == "fp32":
        return ""
    wanted = [{"sm_80": "HMMA", "sm_90": "HGMMA", "gfx942": "MFMA"}[cell.target]]
    if cell.target == "sm_90" and cell.head > 128 and cell.kernel != "forward":
        wanted.append("HMMA")
    return "" if binary.tensor in wanted else f"{binary.tensor or 'no tensor core'} in use"


def main(arguments: list[str]) -> int:
    """Print a line for each cell named "forward,sm_90,bf16,128,packed", or every one for "all".

    Returns 1 if one is not fit, else 0.
    """
    named = {
        ",".join([*map(str, c[:4]), "packed" if c.packed else "intervals"]): c for c in cells()
    }
    wrong = 0
    for name in named if arguments == ["all"] else arguments:
        binary = build(named[name])
        complaint = fault(named[name], binary)
        wrong |= bool(complaint)
        print(name, *binary, complaint or "fit", sep="\t", flush=True)
    return wrong


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
