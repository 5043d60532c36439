"""How well data can be made again from a code: what is asked of a model without a likelihood.

MISSION row L4.
"""

from __future__ import annotations

from dataclasses import dataclass
from inspect import signature
from typing import TYPE_CHECKING, Any

import numpy as np

from core import no_grad
from core.errors import InputError
from core.samples import Batch
from reference.judges.likelihood import mean_and_se

if TYPE_CHECKING:
    from core.data import Dataset, Split


@dataclass(frozen=True)
class Reconstruction:
    """Mean of ‖x − x̂‖² over `count` held-out samples, and its standard error.

    explained: the share of the data's variance that x̂ has: 1 − error / E‖x − mean of training‖².
    """

    error: float
    se: float
    explained: float
    count: int


def reconstruction(
    model: Any, data: Dataset, split: str = "test", *, first: int | None = None
) -> Reconstruction:
    """Score `model.reconstruct` on one split of `data`, or its `first` rows.

    Raises InputError if there are no rows.

    >>> from core.data import load
    >>> from reference.latent.autoencoder import Autoencoder
    >>> judged = reconstruction(Autoencoder(64), load("digits"))
    >>> judged.count, judged.error > 0
    (300, True)
    """
    part = getattr(data, split).take(slice(first))
    if len(x := part.x) == 0:
        raise InputError(f"{data.name} has no {split} rows to reconstruct")
    again = reconstructed(model, part)
    error, se = mean_and_se(_squares(x - again))
    spread, _ = mean_and_se(_squares(x - data.train.x.mean(axis=0)))
    explained = 1 - error / spread if spread else float("nan")
    return Reconstruction(error, se, explained, len(x))


def reconstructed(model: Any, part: Split) -> Batch:
    """What a model makes of samples again; InputError if it is one without codes.

    Their labels go with them to a model of x given a class.
    """
    if not hasattr(model, "reconstruct"):
        name = type(model).__name__
        raise InputError(f"{name} has no codes that data could be made from again")
    labels = {"y": part.y} if "y" in signature(model.reconstruct).parameters else {}
    with no_grad():
        return model.reconstruct(part.x, **labels)


def _squares(x: Any) -> Any:
    """‖x‖² of each row (B, …), (B,)."""
    return np.sum(np.square(x.astype(np.float64)), axis=tuple(range(1, x.ndim)))
