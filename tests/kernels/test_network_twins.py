"""Training on twins: networks against the definition, threads, and what is refused."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from core import Tensor, backend, grad
from core import functional as F
from core.convolution import conv2d
from core.errors import BackendError, InputError
from core.gates import lstm_gates
from core.optim import AdamW, adam_step
from core.recurrent import gru, lstm
from kernels import OPS, sharing
from reference.autoregressive.nade import nade_logits
from reference.zoo.cli import app

SEEDS = st.integers(0, 2**31)
ROWS = [
    op for op in OPS.values() if "backward" not in op.name and f"{op.name}_backward" in OPS
    and not op.name.startswith("masked") and not op.name.endswith("_gates")
]  # fmt: skip
GATES = [op for op in OPS.values() if "_gates" in op.name]


def marked(op: Any) -> Any:
    """The operation itself."""
    return {"nade_logits": nade_logits}.get(op.name) or getattr(F, op.name)


def arrays_first(op: Any, seed: int, dtype: str) -> tuple[list[Any], dict[str, Any], Any]:
    """The arrays that have derivatives, the others, and a g, of a drawn call of the backward."""
    arguments = dict(OPS[f"{op.name}_backward"].draw(seed, (dtype,)).arguments)
    g, takes = arguments.pop("g"), list(inspect.signature(marked(op).backward).parameters)
    first = takes[: takes.index("g")]
    return [arguments.pop(name) for name in first], arguments, g


@pytest.mark.parametrize("op", ROWS, ids=lambda op: op.name)
def test_on_tensors_the_twins_run_and_are_recorded(op: Any):
    @given(seed=SEEDS, dtype=st.sampled_from(["float32", "float64"]))
    def holds(seed: int, dtype: str) -> None:
        floats, rest, g = arrays_first(op, seed, dtype)
        leaves = [Tensor(a) for a in floats]
        with backend("numba") as used:
            y = marked(op)(*leaves, **rest)
        assert y.dtype == dtype
        found = grad(y, leaves, g)  # also outside `backend`
        own = OPS[f"{op.name}_backward"].load("numba")(*floats, g, **rest)
        assert used == {op.definition, f"{op.definition}.backward"}
        for a, b in zip(found, own, strict=True):
            np.testing.assert_array_equal(a, b)

    holds()


@pytest.mark.parametrize("op", ROWS, ids=lambda op: op.name)
def test_a_second_derivative_is_refused_in_one_line(op: Any):
    floats, rest, g = arrays_first(op, 3, "float64")
    leaves = [Tensor(a) for a in floats]
    with backend("numba"):
        y = marked(op)(*leaves, **rest)
    with pytest.raises(BackendError, match=f"{op.name} has a first derivative only") as caught:
        y.backward(g, create_graph=True)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("op", ROWS, ids=lambda op: op.name)
def test_where_a_back_end_has_no_twin_the_definition_runs(op: Any):
    floats, rest, _ = arrays_first(op, 3, "float64")
    with backend("triton") as used:
        y = marked(op)(*floats, **rest)
    np.testing.assert_array_equal(y, marked(op)(*floats, **rest))
    assert not used


def test_one_thread_and_two_give_the_same_bits(monkeypatch: pytest.MonkeyPatch):
    """Every twin on sizes of many runs, which are forced onto two threads."""
    monkeypatch.setattr(sharing, "_WORTH", 0)
    monkeypatch.setattr(sharing, "CHUNK", 64)
    both = [n for row in ROWS for n in (row.name, f"{row.name}_backward")]
    for op in (OPS[n] for n in (*both, "correlate", "correlate_taps")):
        for seed in range(20):
            arguments = op.draw(seed).arguments
            found = []
            for threads in (1, 2):
                monkeypatch.setattr(numba, "get_num_threads", lambda n=threads: n)
                found.append(op.load("numba")(**arguments))
            for a, b in zip(*(f if isinstance(f, tuple) else (f,) for f in found), strict=True):
                np.testing.assert_array_equal(a, b, err_msg=op.name)


@pytest.mark.parametrize("op", GATES, ids=lambda op: op.name)
@pytest.mark.parametrize("where", ["", "numba"])
def test_gates_in_place_are_the_gates(op: Any, where: str):
    """Over the first argument, and a step backward over dc, as the rows of sequences call them."""

    @given(seed=SEEDS)
    def holds(seed: int) -> None:
        arguments = {k: np.array(a, order="C") for k, a in op.draw(seed).arguments.items()}
        expected = op.load(where)(**arguments)
        out = [np.full_like(e, np.nan) for e in expected]
        if "backward" not in op.name:
            out[0] = arguments["a"]
        elif "dc" in arguments:
            out[1] = arguments["dc"]
        op.load(where)(**arguments, out=tuple(out))
        for a, b in zip(out, expected, strict=True):
            np.testing.assert_array_equal(a, b)

    holds()


def test_a_backward_runs_where_its_forward_ran():
    """Also where no back end is chosen any more."""
    rng = np.random.default_rng(0)
    shapes = [(2, 3, 4), (4, 8), (2, 8), (8,), (2, 2), (2, 2)]
    leaves = [Tensor(rng.normal(size=s)) for s in shapes]
    with backend("numba") as used:
        y = lstm(*leaves)
    assert used == {"core.gates:lstm_gates", "core.gates:lstm_gates_backward"}
    g = rng.normal(size=y.shape)
    with backend("numba"):
        inside = grad(y, leaves, g)
    for a, b, again in zip(grad(y, leaves, g), inside, grad(y, leaves, g), strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, again)  # nothing that was kept is written over
    with pytest.raises(InputError, match="m must be float64, got float32"), backend("numba"):
        lstm_gates(np.ones((4, 1)), np.ones((4, 1), np.float32), np.ones(1))


def test_what_a_thread_raises_is_raised(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sharing, "_WORTH", 0)
    monkeypatch.setattr(numba, "get_num_threads", lambda: 2)

    def kernel(x: Any) -> None:
        if x[0] > 0:
            raise ZeroDivisionError

    x = np.zeros((4 * sharing.CHUNK, 1))
    x[-sharing.CHUNK] = 1
    with pytest.raises(ZeroDivisionError):
        sharing.share(kernel, [x])


@given(seed=SEEDS, shape=st.lists(st.integers(1, 5), min_size=1, max_size=4))
def test_flat_goes_along_the_memory(seed: int, shape: list[int]):
    """Of an array in any order: what is beside in memory is beside in `flat`."""
    rng = np.random.default_rng(seed)
    axes = rng.permutation(len(shape))
    x = rng.normal(size=shape).transpose(axes)
    z = np.empty_like(x)
    view = sharing.flat(z, x)
    assert np.shares_memory(view, z)
    view[...] = sharing.flat(x, x)
    np.testing.assert_array_equal(z, x)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda x: F.gelu(x.astype(np.float16)), "x must be float32 or float64, got float16"),
        (lambda x: F.layer_norm(x, x[0], np.ones(3)), "gamma must be float32 or .*|beta must"),
        (lambda x: F.group_norm(x, x[0], x[0], 2), "x must have a multiple of 2 channels, got 3"),
        (lambda x: F.cross_entropy(x, np.array([0, 3])), r"labels must lie in 0 … 2, got 0 … 3"),
        (lambda x: F.cross_entropy(x, np.zeros(2)), "labels must be integers, got float64"),
    ],
)
def test_bad_input_is_named(call: Any, said: str):
    x = np.ones((2, 3), np.float32)
    with backend("numba"), pytest.raises(InputError, match=said):
        call(x)


def test_a_mark_makes_the_gradients_signature():
    """The arrays, then g, then the options."""
    assert [*inspect.signature(F.cross_entropy.backward).parameters] == ["logits", "g", "labels"]


# Adam


@given(seed=SEEDS, where=st.sampled_from([None, "numba"]))
def test_adams_step_in_place_is_the_step(seed: int, where: str | None):
    arguments = OPS["adam_step"].draw(seed).arguments
    expected = OPS["adam_step"].load(where or "")(**arguments)
    own = tuple(arguments[k].copy() for k in ("g", "m", "v"))
    with backend(where):
        found = adam_step(*own, **{k: a for k, a in arguments.items() if len(k) > 1 or k == "t"},
                          out=own)  # fmt: skip
    for a, b, c in zip(found, own, expected, strict=True):
        assert a is b
        np.testing.assert_array_equal(a, c)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_steps_of_adam_on_twins(dtype: Any):
    """Of several parameters, one of which has no gradient now and then; the same state as well."""
    rng = np.random.default_rng(0)
    start = {"a": rng.normal(size=(200, 300)), "b": rng.normal(size=7)}
    made = []
    for where in (None, "numba"):
        params = {k: Tensor(v.astype(dtype)) for k, v in start.items()}
        optimiser, again = AdamW(params, lr=0.1), np.random.default_rng(1)
        with backend(where) as used:
            for step in range(5):
                for name, p in params.items():
                    skipped = name == "b" and step == 2
                    p.grad = None if skipped else again.normal(size=p.shape).astype(dtype)
                optimiser.step()
        assert ("core.optim:adam_step" in used) == (where is not None)
        made.append({**{k: p.data for k, p in params.items()}, **optimiser.state_dict()})
    for key, a in made[0].items():
        np.testing.assert_allclose(made[1][key], a, rtol=0, atol=20 * np.finfo(dtype).eps)


# Models


@pytest.mark.parametrize("name", ["made", "vae", "real-nvp", "gan", "ddpm"])
def test_a_model_trains_on_twins(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """From the command line, the loss being the definition's but for rounding."""
    monkeypatch.chdir(tmp_path)
    losses = {}
    for where in ("definition", "numba"):
        options = [] if where == "definition" else ["--backend", where]
        data = [] if name in ("made", "vae") else ["--data", "two-moons"]
        done = CliRunner().invoke(
            app, [*options, "train", name, *data, "--epochs", "2", "--out", where]
        )
        assert done.exit_code == 0, done.output
        lines = (tmp_path / where / "log.jsonl").read_text().splitlines()
        losses[where] = [
            v for line in lines for k, v in json.loads(line).items() if k in ("train", "validation")
        ]
    assert losses["numba"]
    np.testing.assert_allclose(losses["numba"], losses["definition"], rtol=2e-3, atol=2e-3)


# A small network


def network(leaves: Any, ids: Any, labels: Any, pixels: Any) -> Any:
    """Every function with a twin, on the way to one number."""
    h = F.embedding(ids, leaves["table"])  # (B, T, 8)
    h = F.layer_norm(h, leaves["gain"], leaves["shift"])
    h = F.gelu(F.linear(h, leaves["W"], leaves["b"]))  # (B, T, 8)
    zeros = np.zeros((len(ids), 2), h.dtype)
    states = lstm(h, leaves["W"], leaves["U"], leaves["b"], zeros, zeros)  # (B, T + 1, 2)
    hidden, state = states[:, -2], states[:, -1]
    turned = gru(h, leaves["W"][:, :6], leaves["U"][:, :6], leaves["b"][:6], leaves["b"][6:], zeros)
    hidden = hidden + turned[:, -1]
    images = np.reshape(h, (len(ids), 4, -1, 2))
    images = F.silu(F.group_norm(images, leaves["gain"][:4], leaves["shift"][:4], 2))
    logits = F.linear(np.concatenate([hidden, state], axis=-1), leaves["V"], leaves["c"])
    own = np.mean(F.cross_entropy(logits, labels))
    return own - np.mean(F.bernoulli_log_prob(pixels, np.sum(images, axis=(1, 2))))


@given(seed=SEEDS, dtype=st.sampled_from([np.float32, np.float64]))
def test_a_network_of_twins_has_the_definitions_gradients(seed: int, dtype: Any):
    """At most twice the definition's own error against float64, and a floor."""
    rng = np.random.default_rng(seed)
    B, T = int(rng.integers(1, 5)), int(rng.integers(1, 5))
    shapes = {"table": (5, 8), "gain": (8,), "shift": (8,), "W": (8, 8), "b": (8,), "V": (4, 3),
              "U": (2, 8), "c": (3,)}  # fmt: skip
    values = {k: rng.normal(size=shape).astype(dtype) for k, shape in shapes.items()}
    data = (rng.integers(0, 5, (B, T)), rng.integers(0, 3, B), rng.integers(0, 2, (B, 2)))

    def gradients(dtype: Any, where: str | None) -> list[Any]:
        leaves = {k: Tensor(v.astype(dtype)) for k, v in values.items()}
        with backend(where) as used:
            loss = network(leaves, data[0], data[1], data[2].astype(dtype))
            found = grad(loss, list(leaves.values()))
        assert len(used) == (16 if where else 0)
        return found

    truth = gradients(np.float64, None)
    eps = np.finfo(dtype).eps
    for a, b, t in zip(gradients(dtype, None), gradients(dtype, "numba"), truth, strict=True):
        assert b.dtype == dtype
        size = max(1.0, np.abs(t).max())
        assert np.abs(b - t).max() <= 2 * np.abs(a - t).max() + 50 * eps * size


@given(seed=SEEDS, stride=st.integers(1, 2), padding=st.integers(0, 2))
def test_a_convolutional_critics_penalty_has_the_definitions_derivatives(
    seed: int, stride: int, padding: int
):
    """(‖∂f/∂x‖ − 1)², of second order: convolutions are twins to any order."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2, 3, 7, 6))
    weights = [rng.normal(size=(8, 3, 3, 2)), rng.normal(size=(16, 8, 2, 2))]

    def gradients(where: str | None) -> list[Any]:
        images, leaves = Tensor(x), [Tensor(a) for a in weights]
        v, w = leaves
        with backend(where) as used:
            f = np.sum(F.softplus(conv2d(F.softplus(conv2d(images, v, stride, padding)), w)))
            (slope,) = grad(f, [images], create_graph=True)
            found = grad((np.sqrt(np.sum(slope * slope)) - 1) ** 2, leaves)
        named = {"core.columns:correlate", "core.columns:correlate_taps"}
        assert used == (named if where else set())
        return found

    for a, b in zip(gradients(None), gradients("numba"), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-9, atol=1e-9 * np.abs(a).max())
