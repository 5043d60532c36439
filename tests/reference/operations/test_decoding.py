"""Decoding: the kept set is the defined one, ties included, and tokens follow it."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, reject
from hypothesis import strategies as st
from scipy import stats

from core import Tensor
from core.errors import InputError
from core.random import uniform
from reference.operations.decoding import decode, probabilities, weights

Controls = dict[str, Any]
Kept = Callable[..., Any]


@st.composite
def rows_of_logits(draw: Any) -> Any:
    """Logits (B, V), many of them equal, some −∞, of either precision."""
    b, v = draw(st.integers(1, 4)), draw(st.integers(1, 9))
    few = st.sampled_from([-1000.0, -3.0, -1.0, -0.5, 0.0, 0.25, 2.0, 40.0])
    any_size = st.floats(-20, 20, width=32)
    entry = st.one_of(few, few, any_size, st.just(-np.inf))
    z = np.array(draw(st.lists(entry, min_size=b * v, max_size=b * v))).reshape(b, v)
    z[np.isneginf(z).all(axis=1), 0] = 0.0
    return z.astype(draw(st.sampled_from([np.float32, np.float64])))


CONTROLS = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.floats(0.05, 20),
        "top_k": st.integers(1, 12),
        "top_p": st.one_of(st.floats(1e-6, 1), st.sampled_from([0.25, 0.5, 0.75, 1.0])),
        "min_p": st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.5, 1.0])),
    },
)


def kept_by_definition(z: Any, **controls: Any) -> list[bool] | None:
    """The kept set of one row, token by token, in exact sums; None where rounding decides."""
    T, k = controls.get("temperature", 1.0), controls.get("top_k")
    p, min_p = controls.get("top_p"), controls.get("min_p")
    z = [float(a) for a in z]
    w = [Fraction(float(np.exp((a - max(z)) / T))) for a in z]
    kept = [k is None or sum(b > a for b in z) < k for a in z]
    total = sum(a for a, ok in zip(w, kept, strict=True) if ok)
    for j, ok in enumerate(list(kept)):
        if p is not None and ok:
            above = sum((w[i] for i in range(len(z)) if z[i] > z[j]), Fraction(0))
            if above > 0 and abs(float(above / total) - p) < 1e-12 and p < 1:
                return None
            kept[j] = p == 1 or above < Fraction(p) * total
        if min_p is not None:
            kept[j] &= w[j] >= Fraction(min_p)
    return [ok and a > 0 for a, ok in zip(w, kept, strict=True)]


@given(rows_of_logits(), CONTROLS)
@example(np.zeros((1, 4)), {"top_p": 0.5})
@example(np.zeros((1, 3)), {"top_k": 2})
@example(np.array([[0.0, 0.0, 1.0]]), {"top_k": 2, "top_p": 0.9})
@example(np.array([[0.0, -50.0]]), {"top_p": 1.0})
def test_the_kept_set_is_the_defined_one(z: Any, controls: Controls):
    assert keeps_what_is_defined(weights, z, controls)


def keeps_what_is_defined(rule: Kept, z: Any, controls: Controls) -> bool:
    wanted = [kept_by_definition(row, **controls) for row in z]
    if None in wanted:
        reject()
    return bool(np.array_equal(rule(z, **controls) > 0, wanted))


@given(rows_of_logits(), CONTROLS)
def test_what_is_kept_has_the_softmaxs_proportions(z: Any, controls: Controls):
    p, T = probabilities(z, **controls), controls.get("temperature", 1.0)
    z = z.astype(np.float64)
    wanted = np.where(p > 0, np.exp((z - z.max(axis=1, keepdims=True)) / T), 0)
    np.testing.assert_allclose(p, wanted / wanted.sum(axis=1, keepdims=True), rtol=1e-12)
    assert p.dtype == np.float64


@given(rows_of_logits(), CONTROLS, st.randoms(use_true_random=False))
def test_order_of_tokens_changes_nothing(z: Any, controls: Controls, random: Any):
    order = random.sample(range(z.shape[1]), z.shape[1])
    there, moved = probabilities(z, **controls), probabilities(z[:, order], **controls)
    np.testing.assert_allclose(there[:, order], moved, rtol=1e-12)


@given(rows_of_logits(), CONTROLS, st.integers(0, 2**20))
def test_a_token_inverts_the_distribution(z: Any, controls: Controls, seed: int):
    """P(token > j) = Σ_{i>j} p_i: a token is j just where u lies between two such sums."""
    u, p = uniform(seed, len(z), dtype=np.float64), probabilities(z, **controls)
    token = decode(z, u, **controls)
    beyond = np.array([row[k + 1 :].sum() for row, k in zip(p, token, strict=True)])
    own = np.take_along_axis(p, token[:, None], axis=1)[:, 0]
    assert token.dtype == np.int64
    assert (own > 0).all()
    assert (beyond <= u + 1e-12).all()
    assert (u < beyond + own + 1e-12).all()


@pytest.mark.parametrize("u", [0.0, np.nextafter(1.0, 0), np.nextafter(np.float32(1), 0)])
@given(rows_of_logits(), CONTROLS)
def test_the_ends_of_the_unit_interval_draw_kept_tokens(u: float, z: Any, controls: Controls):
    token = decode(z, np.full(len(z), u), **controls)
    assert (np.take_along_axis(weights(z, **controls), token[:, None], axis=1) > 0).all()


@pytest.mark.parametrize(
    "controls",
    [
        {},
        {"temperature": 0.5},
        {"top_k": 3},
        {"top_p": 0.7},
        {"min_p": 0.3},
        {"temperature": 2.0, "top_k": 5, "top_p": 0.9, "min_p": 0.2},
    ],
    ids=str,
)
def test_frequencies_are_the_probabilities(controls: Controls):
    n, z = 20_000, np.array([0.3, -1.0, 2.0, 1.0, 1.0, 0.0, -3.0])
    drawn = decode(np.tile(z, (n, 1)), uniform(3, n), **controls)
    p, counts = probabilities(z[None], **controls)[0], np.bincount(drawn, minlength=len(z))
    assert not counts[p == 0].any()
    assert p[p > 0].size == 1 or stats.chisquare(counts[p > 0], n * p[p > 0]).pvalue > 1e-3


@given(rows_of_logits(), st.integers(0, 2**20))
def test_greedy_takes_the_first_of_the_largest(z: Any, seed: int):
    """As a temperature near 0 does, which leaves the largest alone."""
    u = uniform(seed, len(z))
    greedy = decode(z, u, temperature=0)
    np.testing.assert_array_equal(greedy, z.argmax(axis=1))
    cold = probabilities(z, temperature=1e-300)
    np.testing.assert_array_equal(cold > 0, z == z.max(axis=1, keepdims=True))


@given(rows_of_logits(), CONTROLS, st.integers(0, 2**20))
def test_a_row_is_decoded_as_if_it_were_alone(z: Any, controls: Controls, seed: int):
    u = uniform(seed, len(z))
    alone = [decode(z[[i]], u[[i]], **controls)[0] for i in range(len(z))]
    np.testing.assert_array_equal(decode(z, u, **controls), alone)
    np.testing.assert_array_equal(decode(Tensor(z), u, **controls), alone)


def test_two_tokens_are_a_bit_as_other_models_draw_it():
    u = uniform(0, 1000, dtype=np.float64)
    z = np.stack([np.zeros(1000), uniform(1, 1000, dtype=np.float64) * 4 - 2], axis=1)
    np.testing.assert_array_equal(decode(z, u), u < 1 / (1 + np.exp(-z[:, 1])))


def test_no_rows_give_no_tokens():
    assert decode(np.zeros((0, 3)), np.zeros(0)).shape == (0,)
    assert decode(np.zeros((0, 3)), np.zeros(0), top_k=1, top_p=0.5).shape == (0,)


# Rules that are nearly right


def top_k_by_rank(z: Any, top_k: int, **_: Any) -> Any:
    """Cuts ties by their order."""
    rank = np.argsort(np.argsort(-z, axis=1, kind="stable"), axis=1)
    return rank < top_k


def top_p_by_rank(z: Any, top_p: float, **_: Any) -> Any:
    p = np.exp(z - z.max()) / np.exp(z - z.max()).sum(axis=1, keepdims=True)
    order = np.argsort(-p, axis=1, kind="stable")
    before = np.cumsum(np.take_along_axis(p, order, axis=1), axis=1) - np.sort(p, axis=1)[:, ::-1]
    return np.take_along_axis(before < top_p, np.argsort(order, axis=1), axis=1)


def top_p_without_the_one_that_crosses(z: Any, top_p: float, **_: Any) -> Any:
    p = probabilities(z)
    above = np.array([[row[row >= a].sum() for a in row] for row in p])
    return above <= top_p


def top_p_before_top_k(z: Any, top_p: float, top_k: int, **_: Any) -> Any:
    return (weights(z, top_p=top_p) > 0) & (weights(z, top_k=top_k) > 0)


def min_p_of_all(z: Any, min_p: float, **_: Any) -> Any:
    """A share of 1, not of the largest."""
    return probabilities(z) >= min_p


def temperature_after_the_nucleus(z: Any, top_p: float, temperature: float, **_: Any) -> Any:
    return weights(z, top_p=top_p)


@pytest.mark.parametrize(
    ("wrong", "z", "controls"),
    [
        (top_k_by_rank, [1.0, 1.0, 1.0], {"top_k": 2}),
        (top_p_by_rank, [0.0, 0.0, 0.0, 0.0], {"top_p": 0.5}),
        (top_p_without_the_one_that_crosses, [2.0, 1.0, 0.0], {"top_p": 0.7}),
        (top_p_before_top_k, [1.0, 0.9, 0.8, 0.7], {"top_k": 2, "top_p": 0.5}),
        (min_p_of_all, [1.0, 0.9, 0.8, 0.7], {"min_p": 0.5}),
        (temperature_after_the_nucleus, [2.0, 1.0, 0.0], {"top_p": 0.66, "temperature": 5.0}),
    ],
)
def test_a_wrong_rule_is_rejected(wrong: Kept, z: list[float], controls: Controls):
    assert keeps_what_is_defined(weights, np.array([z]), controls)
    assert not keeps_what_is_defined(wrong, np.array([z]), controls)


# Bad input


@pytest.mark.parametrize(
    ("controls", "said"),
    [
        ({"temperature": -0.1}, r"temperature must be a finite number >= 0, got -0\.1"),
        ({"temperature": float("nan")}, "temperature must be a finite number"),
        ({"top_k": 0}, "top_k must be an int >= 1, got 0"),
        ({"top_k": 1.5}, "top_k must be an int, got 1.5"),
        ({"top_p": 0.0}, "top_p must be a finite number > 0 and <= 1|top_p must be"),
        ({"top_p": 1.5}, "top_p must be"),
        ({"min_p": -0.5}, "min_p must be"),
        ({"min_p": 2}, "min_p must be"),
    ],
)
def test_controls_out_of_range_are_named(controls: Controls, said: str):
    with pytest.raises(InputError, match=said):
        decode(np.zeros((1, 3)), np.zeros(1), **controls)


@pytest.mark.parametrize(
    ("z", "said"),
    [
        (np.array([[0.0, np.nan]]), "logits must be finite or -inf, got nan"),
        (np.array([[0.0, np.inf]]), "logits must be finite or -inf, got inf"),
        (np.full((1, 2), -np.inf), "logits must be finite for a token of each row"),
        (np.zeros((1, 0)), "logits must have at least one token"),
        (np.zeros(3), r"logits must have shape \(B, V\)"),
        (np.zeros((1, 3), int), "logits must be float32 or float64"),
    ],
)
def test_bad_logits_are_named(z: Any, said: str):
    with pytest.raises(InputError, match=said):
        decode(z, np.zeros(1))


@pytest.mark.parametrize("u", [np.ones(1), -np.ones(1), np.array([np.nan]), np.zeros(2)])
def test_bad_uniforms_are_named(u: Any):
    with pytest.raises(InputError, match="u must"):
        decode(np.zeros((1, 3)), u)
