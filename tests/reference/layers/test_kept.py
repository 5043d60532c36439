"""What a file keeps of a layer is all it takes to answer the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import value
from core.state import describe, load_state, parameters, state
from tests.reference.layers.cases import CASES, shaken

pytest.importorskip("torch")


@pytest.mark.parametrize("name", CASES)
@given(seed=st.integers(0, 2**31))
def test_a_restored_layer_answers_the_same(name: str, seed: int):
    pair, other = (CASES[name](np.random.default_rng(seed), np.float32) for _ in range(2))
    kept = state(pair.layer)
    shaken(other.layer, np.random.default_rng(seed + 1))
    for key in kept.keys() - parameters(other.layer).keys():
        dict(_kept(other.layer))[key][...] = 7.0
    load_state(other.layer, kept)
    for a, b in zip(*(p.ours(p.layer, *pair.inputs) for p in (pair, other)), strict=True):
        np.testing.assert_array_equal(value(a), value(b))
    assert not any(part.startswith("_") for key in kept for part in key.split("."))
    assert len(describe(pair.layer).splitlines()) == len(kept) + 1


def _kept(layer: object) -> list[tuple[str, np.ndarray]]:
    """The arrays beside the parameters: all are attributes of the layer itself."""
    return [(k, a) for k, a in vars(layer).items() if isinstance(a, np.ndarray)]
