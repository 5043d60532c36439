"""What every model with a likelihood owes (MISSION rows F1, A9)."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats

from core.errors import InputError
from core.random import Generator
from reference.judges.coding import by_enumeration, compress, decode, decompress, encode
from tests.laws.subject import (
    Subject,
    all_states,
    examples,
    flat,
    grid,
    in_shape,
    log_prob,
    loss_of,
)


def normalises(s: Subject) -> None:
    """Σ p(x) = 1 over all states, or ∫ p(x) dx = 1 over the plane."""
    if s.discrete:
        sums_to_one(s.model, s.levels)
    else:
        points, area = grid(*box(s), 600)
        np.testing.assert_allclose(np.exp(log_prob(s.model, points)).sum() * area, 1, atol=2e-3)


def sums_to_one(model: Any, levels: int = 2) -> None:
    """Σ p(x) = 1 over {0, …, levels − 1}^dim."""
    total = np.exp(log_prob(model, in_shape(model, all_states(model.dim, levels)))).sum()
    np.testing.assert_allclose(total, 1, rtol=1e-10)


def box(s: Subject) -> tuple[float, float]:
    """A square that holds all but 1e-3 of the model's samples, and where a histogram ends."""
    if "low" in s.row.tiny:
        return float(s.row.tiny["low"]), float(s.row.tiny["high"])
    edge = 1.5 * np.abs(s.model.sample(4000, seed=5)).max()
    return -edge, edge


def samples_follow_log_prob(s: Subject) -> None:
    """Frequencies of samples against exp(log_prob): Pearson's chi-square, p > 1e-4."""
    if s.discrete:
        frequencies_follow_log_prob(s.model, s.levels)
    else:
        assert chi_square(*cells(s, s.model.sample(20_000, seed=3))) > 1e-4


def frequencies_follow_log_prob(model: Any, levels: int = 2, n: int = 20_000) -> None:
    """The law on {0, …, levels − 1}^dim, state by state."""
    states = all_states(model.dim, levels)
    places = levels ** np.arange(model.dim - 1, -1, -1)
    codes = (flat(model.sample(n, seed=3)) @ places).astype(int)
    observed = np.bincount(codes, minlength=len(states))
    assert chi_square(observed, n * np.exp(log_prob(model, in_shape(model, states)))) > 1e-4


def cells(s: Subject, x: np.ndarray, cells: int = 12, fine: int = 40) -> tuple[Any, Any]:
    """Counts of samples in a cells² grid, and what log_prob expects there (midpoint rule)."""
    low, high = box(s)
    observed = np.histogram2d(*x.T, bins=cells, range=[[low, high]] * 2)[0]
    points, area = grid(low, high, cells * fine)
    p = (np.exp(log_prob(s.model, points)) * area).reshape(cells, fine, cells, fine)
    return observed.ravel(), len(x) * p.sum(axis=(1, 3)).ravel()


def chi_square(observed: np.ndarray, expected: np.ndarray) -> float:
    """p-value of Pearson's test; cells that expect fewer than 8 are pooled into one."""
    rare = expected < 8
    o = np.append(observed[~rare], observed[rare].sum())
    e = np.append(expected[~rare], max(expected[rare].sum(), 1e-9))
    statistic = float(np.sum((o - e) ** 2 / np.maximum(e, 1)))
    return float(stats.chi2.sf(statistic, len(o) - 1))


def codes_are_as_long_as_its_log_prob(s: Subject) -> None:
    """An arithmetic coder gives back what it was given, in −log₂ p(x) bits and at most 2 more (F3).

    By conditionals where there are any; else by one symbol for a state. The coder's own share is
    between 1 and 2 bits, so that a hundredth of a bit that the model forgets shows in some state.
    """
    if not s.discrete:
        return
    try:
        chain = s.row.kind in ("autoregressive", "encoder-decoder") and not resamples(s.model)
        bits, lengths = _by_conditionals(s.model) if chain else _by_states(s)
    except InputError as error:  # what isn't a distribution, or no code of it
        raise AssertionError(error) from error
    assert (lengths >= bits + 1 - 1e-6).all(), (lengths - bits).min()
    assert (lengths <= bits + 2 + 1e-6).all(), (lengths - bits).max()


def _by_conditionals(model: Any, n: int = 64, read: int = 8) -> tuple[np.ndarray, np.ndarray]:
    x = np.unique(model.sample(n, seed=8), axis=0)
    x = x[np.random.default_rng(0).permutation(len(x))]
    codes = compress(model, x)
    np.testing.assert_array_equal(decompress(model, codes[:read]), x[:read])
    return _bits(log_prob(model, x)), np.array([len(code) for code in codes])


def _by_states(s: Subject) -> tuple[np.ndarray, np.ndarray]:
    log_p = log_prob(s.model, in_shape(s.model, all_states(s.dim, s.levels)))
    codes = [encode([i], by_enumeration(log_p)) for i in range(len(log_p))]
    read = [decode(code, 1, by_enumeration(log_p)) for code in codes]
    assert read == [[i] for i in range(len(log_p))]
    return _bits(log_p), np.array([len(code) for code in codes])


def _bits(log_p: np.ndarray) -> np.ndarray:
    return -log_p / np.log(2)


def loss_is_negative_log_prob(s: Subject) -> None:
    """A likelihood model trains on −log_prob(x).mean(), and on nothing else."""
    if s.row.training != "gradient" or resamples(s.model):
        return
    x, y = examples(s.row, 16, 7)
    loss = loss_of(s.model)(x, y, Generator(0))
    given = (x, y) if s.row.kind == "encoder-decoder" else (x,)
    np.testing.assert_allclose(loss.item(), -log_prob(s.model, *given).mean(), rtol=1e-12)


def resamples(model: Any) -> bool:
    """Whether training sees one of several orders or masks, evaluation their average (MADE)."""
    return getattr(model, "masks", 1) > 1
