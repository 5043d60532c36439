"""Is the answer right? Of text given something, one answer often is, and all others are wrong.

MISSION row C: the score of held-out prompts by an exact checker.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from core.errors import InputError
from core.samples import take
from reference.judges.likelihood import mean_and_se

if TYPE_CHECKING:
    from core.data import Dataset

_BATCH = 250


@dataclass(frozen=True)
class Exact:
    """The share of `count` answers that are right to the last token, and its standard error."""

    share: float
    se: float
    count: int


def exact(model: Any, data: Dataset, split: str = "test", *, first: int | None = None) -> Exact:
    """The greedy answers of a model to what is given in one split, or in its `first` rows.

    An answer is right if it is the text that the data have. InputError if there are no rows.

    >>> from core.data import load
    >>> from reference.conditional.translator import Translator
    >>> data = load("dates", n=50)
    >>> model = Translator(data.dim, len(data.vocabulary), 11, end=data.end)  # untrained
    >>> exact(model, data, first=100)
    Exact(share=0.0, se=0.0, count=100)
    """
    part = getattr(data, split).take(slice(first))
    if len(part) == 0:
        raise InputError(f"{data.name} has no {split} rows to answer")
    cuts = [slice(i, i + _BATCH) for i in range(0, len(part), _BATCH)]
    answers = np.concatenate([model.greedy(take(part.y, cut)) for cut in cuts])
    return Exact(*mean_and_se((answers == part.x).all(axis=1)), len(part))
