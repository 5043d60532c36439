"""The engine: arrays that remember how they were made, random numbers, optimisers, data."""

from core import vjps  # fills the table of derivatives
from core.machine import keep_freed_memory
from core.operation import backend, operation
from core.tensor import Array, Tensor, debug, detach, grad, jacobian, no_grad, value

__all__ = [
    "Array",
    "Tensor",
    "backend",
    "debug",
    "detach",
    "grad",
    "jacobian",
    "no_grad",
    "operation",
    "value",
    "vjps",
]

keep_freed_memory()
