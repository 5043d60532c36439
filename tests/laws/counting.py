"""What every model that counts owes: data may come in parts (MISSION rows H1, H3)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from core.errors import InputError
from core.state import state
from tests.laws.subject import Subject, build, examples, log_prob


def parts_merge_into_the_whole(s: Subject) -> None:
    """Merged or streamed, parts give the model of the whole; another form is told.

    The parts are of unequal sizes, and one class is in one of them only.
    """
    if s.row.training != "counts":
        return
    x, y = examples(s.row, 300, 3)
    order = np.argsort(y == y.max(), kind="stable")
    x, y = x[order], y[order]
    whole, n = _fresh(s).fit(x, y), 110
    left, right = _fresh(s).fit(x[:n], y[:n]), _fresh(s).fit(x[n:], y[n:])
    before = {name: a.copy() for name, a in state(right).items()}
    streamed = _fresh(s).partial_fit(x[:n], y[:n]).partial_fit(x[n:], y[n:])
    _are_one(streamed, whole, x)
    _are_one(left.merge(right), whole, x)
    _equal(state(right), before)
    other = type(s.model)(**{**s.row.tiny, "dim": s.row.tiny["dim"] + 1})
    with pytest.raises(InputError, match="other"):
        left.merge(other)


def _fresh(s: Subject) -> Any:
    """A model that has seen nothing, of the class under test."""
    model = build(s.row)
    model.__class__ = type(s.model)
    return model


def _are_one(model: Any, whole: Any, x: np.ndarray) -> None:
    _equal(state(model), state(whole))
    np.testing.assert_allclose(log_prob(model, x), log_prob(whole, x), rtol=1e-9)
    assert model.num_parameters == whole.num_parameters


def _equal(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for name, a in expected.items():
        np.testing.assert_allclose(found[name], a, rtol=1e-9, atol=1e-12, err_msg=name)
