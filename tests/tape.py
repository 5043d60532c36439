"""What a tape records, watched."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from core import tensor


@contextmanager
def watched() -> Iterator[set[tuple[str, str]]]:
    """Fills in (what, dtype) of every value that is recorded and every gradient on its way.

    The dtypes of the gradients at the end would not show one that was float64 on its way: added in
    place to one that is float32, it is rounded in silence.
    """
    seen: set[tuple[str, str]] = set()
    record, accumulate, own_sum = tensor._record, tensor._accumulate, tensor._own_sum

    def recorded(z: Any, row: Any, *rest: Any) -> Any:
        seen.add((row.name, np.asarray(z).dtype.name))
        return record(z, row, *rest)

    def accumulated(k: int, gi: Any, g: Any, *rest: Any) -> None:
        seen.update({("gradient", gi.dtype.name), ("gradient", g.dtype.name)})
        accumulate(k, gi, g, *rest)

    def owned(a: Any, grads: Any, *rest: Any) -> Any:
        g = own_sum(a, grads, *rest)
        seen.add(("gradient", g.dtype.name))
        return g

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensor, "_record", recorded)
        patch.setattr(tensor, "_accumulate", accumulated)
        patch.setattr(tensor, "_own_sum", owned)
        yield seen


def widened(seen: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """What of it is not float32. AssertionError if nothing was seen."""
    assert seen, "nothing was recorded"
    return {(what, dtype) for what, dtype in seen if dtype != "float32"}
