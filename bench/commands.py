"""The commands that this room gives to the command line, by the entry point `genzoo.commands`.

Only typer is imported here, for `genzoo --help` reads this file.
"""

from __future__ import annotations

from typing import Annotated

import typer

Function = Annotated[str, typer.Argument(help="Yours, as package.module:function.")]
Operation = Annotated[str, typer.Option("--op", help="A name from `genzoo ops`.")]
Torch = Annotated[bool, typer.Option("--torch", help="It takes torch tensors and returns them.")]
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
    dtype: Annotated[
        list[str] | None, typer.Option(help="Of the operation's; can be repeated. [all]")
    ] = None,
) -> None:
    """Check a function of yours against an operation, and say the smallest call it gets wrong."""
    from kernels.foreign import adapted, find, find_operation
    from kernels.search import report, smallest

    row = find_operation(op)
    twin = adapted(find(function), row, torch=torch)
    narrow = {"dtypes": dtype or (), "without": without or ()}
    fault = smallest(twin, row, examples=examples, seed=seed, **narrow)
    if fault:
        print(report(function, fault))
        raise typer.Exit(1)
    print(f"{function} is right on {examples} calls of {op}")
