"""Steps of training: every engine does the same work, and one that does not gets no number."""

from __future__ import annotations

from contextlib import nullcontext
from importlib.util import find_spec

import pytest

from bench.training import engines
from bench.training.architectures import ARCHITECTURES
from bench.training.measure import drawn, measured, table
from core import backend

TINY = {"batch": 2, "width": 16, "depth": 1, "length": 5}
PEERS = [
    pytest.param(who, marks=pytest.mark.skipif(find_spec(who) is None, reason=f"{who} is absent"))
    for who in ("torch", "jax")
]


def tiny(name):
    return {k: v for k, v in TINY.items() if k in ARCHITECTURES[name].sizes}


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_losses_and_gradients_agree(name, peer):
    row = measured(name, tiny(name), [peer], 1, nullcontext)
    assert row["wrong"] == []
    assert set(row["times"]) == {"genzoo", peer}
    assert row["against"][peer] > 0


def test_every_architecture_learns():
    for name in ARCHITECTURES:
        step = drawn(ARCHITECTURES[name].resized(**tiny(name)), ["genzoo"], nullcontext)["genzoo"]
        losses = [step.run() for _ in range(30)]
        assert losses[-1] < losses[0], name


@pytest.mark.parametrize(
    ("name", "operation", "wrong"),
    [
        ("transformer", "gelu", lambda self, x: self.relu(x)),
        ("unet", "silu", lambda self, x: x),
        ("mlp", "linear", lambda self, x, W, b: x @ W),
    ],
)
def test_other_work_gets_no_number(name, operation, wrong, monkeypatch):
    pytest.importorskip("torch")
    made = engines.Genzoo.__init__

    def faulty(self):
        made(self)
        setattr(self, operation, lambda *args: wrong(self, *args))

    monkeypatch.setattr(engines.Genzoo, "__init__", faulty)
    row = measured(name, tiny(name), ["torch"], 1, nullcontext)
    assert row["wrong"]
    assert not row["times"]
    assert "no number" in table([row])


def test_a_step_runs_on_the_back_end_that_was_chosen():
    used = set()

    def numba():
        return Noting(used)

    step = drawn(ARCHITECTURES["transformer"].resized(**tiny("transformer")), ["genzoo"], numba)
    step["genzoo"].run()
    assert "reference.operations.attention:masked_attention" in used


class Noting:
    """backend("numba"), keeping the names of what ran on it."""

    def __init__(self, used):
        self.used, self.within = used, backend("numba")

    def __enter__(self):
        self.names = self.within.__enter__()

    def __exit__(self, *error):
        self.used |= self.names
        return self.within.__exit__(*error)
