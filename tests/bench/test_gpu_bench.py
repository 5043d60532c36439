"""`make gpu` without a GPU: its proofs and its timing run in the interpreter, and can fail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from itertools import chain, count
from pathlib import Path

import numpy as np
import pytest

from bench.gpu import __main__ as gpu
from core.errors import InputError
from kernels import OPS

ROOT = Path(__file__).parents[2]
ABSENT = ("scipy", "numba", "sklearn", "hypothesis", "matplotlib", "pytest", "safetensors")


def alone(job, interpret=True):
    """Run a job below in another process, this file run as a script."""
    pytest.importorskip("torch")
    pytest.importorskip("triton")
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    environment |= {"PYTHONPATH": str(ROOT), **({"TRITON_INTERPRET": "1"} if interpret else {})}
    out = subprocess.run(
        [sys.executable, __file__, job], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert out.returncode == 0, (out.stdout + out.stderr)[-3000:]
    return out.stdout


PROOFS = {
    "rejected": 22, "accepted": 3, "attention": 10, "decoding": 6, "long": 2, "canaries": 2,
    "torch.compile": 1, "step": 10, "2": 4, "bits": 1, "uniform": 1, "normal": 1,
    "table": sum("triton" in op.twins for op in OPS.values()),
}  # fmt: skip
"""How many there are in the interpreter, by the first word; "2" runs are compared."""


def test_every_proof_holds_with_torch_triton_and_numpy_alone():
    found = json.loads(alone("proofs").splitlines()[-1])
    assert [p for p in found if p.get("failed")] == []
    assert Counter(p["work"].split()[0].rstrip(":") for p in found) == PROOFS


def test_quick_runs_a_quarter_of_each_group():
    assert alone("quick").splitlines()[-1] == "fewer"


def test_the_proofs_can_fail():
    assert alone("faults").splitlines()[-1] == "all seen"


@pytest.mark.parametrize(
    ("name", "floor", "cap"),
    [("float32", 1e-6, 1e-4), ("float16", 1e-3, 5e-2), ("bfloat16", 8e-3, 0.4)],
)
def test_the_rule_allows_twice_the_own_error_and_a_floor_up_to_a_cap(name, floor, cap):
    torch = pytest.importorskip("torch")
    from bench.gpu.rule import complaint, within

    def allows(error, own=0.0, size=0.1):
        truth = np.array([-size, 0, 0])
        found, plain = (torch.tensor(truth + e) for e in ([0, -error, 0], [0, 0, own]))
        said = complaint(lambda: within("dq", found, plain, truth, getattr(torch, name)))
        assert not said or said.startswith("dq: error")
        return not said

    for limit, case in (
        (floor, {}),
        (10 * floor, {"size": 10.0}),
        (3 * floor, {"own": floor}),
        (cap, {"own": cap}),
        (10 * cap, {"own": 10 * cap, "size": 10.0}),
    ):
        assert allows(0.99 * limit, **case), case
        assert not allows(1.01 * limit, **case), case


@pytest.mark.parametrize(
    ("found", "plain", "message"),
    [
        ([0.0, np.nan], [0.0, 0.0], "NaN or infinity"),
        ([0.0, -np.inf], [0.0, 0.0], "NaN or infinity"),
        ([0.0, 0.0], [0.0, np.nan], "error"),
        ([0.0], [0.0, 0.0], r"\(1,\) is not \(2,\)"),
        ([[0.0, 0.0]], [0.0, 0.0], r"\(1, 2\) is not \(2,\)"),
    ],
)
def test_the_rule_forgives_neither_nan_nor_another_shape(found, plain, message):
    torch = pytest.importorskip("torch")
    from bench.gpu.rule import within

    found, plain = torch.tensor(found), torch.tensor(plain)
    with pytest.raises(AssertionError, match=message):
        within("out", found, plain, np.zeros(2), torch.bfloat16)


def test_what_is_timed_runs():
    found = json.loads(alone("times").splitlines()[-1])
    works = [row["work"] for row in found["rows"]]
    for part in ("forward", "backward", "mask included", "mask alone", "decode", "step", "graph"):
        assert any(part in work for work in works), part
    timed = [row for row in found["rows"] if "times" in row]
    assert all(row["times"]["genzoo"]["median_us"] > 0 for row in timed)
    assert any("on visited blocks" in work for work in set(works) - {r["work"] for r in timed})
    assert found["ceilings"]["copy_gb_per_s"] > 0
    assert any("cuDNN" in s["who"] for s in found["skipped"])
    assert gpu.is_right(found)


def test_the_flush_and_the_gaps_are_in_no_time():
    assert alone("clock", interpret=False).splitlines()[-1] == "kept time"


def test_without_a_gpu_it_says_so(capsys):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is one")
    assert gpu.main(["--prove"]) == 1
    assert "needs an NVIDIA GPU" in capsys.readouterr().err


def started(command):
    """In the place of a job's process."""

    def start(job, out, *flags):
        return subprocess.Popen([sys.executable, "-c", command, str(out)], start_new_session=True)

    return start


WRITES = 'import sys, time; f = open(sys.argv[1], \'w\'); f.write(\'{"rows": {"work": "a"}}\\n\');'


@pytest.mark.parametrize(
    ("command", "why", "right"),
    [
        (f"{WRITES} f.write('{{\"rows\": '); f.close(); time.sleep(60)", "cut after", True),
        (f"{WRITES} f.close(); sys.exit(3)", "ended with status 3", False),
        (
            f"{WRITES} f.close(); import os; os.kill(os.getpid(), 11)",
            "ended with status -11",
            False,
        ),
    ],
)
def test_a_process_that_hangs_or_dies_leaves_what_it_found(
    command, why, right, tmp_path, monkeypatch
):
    monkeypatch.setattr(gpu, "start_job", started(command))
    monkeypatch.setattr(gpu, "LEAST", 0)
    found = {"ceilings": {}, "proof": [], "rows": [], "skipped": []}
    gpu.gather(found, gpu.run_group(gpu.Group("attention", ("attention",), 60), tmp_path, 4, True))
    assert found["rows"] == [{"work": "a"}]
    assert why in found["skipped"][0]["why"]
    assert gpu.is_right(found) == right
    assert why in gpu.summary(found)


def test_what_a_process_started_ends_with_it(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "LEAST", 0)
    child = "import subprocess as s, sys, time; p = s.Popen(['sleep', '600']);"
    child += " open(sys.argv[1] + '.pid', 'w').write(str(p.pid)); time.sleep(60)"
    monkeypatch.setattr(gpu, "start_job", started(child))
    list(gpu.run_group(gpu.Group("g", ("job",), 60), tmp_path, 2, True))
    state = Path(f"/proc/{(tmp_path / 'job.pid').read_text()}/stat")
    waited(lambda: not state.exists() or state.read_text().split()[2] == "Z")


def test_a_process_ends_with_the_one_that_started_it(tmp_path):
    """Also when that is killed and can end nothing itself."""
    child = "import os, time; from bench.gpu.__main__ import end_with; end_with(os.getppid());"
    child += f" open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    parent = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {child!r}]);"
    process = subprocess.Popen([sys.executable, "-c", parent + " time.sleep(60)"], cwd=ROOT)
    try:
        waited(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    finally:
        process.kill()
        process.wait()
    state = Path(f"/proc/{(tmp_path / 'pid').read_text()}/stat")
    waited(lambda: not state.exists() or state.read_text().split()[2] == "Z")


def waited(condition):
    """Until it holds, or a minute is over."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_peer_that_fails_at_the_second_call_is_left_out_and_no_cell_is_lost():
    """As compiled functions do whose buffers were donated to their first backward."""
    pytest.importorskip("torch")
    from bench.gpu.attention import usable

    calls, told = Counter(), []

    def run(who):
        calls[who] += 1
        if who == "donates" and calls[who] > 1:
            raise RuntimeError("donated buffers")

    def fails():
        raise TypeError("no backward")

    makers = {who: lambda who=who: lambda: run(who) for who in ("genzoo", "donates", "SDPA")}
    found = usable("work", {**makers, "fails": fails}, lambda *what: told.append(what[:2]))
    assert list(found) == ["genzoo", "SDPA"]
    assert told == [("work", "donates"), ("work", "fails")]


def test_groups_share_the_minutes(capsys):
    minutes = {"--prove": 5, "--time": 9, "": 9, "--smoke": 3, "--tune": 9}
    for option, most in minutes.items():
        options = gpu.options_from([option] if option else [])
        chosen = gpu.groups(options)
        assert sum(g.seconds for g in chosen) <= min(60 * most, 60 * options.minutes)
        assert gpu.main([*([option] if option else []), "--plan"]) == 0
        *lines, total = capsys.readouterr().out.splitlines()
        assert [line.split()[0] for line in lines] == [g.name for g in chosen]
        assert total.split()[-2] == str(sum(g.seconds for g in chosen))
    assert [g.seconds for g in gpu.groups(gpu.options_from([])) if g.name == "attention"] == [360]
    left = list(gpu.run_group(gpu.Group("step", ("step",), 60), Path(), 5, False))
    assert left == [{"skipped": {"work": "step", "why": "no time left"}}]


def test_results_are_the_documented_ones(tmp_path):
    found = {**gpu.described(), "ceilings": {}, "proof": [], "rows": [], "skipped": []}
    assert {"version", "machine", *gpu.KINDS} <= set(found)
    assert {"gpu", "torch", "triton", "cpu", "numpy"} <= set(found["machine"])
    path = gpu.results_path(tmp_path / "new", "NVIDIA H200")
    gpu.write(path, found)
    assert path.name.startswith("NVIDIA-H200-20")
    assert json.loads(path.read_text()) == found
    assert len(list(path.parent.iterdir())) == 1


@pytest.mark.parametrize(("fault", "status"), [({}, 0), ({"failed": "off by 3"}, 1)])
def test_a_whole_run_writes_after_each_group(fault, status, tmp_path, monkeypatch, capsys):
    line = json.dumps({"proof": {"work": "a", **fault}})
    monkeypatch.setattr(
        gpu, "start_job", started(f"import sys; open(sys.argv[1], 'w').write({line!r})")
    )
    monkeypatch.setattr(gpu, "write", lambda path, found, write=gpu.write: (
        seen.append(len(found["proof"])), write(path, found)))  # fmt: skip
    seen = []
    options = gpu.options_from(["--prove", "--results", str(tmp_path)])
    jobs = sum(len(group.jobs) for group in gpu.groups(options))
    assert gpu.conduct(options) == status
    assert seen == [jobs - 1, jobs]
    (path,) = tmp_path.iterdir()
    assert len(json.loads(path.read_text())["proof"]) == jobs
    assert f"{jobs * (1 - status)} of {jobs} proofs hold" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["causal", "window", "prefix", "documents", "padding", "raster"])
def test_flex_attention_is_given_the_same_mask(kind):
    torch = pytest.importorskip("torch")
    from bench.gpu.attention import dense, pairs
    from bench.gpu.masks import KINDS

    case = KINDS[kind](np.random.default_rng(0), 64)
    i, j = torch.arange(64)[:, None], torch.arange(64)[None]
    seen = case.rule("cpu")(0, 0, i, j).expand(64, 64).numpy()
    np.testing.assert_array_equal(seen, dense(case, 64))
    np.testing.assert_array_equal(seen[5:9], dense(case, 64, np.arange(5, 9)))
    assert pairs(case, 64) == seen.sum()
    assert 0 < seen.sum() < 64**2


def test_goals_are_judged():
    from bench.gpu.attention import Cell, against_dense, judged, with_goals

    times = {who: {"median_us": t} for who, t in (("genzoo", 2.0), ("FlexAttention", 3.0))}
    row = judged("w", times, flops=1000e6)
    assert row["tflop_per_s"]["genzoo"] == 500
    judgement = with_goals(row, Cell(128, 4096, "full", True), "forward")["goals"]
    assert [g["reached"] for g in judgement] == [False, True]
    assert [g["wanted"] for g in judgement] == [520, 1.0]
    assert "goals" not in with_goals(row, Cell(128, 1024, "full", True), "forward")
    key, label = "tflop_per_s_on_visited_blocks", "attention forward bfloat16 {} 4096×128"
    rows = [{"work": label.format(k), key: v} for k, v in (("causal", 80), ("full", 100))]
    (made,) = against_dense(rows)
    assert made["goals"][0]["found"] == 0.8
    assert not made["goals"][0]["reached"]


@pytest.mark.parametrize(
    ("status", "text", "kind"),
    [
        (0, "all kernels ran", "proof"),
        (86, "========= Invalid write\n=========     at dq_kernel+0x80", "failed"),
        (86, "========= Invalid write\n=========     at at::native::sort+0x80", "skipped"),
        (0, "nothing", "skipped"),
        (1, "Device not supported", "skipped"),
    ],
)
def test_the_sanitizer_is_believed_only_when_it_ran(status, text, kind):
    from bench.gpu.sanitizer import judge

    found = {"proof": [], "skipped": []}

    class Report:
        def add(self, kind, entry):
            found[kind].append(entry)

        def skip(self, work, who, why):
            found["skipped"].append({"why": why})

    judge(Report(), "memcheck", status, text)
    assert bool(found["skipped"]) == (kind == "skipped")
    assert any("failed" in p for p in found["proof"]) == (kind == "failed")


# In a process of their own


def forget(names):
    """As on a machine that never had them."""
    sys.modules.update(dict.fromkeys(names))


def proofs():
    forget(ABSENT)
    out = Path(os.environ.get("TMPDIR", "/tmp")) / f"proofs-{os.getpid()}.jsonl"
    try:
        assert gpu.work("proof", out, quick=False, device="cpu") == 0
        print(json.dumps([json.loads(line)["proof"] for line in out.read_text().splitlines()]))
    finally:
        out.unlink(missing_ok=True)


def quick():
    from bench.gpu import proof as gpu_proof
    from bench.gpu.rule import GPU, INTERPRETER

    for where in (GPU, INTERPRETER):
        groups = [list(dict(group(where))) for group in gpu_proof.GROUPS]
        some = list(dict(gpu_proof.proofs(where, quick=True)))
        for group in filter(None, groups):
            assert len(set(group) & set(some)) == -(-len(group) // 4), group
        assert list(dict(gpu_proof.proofs(where))) == list(chain(*groups))
    asked = []
    gpu_proof.proofs = lambda where, quick: asked.append(quick) or []
    for choice in (False, True):
        gpu.work("proof", None, quick=choice, device="cpu")
    assert asked == [False, True]
    print("fewer")


def must_fail(run, message):
    with pytest.raises(AssertionError, match=message):
        run()


def faults():
    """Each part of the proof meets what it is there to see."""
    import torch

    from bench.gpu import proof_attention as attention
    from bench.gpu import rule as gpu_rule
    from kernels.attention import configurations, launches
    from kernels.attention import torch_function as attention_torch

    call = attention.call((33, 40), 9, 1)
    cpu, wide = gpu_rule.INTERPRETER, torch.float32
    must_fail(lambda: attention.reject(attention.ours, wide, "out", "cpu"), "mask 2: passes")
    counts = iter(range(9))
    must_fail(lambda: gpu_rule.same_bits(lambda: [torch.tensor(next(counts))], 3), "run 1 differs")
    guarded = gpu_rule.Guarded((3, 5), wide, "cpu", margin=8)
    must_fail(guarded.check, "not written")
    guarded.inside.zero_()
    guarded.check()
    guarded.buffer[7] = 0
    must_fail(guarded.check, "outside")

    launch = launches.launch_dkv

    def forgets_delta(arguments, rows, *rest):
        launch(arguments, (*rows[:2], rows[2] * 0), *rest)

    for module, name, faulty, attend, message in (
        (launches, "launch_dkv", forgets_delta, attention.ours, "dk"),
        (attention_torch, "sign_of", lambda scale: 1.0, negative, "out|lse"),
    ):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, name, faulty)
            must_fail(lambda a=attend: attention.check_attention(a, call, wide, "cpu"), message)
    attention.check_attention(attention.ours, call, wide, "cpu")

    blocks = configurations.CONFIGURATIONS["forward", 4]
    kept, blocks[64] = blocks[64], (64, 64, 1, 4)
    attention.check_attention(attention.ours, call, wide, "cpu")
    blocks[64] = kept
    assert cpu.small
    rejections()
    unequal_runs()
    wrong_numbers()
    tuned()
    print("all seen")


def rejections():
    """A right formula, another fault than the named one, and a formula that is wrong itself."""
    import torch

    from bench.gpu import proof as gpu_proof
    from bench.gpu import proof_attention as attention
    from bench.gpu.rule import GPU, INTERPRETER

    half, right = torch.float16, attention.plain_of_clean
    for dtype in GPU.dtypes:
        must_fail(lambda d=dtype: attention.reject(right, d, "out", "cpu"), "mask 2: passes")
    must_fail(lambda: attention.reject(attention.zeros, half, "dk", "cpu"), "out: error")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "plain_of_clean", attention.half_lse)
        must_fail(lambda: attention.reject(attention.zeros, half, "out", "cpu"), "^lse: error")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpu_proof, "diffusion_step", lambda x, *_: x * 0)
        must_fail(lambda: gpu_proof.reject_step(INTERPRETER), "^x_s: error")


def unequal_runs():
    """Twins whose second run differs: by anything, or by less than the table allows."""
    from bench.gpu import proof as gpu_proof
    from bench.gpu import proof_attention as attention
    from bench.gpu.rule import INTERPRETER

    calls, step, ours = count(), gpu_proof.diffusion_step, attention.ours

    def attend(*arguments):
        out, lse = ours(*arguments)
        return out, lse + next(calls)

    held = dict(gpu_proof.proofs(INTERPRETER))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpu_proof, "diffusion_step", lambda *x: step(*x) + next(calls))
        must_fail(held["2 runs of the step float32"], "run 1 differs")
        patch.setattr(attention, "ours", attend)
        must_fail(held["2 runs of attention float32 40×16 mask 7"], "run 1 differs")
    with spoilt("normal", lambda x, _: np.nextafter(x, x + next(calls) % 2)):
        must_fail(held["table: normal, 3 examples"], "two runs differ")


def wrong_numbers():
    """The last of one draw is off."""
    from bench.gpu import proof as gpu_proof
    from bench.gpu.rule import INTERPRETER

    held = dict(gpu_proof.proofs(INTERPRETER))
    for kind, wrong, message in (
        ("bits", lambda x: x ^ np.uint32(1), "1 numbers differ"),
        ("uniform", lambda x: np.nextafter(x, np.float32(2)), "1 numbers differ"),
        ("normal", lambda x: x + 9 * np.spacing(x), "ulp"),
    ):
        for first in (0, 2**32 - 4):

            def last(x, at, wrong=wrong, first=first):
                x.flat[-1] = wrong(x.flat[-1]) if at["first"] == first else x.flat[-1]
                return x

            with spoilt(kind, last):
                must_fail(held[f"{kind} of (4, 101)"], message)
    with spoilt("bits", lambda x, _: x ^ np.uint32(1)):
        must_fail(held["table: bits, 3 examples"], "bits is wrong at")


@contextmanager
def spoilt(kind, change):
    """In the place of the Triton twin: its result, changed."""
    twin, path = OPS[kind].load("triton"), OPS[kind].twins["triton"].replace(":", ".")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(path, lambda *x, **at: change(twin(*x, **at), at))
        yield


class Time:
    """In the place of torch.cuda: a device whose time passes only as said."""

    def __init__(self):
        self.now, self.recording = 0.0, None

    def passes(self, milliseconds):
        (self.recording if self.recording is not None else []).append(milliseconds)
        self.now += milliseconds if self.recording is None else 0

    def stand_in(self, cuda):
        device = self

        class Event:
            def __init__(self, enable_timing):
                assert enable_timing

            def record(self):
                self.at = device.now

            def elapsed_time(self, other):
                return other.at - self.at

        class Graph:
            def capture_begin(self):
                device.recording = self.kept = []

            def capture_end(self):
                device.recording = None

            def replay(self):
                device.now += sum(self.kept)

        cuda.Event, cuda.CUDAGraph = Event, Graph
        cuda.synchronize, cuda.is_available = (lambda: None), (lambda: True)


def clock():
    import torch

    from bench.gpu.clock import Clock

    device = Time()
    device.stand_in(torch.cuda)
    watch = Clock("cpu")
    watch.on_gpu = True
    watch.flush = type("Flush", (), {"sum": lambda _: device.passes(100)})()
    calls = []

    def run(who, milliseconds, gap=0.0):
        calls.append(who)
        device.now += gap  # of the host: a graph has none
        device.passes(milliseconds)

    runs = {"a": lambda: run("a", 3, gap=9), "b": lambda: run("b", 5)}
    found = watch.race(runs)
    assert [round(t["median_us"]) for t in found.values()] == [3000, 5000]
    assert all(t["recorded"] and t["rounds"] >= 7 for t in found.values())
    found = watch.race(runs, record=False)
    assert [round(t["median_us"]) for t in found.values()] == [12000, 5000]
    assert calls[-4:] == ["a", "b"] * 2, "not in turn"

    def refuses():
        if device.recording is not None:
            raise InputError("not while recording")
        device.passes(4)

    found = watch.race({"a": runs["a"], "refuses": refuses})
    assert [t["recorded"] for t in found.values()] == [True, False]
    assert round(found["refuses"]["median_us"]) == 4000
    print("kept time")


def negative(q, k, v, mask):
    """Attention by −q, with the scale's sign to make good for it."""
    from kernels import masked_attention

    return masked_attention(-q, k, v, mask, scale=-(q.shape[3] ** -0.5), return_lse=True)


def tuned():
    """A candidate that is wrong and one that can't be compiled are left out."""
    from bench.gpu import tune as gpu_tune
    from bench.gpu.clock import Clock

    good, wrong = (16, 32, 1, 4), (32, 16, 1, 4)
    target = gpu_tune.Target("dkv", 4, 16)
    gpu_tune.candidates = lambda target: iter((good, wrong, (0, 16, 1, 4)))
    run = gpu_tune.Problem.run
    gpu_tune.Problem.run = lambda self, blocks: [
        x + 9 if blocks == wrong else x for x in run(self, blocks)
    ]
    row = gpu_tune.fastest(target, Clock("cpu"), "cpu", S=48, heads=1)
    assert row["blocks"] == good
    assert set(row["times"]) == {"present", str(good)}
    assert f'("dkv", 4): {{16: {good}}}' in gpu_tune.entry({target: good})


def times():
    out = Path(os.environ.get("TMPDIR", "/tmp")) / f"times-{os.getpid()}.jsonl"
    found = {"ceilings": {}, "proof": [], "rows": [], "skipped": []}
    try:
        for job in ("ceilings", "attention", "warm:1/4", "smoke", "step"):
            gpu.work(job, out, quick=True, device="cpu")
        gpu.gather(found, map(json.loads, out.read_text().splitlines()))
    finally:
        out.unlink(missing_ok=True)
    print(json.dumps(found))


if __name__ == "__main__":
    jobs = (proofs, quick, faults, times, clock)
    {job.__name__: job for job in jobs}[sys.argv[1]]()
