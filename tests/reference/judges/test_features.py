"""Judges that look at features: Fréchet distance, balls, copies, classes; and the classifier."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import linalg, stats

from core.checkpoint import load_arrays
from core.data import Split, load
from core.errors import InputError
from core.state import state
from reference.judges import fidelity, trained
from reference.judges.classes import asked_class, class_coverage
from reference.judges.frechet import frechet_distance
from reference.judges.neighbours import copying, density_coverage, precision_recall
from reference.judges.two_sample import HeldOut

SEEDS = st.integers(0, 2**32 - 1)


def draw(seed, n, dim=3, shift=0.0):
    return np.random.default_rng(seed).normal(size=(n, dim)) + shift


# Fréchet distance


def by_matrix_root(x, y):
    """The formula as it is printed, with a root of the product that is not symmetric."""
    A, B = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = linalg.sqrtm(A @ B).real
    return np.sum((x.mean(0) - y.mean(0)) ** 2) + np.trace(A + B - 2 * root)


@given(seed=SEEDS, dim=st.integers(2, 8))
def test_frechet_distance_is_its_formula(seed, dim):
    rng = np.random.default_rng(seed)
    x, y = (draw(seed + i, 40, dim) @ rng.normal(size=(dim, dim)) + i for i in range(2))
    d2 = frechet_distance(x, y)
    np.testing.assert_allclose(d2, by_matrix_root(x, y), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(frechet_distance(y, x), d2, rtol=1e-9, atol=1e-9)
    assert abs(frechet_distance(x, x)) < 1e-9 * np.trace(np.cov(x, rowvar=False))


def exactly(mean, cov, n=50):
    """Rows with exactly these moments."""
    x = draw(0, n, len(mean))
    x = (x - x.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False))).T
    return x @ np.linalg.cholesky(cov).T + mean


def of_gaussians_on_one_axis_each(distance):
    """Commuting covariances: Σ (m − m')² + (s − s')²."""
    m, s, n, t = (np.array(v) for v in ([0.0, 1], [1.0, 2], [3.0, 1], [0.5, 5]))
    got = distance(exactly(m, np.diag(s**2)), exactly(n, np.diag(t**2)))
    np.testing.assert_allclose(got, np.sum((m - n) ** 2 + (s - t) ** 2), rtol=1e-9)


def test_frechet_distance_of_gaussians_is_known():
    of_gaussians_on_one_axis_each(frechet_distance)

    def without_covariances(x, y):
        return np.sum((x.mean(0) - y.mean(0)) ** 2)

    def with_variances_for_deviations(x, y):
        A, B = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
        return without_covariances(x, y) + np.trace(A + B) - 2 * np.sqrt(np.trace(A @ B))

    for wrong in (without_covariances, with_variances_for_deviations):
        with pytest.raises(AssertionError):
            of_gaussians_on_one_axis_each(wrong)


def test_a_covariance_of_too_few_rows_is_refused():
    x = draw(0, 3)
    with pytest.raises(InputError, match=r"^x must have more rows than its 3 columns, got 3"):
        frechet_distance(x, draw(1, 9))
    with pytest.raises(InputError, match=r"^y must have more rows"):
        frechet_distance(draw(1, 9), x)
    with pytest.raises(InputError, match=r"^y must have shape \(B, 3\)"):
        frechet_distance(draw(1, 9), draw(0, 9, 2))
    with pytest.raises(InputError, match=r"^x must hold finite numbers"):
        frechet_distance(draw(1, 9) * np.nan, draw(0, 9))


# Balls


def naive(samples, data, k):
    """Precision, recall, density, coverage, ball by ball as the papers write them."""

    def reach(x, i):
        return sorted(np.linalg.norm(x[i] - x[j]) for j in range(len(x)) if j != i)[k - 1]

    def inside(p, x, i):
        return np.linalg.norm(p - x[i]) <= reach(x, i)

    M, N = len(samples), len(data)
    return (
        sum(any(inside(s, data, i) for i in range(N)) for s in samples) / M,
        sum(any(inside(r, samples, j) for j in range(M)) for r in data) / N,
        sum(inside(s, data, i) for s in samples for i in range(N)) / (k * M),
        sum(any(inside(s, data, i) for s in samples) for i in range(N)) / N,
    )


def balls(samples, data, k):
    pr, dc = precision_recall(samples, data, k=k), density_coverage(samples, data, k=k)
    return pr.precision, pr.recall, dc.density, dc.coverage


@given(seed=SEEDS, m=st.integers(4, 9), n=st.integers(4, 9), k=st.integers(1, 3))
def test_balls_are_those_of_the_papers(seed, m, n, k):
    x, y = draw(seed, m, 2, shift=0.7), draw(seed + 1, n, 2)
    np.testing.assert_allclose(balls(x, y, k), naive(x, y, k), rtol=1e-12)


def expected_under_the_null(measure, k=5, n=200, repetitions=30):
    """Naeem et al. 2020: of one distribution, density is 1 on average, coverage a known share."""
    seeds = range(repetitions)
    found = np.array([measure(draw(2 * s, n), draw(2 * s + 1, n), k=k) for s in seeds])
    i = np.arange(1, k + 1)
    wanted = 1.0, 1 - np.prod((n - i) / (2 * n - i))
    errors = found.std(axis=0) / math.sqrt(repetitions)
    assert np.all(np.abs(found.mean(axis=0) - wanted) < 4 * errors)


def test_density_and_coverage_are_what_they_are_for_equals():
    def both(x, y, k):
        found = density_coverage(x, y, k=k)
        return found.density, found.coverage

    expected_under_the_null(both)
    with pytest.raises(AssertionError):
        expected_under_the_null(lambda x, y, k: both(x, y, k + 1))  # itself counted as a neighbour


def test_a_point_far_out_spoils_one_measure_and_not_the_other():
    data, noise = draw(0, 300, 8), draw(1, 300, 8) + 20
    far = np.concatenate([data, np.full((1, 8), 40.0)])
    assert precision_recall(noise, data).precision == 0
    assert precision_recall(noise, far).precision == 1  # all in the ball of one real point
    assert density_coverage(noise, far).density < 0.25
    samples = np.concatenate([0.01 * data[:2], 40.0 * draw(2, 9, 8)])  # most of them far out
    assert precision_recall(samples, data).recall > 0.99
    assert density_coverage(samples, data).coverage < 0.6


@pytest.mark.parametrize("measure", [precision_recall, density_coverage])
def test_balls_need_more_than_k_rows(measure):
    with pytest.raises(InputError, match=r"^samples must have more than k = 4 rows, got 4"):
        measure(draw(0, 4), draw(1, 9), k=4)
    with pytest.raises(InputError, match=r"^data must have more than k = 4 rows, got 3"):
        measure(draw(0, 9), draw(1, 3), k=4)
    with pytest.raises(InputError, match=r"^k must be an int >= 1"):
        measure(draw(0, 9), draw(1, 9), k=0)
    with pytest.raises(InputError, match=r"^samples must have shape"):
        measure(draw(0, 9, 2), draw(1, 9), k=1)


# Copies


def test_copies_are_told_from_what_generalises():
    """z of rows nobody trained on is standard normal; copies, exact or noised, are beyond it."""
    z = []
    for seed in range(60):
        train, test, fresh = (draw(3 * seed + i, 150) for i in range(3))
        z.append(copying(fresh, train, test).z)
    assert stats.kstest(z, "norm", args=(0, 1.4)).pvalue > 1e-3  # dependent through `train`: wider
    train, test = draw(0, 300), draw(1, 300)
    assert copying(train, train, test).share == 1
    assert copying(train + 0.05 * draw(2, 300), train, test).z > 10
    assert copying(draw(3, 300, shift=9.0), train, test).share == 0


def test_a_test_against_the_test_rows_alone_would_be_blind():
    """Copies of the training data pass for test data by their distance from those."""
    train, test = draw(0, 300), draw(1, 300)
    assert abs(copying(train, test, draw(2, 300)).z) < 3


# Classes


def test_class_coverage_counts_and_has_an_entropy():
    found = class_coverage(np.array([0] * 8 + [2] * 2), 4)
    assert (found.counts, found.seen) == ((8, 0, 2, 0), 2)
    np.testing.assert_allclose(found.entropy, stats.entropy([0.8, 0.2]))
    assert class_coverage(np.arange(10), 10).share == pytest.approx(1)
    assert class_coverage(np.zeros(5, int), 10).share == pytest.approx(0.1)
    assert asked_class(np.array([1, 1, 2]), np.array([1, 2, 2]), 3) == pytest.approx(2 / 3)
    for bad in (np.array([4]), np.array([0.5]), np.array([[1]]), np.array([], int)):
        with pytest.raises(InputError):
            class_coverage(bad, 4)
    with pytest.raises(InputError, match="y must be"):
        asked_class(np.array([1, 1]), np.array([1]), 3)


# The classifier, trained once and kept

QUICK = trained.Recipe(8, 16, 1, {"epochs": 2, "batch_size": 50, "lr": 3e-3})


@pytest.fixture(scope="module")
def digits():
    return load("digits", domain="continuous", shape="image")


def learns_nothing_from_the_test_part(train, digits, folder):
    """Other test images and labels: the same classifier, bit by bit."""
    other = replace(digits, test=Split(-digits.test.x, digits.test.y[::-1].copy()))
    one, two = (train(d, QUICK, folder / f"{i}") for i, d in enumerate((digits, other)))
    for a, b in zip(*(state(j.classifier).values() for j in (one, two)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_judge_never_sees_test_data(digits, tmp_path):
    learns_nothing_from_the_test_part(trained.trained, digits, tmp_path)

    def on_all(data, recipe, path):
        return trained.trained(replace(data, train=data.test), recipe, path)

    with pytest.raises(AssertionError):
        learns_nothing_from_the_test_part(on_all, digits, tmp_path)


def test_a_judge_is_trained_once_and_says_how_long_that_takes(monkeypatch, tmp_path):
    monkeypatch.setenv("GENZOO_CACHE", str(tmp_path))
    monkeypatch.setitem(trained.RECIPES, "digits", QUICK)
    told: list[str] = []
    first = trained.judge_of("digits", tell=told.append)
    assert "about 1 s" in told[0]
    assert json.loads(load_arrays(first.path)[1]["judge"])["accuracy"] == first.accuracy
    again = trained.judge_of("digits", tell=told.append)
    assert len(told) == 1
    assert again.accuracy == first.accuracy
    for a, b in zip(*(state(j.classifier).values() for j in (first, again)), strict=True):
        np.testing.assert_array_equal(a, b)
    first.path.write_bytes(b"damaged")
    trained.judge_of("digits", tell=told.append)
    monkeypatch.setitem(trained.RECIPES, "digits", replace(QUICK, features=8))
    trained.judge_of("digits", tell=told.append)
    assert len(told) == 3


@pytest.mark.parametrize(("name", "least"), [("digits", 0.97), ("mnist", 0.985)])
def test_the_judges_know_their_digits(name, least):
    path = trained.cache_folder() / "judges" / f"{name}.safetensors"
    if name == "mnist" and not path.exists():
        pytest.skip(f"no {path}: `genzoo judge mnist` trains it")
    assert trained.judge_of(name).accuracy >= least


# All of it on real digits


@pytest.fixture(scope="module")
def judge():
    held_out = HeldOut(load("digits", domain="continuous"), permutations=19)
    return fidelity.InFeatures(held_out, trained.judge_of("digits").classifier)


@pytest.fixture(scope="module")
def real(judge):
    return judge.baseline


def test_real_digits_pass_for_real_digits(real):
    assert real.frechet < 15
    assert min(real.precision, real.recall, real.density) > 0.8
    assert real.coverage > 0.9
    assert real.classes == 10
    assert abs(real.copied_z) < 3


def test_noise_is_no_digit(judge, real):
    found = judge.fidelity(np.random.default_rng(0).uniform(-1, 1, (250, 64)))
    assert found.frechet > 10 * real.frechet
    assert max(found.precision, found.recall, found.density, found.coverage) < 0.1


def test_a_dropped_mode_is_caught_by_what_looks_at_modes_only(judge, real):
    """Four digits of ten: each is a digit, and most are missing."""
    fresh, kept = judge.held_out.fresh, (0, 1, 4, 6)
    y = judge.classifier.predict(fidelity.as_images(judge.held_out.data, fresh))
    few = np.tile(fresh[np.isin(y, kept)], (4, 1))[:250]
    found = judge.fidelity(few)
    assert found.precision > 0.85
    assert found.classes <= 5
    assert max(found.recall, found.coverage) < 0.6
    assert found.entropy < math.log(5) < real.entropy
    assert found.frechet > 3 * real.frechet


def test_memorised_digits_are_told_from_new_ones(judge, real):
    train = judge.held_out.data.train.x[:250]
    found = judge.fidelity(train)
    assert found.copied_z > 10
    assert found.frechet < 2 * real.frechet  # by which they would pass


def test_the_class_asked_for_is_looked_up_in_the_samples(judge):
    part = judge.held_out.data.validation
    y = np.concatenate([part.y, load("digits").test.y])[:250]
    x = np.concatenate([part.x, judge.held_out.data.test.x])[:250]
    assert judge.fidelity(x, y).asked > 0.95
    assert judge.fidelity(x, (y + 1) % 10).asked < 0.1
    assert judge.asked(x[:30], y[:30]) > 0.9
    assert fidelity.classes_in_turn(23, 10).tolist()[-4:] == [9, 0, 1, 2]


@pytest.mark.parametrize("domain", ["binary", "integer", "continuous"])
def test_every_domain_is_shown_as_pixels_from_minus_one_to_one(domain):
    data = load("digits", domain=domain)
    shown = fidelity.as_images(data, data.test.x)
    wanted = load("digits", domain="continuous" if domain != "binary" else "binary").test.x
    wanted = 2 * wanted - 1 if domain == "binary" else wanted
    np.testing.assert_allclose(shown.reshape(-1, 64), wanted, atol=1e-6)
    assert trained.has_judge(data)
    assert not trained.has_judge(replace(data, image_shape=(4, 16)))
    assert not trained.has_judge(replace(data, source="my.npz"))
