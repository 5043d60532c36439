"""A table stays in its units: what is read, what is said of it, and the way there and back."""

from __future__ import annotations

import csv
import io
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.data import Column, Dataset, Units, load
from core.errors import DataError, InputError

rng = np.random.default_rng(0)


def write(path, names, columns):
    lines = [",".join(names)] if names else []
    lines += [",".join(map(str, row)) for row in zip(*columns, strict=True)]
    path.write_text("\n".join(lines) + "\n")
    return path


def people(n=60, **changes):
    """Ages, incomes, towns, and who bought."""
    columns = {
        "age": rng.integers(18, 91, n),
        "income": np.array([f"{v:.2f}" for v in rng.lognormal(10, 1, n)]),
        "town": np.array(["York", "Bath", "Rye"])[np.arange(n) % 3],
        "bought": np.array(["yes", "no"])[np.arange(n) % 2],
    }
    return {**columns, **changes}


def load_people(tmp_path, *, label="bought", n=60, changes=None, **how) -> Dataset:
    columns = people(n, **(changes or {}))
    path = write(tmp_path / "people.csv", list(columns), list(columns.values()))
    return load(path, label=label, **how)


def everything(data):
    return np.concatenate([part.x for part in data.parts])


def law_comes_back(data: Dataset, columns) -> None:
    """z → x is the file's own table, row by row in some order, and its text the file's own text."""
    x = data.units.restore(everything(data))
    order, wanted = np.lexsort(x.T), np.stack(columns, axis=1).astype(np.float64)
    np.testing.assert_allclose(x[order], wanted[np.lexsort(wanted.T)], rtol=1e-5, atol=1e-3)


# Units


def test_columns_are_standardised_over_the_training_rows_and_come_back(tmp_path):
    data = load_people(tmp_path, standardise=True)
    np.testing.assert_allclose(data.train.x.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(data.train.x.std(axis=0), 1, rtol=1e-5)
    assert data.train.x.dtype == np.float32
    rows = list(csv.reader((tmp_path / "people.csv").read_text().splitlines()))[1:]
    again = list(csv.reader(io.StringIO(data.units.text(everything(data)))))
    assert again[0] == ["age", "income", "town"]
    assert sorted(again[1:]) == sorted(row[:3] for row in rows)


def test_a_wrong_offset_or_order_is_rejected(tmp_path):
    data = load_people(tmp_path, standardise=True)
    table = [[float(v) for v in row] for row in people_numbers(tmp_path)]
    law_comes_back(data, list(np.array(table).T))
    for wrong in (1.01, -1.0):
        with pytest.raises(AssertionError):
            law_comes_back(data, list(wrong * np.array(table).T))
    with pytest.raises(AssertionError):
        law_comes_back(data, list(np.array(table).T[::-1]))


def people_numbers(tmp_path):
    codes = {"Bath": 0, "Rye": 1, "York": 2}
    for age, income, town, _ in list(
        csv.reader((tmp_path / "people.csv").read_text().splitlines())
    )[1:]:
        yield age, income, codes[town]


def test_in_float32_a_table_keeps_its_units_without_being_told(tmp_path):
    data = load_people(tmp_path)
    assert data.train.x.dtype == np.float32
    assert 18 <= everything(data)[:, 0].min() <= everything(data)[:, 0].max() <= 90
    assert data.units.log_scale == 0


@given(st.data())
def test_the_density_changes_by_the_jacobian(data):
    """∫ p over a box is the same in both units: log p(x) = log p(z) − Σ log scale."""
    scales = data.draw(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=4))
    columns = [Column("c", "real", 0, 1, offset=3.0, scale=s) for s in scales]
    units = Units(tuple(columns))
    z = np.random.default_rng(0).normal(size=(2, len(scales)))
    x = units.restore(z)
    volume = math.prod(np.abs(x[1] - x[0]) / np.abs(z[1] - z[0]))
    assert units.log_scale == pytest.approx(math.log(volume), rel=1e-6, abs=1e-6)
    np.testing.assert_allclose(units.standardise(x), z, rtol=1e-4, atol=1e-4)
    assert Units.from_json(units.as_json()) == units


def test_time_stamps_are_an_error_in_float32_and_kept_when_standardised(tmp_path):
    """Thirty seconds apart in 2026: float32 steps by 128 there."""
    stamps = 1_780_000_000 + np.arange(60)
    path = write(tmp_path / "t.csv", ["when", "what"], [stamps, rng.normal(size=60)])
    with pytest.raises(DataError, match=r"column 'when': float32 can't tell.*standardise=True"):
        load(path)
    data = load(path, standardise=True)
    assert len(np.unique(everything(data)[:, 0])) == 60
    back = data.units.text(everything(data)).splitlines()[1:]
    assert sorted(int(line.split(",")[0]) for line in back) == stamps.tolist()


def test_samples_keep_to_the_types_and_ranges_of_the_columns():
    columns = (
        Column("age", "whole", 18, 90, offset=50, scale=20),
        Column("size", "real", 0.5, 9.9, decimals=1, offset=5, scale=3),
        Column("town", "category", 0, 1, names=('B"ath', "Rye, E"), offset=0.5, scale=0.5),
    )
    text = Units(columns).text(np.array([[-9.0, 9.0, 9.0], [0.03, 0.01, -1.0]]))
    rows = list(csv.reader(io.StringIO(text)))
    assert rows == [["age", "size", "town"], ["18", "9.9", "Rye, E"], ["51", "5.0", 'B"ath']]


@pytest.mark.parametrize(
    "stored",
    [
        [{}],
        [{"name": "a"}],
        3,
        [{"name": "a", "kind": "real", "low": 0, "high": 1, "names": [], "scale": 0}],
        [{"name": "a", "kind": "real", "low": 0, "high": 1, "names": [], "offset": math.inf}],
        [{"name": "a", "kind": "colour", "low": 0, "high": 1, "names": []}],
        [{"name": "a", "kind": "real", "low": 0, "high": 1, "names": [], "x": 0}],
    ],
)
def test_stored_units_that_are_none(stored):
    with pytest.raises(InputError, match=r"units.* must"):
        Units.from_json(stored)


def test_another_file_is_read_in_the_units_of_the_first(tmp_path):
    first = load_people(tmp_path, standardise=True)
    columns = people(30)
    path = write(tmp_path / "b.csv", ["town", "age", "income"], [columns["town"], columns["age"], columns["income"]])  # fmt: skip  # noqa: E501
    other = load(path, standardise=first.units)
    x = first.units.restore(everything(other))
    assert sorted(np.rint(x[:, 0]).astype(int)) == sorted(columns["age"])
    assert other.units == first.units
    write(path, ["town", "age", "income"], [["York", "Hull"] * 5, range(10), range(10)])
    with pytest.raises(DataError, match=r"column 'town'.*expected one of Bath, Rye, York.*'Hull'"):
        load(path, standardise=first.units)
    write(path, ["town", "age"], [["York"] * 10, range(10)])
    with pytest.raises(DataError, match="no column 'income', only town, age"):
        load(path, standardise=first.units)


def test_a_file_without_a_header_is_read_in_the_order_of_a_run(tmp_path):
    first = load_people(tmp_path, standardise=True)
    path = write(tmp_path / "b.csv", [], [range(20, 30), range(10), ["Rye", "Bath"] * 5])
    x = first.units.restore(everything(load(path, standardise=first.units)))
    assert sorted(np.rint(x[:, 0])) == list(range(20, 30))
    assert set(np.rint(x[:, 2])) == {0, 1}


def test_labels_and_missing_values_are_of_tables(tmp_path):
    with pytest.raises(InputError, match="label must be left out for digits"):
        load("digits", label="y")
    with pytest.raises(InputError, match="missing must be left out for grid"):
        load("grid", missing="drop")
    np.save(tmp_path / "a.npy", np.zeros((20, 2)))
    with pytest.raises(DataError, match=r"a\.npy: has no column 'y' for labels"):
        load(tmp_path / "a.npy", label="y")


# Whole numbers are no grey levels


def test_small_whole_numbers_are_no_pixels(tmp_path):
    path = write(tmp_path / "a.csv", ["a", "b"], [np.arange(30) % 7, np.arange(30) % 4])
    assert load(path).domain == "continuous"
    with pytest.raises(DataError, match=r"can't be read as binary; `levels` in an \.npz"):
        load(path, domain="binary")
    np.savez(tmp_path / "a.npz", x=np.arange(60).reshape(30, 2) % 4, levels=4)
    assert load(tmp_path / "a.npz", domain="binary").train.x.max() == 1
    np.savez(tmp_path / "b.npz", x=np.arange(60).reshape(30, 2) % 4)
    with pytest.raises(DataError, match="can't be read as binary"):
        load(tmp_path / "b.npz", domain="binary")


def test_bits_are_binary_and_come_back_from_continuous(tmp_path):
    bits = rng.integers(0, 2, (40, 2))
    path = write(tmp_path / "a.csv", ["a", "b"], [bits[:, 0], np.array(["no", "yes"])[bits[:, 1]]])
    data = load(path)
    assert (data.domain, set(np.unique(data.train.x))) == ("binary", {0.0, 1.0})
    scaled = data.as_domain("continuous")
    assert set(np.unique(scaled.train.x)) == {-1.0, 1.0}
    assert scaled.units.text(scaled.train.x) == data.units.text(data.train.x)
    assert set(data.units.text(data.train.x).split()[1:]) == {"0,no", "0,yes", "1,no", "1,yes"}


# Labels


def test_labels_by_name_as_words_or_any_numbers(tmp_path):
    data = load_people(tmp_path)
    assert (data.classes, data.class_names, data.label) == (2, ("no", "yes"), "bought")
    data = load_people(tmp_path, changes={"bought": np.array([7, -3, 7, 90] * 15)})
    assert (data.classes, data.class_names) == (3, ("-3", "7", "90"))
    assert {int(k) for part in data.parts for k in part.y} == {0, 1, 2}
    assert load_people(tmp_path, label="BOUGHT").label == "bought"
    with pytest.raises(DataError, match=r"no column 'bougth'.*did you mean bought"):
        load_people(tmp_path, label="bougth")
    with pytest.raises(DataError, match=r"'income', has 60 different values.*--label none"):
        load_people(tmp_path, label="income")


def test_without_labels_and_with_two_candidates(tmp_path):
    path = write(tmp_path / "a.csv", ["x", "y"], [rng.normal(size=30), rng.normal(size=30)])
    with pytest.raises(DataError, match=r"y \(train\).*--label none"):
        load(path)
    assert load(path, label="none").dim == 2
    path = write(tmp_path / "b.csv", ["y", "class", "a"], [[1, 0] * 10, [0, 1] * 10, range(20)])
    with pytest.raises(DataError, match=r"2 columns of labels.*--label NAME"):
        load(path)
    assert load(path, label="class").label == "class"


def test_columns_of_a_file_without_a_header_have_numbers(tmp_path):
    path = write(tmp_path / "a.csv", [], [rng.normal(size=30), ["a", "b"] * 15])
    data = load(path, label="2")
    assert (data.dim, data.class_names) == (1, ("a", "b"))
    assert "column 'id'" not in data.summary


# Missing values


def with_holes(tmp_path, **how):
    age = np.array([str(v) for v in range(20, 80)])
    age[[3, 30]] = ["", "NA"]
    return load_people(tmp_path, changes={"age": age}, **how)


def test_missing_values_are_named_with_their_cure(tmp_path):
    with pytest.raises(DataError) as caught:
        with_holes(tmp_path)
    for word in ("line 5", "'age'", "2 missing in this column", "--missing drop", "mean"):
        assert word in str(caught.value)
    with pytest.raises(InputError, match="missing must be one of error, drop, mean"):
        with_holes(tmp_path, missing="median")


def test_missing_rows_are_dropped(tmp_path):
    data = with_holes(tmp_path, missing="drop")
    assert sum(map(len, data.parts)) == 58
    assert data.notes == ("2 rows with missing values left out",)
    assert not {23.0, 50.0} & set(everything(data)[:, 0].tolist())


def test_missing_values_get_the_mean_of_the_training_rows(tmp_path):
    """Not of all rows: what is held out must not leak."""
    town = np.array(["York", "Bath", "Rye"])[np.arange(60) % 3]
    town[9], town[12] = "?", "Rye"
    data = with_holes(tmp_path, missing="mean")
    ages = everything(data)[:, 0]
    kept = sorted(set(range(20, 80)) - {23, 50})
    filled = sorted(ages.tolist())
    for age in kept:
        filled.remove(age)
    assert len(filled) == 2
    assert filled[0] == filled[1]
    present = [a for a in data.train.x[:, 0].tolist() if a != filled[0] or a in kept]
    assert abs(filled[0] - np.mean(present)) < 1
    data = load_people(tmp_path, changes={"town": town}, missing="mean")
    counts = np.bincount(data.train.x[:, 2].astype(int), minlength=3)
    assert counts.sum() == 48
    assert not np.isnan(everything(data)).any()


def test_missing_labels_can_only_be_dropped(tmp_path):
    bought = np.array(["yes", "no"] * 30)
    bought[4] = ""
    for how in ("error", "mean"):
        with pytest.raises(DataError, match="line 6, column 'bought': a label is missing"):
            load_people(tmp_path, changes={"bought": bought}, missing=how)
    data = load_people(tmp_path, changes={"bought": bought}, missing="drop")
    assert (sum(map(len, data.parts)), data.class_names) == (59, ("no", "yes"))


def test_missing_numbers_of_an_array(tmp_path):
    x = rng.normal(size=(40, 3))
    x[5, 1] = np.nan
    np.savez(tmp_path / "a.npz", x=x, y=np.arange(40) % 2)
    with pytest.raises(DataError, match="row 5, column 1"):
        load(tmp_path / "a.npz")
    dropped = load(tmp_path / "a.npz", missing="drop")
    assert sum(map(len, dropped.parts)) == 39
    filled = load(tmp_path / "a.npz", missing="mean", standardise=True)
    assert sum(map(len, filled.parts)) == 40
    assert np.isfinite(everything(filled)).all()


# What else is noticed


def test_an_index_is_left_out_and_said(tmp_path):
    for name in ("id", "", "Unnamed: 0"):
        columns = {name: np.arange(60), **people()}
        path = write(tmp_path / "a.csv", list(columns), list(columns.values()))
        data = load(path, label="bought")
        assert data.units.names == ("age", "income", "town")
        assert f"column {name!r} counts the rows and is left out" in data.summary
    columns = {"week": np.arange(60), **people()}
    path = write(tmp_path / "a.csv", list(columns), list(columns.values()))
    assert load(path, label="bought").units.names[0] == "week"
    assert "column 'week' counts the rows: is it data?" in load(path, label="bought").summary


def test_names_are_no_categories_and_words_among_numbers_no_numbers(tmp_path):
    with pytest.raises(DataError, match=r"'town' has 60 different words in 60 rows"):
        load_people(tmp_path, changes={"town": np.array([f"town {i}" for i in range(60)])})
    age = np.arange(60).astype(str)
    age[7] = "old"
    with pytest.raises(DataError, match=r"line 9, column 'age': expected a finite number.*'old'"):
        load_people(tmp_path, changes={"age": age})


def test_one_line_says_what_was_read(tmp_path):
    data = load_people(tmp_path)
    assert data.summary == "60 rows × 3 columns, continuous, labels: bought (2)"
    np.savez(tmp_path / "i.npz", x=np.zeros((20, 3, 4, 5), np.uint8), y=np.arange(20) % 2)
    assert load(tmp_path / "i.npz").summary == "20 samples of 3 × 4 × 5, binary, labels: (2)"
