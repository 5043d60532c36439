"""Steps of training: every engine does the same work, and one that does not gets no number."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest

from bench import readme
from bench.training import __main__ as command
from bench.training import engines, shown
from bench.training.architectures import ARCHITECTURES, MLP
from bench.training.measure import differences, drawn, measured, table
from core import backend
from core.checkpoint import read_json, write_json
from core.errors import InputError

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
        ("mlp", "relu", lambda self, x: np.maximum(x, 0) + 0.01 * (x - x.data)),  # the slope alone
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


def with_a_blank_row(sizes, rng):
    """Of which every argument of a ReLU is 0."""
    batch = MLP.batch(sizes, rng)
    batch["x"][0] = 0
    return batch


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("peer", PEERS)
def test_gradients_are_compared_on_one_side_of_every_relu(peer, shared, monkeypatch):
    rounded = {"torch": engines.Torch, "jax": engines.Jax}[peer]
    linear = rounded.linear
    monkeypatch.setattr(rounded, "linear", lambda *args: linear(*args) + 1e-8)
    if not shared:
        monkeypatch.setattr(engines, "_on", lambda sides, e: e)
    near = replace(MLP.resized(**tiny("mlp")), batch=with_a_blank_row)
    players = drawn(near, ["genzoo", peer], nullcontext)
    wrong = differences(peer, players, losses=dict.fromkeys(players, (1.0,)))
    assert (wrong == []) == shared


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


# What is shown


def line(name, ours, torch, doubled=(), wrong=(), peak_mb=None):
    times = {"genzoo": {"ms": ours}, "torch": {"ms": torch}}
    row = {"name": name, "label": f"the {name}", "sizes": {}, "doubled": list(doubled)}
    row |= {"wrong": list(wrong), "times": times, "against": {"torch": ours / torch}}
    return row | ({} if peak_mb is None else {"peak_mb": peak_mb})


def results():
    made_on = {"cpu": "a CPU", "cores": 2, "numpy": "2.4", "blas": "a BLAS"}
    made_on["packages"] = {"torch": "2.13", "numba": "0.68"}
    memory = {"genzoo": 12.3, "torch": 10.1}
    first, *others = shown.FILES
    rows = [line("net", 2.0, 4.0, peak_mb=memory), line("net", 6.0, 16.0, ["width"])]
    found = {first: {"machine": made_on, "rows": rows}}
    for file, ours in zip(others, (1.0, 3.0, 5.0), strict=True):
        found[file] = {"machine": made_on, "rows": [line("net", ours, 4.0)]}
    return found


def test_the_table_of_the_readme():
    row = "| the net | 2 / 1 | 0.50 / 0.25 | 0.75 / 1.25 | 12, 10 | width 3.0, 4.0 |"
    assert row in shown.section(results()).splitlines()


def test_no_table_where_a_loss_differed_or_a_line_is_missing():
    wrong, missing = results(), results()
    wrong[shown.FILES[2]]["rows"] = [line("net", 1.0, 4.0, wrong=["losses differ"])]
    missing[shown.FILES[3]]["rows"] = [line("another", 1.0, 4.0)]
    with pytest.raises(InputError, match="net has no time: losses differ"):
        shown.section(wrong)
    with pytest.raises(InputError, match="same architectures"):
        shown.section(missing)


def test_the_readme_has_the_table_once_its_results_are_there(tmp_path, monkeypatch):
    folder = tmp_path / "reference"
    folder.mkdir()
    for path in readme.RESULTS:
        (folder / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(readme, "RESULTS", [folder / path.name for path in readme.RESULTS])
    assert "a step of training" not in readme.text()
    for name, found in results().items():
        write_json(folder / name, found)
    assert "| the net |" in readme.text()


def test_engines_that_are_absent_are_said_to_be(capsys):
    assert command._installed(["no_such_package.compile"]) == []
    assert capsys.readouterr().out == "no_such_package.compile: skipped, not installed\n"


def test_a_run_keeps_what_the_table_needs(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setattr(command, "pin_threads", lambda n: None)
    monkeypatch.setattr("bench.__main__.pinned", lambda n: {})
    out = tmp_path / "new" / shown.FILES[0]
    how = ["--engines", "torch", "--rounds", "1", "--no-memory", "--out", str(out)]
    assert command.main(["mlp", *how]) == 0
    found = read_json(out)
    assert found["backend"] is None
    assert {"version", "machine"} <= set(found)
    assert [row["name"] for row in found["rows"]] == ["mlp"]
    assert "torch" in found["machine"]["packages"]
