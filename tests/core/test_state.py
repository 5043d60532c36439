"""What is learned, kept and derived, and the table that says so."""

from __future__ import annotations

import numpy as np
import pytest

from core import Tensor
from core.errors import InputError
from core.state import describe, flaw, load_state, parameters, state
from reference import MODELS
from tests.laws.subject import build


class Layer:
    def __init__(self) -> None:
        self.W = Tensor(np.ones((3, 2), np.float32))
        self._mask = np.tri(3, 2, dtype=np.float32)


class Net:
    def __init__(self) -> None:
        self.layers = [Layer(), Layer()]
        self.mean = np.zeros(4)
        self.scale = Tensor(np.float32(1))
        self._cache = {"layer": Layer(), "sum": Tensor(np.ones(2)) * 2.0}
        self._table, self.name = np.full(3, np.nan), "net"


def test_what_is_derived_is_neither_learned_nor_kept():
    net = Net()
    assert list(parameters(net)) == ["layers.0.W", "layers.1.W", "scale"]
    assert list(state(net)) == ["layers.0.W", "layers.1.W", "mean", "scale"]
    assert flaw(net) is None  # the NaN in _table included
    load_state(net, state(Net()))


def test_what_is_derived_is_made_anew_from_what_was_read_parts_first():
    class Part:
        def __init__(self, n, told):
            self.n, self._told = np.full(2, n), told
            self._derive()

        def _derive(self):
            self._double = 2 * self.n
            self._told.append(self)

    class Whole(Part):
        def __init__(self, n, told):
            self.parts = {"a": Part(n, told)}
            self.same = self.parts["a"]
            super().__init__(n, told)

        def _derive(self):
            super()._derive()
            self._sum = self._double + self.same._double

    told = []
    whole = Whole(1.0, told)
    told.clear()
    load_state(whole, state(Whole(5.0, [])))
    assert told == [whole.same, whole]  # each once
    np.testing.assert_array_equal(whole._sum, [20, 20])


def test_only_attributes_are_hidden_by_an_underscore():
    """A key of a dict is data: its owner chose it."""
    net = Net()
    net.heads = {"_": Tensor(np.zeros(1))}
    assert "heads._" in parameters(net)


def test_describe():
    assert describe(Net()).splitlines() == [
        "layers.0.W  3 × 2   6  learned",
        "layers.1.W  3 × 2   6  learned",
        "mean        4       4  kept",
        "scale       ()      1  learned",
        "total              13  learned float32, and 4 kept",
    ]


def test_describe_what_holds_nothing():
    assert describe(object()) == "total    0  learned"


def test_describe_names_what_is_no_parameter():
    net = Net()
    net.scale = net.scale * 2.0
    with pytest.raises(InputError, match="scale must be made as Tensor"):
        describe(net)


@pytest.mark.parametrize("name", MODELS)
def test_models_are_described_in_full(name: str):
    model = build(MODELS[name])
    lines = describe(model).splitlines()
    assert [line.split()[0] for line in lines] == [*state(model), "total"]
    count = sum(p.size for p in parameters(model).values())
    assert f" {count:,}  learned" in lines[-1]
