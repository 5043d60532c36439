"""Named data sets: the digits protocol, exact densities, domains, text, and the real files.

The laws here are functions that raise AssertionError; each also meets a wrong version.
"""

import dataclasses
import functools
import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from core import Tensor, grad, random
from core.data import DOMAINS, NAMES, UNKNOWN, Dataset, Split, catalogue, fetch, load, text
from core.data.toys import TOYS, toy
from core.errors import DataError, InputError

ENTROPIES = {"eight-gaussians": 1.698, "grid": 0.065, "checkerboard": 3.466}  # nats
toys = pytest.mark.parametrize("name", TOYS)


def real(name: str, file: str, **kwargs) -> Dataset:
    """A data set of GENZOO_DATA; skips, naming the file, where it is absent."""
    folder = os.environ.get("GENZOO_DATA", "")
    if not (folder and (Path(folder) / file).is_file()):
        pytest.skip(f"{file} is not in GENZOO_DATA ({folder or 'not set'})")
    return load(name, data_dir=folder, download=False, **kwargs)


def parts(data: Dataset) -> tuple[Split, Split, Split]:
    return data.train, data.validation, data.test


def bernoulli_nats(train: np.ndarray, test: np.ndarray) -> float:
    """Test nats per row of independent pixels, counts smoothed by one half."""
    p = (train.sum(0, dtype=np.float64) + 0.5) / (len(train) + 1)
    return -float(np.mean(test @ np.log(p) + (1 - test) @ np.log1p(-p)))


# Digits


def law_digits_protocol(data: Dataset) -> None:
    """Independent Bernoullis stand at 25.20 nats on the 300 test rows, the uniform at 44.36."""
    assert [len(part) for part in parts(data)] == [1297, 200, 300]
    assert round(data.dim * math.log(2), 2) == 44.36
    assert round(bernoulli_nats(data.train.x, data.test.x), 2) == 25.20


def test_digits_follow_the_protocol():
    data = load("digits", domain="binary")
    law_digits_protocol(data)
    assert data.train.x.dtype == np.float32
    assert data.train.y.dtype == np.int64
    assert (data.image_shape, data.classes, data.levels) == ((8, 8), 10, 2)


def test_a_wrong_permutation_threshold_or_part_is_rejected():
    from sklearn.datasets import load_digits

    x = load_digits().data
    right = np.random.default_rng(0).permutation(1797)
    wrong = [
        (np.random.default_rng(1).permutation(1797), 8, (1297, 1497)),
        (np.arange(1797), 8, (1297, 1497)),
        (right, 9, (1297, 1497)),
        (right, 7, (1297, 1497)),
        (right, 8, (1297, 1597)),
    ]
    for perm, threshold, cuts in wrong:
        splits = [Split((x[i] >= threshold).astype(np.float32)) for i in np.split(perm, cuts)]
        with pytest.raises(AssertionError):
            law_digits_protocol(Dataset("digits", *splits, domain="binary", levels=2))


def test_digits_rows_keep_their_labels_and_are_each_in_one_part():
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    data = load("digits")
    rows = np.concatenate([np.c_[part.x, part.y] for part in parts(data)])
    assert data.train.x.dtype == np.int64
    assert (data.train.x.min(), data.train.x.max(), data.levels) == (0, 16, 17)
    assert sorted(map(tuple, rows)) == sorted(map(tuple, np.c_[x, y].astype(int)))


# Toys: each density against quadrature, samples, and itself


@functools.cache
def plane(name: str) -> tuple[np.ndarray, float]:
    """log p at the midpoints of square cells that tile [−6, 6]², 24 · k a side, and their area."""
    k = 24 if name == "grid" else 8  # at least two cells a σ
    side = (np.arange(24 * k) + 0.5) / (2 * k) - 6
    points = np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1).reshape(-1, 2)
    log_p = [TOYS[name].log_density(chunk) for chunk in np.array_split(points, 64)]
    return np.concatenate(log_p), 0.25 / k**2


def law_integrates_to_one(log_p: np.ndarray, area: float) -> None:
    assert abs(np.exp(log_p).sum() * area - 1) < 1e-7


def law_entropy(log_p: np.ndarray, area: float, entropy: float) -> None:
    """−∫ p log p, to the three digits that are published."""
    p = np.exp(log_p)
    assert abs(-(p * np.where(p > 0, log_p, 0)).sum() * area - entropy) < 6e-4


def law_samples_follow_density(x: np.ndarray, log_p: np.ndarray, area: float) -> None:
    """Chi-square of a histogram, cells of width ½, against the integrals over the cells."""
    k = round(math.sqrt(log_p.size)) // 24
    mass = (np.exp(log_p) * area).reshape(24, k, 24, k).sum((1, 3)).ravel() * len(x)
    edges = np.linspace(-6, 6, 25)
    counts = np.histogram2d(*x.T, [edges, edges])[0].ravel()
    rare = mass < 5
    assert abs(counts[rare].sum() - mass[rare].sum()) < 5 * math.sqrt(mass[rare].sum() + 1)
    chi2 = ((counts - mass)[~rare] ** 2 / mass[~rare]).sum()
    assert stats.chi2.sf(chi2, np.sum(~rare) - 1) > 1e-4


@toys
def test_densities_integrate_to_one(name):
    log_p, area = plane(name)
    law_integrates_to_one(log_p, area)
    with pytest.raises(AssertionError):
        law_integrates_to_one(log_p + 1e-6, area)


@toys
def test_entropies(name):
    log_p, area = plane(name)
    entropy = TOYS[name].entropy
    law_entropy(log_p, area, entropy)
    if name in ENTROPIES:
        assert round(entropy, 3) == ENTROPIES[name]
    with pytest.raises(AssertionError):
        law_entropy(log_p, area, entropy + 0.0015)


@toys
def test_samples_follow_the_density(name):
    log_p, area = plane(name)
    x = toy(name, n=100_000, seed=1).train.x.astype(np.float64)
    law_samples_follow_density(x, log_p, area)
    for wrong in (x * 1.02, x + np.array([0.05, 0]), np.r_[x[:95_000], x[:5_000] * 0.5]):
        with pytest.raises(AssertionError):
            law_samples_follow_density(wrong, log_p, area)


@toys
def test_mean_of_minus_log_density_is_the_entropy(name):
    data = load(name)
    log_p = data.log_density(data.test.x.astype(np.float64))
    assert np.isfinite(log_p).all()
    assert abs(-log_p.mean() - data.entropy) < 4 * log_p.std() / 100 + 5e-4


@toys
def test_density_keeps_dtype_and_has_gradients(name):
    made = TOYS[name]
    x = toy(name, n=20, seed=2).train.x
    assert made.log_density(x).dtype == np.float32
    np.testing.assert_allclose(made.log_density(x), made.log_density(x * 1.0), rtol=1e-3)
    x64 = x.astype(np.float64)
    t = Tensor(x64)
    (slope,) = grad(np.sum(made.log_density(t)), [t])
    h, direction = 1e-6, np.array([0.6, -0.8])
    rise = made.log_density(x64 + h * direction) - made.log_density(x64 - h * direction)
    np.testing.assert_allclose(slope @ direction, rise / (2 * h), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("x", [(0, 0.8), (-1, -0.2), (3, 3), (-7, 4)])
def test_two_moons_density_is_its_integral(x):
    made = TOYS["two-moons"]
    log_p = made.log_density(np.array([x], np.float64))[0]

    def ratio(theta: float, upper: bool) -> float:
        sign, shift = (1, (-1.0, -0.2)) if upper else (-1, (1.0, 0.8))
        centre = 2 * sign * np.array([math.cos(theta), math.sin(theta)]) + shift
        exponent = -((np.array(x) - centre) ** 2).sum() / 0.08 - log_p
        return math.exp(exponent) / (0.08 * math.pi) / (2 * math.pi)

    pieces = np.linspace(0, math.pi, 40)[1:-1]
    total = sum(
        integrate.quad(ratio, 0, math.pi, (up,), points=pieces, limit=200)[0]
        for up in (True, False)
    )
    assert abs(total - 1) < 1e-9


def test_checkerboard_is_closed_and_empty_elsewhere():
    log_density = TOYS["checkerboard"].log_density
    corners = np.array([(-4, -4), (4, 4), (0, 0), (-2, -1), (2, 3), (4, 2.5), (1, 2)], np.float32)
    white = np.array([(-1, -3), (5, 5), (4.001, 3), (1, -1), (-4.5, -4.5)], np.float32)
    assert (log_density(corners) == -np.float32(math.log(32))).all()
    assert (log_density(white) == -np.inf).all()


@toys
def test_labels_name_the_component(name):
    data = load(name, n=4000)
    assert data.classes == TOYS[name].classes
    assert set(data.train.y) == set(range(data.classes))
    if name in ("eight-gaussians", "grid"):
        distance = np.linalg.norm(data.train.x[:, None] - TOYS[name].centres, axis=-1)
        assert np.mean(distance.argmin(1) == data.train.y) > 0.999


@toys
def test_parts_are_independent_and_more_points_prolong_the_sequence(name):
    few, many, other = load(name, n=10), load(name, n=500), load(name, n=10, seed=1)
    assert np.array_equal(few.train.x, many.train.x[:10])
    assert np.array_equal(few.test.x, many.test.x)
    starts = [part.x[:10].tobytes() for part in (*parts(few), *parts(other))]
    assert len(set(starts)) == 6
    np.testing.assert_allclose(few.train.x[:2], load(name, n=2).train.x, rtol=0, atol=0)


@pytest.mark.parametrize(
    "x",
    [
        np.zeros(2),
        np.zeros((3, 3)),
        np.zeros((3, 2), int),
        np.array([[0, np.nan]]),
        np.full((1, 2), np.inf),
    ],
)
@toys
def test_density_refuses_what_is_no_point_of_the_plane(name, x):
    with pytest.raises(InputError, match="x must be"):
        TOYS[name].log_density(x)


# Domains


def test_integers_become_binary_and_continuous():
    whole, binary, scaled = (load("digits", domain=d) for d in ("integer", "binary", "continuous"))
    assert np.array_equal(binary.test.x, whole.test.x >= 8)
    assert (scaled.train.x.min(), scaled.train.x.max(), scaled.levels) == (-1.0, 1.0, None)
    assert np.array_equal(np.rint((scaled.train.x + 1) * 8), whole.train.x)
    assert {d.train.x.dtype.name for d in (binary, scaled)} == {"float32"}
    assert np.array_equal(scaled.test.y, whole.test.y)


def test_binary_becomes_integer_and_continuous():
    binary = load("digits", domain="binary")
    whole, scaled = binary.as_domain("integer"), binary.as_domain("continuous")
    assert (whole.train.x.dtype, whole.levels) == (np.int64, 2)
    assert np.array_equal(scaled.train.x, 2 * binary.train.x - 1)
    assert np.array_equal(whole.as_domain("binary").train.x, binary.train.x)


@pytest.mark.parametrize("domain", [d for d in DOMAINS if d != "continuous"])
def test_continuous_data_become_nothing_else(domain):
    with pytest.raises(DataError, match=f"continuous data can't be read as {domain}"):
        load("grid", n=5, domain=domain)


def test_text_becomes_nothing_else_and_nothing_becomes_text():
    data = text.stream("t", "abc" * 100, cut=text.Cut(5))
    for domain in ("binary", "integer", "continuous"):
        with pytest.raises(DataError, match="text data can't be read"):
            data.as_domain(domain)
    with pytest.raises(DataError, match="integer data can't be read as text"):
        load("digits", domain="text")


# Text


@given(st.text(st.characters(codec="utf-8"), min_size=60, max_size=300), st.integers(1, 3))
def test_text_round_trips_where_the_training_part_knows_its_characters(string, block):
    data = text.stream("t", string, cut=text.Cut(block))
    cut = len(string) * 9 // 10
    assert data.decode(data.train.x.ravel()) == string[: cut // block * block]
    assert set(data.vocabulary) - {UNKNOWN} <= set(string[:cut])
    held = data.decode(np.r_[data.validation.x.ravel(), data.test.x.ravel()])
    known = set(string[:cut])
    middle = (cut + len(string)) // 2
    kept = string[cut:][: (middle - cut) // block * block]
    kept += string[middle:][: (len(string) - middle) // block * block]
    assert held == "".join(c if c in known else UNKNOWN for c in kept)
    assert [part.x.shape[1] for part in parts(data)] == [block] * 3


def test_words_end_and_are_split_for_good():
    string = "\n".join(f"w{i:02d}{'x' * (i % 7)}" for i in range(40))
    data = text.words("t", string)
    assert [len(part) for part in parts(data)] == [32, 4, 4]
    rows = np.concatenate([part.x for part in parts(data)])
    assert sorted(data.decode(rows).split("\n")) == sorted(string.split("\n"))
    assert (rows[:, -1] == data.end).all()
    assert np.array_equal(data.train.x, text.words("t", string).train.x)


def test_decode_and_encode_refuse_what_they_do_not_know():
    data = text.stream("t", "abcd" * 50, cut=text.Cut(4))
    assert data.decode(data.encode("dabc")) == "dabc"
    with pytest.raises(DataError, match="'é' at position 2"):
        data.encode("abé")
    for ids in (np.array([4]), np.array([-1]), np.array([0.5]), np.zeros((1, 1, 1), int)):
        with pytest.raises(InputError, match="ids must"):
            data.decode(ids)
    with pytest.raises(InputError, match="only text"):
        load("grid", n=3).decode([0])


# The door: load, subset, catalogue


def test_subset_and_n_keep_the_first_rows():
    data = load("digits")
    small = data.subset(250)
    assert [len(part) for part in parts(small)] == [250, 200, 250]
    assert np.array_equal(small.train.x, data.train.x[:250])
    assert np.array_equal(load("digits", n=250).train.y, small.train.y)
    assert len(load("digits", n=np.int64(250)).test) == 300


@pytest.mark.parametrize("n", [0, -1, 1.5, True, "3"])
def test_n_must_count_rows(n):
    with pytest.raises(InputError, match="n must be an int"):
        load("digits", n=n)
    with pytest.raises(InputError, match="n must be an int"):
        load("grid", n=5).subset(n)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("digit", "digits"),
        ("eight-gausians", "eight-gaussians"),
        ("MNIST", "mnist"),
        ("zzz", "known: digits"),
    ],
)
def test_unknown_names_get_a_hint(name, hint):
    with pytest.raises(DataError, match=f"unknown data set '{name}'.*{hint}"):
        load(name)
    with pytest.raises(DataError, match=hint):
        fetch(name)


@pytest.mark.parametrize("name", ["", "\0", "x" * 5000])
def test_odd_names_are_unknown(name):
    with pytest.raises(DataError, match="unknown data set"):
        load(name)


@pytest.mark.parametrize("name", [None, 3, [], b"digits"])
def test_a_name_is_a_string(name):
    with pytest.raises(InputError, match="name_or_path must be a str or a path"):
        load(name)


def test_bad_arguments_are_named():
    with pytest.raises(InputError, match="domain must be one of"):
        load("digits", domain="colour")
    with pytest.raises(InputError, match="seed must"):
        load("grid", seed=-1)
    with pytest.raises(DataError, match="data_dir must be a folder"):
        load("names", data_dir="/nonexistent", download=False)


def test_splits_must_fit():
    with pytest.raises(DataError, match="3 rows but labels"):
        Split(np.zeros((3, 2)), np.zeros(4, np.int64))
    with pytest.raises(DataError, match="must be"):
        Split(np.zeros(3))


def test_catalogue_lists_every_name_and_what_it_costs(tmp_path, monkeypatch):
    monkeypatch.setenv("GENZOO_CACHE", str(tmp_path / "cache"))
    (tmp_path / "names.txt").write_text("anna\n")
    entries = {entry.name: entry for entry in catalogue(tmp_path)}
    assert tuple(entries) == NAMES
    assert entries["digits"].where == entries["grid"].where == "installed"
    assert (entries["names"].where, entries["mnist"].where) == ("local", "absent")
    free = {e.name for e in entries.values() if e.where == "installed"} | {"english-russian"}
    assert {e.name for e in entries.values() if e.size == 0} == free  # the last has no public home
    assert all(e.doc and e.licence for e in entries.values())
    assert fetch("digits") == fetch("two-moons") == ()


# Real files


def test_mnist():
    data = real("mnist", "mnist.npz", domain="binary")
    assert [part.x.shape for part in parts(data)] == [(50000, 784), (10000, 784), (10000, 784)]
    assert data.train.y[:5].tolist() == [5, 0, 4, 1, 9]
    assert data.test.y[:5].tolist() == [7, 2, 1, 0, 4]
    assert 205 < bernoulli_nats(data.train.x, data.test.x) < 208


def test_binarized_mnist():
    data = real("binarized-mnist", "binarized_mnist_packed.npz")
    assert [part.x.shape for part in parts(data)] == [(50000, 784), (10000, 784), (10000, 784)]
    assert set(np.unique(data.test.x)) == {0.0, 1.0}
    assert 205 < bernoulli_nats(data.train.x, data.test.x) < 207
    pictures = data.test.x.reshape(-1, 28, 28)
    assert pictures[:, :4].mean() < 0.01 < pictures[:, 10:18].mean()  # upright, with a margin


@pytest.mark.parametrize(
    ("name", "rows", "dim"),
    [
        ("dna", [1400, 600, 1186], 180),
        ("mushrooms", [2000, 500, 5624], 112),
        ("nips", [400, 100, 1240], 500),
    ],
)
def test_uci_sets_are_in_the_papers_splits(name, rows, dim):
    data = real(name, "uci_binary_nade.npz")
    assert [len(part) for part in parts(data)] == rows
    assert (data.dim, data.domain, set(np.unique(data.test.x))) == (dim, "binary", {0.0, 1.0})


def test_shakespeare_is_cut_as_nanogpt_cuts_it():
    data = real("shakespeare", "tinyshakespeare.txt")
    raw = (Path(os.environ["GENZOO_DATA"]) / "tinyshakespeare.txt").read_text()
    assert len(data.vocabulary) == 65
    assert data.decode(data.train.x.ravel()) == raw[: 1003854 // 64 * 64]
    assert data.decode(data.validation.x[0]) == raw[1003854 : 1003854 + 64]


def test_names_have_the_published_bigram_entropy():
    """makemore's exact bigram over all names: 2.454 nats per character, the end included."""
    data = real("names", "names.txt")
    rows = np.concatenate([part.x for part in parts(data)])
    before = np.c_[np.zeros(len(rows), int), rows[:, :-1]]
    counted = np.c_[np.ones(len(rows), bool), rows[:, :-1] != data.end]
    table = np.zeros((27, 27))
    np.add.at(table, (before[counted], rows[counted]), 1)
    p = table[table > 0] / np.broadcast_to(table.sum(1, keepdims=True), (27, 27))[table > 0]
    assert round(-(table[table > 0] * np.log(p)).sum() / table.sum(), 3) == 2.454


@given(st.integers(0, 2**63 - 1))
def test_toy_seeds_are_those_of_the_generator(seed):
    data = toy("eight-gaussians", n=2, seed=seed)
    k = random.integers(seed, 0, 8, (2,), stream="data")
    assert np.array_equal(data.train.y, k)


def test_a_data_set_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        load("grid", n=2).levels = 3
