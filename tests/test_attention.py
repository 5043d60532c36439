"""Masked attention: the definition against a loop, its own gradient, and the twins' traps."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core import Tensor, grad
from core.errors import InputError
from kernels import OPS
from kernels.attention_rows import LENGTHS, make, unseen
from reference import masks
from reference.attention import masked_attention
from reference.backend import backend

ROOT = Path(__file__).parents[1]
DIMS = {"B": 2, "heads": 2, "group": 2, "D": 5, "sharpness": 1}
KINDS = range(9)


def call(kind: int, lengths: int, seed: int = 0, dtype: str = "float64") -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return make(rng, {**DIMS, "mask": kind, "lengths": lengths}, dtype)


def by_the_book(q: Any, k: Any, v: Any, mask: Any) -> Any:
    """One query at a time over the keys it sees."""
    B, H, Q, _ = q.shape
    seen = np.broadcast_to((mask or masks.full()).dense(Q, k.shape[2]), (B, H, Q, k.shape[2]))
    out = np.zeros_like(q)
    for b, h, i in np.ndindex(B, H, Q):
        j, kv = np.flatnonzero(seen[b, h, i]), h // (H // k.shape[1])
        if j.size:
            weights = np.exp(k[b, kv, j] @ q[b, h, i] / math.sqrt(q.shape[3]))
            out[b, h, i] = weights @ v[b, kv, j] / weights.sum()
    return out


@pytest.mark.parametrize("kind", KINDS)
def test_the_definition_is_a_softmax_over_the_seen_keys(kind: int):
    arguments = call(kind, LENGTHS.index((17, 5)))
    np.testing.assert_allclose(masked_attention(**arguments), by_the_book(**arguments), atol=1e-13)


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_is_finite_differences_and_zero_where_nothing_is_seen(kind: int):
    arguments = call(kind, LENGTHS.index((17, 5)))
    arrays = [arguments[n] for n in "qkv"]
    tensors = [Tensor(x) for x in arrays]
    out, lse = masked_attention(*tensors, arguments["mask"], return_lse=True)
    rng = np.random.default_rng(1)
    g = rng.normal(size=out.shape)
    grads = grad(out, tensors, g)
    idle_q, idle_k = unseen(arguments["mask"], arrays[0].shape, arrays[1].shape)
    for x, idle in zip(grads, (idle_q, idle_k, idle_k), strict=True):
        assert np.isfinite(x).all()
        assert (x[idle] == 0).all()
    assert np.isneginf(lse.data[idle_q]).all()
    d = [rng.normal(size=x.shape) for x in arrays]
    ahead, behind = (
        masked_attention(*(x + t * dx for x, dx in zip(arrays, d, strict=True)), arguments["mask"])
        for t in (1e-6, -1e-6)
    )
    slope = float((g * (ahead - behind)).sum()) / 2e-6
    along = sum(float((x * dx)[~np.isnan(dx)].sum()) for x, dx in zip(grads, d, strict=True))
    assert slope == pytest.approx(along, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_lse_is_the_log_of_the_denominator(dtype: str):
    arguments = call(2, LENGTHS.index((113, 203)), dtype=dtype)
    for name in (None, "numba"):
        with backend(name):
            out, lse = masked_attention(**arguments, return_lse=True)
        scores = np.einsum(
            "bhqd,bhkd->bhqk", arguments["q"], np.repeat(arguments["k"], DIMS["group"], axis=1)
        ) / math.sqrt(DIMS["D"])
        seen = np.broadcast_to(arguments["mask"].dense(113, 203), scores.shape)
        expected = np.log(np.where(seen, np.exp(np.where(seen, scores, 0)), 0).sum(-1))
        assert out.dtype == lse.dtype == np.dtype(dtype)
        np.testing.assert_allclose(lse, expected, rtol=2e-5 if dtype == "float32" else 1e-12)


def test_large_scores_stay_finite():
    q = np.full((1, 1, 3, 2), 300.0)
    for name in (None, "numba"):
        with backend(name):
            out = masked_attention(q, q, q, masks.causal())
        np.testing.assert_allclose(out, q)


def test_the_numba_twin_keeps_no_square_array():
    """Peak memory beside the arguments grows with S, not S²."""
    import tracemalloc

    twin = OPS["masked_attention"].load("numba")
    x = np.zeros((1, 1, 8192, 4), np.float32)
    mask = masks.causal() & masks.window(63) & masks.documents(np.arange(8192) // 100)
    twin(x[:, :, :8], x[:, :, :8], x[:, :, :8])
    tracemalloc.start()
    twin(x, x, x, mask)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 << 20


GOOD = np.zeros((2, 4, 3, 5))
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "q has three axes": ({"q": GOOD[0]}, "q must be"),
    "k is float32": ({"k": GOOD.astype(np.float32)}, "k is float32"),
    "heads don't divide": ({"q": GOOD[:, :3]}, "3 heads"),
    "v is longer": ({"v": np.zeros((2, 4, 4, 5))}, "v must have"),
    "batches differ": ({"q": GOOD[:1]}, "k "),
    "mask for other lengths": ({"mask": np.ones((3, 4), bool)}, "mask"),
    "mask for another batch": ({"mask": np.ones((3, 1, 3, 3), bool)}, "mask"),
    "padding for another batch": ({"mask": masks.padding(np.array([1, 2, 3]))}, "mask"),
    "mask of numbers": ({"mask": np.ones((3, 3))}, "bool"),
    "scale is NaN": ({"scale": math.nan}, "scale"),
}


@pytest.mark.parametrize("where", [None, "numba"])
@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_are_named(case: str, where: str | None):
    change, named = BAD[case]
    arguments: dict[str, Any] = {"q": GOOD, "k": GOOD, "v": GOOD, **change}
    with backend(where), pytest.raises(InputError, match=named):
        masked_attention(**arguments)


# The Triton kernels, in processes of their own

FAST = ("float32", "float16", "odd lengths", "head sizes", "holes", "decoding", "lse", "scales")
FAST += ("same bits", "operators", "compiled", "bad input", "arrays")
SLOW = ("long odd lengths",)


def run(*arguments: str, interpret: bool) -> subprocess.CompletedProcess[str]:
    pytest.importorskip("torch")
    pytest.importorskip("triton")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("TRITON_INTERPRET", None)
    if interpret:
        environment["TRITON_INTERPRET"] = "1"
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True
    )


@pytest.mark.parametrize("names", [FAST, pytest.param(SLOW, marks=pytest.mark.slow)])
def test_triton_kernels_in_the_interpreter(names: tuple[str, ...]):
    done = run("tests/triton_attention_cases.py", *names, interpret=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split("\n")[:-1] == list(names)


BINARIES = (
    "forward,sm_90,bf16,128,intervals",
    "dq,sm_90,bf16,64,intervals",
    "dkv,sm_90,bf16,128,packed",
    "forward,sm_80,bf16,64,packed",
    "dkv,gfx942,fp16,64,intervals",
    "forward,gfx942,fp16,64,intervals",
)


@pytest.mark.parametrize("cells", [BINARIES, pytest.param(("all",), marks=pytest.mark.slow)])
def test_binaries_keep_to_registers_and_use_tensor_cores(cells: tuple[str, ...]):
    done = run("-m", "kernels.attention_binaries", *cells, interpret=False)
    unfit = [line for line in done.stdout.splitlines() if not line.endswith("\tfit")]
    assert not unfit, "\n".join(unfit)
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(done.stdout.splitlines()) >= len(cells)


def test_an_unfit_binary_is_noticed():
    pytest.importorskip("triton")
    from kernels.attention_binaries import Binary, Cell, fault

    cell = Cell("forward", "sm_90", "bf16", 128, False)
    assert fault(cell, Binary(255, 0, 0, "HGMMA")) == ""
    assert fault(cell, Binary(255, 0, 0, "HMMA")) == "HMMA in use"
    assert fault(cell, Binary(255, 0, 0, "")) == "no tensor core in use"
    assert fault(cell, Binary(255, 0, 7, "HGMMA")) == "7 spills"
    assert fault(cell._replace(dtype="fp32"), Binary(255, 0, 0, "")) == ""


def test_without_a_gpu_a_tensor_is_refused():
    torch = pytest.importorskip("torch")
    pytest.importorskip("triton")
    from kernels import masked_attention as attend

    x = torch.zeros(1, 1, 2, 4)
    with pytest.raises(InputError, match="q must be on a CUDA device"):
        attend(x, x, x)
