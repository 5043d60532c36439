"""Results for the terminal, 120 columns wide."""

from __future__ import annotations

from itertools import groupby
from typing import Any

Figure = dict[str, Any]
_WIDTHS = (46, 25, 11, 8, 8)
_HEAD = ("", "genzoo [p20–p80]", "definition", "ceiling", "compile")


def machine(content: Figure) -> str:
    """What it was made on: processor, threads of every library, BLAS, versions."""
    made_on = content["machine"]
    threads = ", ".join(f"{name} {n}" for name, n in made_on["libraries"].items())
    packages = ", ".join(f"{name} {version}" for name, version in made_on["packages"].items())
    env = " ".join(f"{name}={value}" for name, value in made_on["env"].items())
    return (
        f"{made_on.get('cpu', 'unknown processor')}, {made_on['cores']} cores; {made_on['blas']}\n"
        f"threads: {threads}\n{env}\nnumpy {made_on['numpy']}, {packages}"
    )


def table(content: Figure) -> str:
    """A line for each figure, under its operation; peers below each other; then the binaries."""
    lines = [
        _ceilings(content["ceilings"]),
        "× = times faster than; ceiling = share of what the machine can do (copy or matmul)",
        "".join(f"{head:{width}s}" for head, width in zip(_HEAD, _WIDTHS, strict=True)) + "peers",
    ]
    for operation, figures in groupby(content["figures"], key=lambda figure: figure["operation"]):
        lines.append(operation)
        for figure in figures:
            lines += _lines(figure)
    return "\n".join([*lines, "", _binaries(content)])


def time(us: float, unit: str = "") -> str:
    """Three digits and a unit: the one that fits, or the one given."""
    unit = unit or ("µs" if us < 1e3 else "ms" if us < 1e6 else "s")
    return f"{_digits(us / {'µs': 1, 'ms': 1e3, 's': 1e6}[unit])} {unit}"


def times_faster(ratio: float) -> str:
    """As 2.05×, 20.5× or 205×."""
    return f"{_digits(ratio)}×"


def _digits(x: float) -> str:
    return f"{x:.{0 if x >= 100 else 1 if x >= 10 else 2}f}"


def _ceilings(ceilings: Figure) -> str:
    rates = [
        f"matmul {d} {r:.0f} GFLOP/s" for d, r in ceilings.get("matmul_gflop_per_s", {}).items()
    ]
    if "copy_gb_per_s" in ceilings:
        rates.insert(0, f"copy {ceilings['copy_gb_per_s']:.1f} GB/s")
    return "measured ceilings: " + (", ".join(rates) or "not measured in this run")


def _lines(figure: Figure) -> list[str]:
    against = dict(figure["speed_against"])
    definition = against.pop("definition", None)
    share, seconds = figure.get("share_of_ceiling"), figure.get("compile_s")
    cells = (
        f"  {figure['label']}",
        spread(figure["times"]["genzoo"]),
        "" if definition is None else times_faster(definition),
        "" if share is None else f"{share:.0%}",
        "" if seconds is None else f"{seconds:.1f} s",
    )
    long = len(cells[0]) >= _WIDTHS[0]  # then the label has a line of its own
    left = "".join(
        f"{'' if long and i == 0 else cell:{width}s}"
        for i, (cell, width) in enumerate(zip(cells, _WIDTHS, strict=True))
    )
    peers = [_peer(figure, who, ratio) for who, ratio in against.items()] or [""]
    lines = [f"{start}{peer}".rstrip() for start, peer in _beside(left, peers)]
    return [cells[0]] * long + lines + _inexact(figure)


def _beside(left: str, peers: list[str]) -> list[tuple[str, str]]:
    return [(left if i == 0 else " " * sum(_WIDTHS), peer) for i, peer in enumerate(peers)]


def _inexact(figure: Figure) -> list[str]:
    off = {who: n for who, n in figure.get("off_on_round_numbers", {}).items() if n}
    if not off:
        return []
    said = ", ".join(f"{who} {n}" for who, n in off.items())
    return [f"    counts off where x has two decimals: {said}; the others none"]


def _peer(figure: Figure, who: str, ratio: float) -> str:
    off = figure["times"][who].get("counts_off")
    return f"{who} {times_faster(ratio)}" + (f", {off} off" if off else "")


def spread(t: Figure) -> str:
    """Median [p20–p80], in the unit that fits the median."""
    unit = time(t["median_us"]).split()[1]
    low, high = (time(t[key], unit).split()[0] for key in ("p20_us", "p80_us"))
    return f"{time(t['median_us'])} [{low}–{high}]"


def _binaries(content: Figure) -> str:
    from bench.binaries import possible
    from bench.binaries import table as listed

    if "binaries" in content:
        return "Triton kernels, compiled ahead of time:\n" + listed(content["binaries"])
    why = "not asked for" if possible() else "triton is not installed"
    return f"Triton kernels: skipped, {why}"
