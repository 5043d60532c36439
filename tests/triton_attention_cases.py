"""Run by test_attention.py in a process with TRITON_INTERPRET=1: the Triton kernels on the CPU.

Each case prints its name when it holds; the test reads the names. Small blocks, so that every
length crosses several.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import kernels
from core import Tensor, grad
from core.errors import InputError
from kernels import attention_torch, attention_triton
from kernels.attention_rows import LENGTHS, make, unseen
from reference import masks
from reference.attention import masked_attention as definition

SMALL = {"forward": (32, 16, 1, 4), "dq": (16, 32, 1, 4), "dkv": (32, 16, 1, 4)}
for _name, _size in attention_triton.CONFIGURATIONS:
    for _head in (64, 128, 256):
        attention_triton.CONFIGURATIONS[_name, _size][_head] = SMALL[_name]

FLOOR = {"float32": 1e-6, "float16": 5e-4}
CAP = {"float32": 2e-5, "float16": 5e-2}


def call(kind: int, lengths: int, dtype: str, **other: int) -> dict[str, Any]:
    """One call with LENGTHS[lengths]; "S" instead gives it S queries and keys."""
    dims = {"B": 1, "heads": 1, "group": 2, "D": 9, "sharpness": 1, "mask": kind, **other}
    dims |= {} if "S" in other else {"lengths": lengths}
    return make(np.random.default_rng(kind), dims, dtype)


def within(found: Any, plain: Any, truth: Any, dtype: str, what: str) -> None:
    """FlashAttention's rule: at most twice the plain formula's error in this dtype, and a floor."""
    assert found.shape == truth.shape, what
    assert np.isfinite(found).all(), f"{what}: NaN leaked"
    error = np.abs(found.astype(np.float64) - truth).max(initial=0)
    own = np.abs(plain.astype(np.float64) - truth).max(initial=0)
    allowed = min(2 * own + FLOOR[dtype], CAP[dtype])
    assert error <= allowed, f"{what}: error {error:.3g}, allowed {allowed:.3g}"


def expected(a: dict[str, Any], dtype: Any, g: Any) -> list[Any]:
    """out, dq, dk, dv of the definition in this dtype."""
    tensors = [Tensor(np.asarray(a[n], dtype)) for n in "qkv"]
    out = definition(*tensors, a["mask"])
    return [out.data, *grad(out, tensors, np.asarray(g, dtype))]


def in_dtype(a: dict[str, Any], dtype: str, g: Any) -> list[Any]:
    """The same by the plain formula in torch, every intermediate in this dtype (NaN as 0)."""
    q, k, v = (torch.tensor(np.nan_to_num(a[n]), requires_grad=True) for n in "qkv")
    group = q.shape[1] // k.shape[1]
    mask = (a["mask"] or masks.full()).dense(q.shape[2], k.shape[2])
    seen = torch.tensor(np.broadcast_to(mask, (*q.shape[:3], k.shape[2])).copy())
    keys, values = (x.repeat_interleave(group, 1) for x in (k, v))
    s = torch.where(seen, (q @ keys.mT) / math.sqrt(q.shape[3]), -math.inf)
    some = seen.any(-1, keepdim=True)
    out = torch.where(some, torch.softmax(torch.where(some, s, 0.0), -1) @ values, 0.0)
    grads = torch.autograd.grad(out, (q, k, v), torch.tensor(g))
    return [x.detach().numpy() for x in (out, *grads)]


def forward_and_backward(a: dict[str, Any], dtype: str) -> None:
    g = np.random.default_rng(1).normal(size=a["q"].shape).astype(dtype)
    idle, idle_k = unseen(a["mask"], a["q"].shape, a["k"].shape)
    tensors = [torch.tensor(a[n], requires_grad=True) for n in "qkv"]
    out = kernels.masked_attention(*tensors, a["mask"])
    upstream = np.where(idle[..., None], np.nan, g).astype(dtype)
    found = [out.detach(), *torch.autograd.grad(out, tensors, torch.tensor(upstream))]
    truth, plain = expected(a, np.float64, g), in_dtype(a, dtype, g)
    for name, x, p, t in zip(("out", "dq", "dk", "dv"), found, plain, truth, strict=True):
        within(x.numpy(), p, t, dtype, name)
    for x, none in zip(found, (idle, idle, idle_k, idle_k), strict=True):
        assert (x.numpy()[none] == 0).all(), "not 0 where nothing is seen"


def every_mask(dtype: str) -> None:
    for kind in range(9):
        forward_and_backward(call(kind, 0, dtype, B=2, S=37), dtype)


def odd_lengths() -> None:
    for lengths in (0, 5, 6, 7):
        forward_and_backward(call(1, lengths, "float32", D=5, group=1), "float32")


def long_odd_lengths() -> None:
    for lengths in range(len(LENGTHS)):
        forward_and_backward(call(1, lengths, "float32", D=5, group=1), "float32")


def head_sizes() -> None:
    for D in (1, 17, 33):
        forward_and_backward(call(2, LENGTHS.index((17, 5)), "float32", D=D), "float32")


def holes_between_seen_keys() -> None:
    """NaN in keys between seen ones, for intervals and for packed masks."""
    seen = np.zeros((20, 40), bool)
    seen[:10, 3:9], seen[10:, 30:37] = True, True
    for mask in (masks.boolean(seen), masks.boolean(seen) | masks.boolean(np.eye(20, 40) > 0)):
        rng = np.random.default_rng(3)
        q, k, v = (rng.normal(size=(1, 1, n, 8)).astype(np.float32) for n in (20, 40, 40))
        _, idle = unseen(mask, q.shape, k.shape)
        k[idle], v[idle] = math.nan, math.nan
        forward_and_backward({"q": q, "k": k, "v": v, "mask": mask}, "float32")


def decoding_splits() -> None:
    """One query against many keys: several splits, merged, as exact as without."""
    attention_torch._SPLIT_BLOCKS = 2
    for kind in (1, 2, 7):
        a = call(kind, LENGTHS.index((1, 147)), "float32")
        assert attention_torch._splits(1, 10) > 1
        forward_and_backward(a, "float32")
    attention_torch._SPLIT_BLOCKS = 16


def lse_and_its_gradient() -> None:
    a = call(1, LENGTHS.index((17, 5)), "float32")
    q, k, v = (torch.tensor(np.nan_to_num(a[n]), requires_grad=True) for n in "qkv")
    _, lse = kernels.masked_attention(q, k, v, a["mask"], return_lse=True)
    seen = torch.isfinite(lse)
    found = torch.autograd.grad(lse[seen].sum(), (q, k))
    tensors = [Tensor(np.asarray(a[n], np.float64)) for n in "qkv"]
    _, other = definition(*tensors, a["mask"], return_lse=True)
    truth = grad(np.sum(np.where(seen.numpy(), other, 0.0)), tensors[:2])
    assert np.array_equal(seen.numpy(), np.isfinite(other.data))
    np.testing.assert_allclose(lse[seen].detach().numpy(), other.data[seen.numpy()], atol=1e-5)
    for x, t in zip(found, truth, strict=True):
        np.testing.assert_allclose(x.numpy(), t, atol=1e-5)


def scales() -> None:
    a = call(1, LENGTHS.index((17, 5)), "float32")
    for scale in (-0.7, 0.0, 2.0):
        out = kernels.masked_attention(*(torch.tensor(a[n]) for n in "qkv"), a["mask"], scale=scale)
        truth = definition(*(a[n].astype(np.float64) for n in "qkv"), a["mask"], scale=scale)
        np.testing.assert_allclose(out.numpy(), truth, atol=1e-5)


def same_bits_again() -> None:
    a = call(4, 0, "float32", S=50)
    runs = []
    for _ in range(2):
        q, k, v = (torch.tensor(a[n], requires_grad=True) for n in "qkv")
        out = kernels.masked_attention(q, k, v, a["mask"])
        grads = torch.autograd.grad(out.sum(), (q, k, v))
        runs.append([out.detach().numpy(), *(g.numpy() for g in grads)])
    for x, y in zip(*runs, strict=True):
        assert x.tobytes() == y.tobytes()


def operators() -> None:
    """torch's own check of the operator: schema, fake tensors, autograd, tracing."""
    rng = np.random.default_rng(0)
    q, k, v = (
        torch.tensor(rng.normal(size=(1, 2, 9, 4)).astype(np.float32), requires_grad=True)
        for _ in range(3)
    )
    masks_of = attention_torch._mask_tensors(masks.lower(masks.causal(), 9, 9), (1, 2, 9), "cpu")
    arguments = (q, k, v, *masks_of, 0.5, False)
    torch.library.opcheck(torch.ops.genzoo.attention_forward.default, arguments)


def compiled() -> None:
    """torch.compile traces through the operator; forward and gradient are the eager ones."""
    q, k, v = torch.randn(3, 1, 2, 9, 4)
    q.requires_grad_()
    packed = attention_torch._mask_tensors(masks.lower(masks.causal(), 9, 9), (1, 2, 9), "cpu")

    def f(q: Any) -> Any:
        return (attention_torch.attention_forward(q, k, v, *packed, 0.5, False)[0] ** 2).sum()

    quick = torch.compile(f, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(quick(q), f(q))
    torch.testing.assert_close(torch.autograd.grad(quick(q), q), torch.autograd.grad(f(q), q))


def bad_input() -> None:
    x = torch.zeros(1, 1, 4, 8)
    cases: list[tuple[tuple[Any, ...], str]] = [
        ((x.double(), x, x), "q must be float16"),
        ((x, x.half(), x), "k is"),
        ((x, x, np.zeros((1, 1, 4, 8))), "v must be a torch tensor"),
        ((torch.zeros(1, 1, 4, 257),) * 3, "257"),
        ((x, x, x, torch.ones(4, 5, dtype=torch.bool)), "mask"),
        ((x, x, x, masks.padding(np.array([1, 2]))), "mask"),
    ]
    for arguments, named in cases:
        with pytest.raises(InputError, match=named):
            kernels.masked_attention(*arguments)


def arrays() -> None:
    """The NumPy entry, which is what `backend("triton")` runs."""
    a = call(1, LENGTHS.index((17, 5)), "float32")
    found = attention_torch.masked_attention_arrays(**a)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, definition(**a), atol=1e-6)


CASES: dict[str, Callable[[], None]] = {
    "float32": lambda: every_mask("float32"),
    "float16": lambda: every_mask("float16"),
    "odd lengths": odd_lengths,
    "long odd lengths": long_odd_lengths,
    "head sizes": head_sizes,
    "holes": holes_between_seen_keys,
    "decoding": decoding_splits,
    "lse": lse_and_its_gradient,
    "scales": scales,
    "same bits": same_bits_again,
    "operators": operators,
    "compiled": compiled,
    "bad input": bad_input,
    "arrays": arrays,
}

if __name__ == "__main__":
    for name in sys.argv[1:] or CASES:
        CASES[name]()
        print(name, flush=True)
