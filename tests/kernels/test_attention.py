"""Masked attention: the definition against a loop, its own gradient, and the twins' traps."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kernels
from core import Tensor, grad
from core.errors import InputError
from core.operation import backend
from kernels import OPS, BackendError, Call, check
from kernels.attention.backward_rows import by_hand
from kernels.attention.forward_rows import LENGTHS, LONG, unseen
from reference.operations import masks
from reference.operations.attention import masked_attention, masked_attention_backward
from tests.kernels.poison import check_poison, poison

ROOT = Path(__file__).parents[2]
DIMS = {"B": 2, "heads": 2, "group": 2, "D": 5, "sharpness": 1}
KINDS = range(9)


FORWARD, BACKWARD = OPS["masked_attention"], OPS["masked_attention_backward"]


def call(kind: int, lengths: int, dtype: str = "float64", scale: int = 0) -> dict[str, Any]:
    """One call of the backward; without "dout", of the forward."""
    dims = {**DIMS, "mask": kind, "lengths": lengths, "scale": scale}
    return BACKWARD.make(np.random.default_rng(0), dims, dtype)


def forward(arguments: dict[str, Any]) -> Any:
    return masked_attention(**{n: x for n, x in arguments.items() if n != "dout"})


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
    q, k, v, mask = (arguments[n] for n in ("q", "k", "v", "mask"))
    np.testing.assert_allclose(
        masked_attention(q, k, v, mask), by_the_book(q, k, v, mask), atol=1e-13
    )


@pytest.mark.parametrize("scale", [0, 1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_the_backwards_definition_is_the_slope_of_the_forwards(kind: int, scale: int):
    """Finite differences along random directions, NaN where nothing takes part."""
    arguments = call(kind, LENGTHS.index((17, 5)), scale=scale)
    grads = masked_attention_backward(**arguments)
    g = np.nan_to_num(arguments["dout"])
    for seed in range(3):
        rng = np.random.default_rng(seed)
        d = [rng.normal(size=x.shape) for x in grads]
        moved = (
            forward(arguments | {n: arguments[n] + t * dx for n, dx in zip("qkv", d, strict=True)})
            for t in (1e-6, -1e-6)
        )
        slope = float((g * np.subtract(*moved)).sum()) / 2e-6
        along = sum(float((x * dx).sum()) for x, dx in zip(grads, d, strict=True))
        assert slope == pytest.approx(along, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_lse_is_minus_infinity_where_nothing_is_seen(kind: int):
    arguments = call(kind, LENGTHS.index((17, 5)))
    idle, _ = unseen(arguments["mask"], arguments["q"].shape, arguments["k"].shape)
    tensors = [Tensor(arguments[n]) for n in "qkv"]
    _, lse = masked_attention(*tensors, arguments["mask"], return_lse=True)
    np.testing.assert_array_equal(np.isneginf(lse.data), idle)
    total = np.sum(np.where(idle, 0.0, lse))
    assert all(np.isfinite(x).all() for x in grad(total, tensors))
    with backend("numba"):
        _, fast = masked_attention(*(t.data for t in tensors), arguments["mask"], return_lse=True)
    np.testing.assert_allclose(fast, lse.data, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_lse_of_the_numba_twin_over_many_blocks(kind: int):
    dims = {**DIMS, "mask": kind, "S": 400, "sharpness": 4}
    arguments = FORWARD.make(np.random.default_rng(0), dims, "float64")
    _, lse = masked_attention(**arguments, return_lse=True)
    with backend("numba"):
        _, fast = masked_attention(**arguments, return_lse=True)
    np.testing.assert_allclose(fast, lse, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("where", [None, "numba"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_takes_no_part_changes_no_bit(kind: int, where: str | None, dtype: str):
    """NaN, infinity or 0 in keys that no query sees and in queries that see none."""
    arguments = call(kind, LENGTHS.index((113, 203)), dtype)
    idle_q, idle_k = unseen(arguments["mask"], arguments["q"].shape, arguments["k"].shape)
    idle = {"q": idle_q, "k": idle_k, "v": idle_k, "dout": idle_q}
    results = []
    for junk in (0.0, math.nan, math.inf):
        for name, none in idle.items():
            arguments[name][none] = junk
        with backend(where):
            results.append((forward(arguments), *masked_attention_backward(**arguments)))
    assert all(np.isfinite(x).all() for x in results[0])
    for x, none in zip(results[0], (idle_q, idle_q, idle_k, idle_k), strict=True):
        assert (x[none] == 0).all()
    for other in results[1:]:
        for x, y in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("where", [None, "numba"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_nan_in_a_key_reaches_the_queries_that_see_it_and_what_those_see(
    kind: int, where: str | None, dtype: str
):
    arguments = call(kind, LENGTHS.index((113, 203)), dtype)
    poison(arguments)
    with backend(where):
        out, lse = masked_attention(
            **{n: x for n, x in arguments.items() if n != "dout"}, return_lse=True
        )
        found = out, lse, *masked_attention_backward(**arguments)
    check_poison(arguments, found)


@pytest.mark.parametrize("name", ["out", "lse", "dq", "dk", "dv"])
@pytest.mark.parametrize(("fault", "said"), [("lost", "is lost"), ("spread", "travels|another")])
def test_a_nan_that_is_lost_or_travels_would_be_seen(name: str, fault: str, said: str):
    arguments = call(1, LENGTHS.index((113, 203)))
    poison(arguments)
    out, lse = masked_attention(
        **{n: x for n, x in arguments.items() if n != "dout"}, return_lse=True
    )
    found = [out, lse, *masked_attention_backward(**arguments)]
    at = ["out", "lse", "dq", "dk", "dv"].index(name)
    found[at] = np.nan_to_num(found[at]) if fault == "lost" else found[at] * math.nan
    with pytest.raises(AssertionError, match=f"{name}: a NaN .*({said})"):
        check_poison(arguments, found)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("lengths", LONG, ids=str)
def test_the_numba_twin_at_long_odd_lengths(lengths: tuple[int, int], dtype: str):
    """Causal, window, documents and packed, by the table's check; forward and backward."""
    dims = {**DIMS, "B": 1, "heads": 1, "S": lengths[0], "K": lengths[1]}
    few = {"group": 1} if lengths[0] * lengths[1] > 1 << 18 else {}
    for kind in (1, 2, 4, 7):
        for op in (FORWARD, BACKWARD):
            check(op.load("numba"), op.call(kind, dtype, **{**dims, **few, "mask": kind}))


@pytest.mark.parametrize("where", [None, "numba"])
def test_the_backward_is_linear_in_dout(where: str | None):
    """Doubling it doubles every bit; sums add up."""
    arguments = call(4, LENGTHS.index((113, 203)))
    one, two = np.random.default_rng(1).normal(size=(2, *arguments["q"].shape))
    with backend(where):
        a, b, both, double = (
            masked_attention_backward(**{**arguments, "dout": dout})
            for dout in (one, two, one + two, 2 * one)
        )
    for x, y, z, w in zip(a, b, both, double, strict=True):
        np.testing.assert_array_equal(w, 2 * x)
        np.testing.assert_allclose(z, x + y, atol=1e-13)


@pytest.mark.parametrize("kind", [1, 4, 7])
def test_the_numba_twins_give_the_same_bits_on_one_thread_and_on_two(kind: int):
    import numba

    arguments = call(kind, LENGTHS.index((203, 113)), "float32")
    most, results = numba.config.NUMBA_NUM_THREADS, []
    if most < 2:
        pytest.skip("one core")
    for threads in (1, 2):
        numba.set_num_threads(threads)
        with backend("numba"):
            results.append((forward(arguments), *masked_attention_backward(**arguments)))
    numba.set_num_threads(most)
    for x, y in zip(*results, strict=True):
        assert x.tobytes() == y.tobytes()


# The laws of the backward, without its definition


def broken(fault: str, kind: int = 4) -> str:
    """Which laws the gradient with this fault breaks."""
    arguments = call(kind, LENGTHS.index((17, 5)))
    result, names = by_hand(fault)(**arguments), []
    for law in BACKWARD.laws:
        try:
            law(arguments, result)
        except AssertionError:
            names.append(law.__name__)
    return " ".join(names)


def test_the_gradient_by_hand_is_right_without_a_fault():
    for kind in KINDS:
        for dtype in ("float32", "float64"):
            for lengths in range(len(LENGTHS)):
                check(by_hand(), Call(BACKWARD, call(kind, lengths, dtype), dtype))


def test_each_law_rejects_what_it_is_for():
    assert broken("") == ""
    assert broken("forgets scale in dq") == "queries_and_keys_balance"
    assert broken("lse of all keys") == "values_share_out_dout"
    assert "values_share_out_dout" in broken("drops the group's sum")
    assert "queries_and_keys_balance" in broken("drops the group's sum")
    assert "zero_where_nothing_is_seen" in broken("leaked masked NaN")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_lse_is_the_log_of_the_denominator(dtype: str):
    arguments = call(2, LENGTHS.index((113, 203)), dtype)
    for name in (None, "numba"):
        with backend(name):
            out, lse = masked_attention(
                *(arguments[n] for n in ("q", "k", "v", "mask")), return_lse=True
            )
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


def peak(run: Any) -> int:
    """Bytes that the process holds at most while it runs, beyond what it held before (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    except OSError as error:
        pytest.skip(f"can't measure memory: {error}")

    def status(line: str) -> int:
        return int(Path("/proc/self/status").read_text().split(f"{line}:")[1].split()[0]) << 10

    before = status("VmRSS")
    run()
    return status("VmHWM") - before


@pytest.mark.parametrize("op", [FORWARD, BACKWARD], ids=lambda op: op.name)
def test_the_numba_twin_keeps_no_square_array(op: Any):
    """Memory beside the arguments grows with S, not S²: 16384² bits would take 32 MiB."""
    twin = op.load("numba")
    x = np.zeros((1, 1, 16384, 4), np.float32)
    several = (x,) * (3 if op is FORWARD else 4)
    ids = np.arange(16384) // 100
    mask = masks.causal() & masks.window(63) & masks.documents(ids)
    twin(*(x[:, :, :8] for x in several))
    assert peak(lambda: twin(*several, mask)) < 12 << 20


def test_a_square_array_would_be_seen():
    x = np.zeros((1, 1, 2048, 4), np.float32)
    assert peak(lambda: masked_attention(x, x, x)) > 12 << 20


GOOD = np.zeros((2, 4, 3, 5))
HOLES = np.array([[1, 0, 1], [0, 0, 1], [1, 0, 1]], bool)
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "q has three axes": ({"q": GOOD[0]}, "q must be"),
    "k is float32": ({"k": GOOD.astype(np.float32)}, "k must be float64 as q, got float32"),
    "heads don't divide": ({"q": GOOD[:, :3]}, "4 heads, got 3"),
    "v is longer": ({"v": np.zeros((2, 4, 4, 5))}, "v must have"),
    "batches differ": ({"q": GOOD[:1]}, "k "),
    "mask for other lengths": ({"mask": np.ones((3, 4), bool)}, "mask"),
    "mask for another batch": ({"mask": np.ones((3, 1, 3, 3), bool)}, "mask"),
    "padding for another batch": ({"mask": masks.padding(np.array([1, 2, 3]))}, "mask"),
    "mask of numbers": ({"mask": np.ones((3, 3))}, "mask must be a Mask or bool .* float64"),
    "mask by name": ({"mask": "causal"}, "mask must be a Mask or bool"),
    "mask for other heads": ({"mask": np.tile(HOLES, (1, 3, 1, 1))}, "mask must be for"),
    "parts for two batches": (
        {"mask": masks.boolean(HOLES[None, None].repeat(2, 0)) & masks.padding([1, 2, 3])},
        "mask: its parts are for batches 2 and 3",
    ),
    "scale is NaN": ({"scale": math.nan}, "scale"),
    "scale is infinite": ({"scale": np.float32(math.inf)}, "scale must be a finite number"),
    "scale is text": ({"scale": "0.5"}, "scale must be a finite number"),
}


@pytest.mark.parametrize("where", [None, "numba"])
@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_are_named(case: str, where: str | None):
    change, named = BAD[case]
    arguments: dict[str, Any] = {"q": GOOD, "k": GOOD, "v": GOOD, **change}
    with backend(where), pytest.raises(InputError, match=named):
        masked_attention(**arguments)
    arguments["dout"] = arguments["q"]
    with backend(where), pytest.raises(InputError, match=named):
        masked_attention_backward(**arguments)


BAD_DOUT = {
    "another shape": (
        GOOD[:, :2],
        r"dout must be float64 \(2, 4, 3, 5\), got float64 \(2, 2, 3, 5\)",
    ),
    "another dtype": (GOOD.astype(np.float32), "dout must be float64"),
    "integers": (GOOD.astype(np.int64), "dout must be a float32 or float64 array, got int64"),
    "a list": (GOOD.tolist(), "dout must be a float32 or float64 array, got list"),
}


@pytest.mark.parametrize("where", [None, "numba"])
@pytest.mark.parametrize("case", BAD_DOUT)
def test_a_gradient_that_does_not_fit_is_named(case: str, where: str | None):
    dout, named = BAD_DOUT[case]
    with backend(where), pytest.raises(InputError, match=named):
        masked_attention_backward(GOOD, GOOD, GOOD, dout)


@pytest.mark.parametrize("where", [None, "numba"])
def test_scale_may_be_any_real_number(where: str | None):
    arguments = call(1, LENGTHS.index((17, 5)))
    with backend(where):
        for scale in (np.float32(0.5), np.float64(0.5), np.int64(2), Fraction(1, 2)):
            found, wanted = (
                masked_attention_backward(**arguments | {"scale": s}) for s in (scale, float(scale))
            )
            np.testing.assert_array_equal(found[0], wanted[0])


NO_QUERIES = {
    "none": None,
    "full": masks.full(),
    "causal": masks.causal(),
    "padding": masks.padding(np.array([2])),
    "holes": masks.documents(np.array([1, 2, 1])),
    "boolean": masks.boolean(np.zeros((1, 2, 0, 3), bool)),
}


@pytest.mark.parametrize("where", [None, "numba"])
@pytest.mark.parametrize("kind", NO_QUERIES)
def test_no_queries_give_no_output_and_no_gradient(kind: str, where: str | None):
    mask = NO_QUERIES[kind]
    q, k = np.ones((1, 2, 0, 4)), np.ones((1, 1, 3, 4))
    with backend(where):
        assert masked_attention(q, k, k, mask).shape == q.shape
        dq, dk, dv = masked_attention_backward(q, k, k, q, mask)
    assert dq.shape == q.shape
    np.testing.assert_array_equal([dk, dv], np.zeros((2, *k.shape)), strict=True)


def test_the_numba_twins_name_an_array_of_foreign_byte_order():
    foreign = GOOD.astype(">f4")
    with backend("numba"), pytest.raises(InputError, match=r"q must be a float32 .* got >f4"):
        masked_attention(foreign, foreign, foreign)
    with backend("numba"), pytest.raises(InputError, match=r"q must be a float32 .* got >f4"):
        masked_attention_backward(foreign, foreign, foreign, foreign)


@pytest.mark.parametrize("package", ["torch", "triton"])
def test_a_missing_package_is_named(package: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, package, None)  # as import and find_spec see a missing one
    named = rf"triton needs {package}; .*pip install -e '.\[gpu\]'"
    assert not FORWARD.installed("triton")
    with backend("triton"), pytest.raises(BackendError, match=named):
        masked_attention(GOOD, GOOD, GOOD)
    with pytest.raises(BackendError, match=named):
        kernels.masked_attention


# The Triton kernels, in processes of their own

FAST = (
    "float32",
    "float16",
    "odd lengths",
    "head sizes",
    "holes",
    "descriptors",
    "decoding",
    "lse",
    "scales",
    "seen NaN",
)
FAST += ("same bits", "operators", "compiled", "bad input", "arrays", "length pairs")
FAST += ("compiled public", "device masks", "prepared", "layouts", "asked", "device")
FAST += ("block lists", "memory", "other heads", "no queries", "readme example")
SLOW = ("every length pair",)


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


def test_every_case_is_run():
    source = (ROOT / "tests/kernels/triton_attention_cases.py").read_text()
    named = re.findall(r'^    "([\w ]+)": ', source[source.index("\nCASES") :], re.MULTILINE)
    assert sorted(named) == sorted((*FAST, *SLOW))


@pytest.mark.parametrize("names", [FAST, pytest.param(SLOW, marks=pytest.mark.slow)])
def test_triton_kernels_in_the_interpreter(names: tuple[str, ...]):
    done = run("tests/kernels/triton_attention_cases.py", *names, interpret=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split("\n")[:-1] == list(names)


def test_without_a_gpu_a_tensor_is_refused():
    torch = pytest.importorskip("torch")
    pytest.importorskip("triton")
    from kernels import masked_attention as attend

    x = torch.zeros(1, 1, 2, 4)
    with pytest.raises(InputError, match="q must be on a CUDA device"):
        attend(x, x, x)
