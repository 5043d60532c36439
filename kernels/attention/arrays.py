"""Masked attention in Triton for NumPy arrays, which is what `backend("triton")` runs (row K4)."""

from __future__ import annotations

from typing import Any

import torch

from kernels.attention.torch_function import masked_attention
from kernels.device import on_device
from reference.operations.attention import check_dout, checked


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
    q, k, v = (on_device(name, x) for name, x in (("q", q), ("k", k), ("v", v)))
    found = masked_attention(q, k, v, mask, scale=scale, return_lse=return_lse)
    return tuple(x.cpu().numpy() for x in found) if return_lse else found.cpu().numpy()


def masked_attention_backward_arrays(
    q: Any, k: Any, v: Any, dout: Any, mask: Any = None, *, scale: float | None = None
) -> tuple[Any, ...]:
    """The gradient (dq, dk, dv) likewise; torch's autograd calls the kernels."""
    given = {"q": q, "k": k, "v": v, "dout": dout}
    *inputs, g = (on_device(name, x) for name, x in given.items())
    mask, scale = checked(q, k, v, mask, scale)
    check_dout(q, dout)
    q, k, v = (x.requires_grad_() for x in inputs)
    out = masked_attention(q, k, v, mask, scale=scale)
    return tuple(x.cpu().numpy() for x in torch.autograd.grad(out, (q, k, v), g))
