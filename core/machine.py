"""What figures were measured on: machine, threads, memory, and the checkout's commit."""

from __future__ import annotations

import math
import os
import platform
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

Entry = dict[str, Any]
ROOT = Path(__file__).resolve().parent.parent
_ENVIRONMENT = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_CORETYPE")


def machine() -> Entry:
    """What the figures were measured on."""
    software = environment()
    return present(
        {
            "cpu": _cpu(),
            "cores": _cores(),
            "python": software["versions"]["python"],
            "numpy": software["versions"]["numpy"],
            "blas": software["blas"],
            "threads": software["threads"],
            "platform": software["platform"],
            "env": {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
        }
    )


def present(figures: Mapping[str, Any]) -> Entry:
    """Without the figures that are absent: None, NaN and infinity, which JSON has no place for."""
    out = {}
    for key, figure in figures.items():
        if isinstance(figure, Mapping):
            out[key] = present(figure)
        elif figure is not None and not (isinstance(figure, float) and not math.isfinite(figure)):
            out[key] = figure
    return out


def environment() -> dict[str, Any]:
    """What the bits of a run depend on beside its configuration: versions, threads, BLAS."""
    import numpy

    blas, threads = _blas()
    return {
        "versions": {"python": platform.python_version(), "numpy": numpy.__version__},
        "platform": platform.platform(),
        "threads": threads,
        "blas": blas,
    }


def _blas() -> tuple[str, int]:
    try:
        threadpoolctl: Any = import_module("threadpoolctl")  # comes with scikit-learn
    except ImportError:
        import numpy

        built: Any = numpy.show_config(mode="dicts")
        library = built["Build Dependencies"]["blas"]
        return f"{library['name']} {library['version']}", os.cpu_count() or 1
    found = [b for b in threadpoolctl.threadpool_info() if b["user_api"] == "blas"]
    found.sort(key=lambda b: "numpy" not in b["filepath"])  # SciPy brings one of its own
    if not found:
        return "unknown", 1
    words = (found[0].get(key) for key in ("internal_api", "version", "architecture"))
    return " ".join(str(word) for word in words if word), int(found[0]["num_threads"])


def _cpu() -> str | None:
    with suppress(OSError):
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        if found := re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE):
            return found[1].strip()
    return platform.processor() or platform.machine() or None


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def peak_memory() -> Iterator[Entry]:
    """Fills in "peak_mb", the most memory this process had meanwhile, where Linux tells."""
    memory: Entry = {}
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    yield memory
    with suppress(OSError):
        status = Path("/proc/self/status").read_text()
        if found := re.search(r"VmHWM:\s+(\d+) kB", status):
            memory["peak_mb"] = round(int(found[1]) / 1024, 1)


def keep_freed_memory() -> None:
    """Let arrays below 32 MB reuse what others gave back, where glibc allocates.

    It hands memory over its threshold to the system and back each time, 256 page faults a MB; the
    threshold rises to the largest block that was freed, and this frees one that nobody wrote to. A
    step of a transformer takes 0.85 of the time.
    """
    import numpy

    numpy.empty((32 << 20) - 8192, numpy.uint8)


def commit() -> Entry:
    """The checkout's commit, with a plus sign if it has changes; nothing without git."""
    try:
        head = _git(ROOT, "rev-parse", "HEAD")
        return {"commit": head + ("+" if _git(ROOT, "status", "--porcelain", "-uno") else "")}
    except (OSError, subprocess.SubprocessError):
        return {}


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()
