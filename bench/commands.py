"""The commands that this room gives to the command line, by the entry point `genzoo.commands`.

Only typer is imported here, for `genzoo --help` reads this file.
"""

from __future__ import annotations

from typing import Annotated

import typer

Function = Annotated[str, typer.Argument(help="Yours, as package.module:function.")]
Operation = Annotated[str, typer.Option("--op", help="A name from `genzoo ops`.")]
Torch = Annotated[bool, typer.Option("--torch", help="It takes torch tensors and returns them.")]
Dim = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=N", help="What one of its sizes shall be; can be repeated."),
]
Without = Annotated[
    list[str] | None,
    typer.Option(help="What no call shall have, as weights or mask; can be repeated."),
]


def check(
    function: Function,
    op: Operation,
    examples: Annotated[int, typer.Option(min=1, help="How many calls are drawn.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Names the calls.")] = 0,
    torch: Torch = False,
    without: Without = None,
    dim: Dim = None,
    dtype: Annotated[
        list[str] | None, typer.Option(help="Of the operation's; can be repeated. [all]")
    ] = None,
) -> None:
    """Check a function of yours against an operation, and say the smallest call it gets wrong."""
    from kernels.foreign import adapted, find, find_operation
    from kernels.search import report, smallest

    row = find_operation(op)
    twin = adapted(find(function), row, torch=torch)
    narrow = {"dims": dims(dim), "dtypes": dtype or (), "without": without or ()}
    fault = smallest(twin, row, examples=examples, seed=seed, **narrow)
    if fault:
        print(report(function, fault))
        raise typer.Exit(1)
    print(f"{function} is right on {examples} calls of {op}")


def bench(
    function: Function,
    op: Operation,
    case: Annotated[
        str, typer.Option(help="Only benchmarks whose name in docs/operations.md has this in it.")
    ] = "",
    torch: Torch = False,
    without: Without = None,
    dim: Dim = None,
) -> None:
    """Time a function of yours beside ours and other libraries'; a wrong one gets no number.

    First it is checked on drawn calls, as `genzoo check` does; --without narrows those.
    """
    from bench.threads import pin_threads, threads

    pin_threads(threads())  # Numba's, too, before it is imported
    from bench.yours import beside
    from core.errors import InputError
    from kernels.foreign import adapted, find, find_operation
    from kernels.search import report, smallest

    row = find_operation(op)
    twin = adapted(find(function), row, torch=torch)
    labels = [label for label in row.bench if case in label]
    if not labels:
        raise InputError(f"--case must be in one of {'; '.join(row.bench)}, got {case!r}")
    if fault := smallest(twin, row, without=without or ()):
        print(report(function, fault), "\n\nnothing is timed", sep="")
        raise typer.Exit(1)
    for label in labels:
        try:
            print(beside(twin, row, label, dims(dim)), flush=True)
        except AssertionError as wrong:
            print(f"{wrong}\n\nnothing is timed")
            raise typer.Exit(1) from None


def dims(pairs: list[str] | None) -> dict[str, int]:
    """["n=3"] → {"n": 3}. Raises InputError."""
    from core.errors import InputError

    found = {}
    for pair in pairs or []:
        name, _, number = pair.partition("=")
        if not number.isdecimal():
            raise InputError(f"--dim must be NAME=N, got {pair!r}")
        found[name] = int(number)
    return found
