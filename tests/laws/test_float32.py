"""A step of training in float32 is float32 all the way: every value and gradient in between.

Float64 in the middle costs twice the memory traffic and shows in no result.
"""

from __future__ import annotations

import numpy as np
import pytest

from core import Tensor
from core.optim import Adam
from core.random import Generator
from core.state import parameters
from core.tensor import JointRow
from reference import MODELS
from tests.laws.subject import examples, objectives
from tests.reference.layers.cases import CASES
from tests.tape import watched, widened

TRAINED = [row for row in MODELS.values() if row.training == "gradient"]


def step(model, x, y):
    """A step of Adam on every objective that the model trains on."""
    for loss, params in objectives(model):
        loss(x, y, Generator(0)).backward()
        optimiser = Adam(params)
        optimiser.step()
        assert all(p.dtype == np.float32 for p in params.values())
        assert all(p.grad.dtype == np.float32 for p in params.values() if p.grad is not None)
        assert all(a.dtype in (np.float32, np.int64) for a in optimiser.state_dict().values())
        optimiser.zero_grad()


@pytest.mark.parametrize("row", TRAINED, ids=[row.name for row in TRAINED])
def test_models(row):
    x, y = examples(row, 6, 2)
    model = row.load()(**row.tiny, dtype=np.float32)
    with watched() as seen:
        step(model, x.astype(np.float32), y)
    assert not widened(seen)


@pytest.mark.parametrize("name", CASES)
def test_layers(name):
    pytest.importorskip("torch")
    for seed in range(3):
        pair = CASES[name](np.random.default_rng(seed), np.float32)
        inputs = [Tensor(x) for x in pair.inputs]
        with watched() as seen:
            for y in pair.ours(pair.layer, *inputs):
                if isinstance(y, Tensor) and y.size:
                    np.sum(np.square(y)).backward()
        learned = [*parameters(pair.layer).values(), *inputs]
        assert not learned or not widened(seen)


def in_place_at_the_end(x):
    """A float64 gradient that comes last, and is added to a float32 one in place."""
    doubled = JointRow("doubled", lambda x: 2 * x, lambda g, z, x: (g * np.float64(2),))(x)
    return np.sum(doubled) + np.sum(x * x) + np.sum(x * x)


def in_the_middle(x):
    """float64 between two casts."""
    return np.sum(np.square(x.astype(np.float64)).astype(np.float32))


@pytest.mark.parametrize("wrong", [in_place_at_the_end, in_the_middle])
def test_float64_on_the_way_is_seen(wrong):
    x = Tensor(np.ones(3, np.float32))
    with watched() as seen:
        wrong(x).backward()
    assert x.grad.dtype == np.float32  # where it ends, nothing shows
    assert widened(seen)
