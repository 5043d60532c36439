"""triton-sanitizer over a launch of every Triton kernel: no address is out of bounds.

Run by `triton-sanitizer` under TRITON_INTERPRET=1 (`make sanitizer`), which searches symbolically,
over all programs and lanes at once. Its version 3.0 lacks what our kernels need: loops whose bounds
are read from memory (here they run, and their bounds are computed), loops in Triton's own library,
transposes and reductions that keep a shape. Prints each launch that is clean.
"""

from __future__ import annotations

import sys
from contextlib import nullcontext
from typing import Any

import numpy as np
import triton.language as tl
from triton.runtime.interpreter import TensorHandle
from triton_viz.clients.sanitizer import sanitizer
from triton_viz.core import patch
from triton_viz.core.callbacks import ForLoopCallbacks
from triton_viz.core.data import Trans, Umulhi

from kernels.attention import lists_triton
from tests.kernels.triton_drivers import DRIVERS, FAULTS, faulty

Expression = sanitizer.SymbolicExpr
_from_value = Expression.from_value.__func__
_binary = sanitizer.BinarySymbolicExpr.concretize
_reduced = sanitizer.ReduceSymbolicExpr._to_z3_impl
_call = patch.PatchOp.__call__


def from_value(cls: Any, x: Any) -> Any:
    """Constants may be tl.constexpr."""
    return _from_value(cls, x.value if isinstance(x, tl.constexpr) else x)


def called(self: Any, *args: Any, **named: Any) -> Any:
    """An operation of triton.language, its result with the shape that it has."""
    library = patch.OPERATION_REGISTRY["triton"].namespaces
    symbolic, x = self.callbacks.op_overrider, args[0]
    if self.op_type is Umulhi and isinstance(x, tl.tensor):
        return tl.tensor(symbolic(x.handle, args[1].handle), x.type)
    if self.op_type not in library[tl].values():
        return _call(self, *args, **named)
    shape = [int(n) for n in x.shape]
    if self.op_type is Trans:
        shape.reverse()
    else:
        del shape[args[1]]
    handle = symbolic(x.handle, *args[1:], **named)
    return tl.tensor(handle, tl.block_type(x.dtype, shape) if shape else x.dtype)


def concretize(self: Any) -> Any:
    """The value that an expression has in this program."""
    if self.op == "idiv":
        x, y = self.lhs.concretize(), self.rhs.concretize()
        return TensorHandle(x.data // y.data, x.dtype)
    if self.op == "ashr":
        x, y = self.lhs.concretize(), self.rhs.concretize()
        return TensorHandle(x.data >> y.data, x.dtype)
    if self.op == "where":
        condition, x, y = (part.concretize() for part in (self.cond, self.lhs, self.rhs))
        return TensorHandle(np.where(condition.data, x.data, y.data), x.dtype)
    if self.op == "expand_dims":
        x = self.arg.concretize()
        return TensorHandle(np.expand_dims(x.data, self.axis.to_py()), x.dtype)
    if self.op == "broadcast":
        return self.arg.concretize()  # NumPy's operations widen it
    if self.op in ("min", "max"):
        x = self.input.concretize()
        return TensorHandle(np.atleast_1d(getattr(x.data, self.op)()), x.dtype)
    return _binary(self)


def shifted(self: Any, x: Any, n: Any) -> Any:
    """x >> n, of whole numbers: z3 divides by what is positive as an arithmetic shift does."""
    return self._apply_binop(lambda a, b: a / 2 ** b.as_long(), x, n)


def reduced(self: Any) -> Any:
    """A second reduction, of the single value that a first one left, is that value."""
    x = self.input._to_z3()
    return _reduced(self) if isinstance(x[0], list) else x


def loops(self: Any) -> Any:
    """Run every loop. If a program's bounds are not constants, run every program too."""

    def computed(_: Any, line: int, kind: str, args: Any, named: Any, function: Any) -> range:
        bounds = [Expression.from_value(x) for x in args]
        self.need_full_grid = self.need_full_grid or any(x.op != "const" for x in bounds)
        return range(*(int(x.concretize().data.item()) for x in bounds))

    return ForLoopCallbacks(range_wrapper_factory=computed)


def make_lists() -> None:
    """Symbolic stores write nothing, so lists that a launch reads are made by the interpreter."""
    for name in ("ranges_kernel", "columns_kernel", "list_kernel"):
        setattr(lists_triton, name, getattr(lists_triton, name).interpreted_fn)
    lists_triton._triton_viz_loop_patcher = patch._loop_patcher


def extend() -> None:
    """Teach triton-sanitizer the above."""
    Expression.from_value = classmethod(from_value)
    patch.PatchOp.__call__ = called
    for kind in ("Binary", "Where", "Reduce", "ExpandDims", "Broadcast"):
        getattr(sanitizer, f"{kind}SymbolicExpr").concretize = concretize
    sanitizer.BinarySymbolicExpr._Z3_BUILDERS["ashr"] = shifted
    sanitizer.ReduceSymbolicExpr._to_z3_impl = reduced
    sanitizer.SymbolicSanitizer.register_for_loop_callback = loops
    tl.random._triton_viz_loop_patcher = patch._loop_patcher


if __name__ == "__main__":
    extend()
    make_lists()
    fault = sys.argv[1] if len(sys.argv) > 1 else ""
    with faulty(fault) if fault in FAULTS else nullcontext():
        for name, driver in DRIVERS.items():
            driver(lambda x: x)
            print(name, flush=True)
