"""Every kernel once under compute-sanitizer: no access out of bounds, no race in shared memory.

python -m bench.gpu.sanitizer is what it watches: small calls of each kernel, with each buffer an
allocation of its own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ("memcheck", "racecheck")
OURS = ("forward", "merge", "ranges", "columns", "list", "dq", "dkv", "step", "draw")
"""Kernels of this project, before "_kernel"; PyTorch's own run beside them."""


def executable() -> str | None:
    """compute-sanitizer, on the path or where CUDA's toolkit puts it."""
    places = [shutil.which("compute-sanitizer")]
    for root in sorted(Path("/usr/local").glob("cuda*"), reverse=True):
        places += [shutil.which("compute-sanitizer", path=str(root / d))
                   for d in ("bin", "compute-sanitizer")]  # fmt: skip
    return next((place for place in places if place), None)


def sanitize(report: Any) -> None:
    """Run the driver below under each tool; a report of an error is a failed proof."""
    tool = executable()
    if tool is None:
        report.skip("compute-sanitizer", "", "not installed")
        return
    environment = {**os.environ, "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    for name in TOOLS:
        command = [tool, f"--tool={name}", "--error-exitcode=86", "--print-limit=5"]
        out = subprocess.run(
            [*command, sys.executable, "-m", "bench.gpu.sanitizer"],
            cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        judge(report, name, out.returncode, out.stdout + out.stderr)


def judge(report: Any, name: str, status: int, text: str) -> None:
    """Right, wrong, or no verdict: the tool could not run, or complains of another's kernel."""
    work = f"compute-sanitizer {name}"
    lines = [line for line in text.splitlines() if line.startswith("=========")]
    ours = any(f"{kernel}_kernel" in line for kernel in OURS for line in lines)
    if status == 0 and "all kernels ran" in text:
        report.add("proof", {"work": work})
    elif status == 86 and ours:
        report.add("proof", {"work": work, "failed": " ".join(lines)[:600]})
    else:
        report.skip(work, "", f"status {status}: {text[-250:]}")


def drive() -> None:
    """Forward, decode, merge, backward; intervals and bits; the step and the draws."""
    import numpy as np
    import torch

    from kernels import masked_attention
    from kernels.diffusion.twin_triton import diffusion_step, diffusion_step_, pack
    from kernels.philox.twin_triton import normal, uniform
    from reference.diffusion.coefficients import ddpm_coefficients
    from reference.operations import masks

    rng = np.random.default_rng(0)
    for Q, K, D in ((113, 203, 64), (70, 70, 128), (1, 1500, 64)):
        for mask in (masks.causal(), masks.boolean(rng.random((Q, K)) < 0.3)):
            q = torch.randn(1, 2, Q, D, device="cuda", dtype=torch.bfloat16, requires_grad=True)
            k, v = (
                torch.randn(1, 1, K, D, device="cuda", dtype=torch.bfloat16, requires_grad=True)
                for _ in "kv"
            )
            out = masked_attention(q, k, v, mask)
            torch.autograd.grad(out.sum(), (q, k, v))
    c, at = pack(ddpm_coefficients(0.3, 0.5)), torch.tensor([3, 7], device="cuda")
    for shape in ((3, 41), (5, 64)):
        x, eps = (torch.randn(shape, device="cuda") for _ in range(2))
        diffusion_step(x, eps, eps, c, at, 0)
        diffusion_step_(x, eps, None, c, at, 0)
        normal(1, shape, device="cuda")
        uniform(1, shape, device="cuda")
    torch.cuda.synchronize()
    print("all kernels ran")


if __name__ == "__main__":
    drive()
