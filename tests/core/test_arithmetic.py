"""Sums as text: every line is right, and their distribution is the one that is stated."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from core.data import load
from core.errors import InputError


def test_lines_are_right_sums_of_all_summands():
    data = load("sums")
    lines = [line for part in data.parts for line in data.decode(part.x).split("\n")]
    left, right = zip(*(line.split("=") for line in lines), strict=True)
    a, b = np.array([part.split("+") for part in left], int).T
    np.testing.assert_array_equal(a + b, np.array(right, int))
    assert (a.min(), a.max(), b.min(), b.max()) == (0, 99, 0, 99)
    for summand in (a, b):
        assert stats.chisquare(np.bincount(summand)).pvalue > 1e-3
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.02


def test_the_density_is_that_of_the_lines():
    data = load("sums", n=500)
    assert data.log_density is not None
    assert data.entropy == pytest.approx(4 * math.log(10))
    np.testing.assert_allclose(data.log_density(data.test.x), -data.entropy)
    wrong = ["1+1=3", "1+1=2x", "01+1=2", "1+1=", "+=", "100+1=101", "2=1+1", "1+1=22"]
    rows = [data.encode(line.replace("x", "+").ljust(data.dim, "\n")) for line in wrong]
    assert np.isneginf(data.log_density(np.stack(rows))).all()
    assert np.isneginf(data.log_density(np.stack(rows)[:, :-1])).all()


def test_parts_and_seeds_differ_and_more_lines_prolong():
    few, more, other = load("sums", n=50), load("sums", n=80), load("sums", n=50, seed=1)
    np.testing.assert_array_equal(few.train.x, more.train.x[:50])
    np.testing.assert_array_equal(few.test.x, more.test.x)
    assert (few.train.x != other.train.x).any()
    assert (few.validation.x[:50] != few.train.x).any()
    assert [len(part) for part in few.parts] == [50, 1_000, 2_000]


def test_bad_input_is_named():
    with pytest.raises(InputError, match="n must be"):
        load("sums", n=0)
    with pytest.raises(InputError, match="x must"):
        load("sums").log_density(np.array([[99]]))
