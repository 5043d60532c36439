"""The benchmarks' own honesty: threads, order, checks before numbers, and what is made of them."""

from __future__ import annotations

import dataclasses
import doctest
import json
import os
import re
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import __main__ as whole
from bench import (
    binaries,
    cases,
    compare,
    compile_time,
    contest,
    entries,
    operations,
    readme,
    results,
    show,
    test_ceilings,
    test_kernels,
    test_made,
    test_tape,
    threads,
)
from bench.marked import refresh, replaced
from bench.peers import judge, off_on_round_numbers
from core.checkpoint import read_json
from core.errors import InputError
from kernels import OPS, Op
from reference.operations import masks

ROOT = Path(__file__).resolve().parents[2]
MANY_THREADS = dict.fromkeys((*threads.THREAD_VARIABLES, "NUMBA_NUM_THREADS"), "7")


class Benchmark:
    """pytest-benchmark's fixture, as far as it is used: its own loop, and a clock to read."""

    def __init__(self, disabled: bool = False) -> None:
        self.disabled, self.extra_info = disabled, {}
        self.seconds: list[float] = []

    def pedantic(
        self, target: Any, kwargs: Any = None, rounds: int = 1, iterations: int = 1
    ) -> None:
        if self.disabled:
            target(**kwargs or {})
            return
        for _ in range(rounds):
            start = entries.CLOCK.read()
            for _ in range(iterations):
                target(**kwargs or {})
            self.seconds.append((entries.CLOCK.read() - start) / iterations)


def run(*options: str) -> subprocess.CompletedProcess[str]:
    """`python -m bench` in an environment that asks for seven threads."""
    command = [sys.executable, "-m", "bench", *options]
    ours = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}  # no worker's
    env = {**ours, **MANY_THREADS}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def bench(*options: str, status: int = 0) -> str:
    """All that `python -m bench` says."""
    done = run(*options)
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
        threads.pinned(99)


# The contest


@pytest.mark.parametrize(("threads", "pauses"), [(1, {0}), (2, {contest.PAUSE})])
def test_others_threads_fall_asleep_before_a_turn(
    monkeypatch: Any, threads: int, pauses: set[float]
):
    """One pause a turn; one thread leaves nothing spinning."""
    slept: list[float] = []
    monkeypatch.setattr(contest, "threads", lambda: threads)
    monkeypatch.setattr(contest, "sleep", slept.append)
    monkeypatch.setattr(contest, "TURN", 0.0)
    contest.play({"a": lambda: None, "b": lambda: None}, lambda seed: {})
    assert set(slept) == pauses
    assert len(slept) == 2 * contest.ROUNDS


def test_contestants_meet_the_same_new_arguments_in_changing_order(monkeypatch: Any):
    monkeypatch.setattr(contest, "TURN", 0.0)
    played: list[tuple[str, int]] = []
    runs = {who: lambda x, who=who: played.append((who, x)) for who in "abc"}
    samples = contest.play(runs, lambda seed: {"x": seed})
    rounds = [played[i : i + 3] for i in range(3, len(played), 3)]  # the first three calibrate
    assert [{x for _, x in turn} for turn in rounds] == [{1 + i} for i in range(contest.ROUNDS)]
    assert all({who for who, _ in turn} == set("abc") for turn in rounds)
    assert len({tuple(who for who, _ in turn) for turn in rounds}) > 3
    assert all(len(s.seconds) == contest.ROUNDS for s in samples.values())


def lasting(clock: list[float], seconds: float) -> Any:
    """A call that takes so long by this clock."""

    def run() -> None:
        clock[0] += seconds

    return run


def test_the_slow_play_fewer_rounds_and_the_fast_more_calls():
    clock = [0.0]
    runs = {"slow": lasting(clock, 2.0), "fast": lasting(clock, 0.002)}
    runs["instant"] = lasting(clock, 1e-7)
    samples = contest.play(runs, lambda seed: {}, timer=lambda: clock[0])
    assert {who: s.calls for who, s in samples.items()} == {
        "slow": 1, "fast": 10, "instant": 10_000
    }  # fmt: skip
    rounds = {who: len(s.seconds) for who, s in samples.items()}
    assert rounds == {"slow": 5, "fast": 15, "instant": 15}
    np.testing.assert_allclose(samples["slow"].seconds, 2.0)
    np.testing.assert_allclose(samples["fast"].seconds, 0.002)  # of one call, not of the turn


# Entries of pytest-benchmark


def case_of(runs: dict[str, Any], judge: Any = lambda who: {}, built: Any = None) -> cases.Case:
    """A case of these contestants; built: a list that gets an entry when a contest is made."""

    def build(small: bool) -> cases.Contest:
        if built is not None:
            built.append(small)
        return cases.Contest(runs, lambda seed: {}, judge, {"dtype": "float32"})

    return cases.Case("wait", "a while", tuple(runs), build)


def test_each_entry_is_told_its_own_seconds_of_one_contest():
    clock, built = [0.0], []
    case = case_of({"a": lasting(clock, 0.002), "b": lasting(clock, 0.5)}, built=built)
    session = entries.Session(lambda: clock[0])
    marks = {who: Benchmark() for who in "ab"}
    for who, benchmark in marks.items():
        session.enter(benchmark, case, who, rivals=["a", "b"])
    assert built == [False], "played once"
    np.testing.assert_allclose(marks["a"].seconds, [0.002] * 15)
    np.testing.assert_allclose(marks["b"].seconds, [0.5] * 15)
    assert marks["b"].extra_info == {
        "operation": "wait", "label": "a while", "dtype": "float32", "contestant": "b"
    }  # fmt: skip
    session.enter(Benchmark(), case, "a", rivals=["a", "b"])
    assert built == [False, False], "asked again, it plays again"


def test_only_those_selected_play():
    clock, ran = [0.0], []
    runs = {who: lambda who=who: ran.append(who) for who in "abc"}
    entries.Session(lambda: clock[0]).enter(Benchmark(), case_of(runs), "a", rivals=["a", "c"])
    assert set(ran) == {"a", "c"}


def test_who_is_wrong_or_absent_keeps_nobody_else_from_playing():
    def judge(who: str) -> dict[str, Any]:
        if who == "absent":
            raise ModuleNotFoundError("No module named 'x'")
        if who == "cannot":
            raise NotImplementedError("even bins only")
        assert who != "wrong", "wrong: 3 counts differ"
        return {"counts_off": 1}

    runs = {who: lambda: None for who in ("right", "wrong", "absent", "cannot")}
    for disabled in (False, True):
        session, case = entries.Session(time.perf_counter), case_of(runs, judge)
        right = Benchmark(disabled)
        session.enter(right, case, "right", runs)
        assert disabled or (len(right.seconds) == 15 and right.extra_info["counts_off"] == 1)
        for who, outcome, said in (
            ("wrong", AssertionError, "3 counts differ"),
            ("absent", pytest.skip.Exception, "absent: No module named"),
            ("cannot", pytest.skip.Exception, "cannot: even bins only"),
        ):
            benchmark = Benchmark(disabled)
            with pytest.raises(outcome, match=said):
                session.enter(benchmark, case, who, runs)
            assert benchmark.seconds == []


def test_where_timing_is_off_each_runs_once_on_little():
    ran, built = [], []
    case = case_of({"a": lambda: ran.append(1), "b": lambda: ran.append(2)}, built=built)
    entries.Session(time.perf_counter).enter(Benchmark(disabled=True), case, "a", ["a", "b"])
    assert ran == [1]
    assert built == [True]


SUITES = [test_kernels, test_made, test_tape, test_ceilings]


def test_ids_are_ascii_that_select_and_groups_are_operation_and_case():
    names = set()
    for suite in SUITES:
        for (operation, name), case in suite.CASES.items():
            assert re.fullmatch(r"[\w.-]+", name, re.ASCII), name
            names |= {(operation, name, who) for who in case.contestants}
    (test,) = (value for name, value in vars(test_kernels).items() if name.startswith("test_"))
    for parameter in test.pytestmark[0].args[1]:
        assert parameter.id.isascii()
        assert tuple(parameter.values) in names
        assert json.loads(json.dumps(parameter.values)) == list(parameter.values)
        assert parameter.marks[0].kwargs["group"] == " ".join(parameter.values[:2])


def test_the_id_of_a_label_is_as_documented():
    assert doctest.testmod(cases).failed == 0


def test_two_cases_of_one_id_are_refused():
    a, b = (dataclasses.replace(case_of({}), label=label) for label in ("2 × 2", "2x2"))
    with pytest.raises(ValueError, match="two cases of wait are 2x2"):
        cases.by_id([a, b])


SLOWED = """
from dataclasses import replace

from bench.cases import by_id
from bench.conftest import *
from bench.entries import entries
from bench.test_tape import CASES

add = CASES["tape", "add_4x4_forward_backward"]


def build(small):
    contest = add.build(small)
    run = contest.runs["genzoo"]
    return replace(contest, runs={"genzoo": lambda: [run() for _ in range(TIMES)][-1]})


SLOWED = by_id([replace(add, build=build)])


@entries(SLOWED)
def test_add(enter, operation, case, contestant):
    enter(SLOWED[operation, case], contestant)
"""


def suite(folder: Path, times: int, *options: str) -> subprocess.CompletedProcess[str]:
    """pytest-benchmark on adding two small arrays, `times` times a call, by the CPU's own time."""
    (folder / "test_add.py").write_text(SLOWED.replace("TIMES", str(times)))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "genzoo"]
    command += ["--benchmark-only", "--benchmark-timer=time.process_time", *options]
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    env["PYTHONPATH"] = os.pathsep.join([str(ROOT), env.get("PYTHONPATH", "")])
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


def test_a_comparison_fails_for_a_slowdown_and_not_for_unchanged_code(tmp_path: Path):
    """By pytest-benchmark's own options. Other work on the machine may slow a run; not three."""
    compare = ("--benchmark-compare", "--benchmark-compare-fail=median:25%")
    saved = suite(tmp_path, 1, "--benchmark-autosave")
    assert saved.returncode == 0, saved.stdout + saved.stderr
    assert any(suite(tmp_path, 1, *compare).returncode == 0 for _ in range(3))
    slowed = suite(tmp_path, 2, *compare)
    assert slowed.returncode != 0
    assert "Performance has regressed" in slowed.stdout + slowed.stderr


# No number where the check failed


def categories(twin: str) -> Op:
    op = OPS["count_categories"]
    dims = {**op.bench["10⁷ uint8, 100 levels"][0], "n": 61}
    return dataclasses.replace(op, twins={"numba": twin}, bench={"few": (dims, "uint8")})


def entered(op: Op, who: str) -> Benchmark:
    """The entry of who in the benchmark "few"."""
    benchmark = Benchmark()
    case = cases.of_operation(op, "few")
    entries.Session(time.perf_counter).enter(benchmark, case, who, case.contestants)
    return benchmark


def test_a_wrong_twin_gets_no_number(monkeypatch: Any):
    monkeypatch.setattr(contest, "TURN", 0.0)
    wrong = categories("kernels.histogram.rows:misses_the_last")
    assert entered(categories("kernels.histogram.twin_numba:count_categories"), "genzoo").seconds
    assert entered(wrong, "numpy").seconds, "the others keep theirs"
    with pytest.raises(AssertionError, match="count_categories is wrong at"):
        entered(wrong, "genzoo")


def test_a_wrong_peer_gets_no_number_either(monkeypatch: Any):
    monkeypatch.setattr(contest, "TURN", 0.0)
    op = dataclasses.replace(
        categories("kernels.histogram.twin_numba:count_categories"),
        peers={"other": lambda x, levels: np.bincount(x + 1, minlength=levels)[:levels]},
    )
    assert entered(op, "genzoo").seconds
    with pytest.raises(AssertionError, match="other"):
        entered(op, "other")


def test_counts_off_on_round_numbers_are_forgiven_others_only():
    edges = np.array([0.0, 0.1, 0.2, 0.3])
    make = lambda rng, dims, dtype: {"x": np.array([0.1, 0.204, 0.3]), "edges": edges}  # noqa: E731
    op = dataclasses.replace(
        OPS["histogram"],
        make=make,
        bench={"few": ({}, "float64")},
        twins={"numba": "kernels.histogram.rows:open_right_edge"},
        peers={"other": OPS["histogram"].wrong["open right edge"]},
    )
    with pytest.raises(AssertionError):
        entered(op, "genzoo")
    with pytest.raises(AssertionError, match="1 counts differ"):
        entered(op, "other")  # a third of all values is more than a few
    assert entered(op, "definition").extra_info["off_on_round_numbers"] == 0


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
    dims, dtype = op.bench[label]
    dims = {k: min(n, cases.SMALL) for k, n in dims.items()}
    call = op.make(np.random.default_rng(0), dims, dtype)
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


def test_counts_on_round_numbers_are_noted():
    op, plain = OPS["histogram"], OPS["histogram"].peers["numpy"]
    call = {"x": np.array([0.1, 0.204, 0.3]), "edges": np.array([0.0, 0.1, 0.2, 0.3])}
    assert off_on_round_numbers(op, plain, call) == 0
    assert off_on_round_numbers(op, op.wrong["open right edge"], call) == 1


# From samples to figures


def test_bytes_are_those_of_every_array():
    x = np.zeros(10)
    assert cases.nbytes({"x": x, "layers": [(x, x[::2]), (x,)], "n": 3, "s": "x"}) == 80 * 3 + 40
    assert cases.nbytes(masks.padding(np.arange(4))) == 32
    assert cases.nbytes(None) == 0


def marks_of(seconds: dict[str, list[float]], **note: Any) -> dict[str, Any]:
    """pytest-benchmark's entry of each contestant."""
    return {
        who: {
            "extra_info": {**note, "contestant": who},
            "stats": {"data": samples, "iterations": len(who)},
        }
        for who, samples in seconds.items()
    }


def test_quantiles_ratios_and_shares_by_hand():
    seconds = {"genzoo": [3e-3, 4e-3, 5e-3], "peer": [9e-3, 8e-3, 7e-3]}
    note = {"operation": "o", "label": "l", "dtype": "float32", "bytes": 80_000_000}
    marks = marks_of(seconds, **note)
    marks["peer"]["extra_info"] |= {"counts_off": 2, "off_on_round_numbers": 3}
    ceiling = {"copy_gb_per_s": 40.0, "matmul_gflop_per_s": {"float32": 100.0}}
    figure = results.figure(marks, ceiling)
    assert figure["speed_against"] == {"peer": pytest.approx(2.0)}
    assert figure["share_of_ceiling"] == pytest.approx(0.5)  # 80 MB in 4 ms are 20 GB/s
    ours = {"median_us": 4000, "p20_us": 3400, "p80_us": 4600, "rounds": 3, "calls": 6}
    assert figure["times"]["genzoo"] == pytest.approx(ours)
    assert figure["times"]["peer"]["counts_off"] == 2
    assert figure["off_on_round_numbers"] == {"peer": 3}
    figure = results.figure(marks_of(seconds, **note, flops=1e8), ceiling)
    assert figure["gflop_per_s"] == pytest.approx(25.0)
    assert figure["share_of_ceiling"] == pytest.approx(0.25)


def test_a_figure_that_was_not_measured_is_absent():
    ours = {"genzoo": [1e-3]}
    small_call = results.figure(marks_of(ours, dtype="float32", bytes=10), {"copy_gb_per_s": 40.0})
    unmeasured = results.figure(marks_of(ours, dtype="float32", bytes=10**9, flops=1e6), {})
    assert "share_of_ceiling" not in small_call
    assert "share_of_ceiling" not in unmeasured
    assert "gflop_per_s" not in small_call
    assert unmeasured["gflop_per_s"] == pytest.approx(1.0)


def test_ceilings_are_the_best_round():
    def mark(seconds: list[float], **note: Any) -> dict[str, Any]:
        return marks_of({"numpy": seconds}, operation="ceiling", **note)["numpy"]

    copy = {"ceiling": "copy", "label": "copy", "bytes": 8e9}
    matmul = {"ceiling": "matmul", "label": "matmul", "dtype": "float64", "flops": 1e9}
    raw = {"benchmarks": [
        mark([0.4, 0.2, 0.3], **copy), mark([0.1, 0.02], **matmul),
        mark([0.5, 0.4], **copy),  # the same again, on a busier machine
    ]}  # fmt: skip
    found = results.ceilings(raw)
    assert found["copy_gb_per_s"] == pytest.approx(40)
    assert found["matmul_gflop_per_s"] == {"float64": pytest.approx(50)}
    assert results.figures(raw, found) == []


def test_a_contest_is_one_figure_and_none_without_our_own():
    seconds = {"numpy": [2e-3], "genzoo": [1e-3]}
    first = marks_of(seconds, operation="o", label="first", dtype="float32")
    second = marks_of(seconds, operation="o", label="second", dtype="float32")
    raw = {"benchmarks": [*first.values(), second["numpy"]]}
    (figure,) = results.figures(raw, {})
    assert (figure["label"], figure["speed_against"]) == ("first", {"numpy": 2.0})


# Two runs beside each other


def run_of(**contests: dict[str, tuple[float, float]]) -> dict[str, Any]:
    """Results with these contests: who → median and relative spread."""
    figures = []
    for label, times in contests.items():
        quantiles = {
            who: {"median_us": t, "p20_us": t * (1 - s), "p80_us": t * (1 + s)}
            for who, (t, s) in times.items()
        }
        against = {w: t / times["genzoo"][0] for w, (t, _) in times.items() if w != "genzoo"}
        figures.append(
            {"operation": "sum", "label": label, "times": quantiles, "speed_against": against}
        )
    return {"machine": {"cpu": "Abacus"}, "commit": "abc", "figures": figures}


def twice(ours: float, peer: float = 100, spread: float = 0.02) -> dict[str, tuple[float, float]]:
    return {"genzoo": (ours, spread), "numpy": (peer, spread), "torch": (3 * peer, spread)}


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        (twice(50), twice(50), None),
        (twice(50), twice(100, peer=200), None),  # a slower machine
        (twice(50), twice(100), "slower"),
        (twice(50), twice(25), "faster"),
        (twice(50), twice(54), None),  # within a tenth
        (twice(50), twice(60, spread=0.2), None),  # within the noise
        (twice(50), twice(50) | {"numpy": (50, 0.02)}, None),  # one peer's own doing
        (twice(50), {"genzoo": (100, 0.02), "numpy": (100, 0.02)}, "slower"),  # what both have
    ],
)
def test_what_changed_is_told_by_the_ratios(before: Any, after: Any, verdict: str | None):
    a, b = run_of(few=before), run_of(few=after)
    assert compare.verdicts(compare.changes(a, b)).get(("sum", "few")) == verdict


def test_the_comparison_line_by_line():
    a = run_of(few=twice(50), many=twice(10), old=twice(1))
    b = run_of(few=twice(100), many=twice(10) | {"torch": (900, 0.02)}, new=twice(1))
    assert compare.report(a, b).splitlines() == [
        "A: Abacus, abc",
        "B: Abacus, abc",
        "× = times faster than the peer",
        "",
        f"{'':46}{'peer':18}{'A':11}{'B':11}B / A",
        "sum",
        f"{'  few':46}{'numpy':18}{'2.00×':11}{'1.00×':11}0.50    slower",
        f"{'':46}{'torch':18}{'6.00×':11}{'3.00×':11}0.50    slower",
        f"{'  many':46}{'numpy':18}{'10.0×':11}{'10.0×':11}1.00",
        f"{'':46}{'torch':18}{'30.0×':11}{'90.0×':11}3.00    faster",
        "",
        "slower in B: sum: few",
        "only in A:",
        "  sum: old",
        "only in B:",
        "  sum: new",
    ]


def test_compare_is_an_option_and_its_status_a_gate(tmp_path: Path):
    a, b = tmp_path / "a.json", tmp_path / "b.json"
    a.write_text(json.dumps(run_of(few=twice(50))))
    b.write_text(json.dumps(run_of(few=twice(100))))
    assert "nothing changed" in bench("--compare", str(a), str(a))
    assert "faster in B: sum: few" in bench("--compare", str(b), str(a))
    assert "slower in B: sum: few" in bench("--compare", str(a), str(b), status=1)


def test_pytest_benchmarks_own_files_can_be_compared(tmp_path: Path):
    note = {"operation": "sum", "label": "few", "dtype": "float32"}
    marks = marks_of({"genzoo": [1e-3], "numpy": [2e-3]}, **note)
    raw = {"benchmarks": list(marks.values()), "machine_info": {"cpu": {"brand_raw": "Abacus"}}}
    file = tmp_path / "raw.json"
    file.write_text(json.dumps(raw))
    (figure,) = compare.read(file)["figures"]
    assert figure["speed_against"] == {"numpy": 2.0}
    del marks["numpy"]["stats"]["data"]
    file.write_text(json.dumps(raw))
    with pytest.raises(InputError, match="--benchmark-save-data"):
        compare.read(file)
    file.write_text("{}")
    with pytest.raises(InputError, match="must be written by python -m bench"):
        compare.read(file)


def test_the_whole_run(tmp_path: Path):
    pytest.importorskip("torch")
    out = tmp_path / "new" / "result.json"
    shown = bench("--quick", "--out", str(out), "-k", "test_tape and tanh")
    content = json.loads(out.read_text())
    (figure,) = content["figures"]
    assert {"version", "machine", "ceilings"} <= set(content)
    assert content["machine"]["env"]["OMP_NUM_THREADS"] == "1"
    assert content["machine"]["packages"]["numba"]
    assert (figure["operation"], set(figure["times"])) == ("tape", {"genzoo", "torch"})
    assert figure["speed_against"]["torch"] > 0
    assert content["ceilings"] == {}
    assert "tanh, 4 × 4" in shown
    assert "Triton kernels: skipped" in shown


# What must not be written, and what can't be


def test_an_option_that_pytest_rejects_leaves_the_file_alone(tmp_path: Path):
    full = tmp_path / "full.json"
    full.write_text("full")
    done = run("--quick", "--treads", "2", "--out", str(full))
    assert full.read_text() == "full"
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "nothing is written" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("selection", "why"),
    [
        (("-k", "typo_no_such"), "no benchmark"),
        (("-k", "tanh", "--collect-only"), "nothing was timed"),
    ],
)
def test_without_rows_nothing_is_written(tmp_path: Path, selection: tuple[str, ...], why: str):
    out = tmp_path / "new.json"
    done = run("--quick", "--out", str(out), *selection)
    (line,) = done.stderr.splitlines()
    assert why in line
    assert done.returncode == 1
    assert not out.exists()
    assert "Traceback" not in done.stdout


@pytest.mark.parametrize("name", ["", "file/x.json", "/proc/nope/x.json", "pipe"])
def test_where_nothing_can_be_written_nothing_is_timed(tmp_path: Path, name: str):
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    out = tmp_path / name
    done = run("--quick", "--out", str(out), "-k", "test_tape and tanh")
    (line,) = done.stderr.splitlines()
    assert line.startswith("python -m bench: ")
    assert str(out) in line or str(out.parent) in line
    assert done.returncode == 1
    assert "passed" not in done.stdout


def test_a_selection_does_not_replace_the_whole():
    full, part = (whole.default_out(2, part=part) for part in (False, True))
    assert full.parent == part.parent == ROOT / "bench/results"
    assert full.name.endswith("-2t.json")
    assert part.name == full.name.replace(".json", "-part.json")
    parse = whole.parser().parse_known_args
    for options in (["-k", "tanh"], ["--quick"], ["-x", "--quick"]):
        assert whole.out_of(*parse(["--threads", "2", *options])) == part
    assert whole.out_of(*parse(["--threads", "2"])) == full
    assert whole.out_of(*parse(["--quick", "--out", "x"])) == Path("x")


def test_measuring_anew_leaves_a_clean_checkout_clean():
    """Else the second run would say that it was made on a changed tree."""
    recipe = [line.split() for line in (readme.__doc__ or "").splitlines() if "--out" in line]
    assert [words[words.index("--threads") + 1] for words in recipe] == ["1", "2"]
    for words in recipe:
        out = words[words.index("--out") + 1]
        command = ["git", "-C", str(ROOT), "check-ignore", "--quiet", out]
        status = subprocess.run(command, capture_output=True, check=False).returncode
        if status == 128:
            pytest.skip("not a checkout")
        assert status == 0, f"{out} is not ignored by git"


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
    assert all(figure["label"] in shown for figure in content["figures"])


def own_benchmarks() -> set[tuple[str, str]]:
    """(operation, label) of those that aren't of the table."""
    own = (module.CASES for module in (test_made, test_tape))
    return {(case.operation, case.label) for found in own for case in found.values()}


def test_the_committed_results_are_of_benchmarks_that_exist():
    known = {(op.name, label) for op in OPS.values() for label in op.bench} | own_benchmarks()
    for path in readme.RESULTS:
        measured = {(f["operation"], f["label"]) for f in read_json(path)["figures"]}
        assert measured <= known, "benchmarks that are no more"


def test_units_and_ratios_have_three_digits():
    assert [show.time(us) for us in (0.5, 12.345, 1234, 2.5e6)] == [
        "0.50 µs", "12.3 µs", "1.23 ms", "2.50 s"
    ]  # fmt: skip
    assert show.time(1234567, "ms") == "1235 ms"
    assert [show.times_faster(r) for r in (0.126, 9.99, 12.34, 1050.4)] == [
        "0.13×", "9.99×", "12.3×", "1050×"
    ]  # fmt: skip


def measured(unit: float, contests: list[tuple[str, str, dict[str, float]]]) -> dict[str, Any]:
    """Results made by hand. p20 is half of the median and p80 twice."""
    times = {"median_us": 2 * unit, "p20_us": unit, "p80_us": 4 * unit}
    return {
        "machine": {
            "cpu": "Abacus", "cores": 2, "numpy": "2.4", "blas": "openblas 0.3",
            "env": {"OPENBLAS_CORETYPE": "Haswell"}, "packages": {"numba": "0.68"},
        },
        "ceilings": {"copy_gb_per_s": 42.4, "matmul_gflop_per_s": {"float32": 128.6}},
        "figures": [
            {
                "operation": operation,
                "label": label,
                "times": {"genzoo": times, **{who: {} for who in against}},
                "speed_against": against,
                "off_on_round_numbers": {"genzoo": 0, "other": 12345},
            }
            for operation, label, against in contests
        ],
    }  # fmt: skip


def test_the_table_line_by_line(monkeypatch: Any):
    monkeypatch.setattr(binaries, "possible", lambda: False)
    against = {"definition": 2.05, "numpy": 20.5, "other": 0.25}
    long = "a label that is longer than its column is wide"
    content = measured(50, [("sum", "few", against), ("product", long, {"definition": 205.4})])
    content["figures"][0] |= {"share_of_ceiling": 0.254, "compile_s": 1.26}
    content["figures"][0]["times"]["other"] = {"counts_off": 3}
    del content["figures"][1]["off_on_round_numbers"]
    assert show.table(content).splitlines() == [
        "measured ceilings: copy 42.4 GB/s, matmul float32 129 GFLOP/s",
        "× = times faster than; ceiling = share of what the machine can do (copy or matmul)",
        f"{'':46}{'genzoo [p20–p80]':25}definition ceiling compile peers",
        "sum",
        f"{'  few':46}{'100 µs [50.0–200]':25}2.05×      25%     1.3 s   numpy 20.5×",
        f"{'':98}other 0.25×, 3 off",
        "    counts off where x has two decimals: other 12345; the others none",
        "product",
        f"  {long}",
        f"{'':46}{'100 µs [50.0–200]':25}205×",
        "",
        "Triton kernels: skipped, triton is not installed",
    ]


def test_the_readme_line_by_line(monkeypatch: Any):
    """Median, not p20; against NumPy where it is there, else against the definition."""
    first, second = ("sum", "few"), ("product", "many")
    monkeypatch.setattr(readme, "SHOWN", {first: "a sum", second: "… a product"})
    ours = {"definition": 3.0, "numpy": 2.0, "other": 0.5}
    found = [
        measured(600, [(*second, {"definition": 40.0}), (*first, ours)]),
        measured(60, [(*second, {"definition": 70.0, "new": 5.0}), (*first, {"numpy": 4.0})]),
    ]
    assert readme.section(found).splitlines() == [
        "Medians, one thread / two threads; × says how many times faster the twin is.",
        "",
        "| on the CPU, in Numba | twin | NumPy | others |",
        "|---|---|---|---|",
        "| a sum | 1.20 / 0.12 ms | 2.00 / 4.00× | other 0.50 / –× |",
        "| … a product | 1.20 / 0.12 ms | 40.0 / 70.0× |  |",
        "",
        "The twins count exactly as NumPy does. On values with two decimals, many of them on "
        "edges, the counts of the first histogram above are off elsewhere: other by 12 345.",
        "",
        "Abacus, 2 cores; NumPy 2.4 with openblas 0.3 (OPENBLAS_CORETYPE=Haswell); numba 0.68. "
        "Copying runs at 42 GB/s on one thread.",
    ]


def test_the_binaries_table():
    rows = [{"kernel": "forward", "registers": 7}, {"kernel": "dq", "spills": 0}]
    assert binaries.table(rows).splitlines() == [
        "kernel   registers  spills",
        "forward  7",
        "dq                  0",
    ]


def test_instructions_per_pair_side_by_side(tmp_path: Path, capsys: Any):
    """What other targets, dtypes and kernels print is left out; other files are named."""
    told = "198\t0\t0\t0\tHGMMA\t64x64x16\t0\t392\t16"
    lines = [f"dq,sm_90,bf16,{head},intervals\t{told}\t6.12\tfit" for head in (128, 64)]
    lines += [f"{cell}\t{told}\t1.00\tfit" for cell in ("dq,sm_80,bf16,64,intervals",
              "dq,sm_90,fp16,64,intervals", "dq,sm_90,bf16,64,packed")]  # fmt: skip
    lines += [f"merge,sm_90,bf16,64,splits 2\t{told}\t\tfit"]
    before, after = tmp_path / "before.tsv", tmp_path / "after.tsv"
    before.write_text(lines[0].replace("fit", "3 spills in loops"))
    after.write_text("\n".join(lines))
    assert binaries.main(["--table", str(before), str(after)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "| kernel | head | before | after |",
        "|---|---|---|---|",
        "| dq | 64 |  | 6.12 (198 registers, 64x64x16) |",
        "| dq | 128 | 6.12 (198 registers, 64x64x16, 3 spills in loops)"
        " | 6.12 (198 registers, 64x64x16) |",
    ]
    before.write_text("something else")
    assert binaries.main(["--table", str(before)]) == 1
    assert "before must hold what `python -m kernels.binaries` prints" in capsys.readouterr().err


def test_the_readme_shows_the_committed_results():
    assert readme.main(["--check"]) == 0


def test_an_edited_figure_is_found_and_mended(tmp_path: Path):
    text = readme.text()
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


@pytest.mark.parametrize("command", [readme, operations], ids=lambda module: module.__name__)
@pytest.mark.parametrize(("option", "status"), [("--help", 0), ("--chekc", 2)])
def test_only_a_plain_call_rewrites(
    tmp_path: Path, monkeypatch: Any, command: Any, option: str, status: int
):
    copy = stale(tmp_path, monkeypatch, command)
    before = copy.read_text()
    with pytest.raises(SystemExit) as end:
        command.main([option])
    assert end.value.code == status
    assert copy.read_text() == before
    assert command.main(["--check"]) == 1
    assert copy.read_text() == before
    assert command.main([]) == 0
    assert copy.read_text() != before


def stale(folder: Path, monkeypatch: Any, command: Any) -> Path:
    """A document with nothing between the comments, in the place of the command's."""
    copy = folder / "document.md"
    name = command.__name__
    copy.write_text(f"<!-- made by python -m {name} -->\n<!-- end of python -m {name} -->")
    monkeypatch.setattr(command, "PATH", copy)
    return copy


@pytest.mark.parametrize("command", [readme, operations], ids=lambda module: module.__name__)
def test_a_document_that_cannot_be_used_is_one_line(
    tmp_path: Path, monkeypatch: Any, capsys: Any, command: Any
):
    copy = stale(tmp_path, monkeypatch, command)
    copy.write_text("no comments")
    assert command.main([]) == 1
    copy.unlink()
    assert command.main([]) == 1
    unmarked, missing = capsys.readouterr().err.splitlines()
    assert unmarked.startswith(f"python -m {command.__name__}: the document must hold")
    assert str(copy) in missing


def test_results_that_are_not_there_are_one_line(tmp_path: Path, monkeypatch: Any, capsys: Any):
    monkeypatch.setattr(readme, "RESULTS", [readme.RESULTS[0], tmp_path / "cpu-2t.json"])
    stale(tmp_path, monkeypatch, readme)
    assert readme.main([]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "cpu-2t.json could not be read" in line


def test_binaries_asked_for_help_compile_nothing(monkeypatch: Any, capsys: Any):
    with pytest.raises(SystemExit) as end:
        binaries.main(["--help"])
    assert end.value.code == 0
    assert "registers" in capsys.readouterr().out.lower()
    monkeypatch.setattr(binaries, "possible", lambda: False)
    assert binaries.main([]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "python -m bench.binaries: triton is not installed"
    ]


def test_other_figures_make_another_section():
    found = [read_json(path) for path in readme.RESULTS]
    before = readme.section(found)
    next(f for f in found[1]["figures"] if f["operation"] == "step")["speed_against"] = {
        "definition": 77.7, "peer": 5.0
    }  # fmt: skip
    assert "/ 77.7×" in readme.section(found)
    assert readme.section(found) != before
    found[0]["figures"] = []
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
