"""docs/operations.md, from the table of operations. python -m bench.operations [--check]."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from bench import marked
from kernels import OPS, Op
from kernels.table import arrays

PATH = Path(__file__).resolve().parent.parent / "docs/operations.md"
COMMAND = "python -m bench.operations"


def main(arguments: list[str]) -> int:
    """Entry point; returns the exit status."""
    return marked.main(arguments, COMMAND, __doc__, PATH, lambda: page(OPS))


def page(ops: Mapping[str, Op]) -> str:
    """A line for each operation, then a section for each, as Markdown."""
    head = ["| operation | mission | definition | twins |", "|---|---|---|---|"]
    lines = [
        f"| [{op.name}](#{op.name}) | {' '.join(op.mission)} | {_link(op.definition)} "
        f"| {', '.join(_link(twin, where) for where, twin in op.twins.items())} |"
        for op in ops.values()
    ]
    return "\n".join([*head, *lines, "", *map(section, ops.values())]).rstrip()


def section(op: Op) -> str:
    """What the operation is, what its twins owe, and what they are measured against."""
    facts = {
        "Drawn in tests": _drawn(op),
        "Can be drawn without": ", ".join(op.without),
        "Error allowed": _allowed(op),
        "Laws": "; ".join(map(_law, op.laws)),
        "Benchmarks": "; ".join(op.bench),
        "Peers": ", ".join(op.peers),
    }
    lines = [f"## {op.name}", "", _first_paragraph(op.load()), "", *_formula(op)]
    lines += [f"- {name}: {fact}" for name, fact in facts.items() if fact]
    lines += ["- Wrong twins that the check must reject:"]
    lines += [f"  - {name}{_fault(wrong)}" for name, wrong in op.wrong.items()]
    return "\n".join([*lines, ""])


def _link(path: str, name: str = "") -> str:
    module, _, function = path.partition(":")
    return f"[{name or function}](../{_file(module)})"


def _first_paragraph(function: Callable[..., Any]) -> str:
    return " ".join((inspect.getdoc(function) or "").split("\n\n")[0].split())


def _formula(op: Op) -> list[str]:
    """The first indented block of the definition's docstring, or of its file's."""
    module = import_module(op.definition.split(":")[0])
    for text, origin in (
        (inspect.getdoc(op.load()), ""),
        (inspect.getdoc(module), module.__name__),
    ):
        if block := re.search(r"\n\n((?: {4,}.*\n|\n(?= {4}))+)", text or ""):
            said = [f"[{_file(origin)}](../{_file(origin)}) begins with", ""] if origin else []
            return [*said, "```", inspect.cleandoc(block[1]), "```", ""]
    return []


def _file(module: str) -> str:
    return module.replace(".", "/") + ".py"


def _drawn(op: Op) -> str:
    dims = (f"{k} {a}" if a == b else f"{k} {a}–{b}" for k, (a, b) in op.dims.items())
    return f"{', '.join(dims)}; {', '.join(op.dtypes)}"


def _allowed(op: Op) -> str:
    """By dtype, those that are allowed the same together. Whole numbers are exact."""
    largest = {k: b for k, (_, b) in op.dims.items()}
    result = op.load()(**op.make(np.random.default_rng(0), largest, op.dtypes[0]))
    if all(x.dtype.kind in "iu" for x in arrays(result)) and op.exact is None:
        return "none"
    dtypes: dict[str, list[str]] = {}
    for dtype in op.cap:
        dtypes.setdefault(_bound(op, dtype), []).append(dtype)
    return "; ".join(f"{bound} ({', '.join(names)})" for bound, names in dtypes.items())


def _bound(op: Op, dtype: str) -> str:
    if op.cap[dtype] == 0:
        return "none"
    own = [f"{f:g} on {key.split()[0]}" for key, f in op.floor.items() if f" {dtype}" in key]
    floor = f"{op.floor.get(dtype, 0.0):g}" + (f" ({', '.join(own)})" if own else "")
    return f"twice the definition's own + {floor}, at most {op.cap[dtype]:g}"


def _law(law: Callable[..., Any]) -> str:
    return _first_paragraph(law).rstrip(".") or law.__name__.strip("_").replace("_", " ")


def _fault(wrong: Callable[..., Any]) -> str:
    says = _first_paragraph(wrong)
    return f": {says}" if says else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
