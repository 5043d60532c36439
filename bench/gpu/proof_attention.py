"""Masked attention on a GPU, forward and backward, against the float64 definition.

Truth is the definition and core's gradient of it; the rule is FlashAttention's (`bench.gpu.rule`).
Attention with a planted fault must be rejected. Runs on the CPU too, in Triton's interpreter.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch

from bench.gpu.rule import (
    GPU,
    Guarded,
    Proof,
    Where,
    complaint,
    name_of,
    same_bits,
    wide,
    within,
)
from core import Tensor, grad
from kernels import masked_attention
from kernels.attention import launches
from kernels.attention.device_masks import prepare
from kernels.attention.forward_rows import drawn_mask, unseen
from reference.operations import masks
from reference.operations.attention import masked_attention as definition

LENGTHS = (
    (1, 147), (113, 203), (108, 256), (256, 512), (512, 256), (1023, 1024), (1024, 1023),
    (2048, 2048), (17, 5), (64, 0),
)  # fmt: skip
"""(q_len, k_len) that have broken blockwise kernels."""
Attend = Callable[[Any, Any, Any, Any], tuple[Any, Any]]


class Call(NamedTuple):
    """q, k, v, the outputs' gradients g and h, in NumPy; NaN where nothing may be read."""

    q: Any
    k: Any
    v: Any
    g: Any
    h: Any
    mask: Any


def call(
    lengths: tuple[int, int], D: int, mask: int, B: int = 1, heads: int = 1, group: int = 2
) -> Call:
    """One drawn call."""
    rng = np.random.default_rng([*lengths, D, mask])
    (Q, K), H = lengths, heads * group
    q, g = rng.normal(size=(2, B, H, Q, D)).astype(np.float32)
    k, v = rng.normal(size=(2, B, heads, K, D)).astype(np.float32)
    rule = drawn_mask(rng, mask, B, Q, K, reach=K + 1)
    idle_q, idle_k = unseen(rule, q.shape, k.shape)
    q[idle_q], k[idle_k], v[idle_k] = math.nan, math.nan, math.nan
    h = np.where(idle_q, 0, rng.normal(size=(B, H, Q))).astype(np.float32)
    return Call(q, k, v, g, h, rule)


# Attention against its definition


def check_attention(attend: Attend, call: Call, dtype: Any, device: str) -> None:
    """AssertionError unless out, lse, dq, dk and dv are right and 0 where nothing is seen."""
    q, k, v, g = (torch.tensor(x, device=device, dtype=dtype) for x in call[:4])
    h = torch.tensor(call.h, device=device)
    found = _differentiated(attend, q, k, v, g, h, call.mask)
    own = _differentiated(plain, *(x.nan_to_num() for x in (q, k, v)), g, h, call.mask)
    truth = _truth(*(wide(x) for x in (q, k, v, g)), call.h, call.mask)
    for name, x, p, t in zip(("out", "lse", "dq", "dk", "dv"), found, own, truth, strict=True):
        within(name, x, p, t, torch.float32 if name == "lse" else dtype)
    idle_q, idle_k = unseen(call.mask, q.shape, k.shape)
    for x, idle in zip((*found[:1], *found[2:]), (idle_q, idle_q, idle_k, idle_k), strict=True):
        assert (wide(x)[idle] == 0).all(), "not 0 where nothing is seen"


def _differentiated(attend: Attend, *arguments: Any) -> list[Any]:
    """out, lse (0 where it is −inf), dq, dk, dv of Σ out·g + Σ lse·h."""
    *tensors, g, h, mask = arguments
    leaves = [x.detach().requires_grad_() for x in tensors]
    out, lse = attend(*leaves, mask)
    finite = lse.masked_fill(lse == -math.inf, 0)
    grads = torch.autograd.grad((out, finite), leaves, (g, h))
    return [out.detach(), finite.detach(), *grads]


def _truth(q: Any, k: Any, v: Any, g: Any, h: Any, mask: Any) -> list[Any]:
    leaves = [Tensor(x) for x in (q, k, v)]
    out, lse = definition(*leaves, mask, return_lse=True)
    finite = np.where(np.isfinite(lse.data), lse, 0.0)
    grads = grad(np.sum(out * g) + np.sum(finite * h.astype(np.float64)), leaves)
    return [out.data, finite.data, *grads]


def plain(
    q: Any, k: Any, v: Any, mask: Any, scale: float | None = None, shift: int = 0
) -> tuple[Any, Any]:
    """The formula in PyTorch: out by intermediates in q's dtype, lse (as the kernels') in float32.

    shift: keys that many places further right are seen.
    """
    group, (Q, K) = q.shape[1] // k.shape[1], (q.shape[2], k.shape[2])
    dense = np.broadcast_to((mask or masks.full()).dense(Q, K), (*q.shape[:3], K))
    dense = np.concatenate([dense[..., :shift], dense[..., : K - shift]], -1) if shift else dense
    seen = torch.tensor(dense, device=q.device)
    k, v = (x.repeat_interleave(group, 1) for x in (k, v))
    some = seen.any(-1, keepdim=True)

    def scores(dtype: Any) -> Any:
        s = q.to(dtype) @ k.to(dtype).mT * (1 / math.sqrt(q.shape[3]) if scale is None else scale)
        return torch.where(some, s.masked_fill(~seen, -math.inf), 0.0)

    out = torch.where(some, torch.softmax(scores(q.dtype), -1) @ v, 0.0)
    lse = torch.logsumexp(scores(torch.float32), -1)
    return out, torch.where(some[..., 0], lse, -math.inf)


def ours(q: Any, k: Any, v: Any, mask: Any) -> Any:
    """The kernels, through the public function."""
    return masked_attention(q, k, v, mask, return_lse=True)


# Attention with a planted fault: `check_attention` must reject each


def _clean(*tensors: Any) -> list[Any]:
    return [x.nan_to_num() for x in tensors]


def _off_by_one(q: Any, k: Any, v: Any, mask: Any) -> Any:
    return plain(*_clean(q, k, v), mask, shift=1)


def _unscaled(q: Any, k: Any, v: Any, mask: Any) -> Any:
    return plain(*_clean(q, k, v), mask, scale=1.0)


def zeros(q: Any, k: Any, v: Any, mask: Any) -> Any:
    """An output that nothing was written to, and the right lse."""
    out, lse = plain(*_clean(q, k, v), mask)
    return out * 0, lse


def _leaky(q: Any, k: Any, v: Any, mask: Any) -> Any:
    return plain(q, k, v, mask)


def _wrong_heads(q: Any, k: Any, v: Any, mask: Any) -> Any:
    q, k, v = _clean(q, k, v)
    group = q.shape[1] // k.shape[1]
    return plain(q, k.repeat(1, group, 1, 1), v.repeat(1, group, 1, 1), mask)


def _half_gradient(q: Any, k: Any, v: Any, mask: Any) -> Any:
    """Right forward; its dk misses one of the query heads that share a key head."""
    q, k, v = _clean(q, k, v)
    group = q.shape[1] // k.shape[1]
    k, v = (x.repeat_interleave(group, 1) for x in (k, v))
    kept = torch.arange(k.shape[1], device=k.device)[:, None, None] % group > 0
    return plain(q, torch.where(kept, k, k.detach()), v, mask)


def half_lse(q: Any, k: Any, v: Any, mask: Any) -> Any:
    """The right output, and lse as the inputs' dtype has it."""
    out, lse = plain(*_clean(q, k, v), mask)
    return out, lse.to(q.dtype).float()


def _ten_bits(q: Any, k: Any, v: Any, mask: Any) -> Any:
    """Products of float32 with the 10 bits of mantissa that tf32 keeps."""
    return plain(*(x + (_tf32(x) - x).detach() for x in _clean(q, k, v)), mask)


def _tf32(x: Any) -> Any:
    return ((x.detach().view(torch.int32) + (1 << 12)) & ~0x1FFF).view(torch.float32)


def _tensor_cores(q: Any, k: Any, v: Any, mask: Any) -> Any:
    """tf32 itself, in the matrix units."""
    kept = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        return plain(*_clean(q, k, v), mask)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = kept


def _wrong(where: Where) -> Iterator[tuple[str, Attend, Any, str]]:
    """What is wrong, the attention, its dtype, and how the check's complaint begins."""
    for dtype in GPU.dtypes:  # none of these is a kernel: bfloat16 is right on the CPU too
        yield "off by one", _off_by_one, dtype, "out: error"
        yield "unscaled", _unscaled, dtype, "out: error"
        yield "zeros", zeros, dtype, "out: error"
        yield "leaked NaN", _leaky, dtype, "out: NaN"
        yield "swapped key heads", _wrong_heads, dtype, "out: error"
        yield "a head missing from dk", _half_gradient, dtype, "dk: error"
        if dtype != torch.float32:
            yield "lse in half precision", half_lse, dtype, "lse: error"
    yield "ten bits of mantissa", _ten_bits, torch.float32, "out: error"
    if where.device == "cuda":
        yield "tf32", _tensor_cores, torch.float32, "out: error"


def reject(wrong: Attend, dtype: Any, fault: str, device: str) -> None:
    """AssertionError unless the check passes the formula and, of the same call, reports the fault.

    Under these masks every fault's error is 20 times what is allowed or more, in every dtype.
    """
    for mask in (2, 8):
        made = call((33, 64), 16, mask, heads=2)
        check_attention(plain_of_clean, made, dtype, device)
        said = complaint(partial(check_attention, wrong, made, dtype, device))
        assert said.startswith(fault), f"{wrong.__name__} under mask {mask}: {said or 'passes'}"


# The proofs, by name


def rejections(where: Where) -> Iterator[Proof]:
    """Each planted fault is seen, and the plain formula is not taken for one."""
    for what, wrong, dtype, fault in _wrong(where):
        seen = partial(reject, wrong, dtype, fault, where.device)
        yield f"rejected: {what}, {name_of(dtype)}", seen
    harmless = call((33, 64), 16, 2, heads=2)
    for dtype in GPU.dtypes:
        right = partial(check_attention, plain_of_clean, harmless, dtype, where.device)
        yield f"accepted: the plain formula, {name_of(dtype)}", right


def plain_of_clean(q: Any, k: Any, v: Any, mask: Any) -> Any:
    """The plain formula, with no NaN to leak."""
    return plain(*_clean(q, k, v), mask)


def attention(where: Where) -> Iterator[Proof]:
    """Every mask, length pair and head size, in every dtype."""
    for dtype in where.dtypes:
        for case in _small_cases() if where.small else _cases(full=dtype == torch.bfloat16):
            name = f"attention {name_of(dtype)} " + " ".join(f"{k} {v}" for k, v in case.items())
            yield name, partial(_check_lazily, partial(call, **case), dtype, where.device)


def _small_cases() -> list[dict[str, Any]]:
    cases = [{"lengths": (33, 40), "D": 9, "mask": m} for m in (1, 5, 7)]
    return cases + [{"lengths": pair, "D": 16, "mask": 1} for pair in ((1, 147), (17, 5))]


def _cases(full: bool) -> list[dict[str, Any]]:
    """Few head sizes; where not `full`, these and long calls take turns at the masks.

    Compiling is slow, and every size is compiled by `kernels.binaries`.
    """
    heads, long = (1, 24, 80) if full else (40, 96), (128, 256)
    cases: list[dict[str, Any]] = []
    cases += [{"lengths": (193, 193), "D": 64, "mask": m, "B": 2} for m in range(9)]
    cases += [{"lengths": p, "D": 64, "mask": 1 + 3 * (i % 3)} for i, p in enumerate(LENGTHS)]
    for i, D in enumerate(heads):
        turns = (3, 7) if full else (3 + 4 * (i % 2),)
        cases += [{"lengths": (113, 203), "D": D, "mask": m} for m in turns]
    for i, D in enumerate(long):
        turns = (0, 1, 4, 7) if full else (1, 7 - 3 * (i % 2))
        cases += [{"lengths": (2048, 2048), "D": D, "mask": m} for m in turns]
    ungrouped = {"lengths": (300, 300), "D": 64, "group": 1, "heads": 3}
    return cases + [{**ungrouped, "mask": m} for m in (2, 8)]


def decoding(where: Where) -> Iterator[Proof]:
    """One query and five against many keys: splits, merged by their lse."""
    lengths = ((1, 147),) if where.small else ((1, 8229), (5, 4096), (16, 3001))
    for dtype in where.dtypes:
        for pair in lengths:
            for mask in (1, 5, 7):
                name = f"decoding {name_of(dtype)} lengths {pair} mask {mask}"
                one = partial(call, pair, 128, mask, B=2, group=4)
                yield name, partial(_check_lazily, one, dtype, where.device)


def _check_lazily(made: Callable[[], Call], dtype: Any, device: str) -> None:
    check_attention(ours, made(), dtype, device)


def long_rows(where: Where) -> Iterator[Proof]:
    """Sampled queries of a long sequence: the definition sees those queries alone."""
    S, D = (96, 16) if where.small else (16384, 128)
    for dtype in where.dtypes[:1] if where.small else where.dtypes:
        for mask in (masks.causal(), masks.causal() & masks.documents(np.arange(S) * 9 // S)):
            kind = type(mask).__name__.strip("_").lower()
            name = f"long rows {name_of(dtype)} {S}×{D} {kind}"
            yield name, partial(_check_rows, S, D, mask, dtype, where.device)


def _check_rows(S: int, D: int, mask: Any, dtype: Any, device: str) -> None:
    rng = np.random.default_rng(S)
    q, k, v = (torch.randn(1, 2, S, D, device=device).to(dtype) for _ in "qkv")
    found, lse = ours(q, k, v, mask)
    rows = np.unique(rng.integers(0, S, 40))
    start, stop = (np.broadcast_to(x, S)[rows] for x in mask.interval(S, S))
    key = np.arange(S)
    seen = masks.boolean((start[:, None] <= key) & (key < stop[:, None]))
    truth = definition(*map(wide, (q[:, :, rows], k, v)), seen, return_lse=True)
    own = plain(q[:, :, rows], k, v, seen)
    within("out", found[:, :, rows], own[0], truth[0], dtype)
    within("lse", lse[:, :, rows], own[1], truth[1], torch.float32)


def repeats(where: Where) -> Iterator[Proof]:
    """Equal bits, run after run: no race."""
    S, n = (40, 2) if where.small else (2048, 50)
    for dtype in where.dtypes:
        for D, mask in ((64, 4), (128, 7)) if not where.small else ((16, 7),):
            made = partial(call, (S, S), D, mask, heads=2)
            again = partial(_same_gradients, made, dtype, where.device, n)
            yield f"{n} runs of attention {name_of(dtype)} {S}×{D} mask {mask}", again


def _same_gradients(made: Callable[[], Call], dtype: Any, device: str, n: int) -> None:
    one = made()
    tensors = [torch.tensor(x, device=device, dtype=dtype).nan_to_num() for x in one[:4]]
    h = torch.tensor(one.h, device=device)
    same_bits(lambda: _differentiated(ours, *tensors, h, one.mask), n)


def canaries(where: Where) -> Iterator[Proof]:
    """NaN before and after every result of a kernel, to see a write outside it."""
    pairs = ((33, 40),) if where.small else ((113, 203), (1023, 1024), (1, 4099))
    for dtype in where.dtypes:
        for pair in pairs:
            name = f"canaries {name_of(dtype)} lengths {pair}"
            yield name, partial(_check_canaries, pair, dtype, where.device)


def _check_canaries(pair: tuple[int, int], dtype: Any, device: str) -> None:
    (Q, K), D, scale = pair, 40, 0.2
    q, dout = (torch.randn(1, 4, Q, D, device=device).to(dtype) for _ in range(2))
    k, v = (torch.randn(1, 2, K, D, device=device).to(dtype) for _ in range(2))
    mask = prepare(masks.causal(), q, k)[:3]
    kernel = "decode" if Q == 1 else "forward"
    blocks = launches.blocks_for(kernel, q, mask)
    out, lse = Guarded(q.shape, dtype, device), Guarded((1, 1, 4, Q), torch.float32, device)
    launches.launch_forward(
        q, k, v, mask, scale, out.inside[None], lse.inside, blocks,
        launches.shared_heads(q, k, mask) if Q == 1 else 1,
    )  # fmt: skip
    delta = Guarded((1, 4, Q), torch.float32, device)
    arguments = {"q": q, "k": k, "v": v, "out": out.inside, "dout": dout}
    rows = lse.inside[0], torch.zeros_like(lse.inside[0]), delta.inside
    dq, dk, dv = (Guarded(x.shape, dtype, device) for x in (q, k, v))
    blocks = launches.blocks_for("dq", q, mask)
    launches.launch_dq(arguments, rows, mask, scale, dq.inside, blocks)
    blocks = launches.blocks_for("dkv", q, mask)
    launches.launch_dkv(arguments, rows, mask, scale, dk.inside, dv.inside, blocks)
    found = [out, lse, delta, dq, dk, dv]
    for x in found:
        x.check()


def compiled(where: Where) -> Iterator[Proof]:
    """torch.compile around the public function; on a GPU a recorded graph as well."""
    options = {"backend": "aot_eager"} if where.small else {}
    yield "torch.compile of masked_attention", partial(_check_compiled, where, options)
    if where.device == "cuda":
        graphs = {"mode": "reduce-overhead"}
        yield "torch.compile into CUDA graphs", partial(_check_compiled, where, graphs)
        yield "a recorded graph of masked_attention", partial(_check_recorded, where)


def _check_compiled(where: Where, options: Any) -> None:
    ids = np.arange(64) // 20
    rule = masks.causal() & masks.window(9) & masks.documents(ids)
    quick = torch.compile(
        lambda q, k, v: masked_attention(q, k, v, rule), fullgraph=True, **options
    )
    for _ in range(4):  # a CUDA graph is recorded at the second
        tensors = [
            torch.randn(1, 2, 64, 16, device=where.device, requires_grad=True) for _ in "qkv"
        ]
        outs = quick(*tensors), masked_attention(*tensors, rule)
        torch.testing.assert_close(*outs, rtol=0, atol=1e-6)
        grads = [torch.autograd.grad(out.square().sum(), tensors) for out in outs]
        torch.testing.assert_close(*grads, rtol=0, atol=1e-5)
        ids[:] = np.roll(ids, 5)


def _check_recorded(where: Where) -> None:
    q, k, v = (torch.randn(1, 2, 500, 64, device="cuda").bfloat16() for _ in "qkv")
    mask = prepare(masks.causal() & masks.window(99), q, k)
    masked_attention(q, k, v, mask)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = masked_attention(q, k, v, mask)
    for _ in range(3):
        q.normal_()
        graph.replay()
        assert out.equal(masked_attention(q, k, v, mask)), "a replay differs"


def huge_attention(where: Where) -> Iterator[Proof]:
    """More than 2³¹ elements in q: the last heads are what they are alone."""
    if where.device == "cuda":
        yield "attention beyond 2³¹ elements", _check_huge_attention


def _check_huge_attention() -> None:
    q, k, v = (torch.randn(1, 2056, 8192, 128, device="cuda", dtype=torch.bfloat16) for _ in "qkv")
    rule = masks.causal() & masks.window(100)
    last = masked_attention(q[:, -2:], k[:, -2:], v[:, -2:], rule)
    assert masked_attention(q, k, v, rule)[:, -2:].equal(last), "the last heads differ"


def memory(where: Where) -> Iterator[Proof]:
    """Nothing grows with the square of the length."""
    if where.device == "cuda":
        yield "no S² memory", _check_memory


def _check_memory() -> None:
    S = 65536
    q, k, v = (
        torch.randn(1, 1, S, 64, device="cuda", dtype=torch.bfloat16, requires_grad=True)
        for _ in "qkv"
    )
    rule = masks.causal() & masks.window(999) & masks.documents(np.arange(S) // 5000)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    torch.autograd.grad(masked_attention(q, k, v, rule).sum(), (q, k, v))
    most = torch.cuda.max_memory_allocated() - before
    assert most < 16 * q.numel() * q.element_size(), f"{most / 2**20:.0f} MiB on top"


def second_device(where: Where) -> Iterator[Proof]:
    """Where there are two GPUs: work on the one that is not current."""
    if where.device == "cuda" and torch.cuda.device_count() > 1:
        made = partial(call, (113, 203), 64, 4)
        yield "attention on cuda:1", partial(_check_lazily, made, torch.bfloat16, "cuda:1")


GROUPS = (rejections, attention, decoding, long_rows, repeats, canaries, compiled, huge_attention,
          memory, second_device)  # fmt: skip
