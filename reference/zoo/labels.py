"""The labels of a run's table: what the file calls them, and what the model does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from core.errors import CheckpointError, InputError
from core.random import uniform
from reference.counting.frequencies import draw
from reference.zoo.runs import Opened


def label_codes(opened: Opened, y: Any) -> Any:
    """y as the model has it: names that the file has for classes become their numbers."""
    column = _classes(opened)
    if column is None:
        return y
    codes = {name: k for k, name in enumerate(column[1:])}
    several = [str(one) for one in (y if isinstance(y, list) else [y])]
    if unknown := [one for one in several if one not in codes]:
        raise InputError(f"y must be of {column[0]}, {', '.join(codes)}, got {unknown[0]!r}")
    return [codes[one] for one in several] if isinstance(y, list) else codes[several[0]]


def drawn_labels(opened: Opened, n: int, seed: int) -> dict[str, Any]:
    """Labels for n samples by the model's own p(y), if it has one and the table has labels."""
    if _classes(opened) is None or not hasattr(opened.model, "log_prior"):
        return {}
    u = uniform(seed, (n,), stream="latent", dtype=np.float64)  # as the model itself draws them
    return {"y": draw(np.exp(opened.model.log_prior()), u)}


def label_column(opened: Opened, y: Any, n: int) -> Sequence[str] | None:
    """The name of the labels and those of n samples; None where they have none."""
    column = _classes(opened)
    if column is None or y is None:
        return None
    return [column[0], *(column[1 + int(k)] for k in np.broadcast_to(y, (n,)))]


def _classes(opened: Opened) -> list[str] | None:
    """The label's name and those of its classes."""
    stored = opened.config.get("classes")
    if stored is None:
        return None
    if not isinstance(stored, list) or not all(isinstance(name, str) for name in stored):
        raise CheckpointError(f"config.json: classes must be a list of names, got {stored!r}")
    return stored
