"""Masked attention in Triton for NumPy arrays, which is what `backend("triton")` runs (row K4)."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch

from core.errors import InputError
from kernels.attention_torch import masked_attention
from reference.attention import checked


def masked_attention_arrays(
    q: Any,
    k: Any,
    v: Any,
    mask: Any = None,
    *,
    scale: float | None = None,
    return_lse: bool = False,
) -> Any:
    """`kernels.masked_attention` for float16 or float32 arrays: copied to the GPU and back."""
    q, k, v = _on_device(q=q, k=k, v=v)
    found = masked_attention(q, k, v, mask, scale=scale, return_lse=return_lse)
    return tuple(x.cpu().numpy() for x in found) if return_lse else found.cpu().numpy()


def masked_attention_backward_arrays(
    q: Any, k: Any, v: Any, dout: Any, mask: Any = None, *, scale: float | None = None
) -> tuple[Any, ...]:
    """The gradient (dq, dk, dv) likewise; torch's autograd calls the kernels."""
    *inputs, g = _on_device(q=q, k=k, v=v, dout=dout)
    mask, scale = checked(q, k, v, mask, scale)
    if dout.shape != q.shape or dout.dtype != q.dtype:
        raise InputError(f"dout must be {q.dtype} {q.shape}, got {dout.dtype} {dout.shape}")
    q, k, v = (x.requires_grad_() for x in inputs)
    out = masked_attention(q, k, v, mask, scale=scale)
    return tuple(x.cpu().numpy() for x in torch.autograd.grad(out, (q, k, v), g))


def _on_device(**arrays: Any) -> list[Any]:
    device = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"
    for name, x in arrays.items():
        if getattr(x, "dtype", None) not in ("float16", "float32"):
            kind = getattr(x, "dtype", type(x).__name__)
            raise InputError(f"{name} must be a float16 or float32 array, got {kind}")
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("backend triton needs a CUDA device; torch finds none")
    # NumPy's copy, as torch reads no array whose strides are negative.
    return [torch.from_numpy(np.array(x)).to(device) for x in arrays.values()]
