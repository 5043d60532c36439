"""Text from the command line: a prompt to go on with, and tokens that are shown as they come."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from itertools import chain
from typing import Any, TextIO

from core.data.tokenisers import UNKNOWN
from core.errors import GenzooError, InputError
from reference.zoo.runs import Opened
from reference.zoo.sources import tokens_of

LONGEST = 1000
"""Tokens that are printed of a stream, which has no end, unless `length` says how many."""


def in_tokens(opened: Opened, how: Mapping[str, Any]) -> dict[str, Any]:
    """`how` to sample with its texts, `prompt` and `stop`, as the run's tokens.

    Raises InputError for a model that goes on with no prompt, for a character that is no token of
    the run's, and for a stop that is not one token.
    """
    texts = {name: how[name] for name in ("prompt", "stop") if isinstance(how.get(name), str)}
    if texts and not hasattr(opened.model, "stream"):
        name = next(iter(texts))
        raise InputError(f"{name} must be left out: {opened.row.name} doesn't go on with a text")
    ids = {name: _ids(opened, name, text) for name, text in texts.items()}
    if "stop" in ids and len(ids["stop"]) != 1:
        raise InputError(
            f"stop must be one token, got {texts['stop']!r}, {len(ids['stop'])} tokens"
        )
    return {**how, **ids, **({"stop": int(ids["stop"][0])} if "stop" in ids else {})}


def _ids(opened: Opened, name: str, text: str) -> Any:
    try:
        return tokens_of(opened.config).encode(text)
    except GenzooError as error:
        raise InputError(f"{name} must be made of the run's tokens: {error}") from error


def stream(opened: Opened, seed: int, how: Mapping[str, Any], out: TextIO | None = None) -> None:
    """One text on `out` (standard output), the prompt first, each token as soon as it is drawn."""
    out = sys.stdout if out is None else out
    if not hasattr(opened.model, "stream"):
        raise InputError(f"--stream must be left out: {opened.row.name} draws no tokens in turn")
    ids, made = list(how.get("prompt", ())), tokens_of(opened.config)
    longest = {"length": len(ids) + LONGEST} if opened.model.end is None else {}
    try:
        drawn = opened.model.stream(1, seed=seed, **{**longest, **how})
    except TypeError as error:
        raise InputError(f"{opened.row.name} can't sample: {error}") from error
    end, shown = how.get("stop", opened.model.end), ""
    for token in chain([None], drawn):
        ids += [] if token is None else [int(token[0])]
        if token is not None and token[0] == end:
            break
        whole = made.decode(ids).rstrip(UNKNOWN)  # bytes that wait for the rest of a character
        print(whole[len(shown) :], end="", file=out, flush=True)
        shown = whole
    print(file=out)
