"""Prove and time the Triton twins on an NVIDIA GPU: `make gpu`. Needs torch, triton and numpy.

python -m bench.gpu [--prove | --time | --smoke | --tune] [--quick] [--minutes 9] [--plan]

1. Every proof of `bench.gpu.proof`, in several processes at once; meanwhile what is to be timed is
   compiled. 2. The ceilings of the machine, then times beside PyTorch, one process at a time.
--prove ends with compute-sanitizer over every kernel, where it is installed. --smoke, for a first
look: some proofs, and one causal cell beside FlexAttention, in three minutes.

Each group has a process and a time limit of its own: one that crashes or hangs takes nothing with
it, and none outlives this one. bench/results/<gpu>-<date>.json, or one in --results DIR, is written
anew after each, so a run that is cut leaves what it had. Where a check fails there is no number.
--quick runs every fourth proof of each group and times fewer cases; the results say so. --plan
prints what would run, and for how long at most.
"""

from __future__ import annotations

import argparse
import ctypes
import datetime
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

Row = dict[str, Any]
ROOT = Path(__file__).resolve().parents[2]
KINDS = ("ceilings", "proof", "rows", "skipped")
LEAST = 10.0
"""Seconds that are worth starting a process for."""


class Group(NamedTuple):
    """One stage: the jobs that run at once, and seconds at most."""

    name: str
    jobs: tuple[str, ...]
    seconds: float


def groups(options: argparse.Namespace) -> list[Group]:
    """In the order they run."""
    n = max(min((os.cpu_count() or 2) // 2, 8), 1)
    prove = tuple(f"proof:{i}/{n}" for i in range(n))
    warm = tuple(f"warm:{i}/4" for i in range(4))
    timed = [Group("ceilings", ("ceilings",), 20), Group("attention", ("attention",), 360),
             Group("step", ("step",), 40)]  # fmt: skip
    if options.tune:
        jobs = tuple(f"compile:{i}/{n}" for i in range(n))
        return [Group("compile", jobs, 180), Group("tune", ("tune",), 360)]
    if options.smoke:
        return [Group("proof", prove, 80), Group("smoke", ("smoke",), 100)]
    if options.prove:
        return [Group("proof", prove, 150), Group("sanitizer", ("sanitizer",), 150)]
    return [Group("compile", warm, 120) if options.time else Group("proof", prove + warm, 120),
            *timed]  # fmt: skip


def plan(options: argparse.Namespace) -> str:
    """What would run, and seconds at most."""
    chosen = groups(options)
    lines = [f"{g.name:10s} {g.seconds:4.0f} s  {len(g.jobs)} at once" for g in chosen]
    return "\n".join([*lines, f"{'in all':10s} {sum(g.seconds for g in chosen):4.0f} s"])


def main(arguments: list[str] | None = None) -> int:
    """Entry point; 0 only if everything that ran is right."""
    options = options_from(arguments)
    if options.job:
        end_with(os.getppid())
        return work(options.job, options.out, quick=options.quick)
    if options.plan:
        print(plan(options))
        return 0
    import torch

    if not torch.cuda.is_available():
        print("make gpu needs an NVIDIA GPU; torch sees none", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that nothing is left running
    return conduct(options)


def options_from(arguments: list[str] | None) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__.split("\n")[0])
    parser.add_argument("--prove", action="store_true", help="only prove")
    parser.add_argument("--time", action="store_true", help="only time")
    parser.add_argument("--tune", action="store_true", help="look for better block sizes")
    parser.add_argument("--smoke", action="store_true", help="a first look, in three minutes")
    parser.add_argument("--plan", action="store_true", help="say what would run, and for how long")
    parser.add_argument("--quick", action="store_true", help="every fourth proof, fewer times")
    parser.add_argument("--minutes", type=float, default=9.0, help="at most (default 9)")
    parser.add_argument("--results", type=Path, default=ROOT / "bench/results")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


# The process that starts the others


def conduct(options: argparse.Namespace) -> int:
    """Run the groups one after another and write the results after each; the exit status."""
    begun, quick = time.monotonic(), options.quick or options.smoke
    print(plan(options), flush=True)
    found: Row = {**described(), "quick": quick}
    found |= {"ceilings": {}, "proof": [], "rows": [], "skipped": []}
    path = results_path(options.results, found["machine"]["gpu"])
    with tempfile.TemporaryDirectory() as folder:
        for group in groups(options):
            left = 60 * options.minutes - (time.monotonic() - begun)
            gather(found, run_group(group, Path(folder), min(group.seconds, left), quick))
            write(path, found)
    print(summary(found), f"\nwritten to {path}")
    return int(not is_right(found))


def run_group(group: Group, folder: Path, seconds: float, quick: bool) -> Iterator[Row]:
    """What the group's processes found; what they didn't get to is a skipped entry."""
    if seconds < LEAST:
        yield {"skipped": {"work": group.name, "why": "no time left"}}
        return
    begun = time.monotonic()
    outs = {job: folder / job.replace("/", "-").replace(":", "-") for job in group.jobs}
    running = {job: start_job(job, out, quick) for job, out in outs.items()}
    for job, process in running.items():
        try:
            status = process.wait(max(begun + seconds - time.monotonic(), 0.1))
            why = f"ended with status {status}" if status else ""
        except subprocess.TimeoutExpired:
            why = f"cut after {seconds:.0f} s"
        finally:
            _end(process)
        lines = outs[job].read_text().splitlines() if outs[job].exists() else []
        yield from (json.loads(line) for line in lines if line.endswith("}"))
        if why:
            yield {"skipped": {"work": job, "why": why, "failed": not why.startswith("cut")}}


def start_job(job: str, out: Path, quick: bool) -> subprocess.Popen[bytes]:
    """A process of its own for the job, which writes what it finds to `out`."""
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "PYTHONUNBUFFERED": "1"}
    if ":" in job:  # one of many: the others need cores as well
        environment["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
    command = [sys.executable, "-m", "bench.gpu", "--job", job, "--out", str(out)]
    command += ["--quick"] * quick
    return subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True)


def _end(process: subprocess.Popen[bytes]) -> None:
    """The process and all it started: compilers, or a program under the sanitizer."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def gather(found: Row, lines: Iterator[Row]) -> None:
    """Sort what came into the results, in place."""
    for line in lines:
        for kind, entry in line.items():
            if kind == "ceilings":
                found[kind] |= entry
            else:
                found[kind].append(entry)


def described() -> Row:
    """The version, the commit, and the machine."""
    from core.machine import commit, machine

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {"version": project["version"], **commit(), "machine": {**machine(), **gpu()}}


def gpu() -> Row:
    """The GPU, its driver and clocks in MHz, and the libraries that drive it."""
    import torch
    import triton

    asked = ("driver_version", "clocks.sm", "clocks.max.sm", "clocks.mem", "power.limit")
    command = ["nvidia-smi", f"--query-gpu={','.join(asked)}", "--format=csv,noheader,nounits"]
    try:
        out = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout
        told = dict(zip(asked, (x.strip() for x in out.split("\n")[0].split(",")), strict=True))
    except (OSError, subprocess.SubprocessError, ValueError):
        told = {}
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return {"gpu": name, "torch": torch.__version__, "triton": triton.__version__, **told}


def results_path(folder: Path, name: str) -> Path:
    """bench/results/<gpu>-<date>.json."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name.replace(' ', '-')}-{datetime.date.today()}.json"


def write(path: Path, found: Row) -> None:
    """In one go: a reader never sees half a file."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    part.replace(path)


def is_right(found: Row) -> bool:
    """Whether no proof failed and no process or contestant of ours broke."""
    return not any(entry.get("failed") for kind in KINDS[1:] for entry in found[kind])


def summary(found: Row) -> str:
    """The rows with our rate and every goal, what failed, and what was left out."""
    lines = [_line(row) for row in found["rows"]]
    proofs = found["proof"]
    broken = [p for p in proofs if p.get("failed")]
    lines += [f"{len(proofs) - len(broken)} of {len(proofs)} proofs hold"]
    lines += [f"FAILED {p['work']}: {p['failed']}" for p in broken]
    lines += [f"skipped {s['work']}: {s.get('who', '')} {s['why']}" for s in found["skipped"]]
    return "\n".join(lines)


def _line(row: Row) -> str:
    ours = row.get("times", {}).get("genzoo", {}).get("median_us")
    parts = [f"{row['work']:58s}", f"{ours:10.1f} µs" if ours else ""]
    rate = row.get("tflop_per_s", row.get("gb_per_s", {})).get("genzoo")
    parts += [f"{rate:7.0f} {'TFLOP/s' if 'tflop_per_s' in row else 'GB/s'}"] if rate else []
    parts += [f"{who} {ratio:.2f}×" for who, ratio in row.get("speed_against", {}).items()]
    for goal in row.get("goals", []):
        word = "reached" if goal["reached"] else "missed"
        parts.append(f"[{goal['found']:.3g} of {goal['wanted']:g} {goal['unit']}: {word}]")
    return "  ".join(parts)


# One of the processes


def end_with(parent: int) -> None:
    """Let the kernel end this process when its parent ends, however that happens (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:  # it has ended meanwhile
            os.kill(os.getpid(), signal.SIGKILL)


class Report:
    """Writes each finding to a file as it comes, and prints it."""

    def __init__(self, path: Path | None) -> None:
        """path: of JSON lines."""
        self.path = path

    def add(self, kind: str, entry: Row) -> None:
        """kind: one of KINDS."""
        if self.path:
            with self.path.open("a") as file:
                file.write(json.dumps({kind: entry}, ensure_ascii=False) + "\n")
        if kind == "rows":
            print(_line(entry))
        elif entry.get("failed") or kind == "skipped":
            print(kind, *entry.values())

    def skip(self, work: str, who: str, why: BaseException | str) -> None:
        """A contestant that takes no part; ours is a failure."""
        text = why if isinstance(why, str) else f"{type(why).__name__}: {why}"
        failed = {"failed": True} if who == "genzoo" else {}
        self.add("skipped", {"work": work, "who": who, "why": text[:300], **failed})


def work(job: str, out: Path | None, *, quick: bool, device: str = "cuda") -> int:
    """Do one job, "name" or "name:part/parts"; the exit status."""
    name, _, share = job.partition(":")
    part, parts = (int(n) for n in share.split("/")) if share else (0, 1)
    report, small = Report(out), device == "cpu"
    if name == "proof":
        _prove(report, part, parts, quick, small)
    elif name == "sanitizer":
        from bench.gpu.sanitizer import sanitize

        sanitize(report)
    elif name in ("tune", "compile"):
        from bench.gpu.tune import compile_candidates, tune

        compile_candidates(part, parts) if name == "compile" else tune(report)
    else:
        _time(name, report, (part, parts), quick, device)
    return 0


def _prove(report: Report, part: int, parts: int, quick: bool, small: bool) -> None:
    from bench.gpu.proof import proofs
    from bench.gpu.rule import GPU, INTERPRETER

    for work, run in proofs(INTERPRETER if small else GPU, quick=quick)[part::parts]:
        begun = time.monotonic()
        entry: Row = {"work": work}
        try:
            run()
        except Exception as error:  # a kernel may raise anything; it is a failed proof
            entry["failed"] = f"{type(error).__name__}: {error}"[:300]
        report.add("proof", {**entry, "seconds": round(time.monotonic() - begun, 2)})


def _time(name: str, report: Report, share: tuple[int, int], quick: bool, device: str) -> None:
    import torch

    from bench.gpu import attention as gpu_attention
    from bench.gpu import clock as gpu_clock
    from bench.gpu import step as gpu_step

    small = device == "cpu"
    torch.manual_seed(0)
    clock = gpu_clock.Clock(device)
    if name in ("attention", "warm", "smoke"):
        cells = gpu_attention.cells(quick)[share[0] :: share[1]]
        cells = [gpu_attention.SMOKE] if name == "smoke" else cells
        cells = [c._replace(S=64, D=16) for c in cells[:2]] if small else cells
        if name == "warm":
            _warm_up(cells, device)
        else:
            _time_attention(report, clock, cells, device, decoding=name == "attention")
        return
    limits = gpu_clock.ceilings(clock, small)
    if name == "ceilings":
        report.add("ceilings", limits)
        return
    for row in gpu_step.large(clock, device, limits["copy_gb_per_s"], report.skip, small):
        report.add("rows", row)
    for row in gpu_step.loops(clock, device, small):
        report.add("rows", row)


def _time_attention(
    report: Report, clock: Any, cells: list[Any], device: str, decoding: bool
) -> None:
    from bench.gpu import attention as gpu_attention
    from bench.gpu import clock as gpu_clock

    small, made = device == "cpu", []

    def run(cell: Any, bench: Any) -> None:
        for row in gpu_attention.rows(cell, bench, clock, report.skip):
            made.append(row)
            report.add("rows", row)

    _each(cells, device, report.skip, run)
    for row in gpu_attention.against_dense(made):
        report.add("rows", row)
    if not decoding:
        return
    copy = gpu_clock.ceilings(clock, small)["copy_gb_per_s"]
    for row in gpu_attention.decode(clock, device, copy, small):
        report.add("rows", row)


def _warm_up(cells: list[Any], device: str) -> None:
    """Compile what will be timed, silently: the timing tells what can't take part."""

    def run(cell: Any, bench: Any) -> None:
        able = bench.right()
        for who, f in able.items():
            bench.forward(who, f)()
        for who, both in bench.with_the_mask(backward=True).items():
            if who in able:
                both()

    _each(cells, device, lambda *_: None, run)


def _each(cells: list[Any], device: str, skip: Any, run: Callable[[Any, Any], None]) -> None:
    """Cell by cell; one that breaks leaves the others."""
    import torch

    from bench.gpu.attention import Bench

    for cell in cells:
        torch._dynamo.reset()
        try:
            run(cell, Bench(cell, device, skip, small=device == "cpu"))
        except Exception as error:  # the other cells are still worth timing
            skip(cell.name("forward and backward"), "genzoo", error)
        torch.cuda.empty_cache()


if __name__ == "__main__":
    sys.exit(main())
