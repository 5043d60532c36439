"""Prove and time the Triton twins on an NVIDIA GPU; `make gpu`. Needs torch, triton, numpy, scipy.

1. Every operation with a Triton twin against its definition, by the table's own check.
2. Fifty runs of each on the same arguments: equal bits, or there is a race.
3. Times beside PyTorch: attention against its fused kernel, the diffusion step against a copy.

Writes bench/results/<gpu>-<date>.json. Where a check fails there is no number.
"""

from __future__ import annotations

import datetime
import json
import os
import statistics
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from kernels import OPS, Op, check
from reference.zoo import machine

EXAMPLES, REPEATS = 50, 50
Row = dict[str, Any]


def main() -> int:
    """Entry point; returns the exit status."""
    import torch

    if not torch.cuda.is_available():
        print("make gpu needs an NVIDIA GPU; torch sees none", file=sys.stderr)
        return 1
    name = torch.cuda.get_device_name()
    rows = [*prove(), *time_attention(torch), *time_step(torch)]
    out = Path(__file__).parent / "results"
    out.mkdir(exist_ok=True)
    path = out / f"{name.replace(' ', '-')}-{datetime.date.today()}.json"
    made_on = {**machine(), "gpu": name, "torch": torch.__version__}
    path.write_text(json.dumps({"machine": made_on, "rows": rows}, indent=1) + "\n")
    print(f"written to {path}")
    return int(any("failed" in row for row in rows))


def prove(examples: int = EXAMPLES, repeats: int = REPEATS) -> list[Row]:
    """Check every Triton twin on drawn arguments, then for equal bits over many runs."""
    rows = []
    for op in (op for op in OPS.values() if "triton" in op.twins):
        row: Row = {"operation": op.name, "examples": examples}
        try:
            for seed in range(examples):
                arguments, dtype = draw(op, seed)
                check(op, op.load("triton"), arguments, dtype)
            _same_bits(op, repeats)
        except AssertionError as error:
            row["failed"] = str(error)
        print(f"{op.name:20s} {row.get('failed', 'right, and the same bits every time')}")
        rows.append(row)
    return rows


def draw(op: Op, seed: int) -> tuple[dict[str, Any], str]:
    """Arguments of one call and their dtype."""
    rng = np.random.default_rng(seed)
    dims = {k: int(rng.integers(a, b + 1)) for k, (a, b) in op.dims.items()}
    usable = [d for d in op.dtypes if d != "float64"]  # the kernels' arithmetic is float32
    dtype = usable[int(rng.integers(len(usable)))]
    return op.make(rng, dims, dtype), dtype


def _same_bits(op: Op, repeats: int) -> None:
    arguments, _ = draw(op, 1)
    first = op.load("triton")(**arguments)
    for _ in range(repeats - 1):
        again = op.load("triton")(**arguments)
        assert np.array_equal(first, again, equal_nan=True), f"{op.name}: two runs differ"


def time_attention(torch: Any) -> list[Row]:
    """Causal and full attention in bfloat16, forward, beside PyTorch's own fused kernel."""
    from kernels import masked_attention
    from reference.masks import causal, full

    peer = torch.nn.functional.scaled_dot_product_attention
    rows = []
    for S, D in ((1024, 64), (4096, 64), (4096, 128), (16384, 128)):
        q, k, v = (torch.randn(1, 16, S, D, device="cuda", dtype=torch.bfloat16) for _ in "qkv")
        for label, mask in (("causal", causal()), ("full", full())):
            ours = _milliseconds(torch, partial(masked_attention, q, k, v, mask))
            theirs = _milliseconds(torch, partial(peer, q, k, v, is_causal=label == "causal"))
            flops = 4 * 16 * S * S * D * (0.5 if label == "causal" else 1)
            rows.append(_row(f"attention {label} {S}×{D} bf16", ours, theirs, flops / ours / 1e9))
    return rows


def time_step(torch: Any) -> list[Row]:
    """The fused step in place, beside a copy of the same array."""
    from kernels.diffusion_triton import diffusion_step_, pack
    from reference.ops import ddpm_coefficients

    x, eps = (torch.randn(64, 3 * 256 * 256, device="cuda") for _ in range(2))
    c = pack(ddpm_coefficients(0.5, 0.6))
    at = torch.tensor([0, 7], device="cuda")
    ours = _milliseconds(torch, lambda: diffusion_step_(x, eps, None, c, at, 0))
    copy = _milliseconds(torch, lambda: eps.clone())
    gigabytes = 3 * x.numel() * 4 / 1e9
    return [_row("diffusion step 64×3×256×256 float32", ours, copy, gigabytes / ours * 1e3)]


def _row(work: str, ours: float, peer: float, rate: float) -> Row:
    print(f"{work:40s} {ours:8.3f} ms  peer {peer:8.3f} ms  {rate:8.1f} TFLOP/s or GB/s")
    return {"work": work, "ms": ours, "peer_ms": peer, "speed_against_peer": peer / ours}


def _milliseconds(torch: Any, run: Callable[[], Any], rounds: int = 30) -> float:
    """Median of single runs between events, the L2 cache flushed before each."""
    flush = torch.empty(64 * 2**20, dtype=torch.int32, device="cuda")
    times = []
    for i in range(rounds + 5):
        flush.zero_()
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        stop.record()
        torch.cuda.synchronize()
        if i >= 5:  # the first runs compile
            times.append(start.elapsed_time(stop))
    return float(statistics.median(times))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
