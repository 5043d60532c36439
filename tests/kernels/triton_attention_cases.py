"""Run by test_attention.py in a process with TRITON_INTERPRET=1: the Triton kernels on the CPU.

Each case prints its name when it holds; the test reads the names. Small blocks, so that every
length crosses several.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import triton
import triton.language as tl
from torch.utils._python_dispatch import TorchDispatchMode

import kernels
from core import Tensor, grad
from core.errors import InputError
from kernels.attention import arrays as attention_arrays
from kernels.attention import configurations, launches, twin_triton
from kernels.attention import torch_function as attention_torch
from kernels.attention.device_masks import encoded, prepare
from kernels.attention.forward_rows import LENGTHS, LONG, make, unseen
from reference.operations import lowering, masks
from reference.operations.attention import masked_attention as definition
from reference.operations.lowering import EMPTY, FULL, PARTIAL
from tests.kernels.poison import check_poison, poison
from tests.kernels.triton_bounds import watched

SMALL = {"forward": (32, 16, 1, 4), "dq": (16, 32, 1, 4), "dkv": (32, 16, 1, 4)}
SMALL["decode"] = (16, 16, 1, 4)


def in_blocks(of: dict[str, tuple[int, ...]]) -> None:
    """From now on the kernels run in these blocks, whatever the head."""
    for (name, _), sizes in configurations.CONFIGURATIONS.items():
        sizes.update(dict.fromkeys((*sizes, 64, 128, 256), of[name]))
    for own in (configurations.PADDED, configurations.PACKED, configurations.UNALIGNED):
        own.clear()


in_blocks(SMALL)

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


def length_pairs() -> None:
    """Causal, with lengths that have broken other kernels, in blocks that cut them unevenly."""
    pairs(((113, 203), (108, 256)), kinds=(1,), size=32)
    pairs(LONG[:2], kinds=(1,), size=64)
    pairs(LONG[2:4], kinds=(1,), size=128)


def every_length_pair() -> None:
    pairs(LENGTHS, kinds=(1, 2, 4, 7), size=32)
    pairs(LONG, kinds=(1, 2, 4, 7), size=128)


def pairs(lengths: Any, kinds: tuple[int, ...], size: int) -> None:
    in_blocks(dict.fromkeys(SMALL, (size, size, 1, 4)) | {"decode": SMALL["decode"]})
    for Q, K in lengths:
        for kind in kinds:
            a = call(kind, 0, "float32", S=Q, K=K, D=5, group=1)
            forward_and_backward(a, "float32")
    in_blocks(SMALL)


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
    for kind in (1, 2, 5, 7):
        for group, Q in ((2, 1), (3, 7), (1, 16)):
            a = call(kind, 0, "float32", S=Q, K=147, group=group, heads=2)
            with many_processors():
                forward_and_backward(a, "float32")


@contextmanager
def many_processors() -> Iterator[None]:
    """As on a GPU: decoding makes as many splits of the keys as there are pairs of blocks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention_torch, "processors", lambda tensor: 1000)
        patch.setattr(launches, "BLOCKS_OF_A_SPLIT", 2)
        yield


def block_lists() -> None:
    """What the kernels are told to visit is what the mask needs, and full where it is all seen."""
    rng = np.random.default_rng(0)
    for lead, Q, K in (((), 45, 83), ((2, 3), 45, 83), ((1, 2), 1, 40), ((), 130, 16)):
        start, stop = np.sort(rng.integers(0, K + 1, (2, *lead, Q)), axis=0).astype(np.int32)
        start[..., 16:32] = np.minimum(start[..., 16:32], 15)
        stop[..., 16:48] = np.maximum(stop[..., 16:48], min(K, 32))
        stop[..., ::7] = start[..., ::7]
        seen = lowering.raised(lowering.Intervals(start, stop, K))
        four = [torch.from_numpy(x.reshape(*(lead or (1, 1)), Q)) for x in (start, stop)]
        classes = in_classes(seen.reshape(*(lead or (1, 1)), Q, K))
        for chunk in (1, 2, 64):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(launches, "CHUNK", chunk)
                check_columns(launches.columns(*four, 16, 16, K).numpy(), classes)
        seen &= rng.random(seen.shape) < rng.choice([0.02, 0.6, 1.0], (*lead, Q, 1))
        seen = seen.reshape(*(lead or (1, 1)), Q, K)
        bits = torch.from_numpy(np.packbits(seen, -1, bitorder="little"))
        for transposed in (False, True):
            blocks, counts = launches.packed_blocks(bits, 16, 16, Q, K, transposed)
            wanted = np.swapaxes(in_classes(seen), -1, -2) if transposed else in_classes(seen)
            for at in np.ndindex(*counts.shape):
                listed = [2 * n + (c == PARTIAL) for n, c in enumerate(wanted[at]) if c != EMPTY]
                assert blocks[at][: counts[at]].tolist() == listed


def in_classes(seen: Any) -> Any:
    """EMPTY, PARTIAL or FULL of blocks of 16 × 16; queries past the last count for neither."""
    *lead, Q, K = seen.shape
    wide = [(0, 0)] * len(lead)
    seen = np.pad(seen, [*wide, (0, -Q % 16), (0, 0)], "edge")
    seen = np.pad(seen, [*wide, (0, 0), (0, -K % 16)])
    seen = seen.reshape(*lead, seen.shape[-2] // 16, 16, seen.shape[-1] // 16, 16)
    return seen.any((-1, -3)) * 1 + seen.all((-1, -3))


def check_columns(found: Any, classes: Any) -> None:
    for *lead, j in np.ndindex(*found.shape[:-1]):
        column, (first, full_first, full_last, last) = (
            classes[(*lead, slice(None), j)],
            found[*lead, j],
        )
        assert first <= full_first <= full_last <= last
        assert (column[:first] == EMPTY).all()
        assert (column[last:] == EMPTY).all()
        assert (column[full_first:full_last] == FULL).all()
        assert first == last or (column[first] != EMPTY and column[last - 1] != EMPTY)
        full = np.flatnonzero(column == FULL)
        assert full_first == (full[0] if full.size else last), "a full block is masked"
        assert full_last in (last, full_first) or column[full_last] != FULL


def memory() -> None:
    """A million keys, documents and a window: all but q, k, v, out and gradients in 64 MB.

    Everything that is allocated, as if nothing were ever freed; kernels write nothing here.
    """
    shape = 1, 1, 2**20, 64
    rule = masks.causal() & masks.window(4095) & masks.documents(np.arange(shape[2]) // 30000)
    with pytest.MonkeyPatch.context() as patch, Allocated() as allocated:
        names = "forward_kernel", "ranges_kernel", "columns_kernel", "dq_kernel", "dkv_kernel"
        idle = SimpleNamespace(**dict.fromkeys(names, Idle()))
        for module in ("twin_triton", "backward_triton", "lists_triton"):
            patch.setattr(launches, module, idle)
        q, k, v, dout = (torch.empty(shape, dtype=torch.float16, device="meta") for _ in range(4))
        mask = prepare(rule, q, k)
        assert mask.sees is mask.used is None
        out, lse = attention_torch.attended(q, k, v, *mask[:3], 0.1, False)
        attention_torch.gradients(
            dout, torch.empty_like(lse), q, k, v, out, lse, *mask[:3], 0.1, False
        )
    own = 8 * q.numel() * q.element_size() / 1e6
    assert 16 < allocated.megabytes() - own < 64, allocated.megabytes() - own


class Idle:
    """In the place of a kernel."""

    def __getitem__(self, grid: Any) -> Any:
        return lambda *arguments, **constants: None


class Allocated(TorchDispatchMode):
    """The storages of all results."""

    def __init__(self) -> None:
        super().__init__()
        self.storages: dict[int, Any] = {}

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        found = function(*args, **(kwargs or {}))
        for x in found if isinstance(found, tuple) else (found,):
            if isinstance(x, torch.Tensor):
                self.storages[x.untyped_storage()._cdata] = x.untyped_storage()
        return found

    def megabytes(self) -> float:
        return sum(storage.nbytes() for storage in self.storages.values()) / 1e6


def tiles_by_descriptors() -> None:
    """Hopper's copies of whole tiles give the bits that addresses give, and read no further."""
    dtype = "float16"
    for kind, D in ((4, 8), (7, 24), (8, 16)):
        a = call(kind, 0, dtype, S=37, K=59, D=D)
        forward_and_backward(a, dtype)
        assert bits_of(a, described=True) == bits_of(a, described=False)
    a = {n: np.nan_to_num(a[n]) for n in "qkv"} | {"mask": masks.padding(np.array([50]))}
    a["k"][:, :, 50:], a["v"][:, :, 50:] = math.nan, math.nan
    forward_and_backward(a, dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(twin_triton, "opened", opened_too_far)
        with pytest.raises(AssertionError, match="NaN leaked"):
            forward_and_backward(a, dtype)


def bits_of(a: dict[str, Any], described: bool) -> list[bytes]:
    """out, dq, dk and dv, every address checked."""
    tensors = [torch.tensor(a[n], requires_grad=True) for n in "qkv"]
    assert launches.descriptors(*tensors)
    with pytest.MonkeyPatch.context() as patch, watched():
        patch.setattr(launches, "descriptors", lambda *streams: described)
        out = kernels.masked_attention(*tensors, a["mask"])
        grads = torch.autograd.grad(out, tensors, torch.ones_like(out))
    return [x.detach().numpy().tobytes() for x in (out, *grads)]


@triton.jit
def opened_too_far(
    base, low, high, ROW: tl.constexpr, D: tl.constexpr, ROWS: tl.constexpr, BLOCK_D: tl.constexpr,
    TMA: tl.constexpr,
):  # fmt: skip
    begin = base + tl.cast(low, tl.int64) * ROW
    return tl.make_tensor_descriptor(begin, [high - low + 1, D], [ROW, 1], [ROWS, BLOCK_D])


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


def a_nan_in_a_seen_key() -> None:
    """It reaches whom the mask says, forward and backward, in one split and in several."""
    for kind in range(9):
        for lengths in ((45, 83), (3, 83)):
            a = call(kind, 0, "float32", B=2, heads=2, S=lengths[0], K=lengths[1])
            poison(a)
            q, k, v = (torch.tensor(a[n], requires_grad=True) for n in "qkv")
            with many_processors():
                out, lse = kernels.masked_attention(q, k, v, a["mask"], return_lse=True)
            grads = torch.autograd.grad(out, (q, k, v), torch.ones_like(out))
            check_poison(a, [x.detach().numpy() for x in (out, lse, *grads)])


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
    packed = prepare(masks.causal(), q, k)
    arguments = (q, k, v, packed.start, packed.stop, packed.bits, 0.5, False)
    torch.library.opcheck(torch.ops.genzoo.attention_forward.default, arguments)
    traced = (q, k, v, *encoded(masks.causal() & masks.padding(np.array([5]))), 0.5)
    torch.library.opcheck(torch.ops.genzoo.masked_attention.default, traced)


def compiled() -> None:
    """torch.compile traces through the operator; forward and gradient are the eager ones."""
    q, k, v = torch.randn(3, 1, 2, 9, 4)
    q.requires_grad_()
    mask = prepare(masks.causal(), q, k)

    def f(q: Any) -> Any:
        return (kernels.masked_attention(q, k, v, mask) ** 2).sum()

    quick = torch.compile(f, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(quick(q), f(q))
    torch.testing.assert_close(torch.autograd.grad(quick(q), q), torch.autograd.grad(f(q), q))


def compiled_public() -> None:
    """What a PyTorch user writes, in one graph; another length, window or array is never stale."""
    ids, lengths = np.array([0] * 5 + [1] * 6), np.array([7])
    made: dict[str, Callable[[], Any]] = {
        "made inside": lambda: masks.causal() & masks.window(6),
        "ids": lambda: documents & masks.causal(),
        "lengths": lambda: padding | masks.causal(),
        "packed": lambda: boolean,
        "tensor": lambda: torch.from_numpy(holes),
        "none": lambda: None,
        "backwards": lambda: reverse[0] | masks.causal() & reverse[1],
        "big-endian": lambda: swapped[0] & swapped[1],
        "flipped": lambda: flipped,
        "read-only": lambda: locked & masks.causal(),
        "no bound": lambda: masks.window(2**70) & masks.causal(),
    }
    holes = np.random.default_rng(0).random((11, 11)) < 0.4
    foreign = np.array([2, 2, 0, 1, 1, 1, 1, 1, 5, 5, 5])
    reverse = masks.documents(foreign[::-1]), masks.padding(np.array([4, 7])[::-1][:1])
    swapped = masks.documents(foreign.astype(">i4")), masks.padding(np.array([7], ">i8"))
    documents, padding, boolean = masks.documents(ids), masks.padding(lengths), masks.boolean(holes)
    flipped = masks.boolean(np.eye(11)[::-1] > 0)
    whole = foreign.copy()
    whole.flags.writeable = False
    locked = masks.documents(whole[:]) | masks.boolean(np.broadcast_to(foreign > 1, (11, 11)))
    for name, mask in made.items():

        def f(q: Any, k: Any, v: Any, mask: Any = mask) -> Any:
            return kernels.masked_attention(q, k, v, mask(), scale=-0.4, return_lse=True)

        torch._dynamo.reset()
        quick = torch.compile(f, backend="aot_eager", fullgraph=True)
        for S in (11, 9, 14) if name in ("made inside", "none") else (11, 11):
            tensors = [torch.randn(1, 1, S, 4, requires_grad=True) for _ in "qkv"]
            found, wanted = quick(*tensors), f(*tensors)
            seen = torch.isfinite(wanted[1])
            for x, y in zip(found, wanted, strict=True):
                torch.testing.assert_close(x, y, msg=f"{name}, {S}")
            ids[2:], lengths[:], holes[4] = 3, 10, True  # before the backward of what was computed
            grads = (
                torch.autograd.grad((out**2).sum() + lse[seen].sum(), tensors)
                for out, lse in (found, wanted)
            )
            torch.testing.assert_close(*grads, rtol=1e-5, atol=1e-6)


def masks_from_the_device() -> None:
    """Bool tensors, packed where they are, are the host's masks; whole rows and columns of junk."""
    rng = np.random.default_rng(5)
    for shape in ((20, 43), (2, 1, 20, 43), (1, 4, 20, 43), (2, 4, 20, 43), (20, 0)):
        K = shape[-1]
        seen = rng.random(shape) < 0.3
        seen[..., 3, :] = False
        seen[..., 5:9] = False
        q = torch.randn(2, 4, 20, 8, requires_grad=True)
        k, v = (torch.randn(2, 2, K, 8, requires_grad=True) for _ in "kv")
        with torch.no_grad():
            q[:, :, 3], k[:, :, 5:9], v[:, :, 5:9] = math.nan, math.nan, math.nan
        outs = [kernels.masked_attention(q, k, v, m) for m in (torch.from_numpy(seen), seen)]
        grads = [torch.autograd.grad(out.sum(), (q, k, v)) for out in outs]
        torch.testing.assert_close(*outs)
        torch.testing.assert_close(*grads)
        assert all(torch.isfinite(g).all() for g in grads[0])


def prepared_masks() -> None:
    """Prepared once for many calls; refused for other shapes."""
    x = torch.randn(2, 1, 9, 4)
    for rule in (masks.causal(), masks.padding(np.array([3, 5])), masks.boolean(np.eye(9) > 0)):
        mask = prepare(rule, x, x)
        for scale in (0.5, 2.0):
            found = kernels.masked_attention(x, x, x, mask, scale=scale)
            torch.testing.assert_close(
                found, kernels.masked_attention(x, x, x, rule, scale=scale), rtol=0, atol=0
            )
    short, wide = x[:, :, :8], x[:1].expand(3, 1, 9, 4)
    for y, named in ((short, "prepared for lengths"), (wide, r"\(batch, heads\)")):
        with pytest.raises(InputError, match=named):
            kernels.masked_attention(y, y, y, prepare(masks.padding(np.array([3, 5])), x, x))
    with pytest.raises(InputError, match="mask must be a Mask or bool"):
        prepare(np.eye(9), x, x)
    torch.testing.assert_close(prepare(np.eye(9) > 0, x, x).bits, mask.bits)


def prepared_for_other_heads() -> None:
    """What keys are read depends on which query heads share them, where heads see different."""
    q, k, other = torch.randn(1, 4, 9, 4), torch.randn(1, 2, 9, 4), torch.randn(1, 4, 9, 4)
    seen = np.random.default_rng(0).random((1, 4, 9, 9)) < 0.4
    diagonals = np.stack([np.eye(9, k=n) for n in range(4)])[None] > 0
    for rule in (masks.boolean(seen), torch.from_numpy(seen), masks.boolean(diagonals)):
        mask = prepare(rule, q, k)
        kernels.masked_attention(q, k, k, mask)
        with pytest.raises(
            InputError, match=r"prepared for \(H, H_kv\) \(4, 4\), got one for \(4, 2\)"
        ):
            kernels.masked_attention(q, other, other, mask)
    for rule in (masks.boolean(seen[0, 0]), torch.from_numpy(seen[:, :1]), masks.causal()):
        found = kernels.masked_attention(q, other, other, prepare(rule, q, k))
        torch.testing.assert_close(found, kernels.masked_attention(q, other, other, rule))


def no_queries() -> None:
    """Whatever the mask is, and prepared for reuse."""
    q, k = torch.randn(1, 4, 0, 4, requires_grad=True), torch.randn(1, 2, 6, 4, requires_grad=True)
    rules = [torch.zeros(s, dtype=torch.bool) for s in ((0, 6), (1, 1, 0, 6), (1, 4, 0, 6))]
    rules += [masks.documents(np.array([1, 2, 1, 1, 1, 1])), masks.causal(), None]
    rules += [masks.boolean(rule.numpy()) for rule in rules[:3]]
    for rule in rules:
        for mask in (rule, rule if rule is None else prepare(rule, q, k)):
            out = kernels.masked_attention(q, k, k, mask)
            assert out.shape == q.shape
            assert all((g == 0).all() for g in torch.autograd.grad(out.sum(), (q, k)))
    empty = torch.randn(0, 4, 5, 4)
    holes = np.random.default_rng(0).random((0, 1, 5, 6)) < 0.4
    mask = prepare(masks.boolean(holes) & masks.boolean(np.eye(5, 6) < 1), empty, k[:0])
    assert kernels.masked_attention(empty, k[:0], k[:0], mask).shape == empty.shape


def layouts() -> None:
    """Strided, broadcast and empty tensors."""
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(2, 17, 3, 10, generator=rng)  # (B, S, H, D)
    q, k, v = x.transpose(1, 2)[..., ::2], x[:1, :, :1].expand(2, 17, 1, 10).transpose(1, 2), x
    k, v = k[..., 1:6], v.transpose(1, 2)[:, :1, :, 5:]
    tensors = [t.detach().requires_grad_() for t in (q, k, v)]
    plain = [t.detach().contiguous().requires_grad_() for t in (q, k, v)]
    outs = [kernels.masked_attention(*t, masks.causal()) for t in (tensors, plain)]
    torch.testing.assert_close(*outs, rtol=0, atol=0)
    grads = [
        torch.autograd.grad(out, t, torch.ones(1).expand(out.shape))
        for out, t in zip(outs, (tensors, plain), strict=True)
    ]
    torch.testing.assert_close(*grads, rtol=0, atol=0)
    for B, H, Q, K in ((0, 2, 3, 4), (2, 0, 3, 4), (2, 2, 0, 4), (2, 2, 3, 0)):
        q, k, v = (torch.randn(B, h, n, 4, requires_grad=True) for h, n in ((H, Q), (1, K), (1, K)))
        out, lse = kernels.masked_attention(q, k, v, masks.causal(), return_lse=True)
        assert out.shape == q.shape
        assert lse.shape == q.shape[:3]
        assert all((g == 0).all() for g in torch.autograd.grad(out.sum(), (q, k, v)))


def what_pytorch_may_ask() -> None:
    """autocast's dtype, vmap, and clear errors for second derivatives and offsets out of reach."""
    x = torch.randn(1, 1, 6, 4, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.float16):
        out = kernels.masked_attention(x, x.half(), x, masks.causal())
    assert out.dtype == torch.float16
    for dtype in (torch.float64, torch.int64):
        asked, y = f"must be float16, bfloat16 or float32, got {dtype}", x.to(dtype)
        for who, given in (("q", (y, x, x)), ("k", (x, y, x)), ("v", (x, x, y))):
            with torch.autocast("cpu", dtype=torch.float16), pytest.raises(InputError, match=asked):
                kernels.masked_attention(*given)
            with torch.autocast("cpu", dtype=torch.float16), pytest.raises(InputError, match=who):
                kernels.masked_attention(*given)
    torch.testing.assert_close(
        out, kernels.masked_attention(*(x.half(),) * 3, masks.causal()), rtol=0, atol=0
    )
    out = kernels.masked_attention(x, x, x, masks.causal())
    (g,) = torch.autograd.grad(out.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="attention_backward"):
        torch.autograd.grad(g.sum(), x)
    stack = torch.randn(2, 1, 1, 6, 4)
    mapped = torch.vmap(lambda q: kernels.masked_attention(q, q, q, masks.causal()))(stack)
    one = kernels.masked_attention(*(stack[1],) * 3, masks.causal())
    torch.testing.assert_close(mapped[1], one)
    long = torch.empty(1).expand(1, 1, 2**30, 4)
    with pytest.raises(InputError, match="2\\*\\*31 elements a head"):
        kernels.masked_attention(long, long, long)
    packed = torch.empty(1, dtype=torch.bool).expand(2**17, 2**17)
    q = torch.empty(1).expand(1, 1, 2**17, 4)
    with pytest.raises(InputError, match="bfloat16 wrong"):
        kernels.masked_attention(x.bfloat16(), x.bfloat16(), x.bfloat16())
    with pytest.raises(InputError, match="2\\*\\*31 bytes"):
        kernels.masked_attention(q, q, q, packed)


def launches_where_the_tensors_are() -> None:
    """Every kernel is launched with q's device made current; the interpreter has but one."""
    kept, seen = torch.cuda.device_of, []

    class Noted(kept):
        def __init__(self, x: Any) -> None:
            seen.append(x.shape)
            super().__init__(x)

    torch.cuda.device_of = Noted
    try:
        x = torch.randn(1, 1, 6, 4, requires_grad=True)
        torch.autograd.grad(kernels.masked_attention(x, x, x).sum(), x)
    finally:
        torch.cuda.device_of = kept
    assert len(seen) == 2


def readme_example() -> None:
    """The README's last block, on the CPU and shorter."""
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    example = re.findall(r"```python\n(.*?)```", readme, re.S)[-1]
    for there, here in (("cuda", "cpu"), ("bfloat16", "float32"), ("4096", "96")):
        assert there in example
        example = example.replace(there, here)
    example = example.replace("[1000, 96, 3000]", "[50, 6, 40]")
    names: dict[str, Any] = {"np": np}
    exec(example, names)
    q, k, v, mask = (names[n] for n in ("q", "k", "v", "mask"))
    out = definition(q.detach().numpy(), k.numpy(), v.numpy(), mask)
    found = kernels.masked_attention(q, k, v, mask).detach()
    np.testing.assert_allclose(found, out, atol=1e-5)
    assert q.grad.isfinite().all()
    assert q.grad.any()


def bad_input() -> None:
    x = torch.zeros(1, 1, 4, 8)
    four, two = torch.zeros(1, 4, 5, 8), torch.zeros(1, 2, 6, 8)
    holes = np.random.default_rng(0).random((1, 3, 5, 6)) < 0.4
    ids = masks.documents(np.zeros((2, 4), int))
    cases: list[tuple[tuple[Any, ...], str]] = [
        ((x.double(), x, x), "q must be float16"),
        ((x, x.half(), x), "k must be torch.float32 as q"),
        ((x, x, np.zeros((1, 1, 4, 8))), "v must be a torch tensor"),
        ((torch.zeros(1, 1, 4, 257),) * 3, "257"),
        ((x, x, x, torch.ones(4, 5, dtype=torch.bool)), "mask"),
        ((x, x, x, torch.ones(4, 4)), "mask must be bool"),
        ((x, x, x, torch.ones(2, 1, 4, 4, dtype=torch.bool)), "mask"),
        ((x, x, x, masks.padding(np.array([1, 2]))), "mask"),
        ((x, x, x, "causal"), "mask must be a Mask or bool"),
        ((x, x, x, ids & masks.padding(np.array([1, 2, 3]))), "batches 2 and 3"),
        (
            (four, two, two, masks.boolean(holes)),
            r"mask must be for .* one for \(1, 3\)",
        ),
        (
            (four, two, two, torch.from_numpy(holes)),
            r"mask must be for .* one for \(1, 3\)",
        ),
    ]
    for arguments, named in cases:
        with pytest.raises(InputError, match=named):
            kernels.masked_attention(*arguments)


def arrays() -> None:
    """The NumPy entries, which are what `backend("triton")` runs, through the table's check."""
    for name in ("masked_attention", "masked_attention_backward"):
        op = kernels.OPS[name]
        for kind in range(9):
            dims = {"B": 2, "heads": 1, "group": 2, "D": 9, "sharpness": 1 + kind % 4, "mask": kind}
            dims |= {"scale": kind % 4, "S": 13, "K": 13 + kind}
            kernels.check(op.load("triton"), op.call(kind, "float32", **dims), "triton")
    x = np.random.default_rng(0).normal(size=(1, 2, 3, 4)).astype(np.float32)
    for entry, many in (
        (attention_arrays.masked_attention_arrays, 3),
        (attention_arrays.masked_attention_backward_arrays, 4),
    ):
        backwards, copies = entry(*[x[:, ::-1]] * many), entry(*[x[:, ::-1].copy()] * many)
        np.testing.assert_array_equal(backwards, copies)
    for dout in (x[:, :1], x.astype(np.float16), x.astype(np.float64), x.tolist()):
        with pytest.raises(InputError, match="dout must be"):
            attention_arrays.masked_attention_backward_arrays(x, x, x, dout)


CASES: dict[str, Callable[[], None]] = {
    "float32": lambda: every_mask("float32"),
    "float16": lambda: every_mask("float16"),
    "odd lengths": odd_lengths,
    "length pairs": length_pairs,
    "every length pair": every_length_pair,
    "head sizes": head_sizes,
    "holes": holes_between_seen_keys,
    "descriptors": tiles_by_descriptors,
    "decoding": decoding_splits,
    "lse": lse_and_its_gradient,
    "block lists": block_lists,
    "memory": memory,
    "seen NaN": a_nan_in_a_seen_key,
    "scales": scales,
    "same bits": same_bits_again,
    "operators": operators,
    "compiled": compiled,
    "compiled public": compiled_public,
    "device masks": masks_from_the_device,
    "prepared": prepared_masks,
    "other heads": prepared_for_other_heads,
    "no queries": no_queries,
    "layouts": layouts,
    "asked": what_pytorch_may_ask,
    "device": launches_where_the_tensors_are,
    "readme example": readme_example,
    "bad input": bad_input,
    "arrays": arrays,
}

if __name__ == "__main__":
    for name in sys.argv[1:] or CASES:
        CASES[name]()
        print(name, flush=True)
