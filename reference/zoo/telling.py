"""`genzoo translate`: what a trained model says of something that the user gives."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reference.zoo.commands import RunFolder

if TYPE_CHECKING:
    from reference.zoo.runs import Opened

MAKING = {"translator": ("numbers", "a minute")}
"""Model → the data that it is best tried with, and how long training takes on one core."""


def translate(
    run: RunFolder,
    texts: Annotated[list[str], typer.Argument(metavar="TEXT...", help='Such as "417".')],
) -> None:
    """Put each TEXT in the other language of the data that RUN was trained on."""
    from core.data.tokenisers import Characters
    from core.samples import Padded

    opened = opened_as(run, "translator")
    known = Characters(opened.config["show"]["given"]["y"]["vocabulary"])
    _tell(opened, Padded.of([_in_characters(known, text) for text in texts]))


def opened_as(run: Path, model: str) -> Opened:
    """A run of this model. InputError for another's; where none is, it says how to make it."""
    from core.errors import InputError
    from reference.zoo import runs

    if not run.exists():
        data, about = MAKING[model]
        command = f"genzoo train {model} --data {data} --out {run}"
        raise InputError(f"{run} is no run yet: `{command}` makes it, in about {about}")
    opened = runs.open_run(run)
    if opened.row.name != model:
        raise InputError(f"RUN must be a run of {model}, and {run} is one of {opened.row.name}")
    return opened


def _in_characters(known: Any, text: str) -> Any:
    from core.errors import GenzooError, InputError

    if not text:
        raise InputError("TEXT must not be empty")
    try:
        return known.encode(text)
    except GenzooError as error:
        written = "".join(known.vocabulary)
        raise InputError(f"TEXT must be written in {written!r}: {error}") from error


def _tell(opened: Opened, y: Any) -> None:
    """Print the greedy answers, one a line."""
    from reference.zoo.showing import show

    print(show(opened.model.greedy(y), opened.config["show"]))
