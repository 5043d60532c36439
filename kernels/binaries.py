"""Compile every Triton kernel ahead of time, no GPU needed, and read the binaries (rows K4–K6).

A kernel is fit when its loops keep everything in registers, when its blocks fit into the target's
shared memory, and when every product of float16 and bfloat16 is left to the tensor cores. Spills
before and after a loop are made once and cost nothing; inside one they are made every time.
`python -m kernels.binaries all|NAME…` prints registers, shared memory, spills in loops and
elsewhere, tensor-core instruction and its shape, products without one, instructions of the longest
loop where it needs no mask, bytes of the widest access, those instructions per (query, key) and
verdict of each cell; NAME begins with its kernel, target, dtype, …, as printed.
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
from kernels.attention import backward_triton, lists_triton, twin_triton
from kernels.attention.configurations import SHARED, configuration, shared_memory
from kernels.attention.launches import CHUNK
from kernels.diffusion.twin_triton import step_kernel
from kernels.philox.twin_triton import BLOCK, draw_kernel

TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
SMALL = {"sm_89": ("sm_80", 99 << 10)}
"""A card that has no table of its own: whose it takes, and bytes of shared memory a block."""

KERNELS = {
    "forward": twin_triton.forward_kernel, "decode": twin_triton.forward_kernel,
    "dq": backward_triton.dq_kernel, "dkv": backward_triton.dkv_kernel,
    "merge": twin_triton.merge_kernel, "ranges": lists_triton.ranges_kernel,
    "columns": lists_triton.columns_kernel, "list": lists_triton.list_kernel,
    "step": step_kernel, "draw": draw_kernel,
}  # fmt: skip
_DTYPES = {"fp16": 2, "bf16": 2, "fp32": 4}
_HEADS = (8, 16, 24, 32, 48, 64, 80, 128, 192, 256)  # each width of a block, filled and not
_DRAWS = (("bits", "i32"), *product(("uniform", "normal"), ("fp32", "fp64")))
_GUIDANCE = ("plain", "guided")
_LAYOUTS = {
    "odd": {"WIDTH": 1, "SMALL": False}, "even": {"WIDTH": 8, "SMALL": False},
    "odd-small": {"WIDTH": 1, "SMALL": True}, "even-small": {"WIDTH": 8, "SMALL": True},
}  # fmt: skip
_TYPES = {
    **dict.fromkeys(("start_ptr", "stop_ptr", "blocks_ptr", "counts_ptr"), "*i32"),
    **dict.fromkeys(("ranges_ptr", "columns_ptr"), "*i32"),
    **dict.fromkeys(("lse_ptr", "delta_ptr", "dlse_ptr", "parts_ptr", "part_lse_ptr"), "*fp32"),
    **dict.fromkeys(("scale", "dq_scale", "dk_scale"), "fp32"),
    **dict.fromkeys(("total", "first"), "i64"),
    "bits_ptr": "*u8", "c_ptr": "*fp32", "at_ptr": "*i64",
}  # fmt: skip


Blocks = tuple[int, int, int, int, int]
"""BLOCK_Q, BLOCK_K, stages, warps, BLOCK_D."""


class Cell(NamedTuple):
    """What is compiled.

    kernel: a key of the table above. target: "sm_80", "sm_90", "gfx942" or "sm_89". dtype: "fp16",
    "bf16" or "fp32", of a draw also "fp64" and "i32". size: of a head, or counters of a program.
    variant: the class of mask, "intervals" or "packed"; "splits 2"; "guided even" or "plain
    odd-small"; "normal even".
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
    """registers a thread, bytes of shared memory, spills in loops and in all, tensor instruction.

    shape: of the narrowest, "64x128x16" on sm_90, else "". scalar: how many of the kernel's matrix
    products use no tensor core. loop: instructions of the longest innermost loop on a block that
    needs no mask, 0 without a loop.
    access: bytes of the widest read or write of memory that a thread makes; 0 if not told.
    """

    registers: int
    shared: int
    spills: int
    elsewhere: int
    tensor: str
    shape: str
    scalar: int
    loop: int
    access: int


def cells() -> list[Cell]:
    """Every (kernel, target, dtype, size, variant) in use."""
    return [
        *(
            Cell(*c)
            for kernels, variants in (
                (("forward", "decode", "dq", "dkv"), ("intervals", "packed")),
                (("merge",), ("splits 2", "splits 64")),
            )
            for c in product(kernels, TARGETS, _DTYPES, _HEADS, variants)
        ),
        *(
            Cell(kernel, "sm_89", dtype, head, "intervals")
            for kernel, dtype, head in product(
                ("forward", "decode", "dq", "dkv"), ("bf16", "fp32"), (64, 128, 256)
            )
        ),
        *(
            Cell(kernel, target, "i32", 64, variant)
            for kernel, variant in (
                ("ranges", "intervals"),
                ("columns", "intervals"),
                ("list", "rows"),
                ("list", "columns"),
            )
            for target in TARGETS
        ),
        *(
            Cell("step", target, dtype, BLOCK, f"{guided} {even}")
            for target, dtype, guided, even in product(TARGETS, _DTYPES, _GUIDANCE, _LAYOUTS)
        ),
        *(
            Cell("draw", target, dtype, BLOCK, f"{kind} {even}")
            for target, (kind, dtype), even in product(TARGETS, _DRAWS, _LAYOUTS)
        ),
    ]


def settings(cell: Cell, blocks: Blocks | None = None) -> tuple[dict[str, Any], dict[str, int]]:
    """(constants, options) with which the cell is launched; blocks: other than the table's."""
    first, *rest = cell.variant.split()
    if cell.kernel == "step":
        own = {"GUIDED": first == "guided", "STREAM": STREAMS["noise"]}
        return {**own, **_LAYOUTS[rest[0]], "BLOCK": BLOCK}, {}
    if cell.kernel == "draw":
        kind = ("bits", "uniform", "normal").index(first)
        return {"KIND": kind, **_LAYOUTS[rest[0]], "BLOCK": BLOCK}, {}
    if cell.kernel == "columns":
        return {"CHUNK": CHUNK}, {}
    if cell.kernel in ("ranges", "list"):
        own = {"BLOCK_Q": 64, "BLOCK_K": 128}
        return (own | {"TRANSPOSED": first == "columns"} if cell.kernel == "list" else own), {}
    like = "decode" if cell.kernel == "merge" else cell.kernel
    block_q, block_k, stages, warps, block_d = blocks or configuration(
        like,
        _DTYPES[cell.dtype],
        cell.size,
        *SMALL.get(cell.target, (cell.target, None)),
        packed=first == "packed",
    )
    own = {"D": cell.size, "BLOCK_D": block_d}
    if cell.kernel == "merge":
        return {**own, "BLOCK_S": int(rest[0])}, {}
    described = cell.target == "sm_90" and cell.dtype != "fp32"
    described &= cell.kernel != "dkv" or block_d <= 64
    own |= {"TMA": described and rest != ["unaligned"]}
    own |= {"H": 8, "GROUP": 2, "BLOCK_Q": block_q, "BLOCK_K": block_k, "PACKED": first == "packed"}
    rows = {"forward": _FORWARD, "decode": _FORWARD, "dq": _DQ, "dkv": _DKV}[cell.kernel]
    own |= {"UNIT": 16 // _DTYPES[cell.dtype] if rest != ["unaligned"] else 1}
    own |= {f"{name}_ROW": 8 * cell.size for name in rows}  # (B, length, heads, D), transposed
    if rows is _FORWARD:
        own["SHARED"] = 2 if cell.kernel == "decode" else 1
    return own, {"num_warps": warps, "num_stages": stages}


_FORWARD = ("Q", "K", "V", "OUT")
_DQ, _DKV = (*_FORWARD, "DOUT", "DQ"), ("Q", "K", "V", "DOUT", "DK", "DV")


def build(cell: Cell, blocks: Blocks | None = None) -> Binary:
    """Compile one cell. InputError under the interpreter; raises what the compiler raises."""
    constants, options = settings(cell, blocks)
    out = "fp32" if cell.kernel == "decode" else cell.dtype  # of several splits, to be merged
    kernel = KERNELS[cell.kernel]
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
    return read(triton.compile(source, target=target_of(target), options=dict(options)))


def target_of(name: str) -> GPUTarget:
    """What Triton compiles for."""
    return GPUTarget("cuda", int(name[3:]), 32) if name in SMALL else TARGETS[name]


def read(compiled: Any) -> Binary:
    """What the compiled kernel's texts tell."""
    shared, ttgir = compiled.metadata.shared, compiled.asm["ttgir"]
    scalar = len(re.findall(r"^.*\b(?:tt\.dot|warp_group_dot)\b.*#blocked.*$", ttgir, re.M))
    if "amdgcn" in compiled.asm:
        text = compiled.asm["amdgcn"]
        registers = int(re.findall(r"\.vgpr_count:\s*(\d+)", text)[0])
        spills, in_all, loop = in_loops(text, _AMD_LABEL, _AMD_BRANCH, _AMD_SPILL)
        if not in_all:  # wherever else they may have gone
            spills = in_all = int(re.findall(r"\.vgpr_spill_count:\s*(\d+)", text)[0])
        tensor = "MFMA" if "v_mfma" in text else ""
        return Binary(registers, shared, spills, in_all - spills, tensor, "", scalar, loop, 0)
    text = disassembled(compiled.asm["cubin"])
    registers = int(re.findall(r"REG:(\d+)", text)[-1])
    tensor = next((name for name in ("HGMMA", "HMMA") if name in text), "")
    shapes = re.findall(r"HGMMA\.(64x(\d+)x\d+)", text)
    shape = min(shapes, key=lambda found: int(found[1]))[0] if shapes else ""
    # LOCAL and STACK tell neither how many registers are spilled nor where: the stores do.
    spills, in_all, loop = in_loops(text, _NVIDIA_LABEL, _NVIDIA_BRANCH, _NVIDIA_SPILL)
    widths = [int(bits) // 8 for bits in re.findall(r"\b(?:LDG|STG)\.E\.(64|128)\b", text)]
    access = max(widths, default=4)
    return Binary(registers, shared, spills, in_all - spills, tensor, shape, scalar, loop, access)


_NVIDIA_LABEL, _NVIDIA_BRANCH = r"/\*([0-9a-f]{4,})\*/", r"\bBRA\S*\s[^;]*?0x([0-9a-f]+)"
_NVIDIA_SPILL = r"\b(?:STL|LDL)\b"
_AMD_LABEL, _AMD_BRANCH = r"^\.(LBB\d+_\d+):", r"\bs_c?branch\S*\s+\.(LBB\d+_\d+)"
_AMD_SPILL = r"\bscratch_(?:store|load)"


def in_loops(text: str, label: str, branch: str, spill: str) -> tuple[int, int, int]:
    """(spilling instructions inside loops, in all, instructions of the longest innermost loop).

    A loop is what lies between a branch and its target, where that comes before it. What the
    widest branch inside a loop can skip, the mask's arithmetic, is not counted as its length.
    label, branch: patterns whose group is a place and where is branched to.
    """
    lines = [line for line in text.splitlines() if re.search(rf"{label}|^\t[a-z]", line)]
    places = {
        found[1].lstrip("0"): n for n, line in enumerate(lines) if (found := re.search(label, line))
    }
    jumps = [
        (n, places[to])
        for n, line in enumerate(lines)
        if (found := re.search(branch, line)) and (to := found[1].lstrip("0")) in places
    ]
    loops = [(to, n) for n, to in jumps if to < n]
    spilling = [n for n, line in enumerate(lines) if re.search(spill, line)]
    inside = sum(any(a <= n <= b for a, b in loops) for n in spilling)
    inner = [(a, b) for a, b in loops if not any(a <= c < d < b for c, d in loops)]
    skipped = {
        (a, b): max((to - n for n, to in jumps if a <= n < to <= b), default=0) for a, b in inner
    }
    return inside, len(spilling), max((b - a + 1 - skipped[a, b] for a, b in inner), default=0)


def disassembled(cubin: bytes) -> str:
    """Use of registers and stack, and the instructions."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [str(tool), "-res-usage", "-sass", file.name]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def fault(cell: Cell, binary: Binary, blocks: Blocks | None = None) -> str:
    """Why the binary isn't fit, or "". float32 products are exact, so they use no tensor core.

    On sm_90 products are at least 64 wide, or as wide as the head. A backward kernel at head size
    256 has a choice of HMMA or spilling, and may use narrow ones or HMMA;
    decoding multiplies single queries, and may multiply them as it likes.
    """
    if binary.spills:
        return f"{binary.spills} spills in loops"
    target, most = SMALL.get(cell.target, (cell.target, SHARED.get(cell.target, 0)))
    if binary.shared > most:
        return f"{binary.shared} bytes of shared memory, of {most}"
    if binary.shared > (bound := _bound(cell, blocks)):
        return f"{binary.shared} bytes of shared memory, where at most {bound} are reckoned with"
    if cell.kernel == "step" and "even" in cell.variant and binary.access not in (0, 16):
        return f"{binary.access} bytes at once, of 16"
    if cell.kernel not in ("forward", "dq", "dkv") or cell.dtype == "fp32":
        return ""
    wanted = [{"sm_80": "HMMA", "sm_90": "HGMMA", "gfx942": "MFMA"}[target]]
    if cell.target == "sm_90" and cell.size > 128 and cell.kernel != "forward":
        wanted.append("HMMA")
    if binary.tensor not in wanted:
        return f"{binary.tensor or 'no tensor core'} in use"
    if cell.kernel == "forward" or cell.size <= 128:
        widest = min(64, max(16, triton.next_power_of_2(cell.size)))
        if binary.shape and int(binary.shape.split("x")[1]) < widest:
            return f"{binary.shape} in use, not 64x{widest}"
    return f"{binary.scalar} products without tensor cores" if binary.scalar else ""


def _bound(cell: Cell, blocks: Blocks | None) -> int:
    """What `shared_memory` promises of the cell; it is for attention on NVIDIA cards."""
    if cell.kernel not in ("forward", "decode", "dq", "dkv") or cell.target == "gfx942":
        return sys.maxsize
    constants, options = settings(cell, blocks)
    sizes = constants["BLOCK_Q"], constants["BLOCK_K"], options["num_stages"], options["num_warps"]
    return shared_memory(cell.kernel, sizes, _DTYPES[cell.dtype], constants["BLOCK_D"])


def per_pair(cell: Cell, binary: Binary) -> str:
    """Instructions that a loop spends on a (query, key), over the lanes of a warp; "" elsewhere."""
    if cell.kernel not in ("forward", "dq", "dkv") or not binary.loop:
        return ""
    constants, options = settings(cell)
    pairs = constants["BLOCK_Q"] * constants["BLOCK_K"]
    lanes = target_of(cell.target).warp_size
    return f"{binary.loop * options['num_warps'] * lanes / pairs:.2f}"


def main(arguments: list[str]) -> int:
    """Entry point; returns 1 if a cell is not fit or an argument can't be used, else 0."""
    parser = argparse.ArgumentParser(prog="python -m kernels.binaries", description=__doc__)
    parser.add_argument("names", nargs="+", metavar="NAME", help="the beginning of one, or all")
    parser.add_argument("--shard", default="1/1", metavar="I/N", help="the I-th of N equal parts")
    asked = parser.parse_args(arguments)
    try:
        return _report(shard(_named(asked.names), asked.shard))
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


def shard(named: list[Cell], part: str) -> list[Cell]:
    """The I-th of N parts that are alike, for part "I/N"; InputError for another.

    >>> from kernels.binaries import cells, shard
    >>> sum(len(shard(cells(), f"{i}/4")) for i in (1, 2, 3, 4)) == len(cells())
    True
    """
    found = re.fullmatch(r"(\d+)/(\d+)", part)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise InputError(f"--shard must be I/N with 1 ≤ I ≤ N, such as 1/4, got {part!r}")
    return named[int(found[1]) - 1 :: int(found[2])]


def _report(named: list[Cell]) -> int:
    """Compile the cells and print a line for each; returns 1 if one is not fit, else 0."""
    wrong = 0
    for cell in named:
        binary = build(cell)
        complaint = fault(cell, binary)
        wrong |= bool(complaint)
        print(cell.name, *binary, per_pair(cell, binary), complaint or "fit", sep="\t", flush=True)
    return wrong


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
