"""Compile every Triton kernel ahead of time, no GPU needed, and read the binaries (rows K4–K6).

A kernel is fit when it keeps everything in registers, when its blocks fit into the target's shared
memory, and when every product of float16 and bfloat16 is left to the tensor cores.
`python -m kernels.binaries all|NAME…` prints registers, shared memory, spills, tensor-core
instruction and verdict of each cell; NAME begins with its kernel, target, dtype, …, as printed.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from core.errors import GenzooError, InputError
from core.random import STREAMS
from kernels.attention import twin_triton as attention
from kernels.diffusion.twin_triton import step_kernel
from kernels.philox.twin_triton import BLOCK, draw_kernel

TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
SHARED = {"sm_80": 163 << 10, "sm_90": 227 << 10, "gfx942": 64 << 10}
"""Bytes of shared memory that a block may have."""

_KERNELS = {
    "forward": attention.forward_kernel, "decode": attention.forward_kernel,
    "dq": attention.dq_kernel, "dkv": attention.dkv_kernel,
    "delta": attention.delta_kernel, "merge": attention.merge_kernel,
    "step": step_kernel, "draw": draw_kernel,
}  # fmt: skip
_DTYPES = {"fp16": 2, "bf16": 2, "fp32": 4}
_HEADS = (8, 16, 24, 32, 48, 64, 80, 128, 192, 256)  # each width of a block, filled and not
_DRAWS = (("bits", "i32"), *product(("uniform", "normal"), ("fp32", "fp64")))
_GUIDANCE, _QUADS = ("plain", "guided"), ("odd", "even")
_TYPES = {
    **dict.fromkeys(("start_ptr", "stop_ptr", "blocks_ptr", "counts_ptr"), "*i32"),
    **dict.fromkeys(("lse_ptr", "delta_ptr", "dlse_ptr", "parts_ptr", "part_lse_ptr"), "*fp32"),
    **dict.fromkeys(("scale", "dq_scale", "dk_scale"), "fp32"),
    **dict.fromkeys(("total", "first"), "i64"),
    "bits_ptr": "*u8", "c_ptr": "*fp32", "at_ptr": "*i64",
}  # fmt: skip


class Cell(NamedTuple):
    """What is compiled.

    kernel: a key of the table above. target: "sm_80", "sm_90" or "gfx942". dtype: "fp16", "bf16" or
    "fp32", of a draw also "fp64" and "i32". size: of a head, or counters of a program. variant: the
    class of mask, "intervals" or "packed"; "splits 2"; "guided even" or "plain odd"; "normal even".
    """

    kernel: str
    target: str
    dtype: str
    size: int
    variant: str

    @property
    def name(self) -> str:
        """The cell in a line."""
        return ",".join(map(str, self))


class Binary(NamedTuple):
    """registers a thread, bytes of shared memory, spills (0 is none), tensor-core instruction.

    scalar: how many of the kernel's matrix products use no tensor core.
    """

    registers: int
    shared: int
    spills: int
    tensor: str
    scalar: int


def cells() -> list[Cell]:
    """Every (kernel, target, dtype, size, variant) in use."""
    return [
        *(
            Cell(*c)
            for kernels, variants in (
                (("forward", "decode", "dq", "dkv"), ("intervals", "packed")),
                (("delta",), ("rows",)),
                (("merge",), ("splits 2", "splits 64")),
            )
            for c in product(kernels, TARGETS, _DTYPES, _HEADS, variants)
        ),
        *(
            Cell("step", target, dtype, BLOCK, f"{guided} {even}")
            for target, dtype, guided, even in product(TARGETS, _DTYPES, _GUIDANCE, _QUADS)
        ),
        *(
            Cell("draw", target, dtype, BLOCK, f"{kind} {even}")
            for target, (kind, dtype), even in product(TARGETS, _DRAWS, _QUADS)
        ),
    ]


def settings(cell: Cell) -> tuple[dict[str, Any], dict[str, int]]:
    """(constants, options) with which the cell is launched."""
    first, *rest = cell.variant.split()
    if cell.kernel == "step":
        own = {"GUIDED": first == "guided", "STREAM": STREAMS["noise"]}
        return {**own, "EVEN": rest == ["even"], "BLOCK": BLOCK}, {}
    if cell.kernel == "draw":
        kind = ("bits", "uniform", "normal").index(first)
        return {"KIND": kind, "EVEN": rest == ["even"], "BLOCK": BLOCK}, {}
    like = "dq" if cell.kernel in ("delta", "merge") else cell.kernel
    block_q, block_k, stages, warps, block_d = attention.configuration(
        like, _DTYPES[cell.dtype], cell.size, cell.target
    )
    own = {"D": cell.size, "BLOCK_D": block_d}
    if cell.kernel == "delta":
        return {**own, "BLOCK_Q": 16}, {}
    if cell.kernel == "merge":
        return {**own, "BLOCK_S": int(rest[0])}, {}
    own |= {"H": 8, "GROUP": 2, "BLOCK_Q": block_q, "BLOCK_K": block_k, "PACKED": first == "packed"}
    return own, {"num_warps": warps, "num_stages": stages}


def build(cell: Cell) -> Binary:
    """Compile one cell. InputError under the interpreter; raises what the compiler raises."""
    constants, options = settings(cell)
    out = "fp32" if cell.kernel == "decode" else cell.dtype  # of several splits, to be merged
    kernel = _KERNELS[cell.kernel]
    return compiled(
        kernel, cell.target, {"out_ptr": f"*{out}"}, f"*{cell.dtype}", constants, options
    )


def compiled(
    kernel: Any,
    target: str,
    types: Mapping[str, str],
    pointer: str,
    constants: Mapping[str, Any],
    options: Mapping[str, int],
) -> Binary:
    """Compile a kernel: pointers not in `types` or known by name are `pointer`s, the rest int32.

    InputError under Triton's interpreter, which has no compiler.
    """
    if not isinstance(kernel, triton.JITFunction):
        raise InputError("Triton's interpreter compiles nothing; unset TRITON_INTERPRET")

    def type_of(name: str) -> str:
        if name in constants:
            return "constexpr"
        return types.get(name) or _TYPES.get(name) or (pointer if name.endswith("_ptr") else "i32")

    names = kernel.arg_names
    source = ASTSource(
        kernel,
        signature={name: type_of(name) for name in names},
        constexprs=dict(constants),
        attrs={(i,): [["tt.divisibility", 16]] for i, n in enumerate(names) if n.endswith("_ptr")},
    )
    return _read(triton.compile(source, target=TARGETS[target], options=dict(options)))


def _read(compiled: Any) -> Binary:
    shared, ttgir = compiled.metadata.shared, compiled.asm["ttgir"]
    scalar = len(re.findall(r"^.*\b(?:tt\.dot|warp_group_dot)\b.*#blocked.*$", ttgir, re.M))
    if "amdgcn" in compiled.asm:
        text = compiled.asm["amdgcn"]
        registers, spills = (
            int(re.findall(rf"\.{field}:\s*(\d+)", text)[0])
            for field in ("vgpr_count", "vgpr_spill_count")
        )
        return Binary(registers, shared, spills, "MFMA" if "v_mfma" in text else "", scalar)
    text = _disassembled(compiled.asm["cubin"])
    registers, stack = (int(re.findall(rf"{field}:(\d+)", text)[-1]) for field in ("REG", "STACK"))
    tensor = next((name for name in ("HGMMA", "HMMA") if name in text), "")
    # LOCAL reads 0 even where registers are spilled: only the stores themselves tell.
    return Binary(registers, shared, stack + len(re.findall(r"\bSTL", text)), tensor, scalar)


def _disassembled(cubin: bytes) -> str:
    """Use of registers and stack, and the instructions."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [str(tool), "-res-usage", "-sass", file.name]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def fault(cell: Cell, binary: Binary) -> str:
    """Why the binary isn't fit, or "". float32 products are exact, so they use no tensor core.

    On sm_90 a backward kernel at head size 256 has a choice of HMMA or spilling, and may use HMMA;
    decoding multiplies single queries, and may multiply them as it likes.
    """
    if binary.spills:
        return f"{binary.spills} spills"
    if binary.shared > SHARED[cell.target]:
        return f"{binary.shared} bytes of shared memory, of {SHARED[cell.target]}"
    if cell.kernel not in ("forward", "dq", "dkv") or cell.dtype == "fp32":
        return ""
    wanted = [{"sm_80": "HMMA", "sm_90": "HGMMA", "gfx942": "MFMA"}[cell.target]]
    if cell.target == "sm_90" and cell.size > 128 and cell.kernel != "forward":
        wanted.append("HMMA")
    if binary.tensor not in wanted:
        return f"{binary.tensor or 'no tensor core'} in use"
    return f"{binary.scalar} products without tensor cores" if binary.scalar else ""


def main(arguments: list[str]) -> int:
    """Entry point; returns 1 if a cell is not fit or an argument can't be used, else 0."""
    parser = argparse.ArgumentParser(prog="python -m kernels.binaries", description=__doc__)
    parser.add_argument("names", nargs="+", metavar="NAME", help="the beginning of one, or all")
    names = parser.parse_args(arguments).names
    try:
        return _report(_named(names))
    except (GenzooError, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1


def _named(names: list[str]) -> list[Cell]:
    """The cells whose name begins with one of these; all of them for "all".

    InputError for one that names no cell.
    """
    every, found = cells(), []
    for name in names:
        named = [c for c in every if name == "all" or c.name.startswith(name)]
        if not named:
            raise InputError(f"{name!r} names no cell; {every[0].name!r} is one")
        found += named
    return found


def _report(named: list[Cell]) -> int:
    """Compile the cells and print a line for each; returns 1 if one is not fit, else 0."""
    wrong = 0
    for cell in named:
        binary = build(cell)
        complaint = fault(cell, binary)
        wrong |= bool(complaint)
        print(cell.name, *binary, complaint or "fit", sep="\t", flush=True)
    return wrong


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
