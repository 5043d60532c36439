"""Where the Triton kernels run: a GPU, or the CPU under Triton's interpreter."""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np
import torch

from core.errors import InputError

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
"""Triton reads it once, when it is imported."""


def device_for(name: str | None = None) -> Any:
    """Where NumPy arguments go: the GPU, or the CPU under Triton's interpreter; else InputError."""
    if name is None:
        name = "cpu" if INTERPRETED else "cuda"
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise InputError(f"device must be such as 'cuda' or 'cuda:1', got {name!r}") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError("device must be a GPU that torch can see, but torch.cuda finds none")
    check_device("device", device)
    return device


def card(device: Any) -> tuple[str, int]:
    """(target that `kernels.attention.configurations` knows best, bytes of shared memory a block).

    An unknown card is taken for the oldest of its maker; what its blocks may have, it says itself.
    """
    if device.type != "cuda":
        return "sm_90", sys.maxsize
    found = torch.cuda.get_device_properties(device)
    if torch.version.hip:
        return "gfx942", int(found.shared_memory_per_block)
    target = "sm_90" if (found.major, found.minor) == (9, 0) else "sm_80"
    return target, int(found.shared_memory_per_block_optin)


def processors(tensor: Any) -> int:
    """Multiprocessors of the tensor's device; the interpreter has one."""
    if not tensor.is_cuda:
        return 1
    return int(torch.cuda.get_device_properties(tensor.device).multi_processor_count)


def check_device(name: str, device: Any) -> None:
    """InputError for the CPU, which runs these kernels only under Triton's interpreter."""
    if device.type == "cpu" and not INTERPRETED:
        raise InputError(f"{name} must be on a GPU (or set TRITON_INTERPRET=1), got the CPU")


def on_device(name: str, array: Any) -> Any:
    """A float16 or float32 array of any strides as a tensor there; else InputError."""
    if not isinstance(array, np.ndarray) or array.dtype not in (np.float16, np.float32):
        kind = getattr(array, "dtype", type(array).__name__)
        raise InputError(f"{name} must be a float16 or float32 array, got {kind}")
    # NumPy's copy, as torch reads no array whose strides are negative.
    return torch.from_numpy(array.copy()).to(device_for())
