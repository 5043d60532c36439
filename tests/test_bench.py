"""The benchmarks' own honesty: threads, order, checks before numbers, and what is made of them."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import binaries, compile_time, contest, machine, operations, readme, results, show
from bench import test_kernels as timed
from bench.marked import refresh, replaced
from bench.peers import judge, off_on_round_numbers
from core.checkpoint import read_json
from core.errors import InputError
from kernels import OPS, Op
from reference import masks

ROOT = Path(__file__).resolve().parent.parent
MANY_THREADS = dict.fromkeys((*machine.THREAD_VARIABLES, "NUMBA_NUM_THREADS"), "7")


class Recorder:
    """What a contest needs of pytest-benchmark's fixture."""

    def __init__(self, disabled: bool = False) -> None:
        self.disabled, self.extra_info = disabled, {}

    def pedantic(self, target: Any, setup: Any, rounds: int) -> None:
        for _ in range(1 if self.disabled else rounds):
            args, kwargs = setup()
            target(*args, **kwargs)


def bench(*options: str, status: int = 0) -> str:
    """Output of `python -m bench` in an environment that asks for seven threads."""
    command = [sys.executable, "-m", "bench", *options]
    env = {**os.environ, **MANY_THREADS}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


# Threads


@pytest.mark.parametrize("n", [1, 2])
def test_pinned_threads_are_what_every_library_uses(n: int):
    if n > (os.cpu_count() or 1):
        pytest.skip(f"fewer than {n} cores")
    (line,) = (
        line for line in bench("--threads", str(n), "--machine").splitlines() if "threads: " in line
    )
    found = dict(pair.rsplit(" ", 1) for pair in line.removeprefix("threads: ").split(", "))
    assert set(found.values()) == {str(n)}
    assert "numba" in found
    assert any(name.startswith("numpy") for name in found)
    assert ("torch" in found) == bool(find_spec("torch"))


@pytest.mark.parametrize("n", [0, 10_000])
def test_threads_that_cannot_be_are_refused(n: int):
    assert "--threads must be between 1 and" in bench("--threads", str(n), status=2)


def test_other_threads_than_pinned_are_an_error():
    with pytest.raises(RuntimeError, match="pinned to 99"):
        machine.pinned(99)


# The contest


def test_contestants_meet_the_same_new_arguments_in_changing_order(monkeypatch: Any):
    monkeypatch.setattr(contest, "TURN", 0.0)
    played: list[tuple[str, int]] = []
    runs = {who: lambda x, who=who: played.append((who, x)) for who in "abc"}
    recorder = Recorder()
    contest.contest(recorder, runs, lambda seed: {"x": seed})
    rounds = [played[i : i + 3] for i in range(3, len(played), 3)]  # the first three calibrate
    assert [{x for _, x in turn} for turn in rounds] == [{1 + i} for i in range(contest.ROUNDS)]
    assert all({who for who, _ in turn} == set("abc") for turn in rounds)
    assert len({tuple(who for who, _ in turn) for turn in rounds}) > 3
    assert all(len(s) == contest.ROUNDS for s in recorder.extra_info["seconds"].values())


def test_the_slow_play_fewer_rounds_and_the_fast_more_calls(monkeypatch: Any):
    clock = [0.0]
    monkeypatch.setattr(contest, "perf_counter", lambda: clock[0])

    def lasting(seconds: float) -> Any:
        def run() -> None:
            clock[0] += seconds

        return run

    recorder = Recorder()
    runs = {"slow": lasting(2.0), "fast": lasting(0.002), "instant": lasting(1e-7)}
    contest.contest(recorder, runs, lambda seed: {})
    seconds, calls = (recorder.extra_info[key] for key in ("seconds", "calls"))
    assert calls == {"slow": 1, "fast": 10, "instant": 10_000}
    rounds = {who: len(samples) for who, samples in seconds.items()}
    assert rounds == {"slow": 5, "fast": 15, "instant": 15}
    np.testing.assert_allclose(seconds["slow"], 2.0)
    np.testing.assert_allclose(seconds["fast"], 0.002)  # of one call, not of the turn


# No number where the check failed


def categories(twin: str) -> Op:
    op = OPS["count_categories"]
    dims = {**op.bench["10⁷ uint8, 100 levels"][0], "n": 61}
    return dataclasses.replace(op, twins={"numba": twin}, bench={"few": (dims, "uint8")})


def test_a_wrong_twin_gets_no_number():
    right, wrong = Recorder(disabled=True), Recorder(disabled=True)
    timed.test_operation(right, categories("kernels.histogram_numba:count_categories"), "few")
    with pytest.raises(AssertionError):
        timed.test_operation(wrong, categories("kernels.histogram_rows:misses_the_last"), "few")
    marks = [{"extra_info": recorder.extra_info} for recorder in (right, wrong)]
    assert [row["label"] for row in results.rows({"benchmarks": marks}, {})] == ["few"]


def test_a_wrong_peer_gets_no_number_either():
    op = dataclasses.replace(
        categories("kernels.histogram_numba:count_categories"),
        peers={"other": lambda x, levels: np.bincount(x + 1, minlength=levels)[:levels]},
    )
    recorder = Recorder(disabled=True)
    with pytest.raises(AssertionError, match="other"):
        timed.test_operation(recorder, op, "few")
    assert "seconds" not in recorder.extra_info


def wrong_peers() -> dict[str, tuple[str, str, Any]]:
    def noisy(share: float, **more: Any) -> Any:
        def peer(coefficients: Any, **rest: Any) -> Any:
            c = coefficients._replace(sigma=coefficients.sigma * share)
            return OPS["step"].load()(coefficients=c, **{**rest, **more})

        return peer

    attention, nade = OPS["masked_attention"], OPS["nade_sample"].load()
    last, ddpm = "last step, 64 × 3 × 64 × 64", "DDPM, 64 × 3 × 64 × 64"
    causal, one = "causal 1024×64, float32", "NADE 784/500, one stream"
    return {
        "no noise": ("step", ddpm, noisy(0.0)),
        "too much noise": ("step", ddpm, noisy(1.2)),
        "no clipping": ("step", last, noisy(1.0, clip=None)),
        "unscaled": ("masked_attention", causal, attention.wrong["unscaled"]),
        "no mask": ("masked_attention", causal, lambda mask, **call: attention.load()(**call)),
        "another bit": ("nade_sample", one, lambda **call: 1 - nade(**call)),
        "shape": ("alias_draw", "10⁶ of 1000", lambda u, threshold, other: u[1:, 0]),
    }


@pytest.mark.parametrize("fault", wrong_peers())
def test_the_judge_rejects(fault: str):
    name, label, peer = wrong_peers()[fault]
    op = OPS[name]
    call = timed.arguments(op, label, timed.small(op, label), 0)
    assert judge(op, "itself", op.load(), call) == {}
    with pytest.raises(AssertionError):
        judge(op, "numpy choice" if fault == "shape" else fault, peer, call)


def test_counts_that_are_off_are_noted_up_to_a_share():
    op, n = OPS["histogram"], 1_000_000

    def moves(many: int) -> Any:
        def peer(x: Any, edges: Any) -> Any:
            counts = np.histogram(x, edges)[0]
            counts[3] += many
            return counts

        return peer

    call = {"x": np.random.default_rng(0).normal(size=n), "edges": np.linspace(-3, 3, 11)}
    assert judge(op, "exact", moves(0), call) == {"counts_off": 0}
    assert judge(op, "nearly", moves(7), call) == {"counts_off": 7}
    with pytest.raises(AssertionError, match="11 counts differ"):
        judge(op, "wrong", moves(11), call)


def test_counts_on_round_numbers_must_be_exact_for_us_and_are_noted_of_others():
    op, plain = OPS["histogram"], OPS["histogram"].peers["numpy"]
    call = {"x": np.array([0.1, 0.204, 0.3]), "edges": np.array([0.0, 0.1, 0.2, 0.3])}
    open_edge = op.wrong["open right edge"]
    found = off_on_round_numbers(op, {"genzoo": plain, "other": open_edge}, call)
    assert found == {"genzoo": 0, "other": 1}
    with pytest.raises(AssertionError, match="1 counts differ"):
        off_on_round_numbers(op, {"genzoo": open_edge}, call)


def test_a_peer_that_is_absent_or_cannot_is_left_out():
    def missing(**call: Any) -> Any:
        raise ModuleNotFoundError("No module named 'x'")

    op = OPS["histogram"]
    op = dataclasses.replace(op, peers={**op.peers, "missing": missing})
    assert "missing" not in timed.present(op, "1-D, 10⁷ float64, 100 bins")
    assert "fast-histogram" not in timed.present(op, "1-D, 10⁷ float64, 100 uneven bins")
    assert "numpy" in timed.present(op, "1-D, 10⁷ float64, 100 uneven bins")


# From samples to figures


def test_bytes_are_those_of_every_array():
    x = np.zeros(10)
    assert timed.nbytes({"x": x, "layers": [(x, x[::2]), (x,)], "n": 3, "s": "x"}) == 80 * 3 + 40
    assert timed.nbytes(masks.padding(np.arange(4))) == 32
    assert timed.nbytes(None) == 0


def test_quantiles_ratios_and_shares_by_hand():
    seconds = {"genzoo": [3e-3, 4e-3, 5e-3], "peer": [9e-3, 8e-3, 7e-3]}
    note = {"operation": "o", "label": "l", "dtype": "float32", "bytes": 80_000_000}
    note |= {"seconds": seconds, "calls": {"genzoo": 5, "peer": 1}}
    note["notes"] = {"peer": {"counts_off": 2}}
    ceiling = {"copy_gb_per_s": 40.0, "matmul_gflop_per_s": {"float32": 100.0}}
    row = results.row(note, ceiling)
    assert row["speed_against"] == {"peer": pytest.approx(2.0)}
    assert row["share_of_ceiling"] == pytest.approx(0.5)  # 80 MB in 4 ms are 20 GB/s
    ours = {"median_us": 4000, "p20_us": 3400, "p80_us": 4600, "rounds": 3, "calls": 5}
    assert row["times"]["genzoo"] == pytest.approx(ours)
    assert row["times"]["peer"]["counts_off"] == 2
    row = results.row({**note, "flops": 1e8}, ceiling)
    assert row["gflop_per_s"] == pytest.approx(25.0)
    assert row["share_of_ceiling"] == pytest.approx(0.25)


def test_a_figure_that_was_not_measured_is_absent():
    note = {"dtype": "float32", "bytes": 10, "seconds": {"genzoo": [1e-3]}}
    small_call = results.row(note, {"copy_gb_per_s": 40.0})
    unmeasured = results.row({**note, "bytes": 10**9, "flops": 1e6}, {})
    assert "share_of_ceiling" not in small_call
    assert "share_of_ceiling" not in unmeasured
    assert "gflop_per_s" not in small_call
    assert unmeasured["gflop_per_s"] == pytest.approx(1.0)


def test_ceilings_are_the_best_round():
    copy = {"ceiling": "copy", "bytes": 8e9, "seconds": {"copy": [0.4, 0.2, 0.3]}}
    matmul = {"ceiling": "matmul", "dtype": "float64", "flops": 1e9}
    matmul["seconds"] = {"matmul": [0.1, 0.02]}
    later = {**copy, "seconds": {"copy": [0.5, 0.4]}}  # the same again, on a busier machine
    raw = {"benchmarks": [{"extra_info": info} for info in (copy, matmul, {}, later)]}
    found = results.ceilings(raw)
    assert found["copy_gb_per_s"] == pytest.approx(40)
    assert found["matmul_gflop_per_s"] == {"float64": pytest.approx(50)}
    assert results.rows(raw, found) == []


def test_the_whole_run(tmp_path: Path):
    pytest.importorskip("torch")
    out = tmp_path / "new" / "result.json"
    shown = bench("--quick", "--out", str(out), "-k", "test_tape and tanh")
    content = json.loads(out.read_text())
    (row,) = content["rows"]
    assert {"version", "machine", "ceilings"} <= set(content)
    assert content["machine"]["env"]["OMP_NUM_THREADS"] == "1"
    assert content["machine"]["packages"]["numba"]
    assert (row["operation"], set(row["times"])) == ("tape", {"genzoo", "torch"})
    assert row["speed_against"]["torch"] > 0
    assert content["ceilings"] == {}
    assert "tanh, 4 × 4" in shown
    assert "Triton kernels: skipped" in shown


@pytest.mark.slow
def test_compile_time_and_binaries():
    assert compile_time.compile_seconds("count_categories", "10⁷ uint8, 100 levels") > 0.1
    if not binaries.possible():
        pytest.skip("triton is not installed")
    rows = binaries.binaries()
    assert {row["kernel"] for row in rows} == {"forward", "dq", "dkv", "step", "draw"}
    assert {row["verdict"] for row in rows} == {"fit"}


# What is shown


@pytest.mark.parametrize("path", readme.RESULTS, ids=lambda path: path.stem)
def test_the_table_fits_120_columns_and_names_every_benchmark(path: Path):
    content = read_json(path)
    shown = show.table(content)
    assert max(map(len, shown.splitlines())) <= 120
    assert all(row["label"] in shown for row in content["rows"])
    known = {(op.name, label) for op in OPS.values() for label in op.bench}
    measured = {(row["operation"], row["label"]) for row in content["rows"]}
    assert {key for key in measured if key[0] != "tape"} <= known, "benchmarks that are no more"


def test_units_and_ratios_have_three_digits():
    assert [show.time(us) for us in (0.5, 12.345, 1234, 2.5e6)] == [
        "0.50 µs", "12.3 µs", "1.23 ms", "2.50 s"
    ]  # fmt: skip
    assert show.time(1234567, "ms") == "1235 ms"
    assert [show.times_faster(r) for r in (0.126, 9.99, 12.34, 1050.4)] == [
        "0.13×", "9.99×", "12.3×", "1050×"
    ]  # fmt: skip


def test_the_binaries_table():
    rows = [{"kernel": "forward", "registers": 7}, {"kernel": "dq", "spills": 0}]
    assert binaries.table(rows).splitlines() == [
        "kernel   registers  spills",
        "forward  7",
        "dq                  0",
    ]


def test_the_readme_shows_the_committed_results():
    assert readme.main(["--check"]) == 0


def test_an_edited_figure_is_found_and_mended(tmp_path: Path):
    text = readme.section([read_json(path) for path in readme.RESULTS])
    original = (ROOT / "README.md").read_text()
    copy = tmp_path / "README.md"
    copy.write_text(original.replace("one thread / two threads", "one thread / three threads"))
    edited = copy.read_text()
    assert edited != original
    assert refresh(copy, text, "python -m bench.readme", check=True) == 1
    assert copy.read_text() == edited
    assert refresh(copy, text, "python -m bench.readme", check=False) == 0
    assert copy.read_text() == original


def test_a_place_that_is_missing_or_double_is_an_error():
    place = "<!-- made by x -->\n<!-- end of x -->"
    assert replaced(f"a{place}b", "new", "x").split() == [
        "a<!--", "made", "by", "x", "-->", "new", "<!--", "end", "of", "x", "-->b"
    ]  # fmt: skip
    for document in ("", "<!-- made by x -->", place + place):
        with pytest.raises(InputError, match="once"):
            replaced(document, "new", "x")


def test_other_figures_make_another_section():
    found = [read_json(path) for path in readme.RESULTS]
    before = readme.section(found)
    next(row for row in found[1]["rows"] if row["operation"] == "step")["speed_against"] = {
        "definition": 77.7, "peer": 5.0
    }  # fmt: skip
    assert "/ 77.7×" in readme.section(found)
    assert readme.section(found) != before
    found[0]["rows"] = []
    with pytest.raises(InputError, match="no figure for histogram"):
        readme.section(found)


# The page of operations


def test_the_page_of_operations_is_up_to_date():
    assert operations.main(["--check"]) == 0


def test_the_page_says_what_is_in_the_table():
    page = operations.page(OPS)
    for op in OPS.values():
        assert f"\n## {op.name}\n" in page
        assert all(f"  - {name}" in page for name in op.wrong)
        assert all(text in page for text in (*op.bench, *op.peers))
    new = dataclasses.replace(OPS["uniform"], name="another")
    assert "## another\n" in operations.page({**OPS, "another": new})
    assert operations.page({**OPS, "another": new}) != page


def test_links_on_the_page_lead_to_files():
    for op in OPS.values():
        for path in (op.definition, *op.twins.values()):
            assert (ROOT / (path.partition(":")[0].replace(".", "/") + ".py")).is_file()
