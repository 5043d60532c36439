"""A user's own files: what goes in comes out, and whatever is wrong gets one line that says so."""

import gzip
import io
import pickle
import struct
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from core.data import Dataset, arrays, load, text
from core.errors import DataError

rng = np.random.default_rng(0)


def rows_of(data: Dataset) -> np.ndarray:
    """All rows with their labels, in any order."""
    parts = data.train, data.validation, data.test
    labelled = data.train.y is not None
    table = np.concatenate([np.c_[p.x, p.y] if labelled else p.x for p in parts])
    return table[np.lexsort(table.T)]


def law_every_row_once(data: Dataset, x: np.ndarray, y: np.ndarray | None = None) -> None:
    """The parts together are the file: no row lost, doubled, or parted from its label."""
    table = x.reshape(len(x), -1).astype(data.train.x.dtype)
    table = table if y is None else np.c_[table, y]
    np.testing.assert_array_equal(rows_of(data), table[np.lexsort(table.T)])
    assert min(len(data.train), len(data.validation), len(data.test)) > 0


def refuse(path, *words: str, **kwargs) -> None:
    """Loading fails in one line that names the file and says these words."""
    with pytest.raises(DataError) as caught:
        load(path, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    for word in (path.name, *words):
        assert word in message, message


# What goes in comes out

tables = hnp.arrays(
    st.sampled_from([np.float32, np.float64, np.int16, np.uint8, np.bool_]),
    st.tuples(st.integers(4, 30), st.integers(1, 5)),
)


def fits_float32(x):
    """Whether rounding to float32 leaves every column's values apart."""
    wide = x.astype(np.float64)
    if not (np.abs(wide) < 1e38).all():
        return False
    off = np.abs(wide - wide.astype(np.float32)).max(axis=0)
    return bool(((np.ptp(wide, axis=0) == 0) | (off < 1e-4 * wide.std(axis=0))).all())


@given(tables.filter(fits_float32), st.integers(0, 9))
def test_arrays_round_trip(tmp_path_factory, x, seed):
    folder = tmp_path_factory.mktemp("arrays")
    y = np.arange(len(x)) % 3
    np.save(folder / "a.npy", x)
    np.savez_compressed(folder / "a.npz", x=x, y=y)
    law_every_row_once(load(folder / "a.npy", seed=seed), x)
    law_every_row_once(load(folder / "a.npz", seed=seed), x, y)


@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(4, 20), st.integers(2, 5)),
        elements=st.floats(-(2.0**100), 2.0**100, width=32),
    ),
    st.booleans(),
    st.sampled_from([(",", "csv"), ("\t", "tsv")]),
)
def test_csv_round_trips(tmp_path_factory, x, labelled, kind):
    path = tmp_path_factory.mktemp("csv") / f"a.{kind[1]}"
    y = np.arange(len(x)) % 2
    table = np.c_[x[:, :1], y, x[:, 1:]] if labelled else x
    names = ["a", "Label", *"bcdef"] if labelled else []
    lines = [kind[0].join(names[: table.shape[1]])] if labelled else []
    lines += [kind[0].join(map(repr, row)) + "\n" for row in table.tolist()]  # and blank lines
    path.write_text("\ufeff" + "\n".join(lines), encoding="utf-8")
    law_every_row_once(load(path), x, y if labelled else None)


def test_a_lost_row_or_a_swapped_label_is_rejected(tmp_path):
    x, y = rng.normal(size=(20, 3)).astype(np.float32), np.arange(20) % 2
    np.savez(tmp_path / "a.npz", x=x, y=y)
    data = load(tmp_path / "a.npz")
    for wrong in ((x[1:], y[1:]), (x, y[::-1]), (np.r_[x[:1], x[:-1]], y), (x[:, ::-1], y)):
        with pytest.raises(AssertionError):
            law_every_row_once(data, *wrong)


def test_the_split_depends_on_the_seed_alone(tmp_path):
    x = np.arange(400.0).reshape(100, 4)
    np.save(tmp_path / "a.npy", x)
    one, again, other = (load(tmp_path / "a.npy", seed=s) for s in (1, 1, 2))
    assert np.array_equal(one.test.x, again.test.x)
    assert not np.array_equal(one.test.x, other.test.x)
    assert [len(one.train), len(one.validation), len(one.test)] == [80, 10, 10]


def test_given_parts_are_kept_and_missing_ones_are_drawn_from_training(tmp_path):
    x = rng.integers(0, 256, (70, 4, 3)).astype(np.uint8)
    y = np.arange(70) % 10
    np.savez(tmp_path / "a.npz", x_train=x[:50], y_train=y[:50], x_test=x[50:], y_test=y[50:])
    data = load(tmp_path / "a.npz")
    assert np.array_equal(data.test.x, x[50:].reshape(20, 12))
    assert (len(data.train), len(data.validation)) == (45, 5)
    assert (data.image_shape, data.levels, data.classes) == ((4, 3), 256, 10)
    law_every_row_once(data, x, y)
    np.savez(tmp_path / "b.npz", x_train=x[:50], x_valid=x[50:60], x_test=x[60:])
    assert np.array_equal(load(tmp_path / "b.npz").train.x, x[:50].reshape(50, 12))


IMAGES = np.eye(9, dtype=np.int64).reshape(9, 3, 3)


@pytest.mark.parametrize(
    ("x", "domain", "levels"),
    [
        (np.eye(9), "binary", 2),
        (np.eye(9, dtype=bool), "binary", 2),
        (IMAGES * 16.0, "integer", 17),
        (IMAGES.astype(np.uint8) * 128, "integer", 256),
        (IMAGES * 128, "integer", 129),
        (IMAGES * 1000, "integer", 1001),
        (IMAGES * 1000.0, "continuous", None),
        (np.eye(9) * 16, "continuous", None),
        (np.eye(9, dtype=np.uint8) * 128, "continuous", None),
        (np.eye(9) * 1000, "continuous", None),
        (np.eye(9) * 0.5, "continuous", None),
        (-np.eye(9, dtype=np.int8), "continuous", None),
        (np.eye(9, dtype=np.int64) * 10**6, "continuous", None),
    ],
)
def test_the_domain_is_read_off_the_numbers(tmp_path, x, domain, levels):
    np.save(tmp_path / "a.npy", x)
    data = load(tmp_path / "a.npy")
    assert (data.domain, data.levels) == (domain, levels)
    expected = np.int64 if domain == "integer" else np.float32
    assert data.train.x.dtype == expected


def test_levels_and_image_shape_can_be_told(tmp_path):
    np.savez(
        tmp_path / "a.npz", x=np.eye(12, dtype=np.uint8), levels=16, image_shape=(3, 4), note=1
    )
    data = load(tmp_path / "a.npz", domain="continuous")
    assert data.image_shape == (3, 4)
    assert data.train.x.max() == np.float32(2 / 15 - 1)


@given(st.data())
def test_shapes_and_what_comes_with_them_round_trip(tmp_path_factory, data):
    """Whatever shape: every sample comes back once, in its shape, beside what came with it."""
    n, c = data.draw(st.integers(4, 9)), data.draw(st.sampled_from([1, 3]))
    h, t = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    w = data.draw(st.integers(2, 4))  # (H, W, 1) is a grey image whose colour comes last
    kind = data.draw(st.sampled_from(["image", "film", "grid"]))
    size = {"image": (c, h, w), "film": (t, c, h, w), "grid": (h, w)}[kind]
    draw = np.random.default_rng(data.draw(st.integers(0, 99)))
    x = draw.integers(0, 200, (n, *size)).astype(np.uint8)
    x.reshape(n, -1)[:, 0] = 200 + np.arange(n)  # its own number
    lengths = draw.integers(0, t + 1, n)
    sound = draw.uniform(-1, 1, (n, t)).astype(np.float32)
    things = {"y.who": x.reshape(n, -1)[:, 0].astype(str), "y.s": sound, "y.s.lengths": lengths}
    things |= {"x.fps": 5} if kind == "film" else {}
    path = tmp_path_factory.mktemp("shapes") / "a.npz"
    np.savez(path, x=x, **things, **{"y.s.rate": 7})
    loaded = load(path, shape=kind)
    names = loaded.given["who"].names
    assert loaded.given["s"].rate == 7
    seen = []
    for part in (loaded.train, loaded.validation, loaded.test):
        for one, who, heard in zip(part.x, part.y["who"], part.y["s"], strict=True):
            i = int(names[who]) - 200
            np.testing.assert_array_equal(one, x[i])
            np.testing.assert_array_equal(heard, sound[i, : lengths[i]])
            seen.append(i)
    assert sorted(seen) == list(range(n))
    assert load(path).train.x.shape[1:] == (x[0].size,)


def test_words_become_sequences_that_stop_before_their_end():
    data = text.words("t", "\n".join("abcd"[: 1 + i % 4] for i in range(40)))
    sequences = data.as_shape("sequence")
    shown = ["".join(data.vocabulary[i] for i in row) for row in sequences.train.x]
    assert "\n".join(shown) == data.decode(data.train.x)
    assert data.as_shape("flat").train.x.shape == data.train.x.shape


def test_one_column_one_array_and_a_folder_in_the_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("a.npz", np.arange(20.0))
    np.save("mnist", np.arange(20.0))
    assert load("a.npz").train.x.shape == (16, 1)
    assert load("./mnist.npy").train.x.shape == (16, 1)


def test_text_by_path(tmp_path):
    (tmp_path / "poem").write_bytes(b"one\r\ntwo\r\n" * 50)
    data = load(tmp_path / "poem", block=8)
    assert data.decode(data.train.x[0]) == "one\ntwo\n"
    assert load(str(tmp_path / "poem"), block=8).dim == 8


# What is wrong is said


@pytest.mark.parametrize("name", ["a.npz", "a.npy", "a.csv", "a.txt"])
def test_missing_empty_and_odd_files(tmp_path, name):
    refuse(tmp_path / name, "no such file")
    (tmp_path / name).write_bytes(b"")
    refuse(tmp_path / name)
    (tmp_path / f"folder-{name}").mkdir()
    refuse(tmp_path / f"folder-{name}", "not a regular file")
    (tmp_path / f"noise-{name}").write_bytes(rng.bytes(1000))
    refuse(tmp_path / f"noise-{name}")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e39])
def test_numbers_that_are_none_are_named_by_row_and_column(tmp_path, bad):
    x = np.ones((20, 3)) / 2
    x[7, 2] = bad
    np.savez(tmp_path / "a.npz", x=x)
    refuse(tmp_path / "a.npz", "row 7, column 2", str(bad))


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["a,b", "1,2", "3,nan"], ["line 3, column 'b'", "'nan'"]),
        (["1,2", "3,"], ["line 2, column 2", "''"]),
        (["1,2", "", "3,x"], ["line 3, column 2", "'x'"]),
        (["1,2", "3,1e999"], ["line 2, column 2"]),
        (["1,2", "3,4,5"], ["line 2 has 3 columns, expected 2"]),
        (["a,b,c", "1,2", "3,4"], ["line 2 has 2 columns, expected 3"]),
        (["1,b", "3,4"], ["line 1, column 2", "'b'"]),
        (["a,b"], ["header but no rows"]),
        (["", ""], ["empty"]),
        (["y,class,a", "1,1,1", "0,0,0"], ["2 columns of labels"]),
        (["y", "1", "0", "1"], ["empty"]),
        (["a,y", "1,0.5", "2,1", "3,1"], ["y (train)", "whole"]),
        (["1,2"], ["too few"]),
        (['1,"2', "3,4"], []),
    ],
)
def test_bad_csv(tmp_path, lines, words):
    (tmp_path / "a.csv").write_text("\n".join(lines))
    refuse(tmp_path / "a.csv", *words)


X = np.arange(40.0).reshape(20, 2)
Y = np.arange(20) % 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"x": X, "y": np.arange(19)}, ["y (train)", "(20,)", "(19,)"]),
        ({"x": X, "y": np.zeros((20, 2), int)}, ["one label a row"]),
        ({"x": X, "y": np.arange(20) / 2}, ["whole numbers"]),
        ({"x": X, "y": np.full(20, np.nan)}, ["whole numbers"]),
        ({"x_train": X, "x_test": X, "y_train": np.zeros(20, int)}, ["labels for train"]),
        ({"x": X, "y_test": np.zeros(20, int)}, ["labels for test"]),
        ({"x_train": X, "x_test": X[:, :1]}, ["differ in size"]),
        ({"x_train": X, "x": X}, ["second one"]),
        ({"x_train": X, "x_tset": X}, ["'x_tset'"]),
        ({"data": X, "labels": X}, ["no array x", "data, labels"]),
        ({}, ["no array x"]),
        ({"x": np.zeros((0, 3))}, ["empty"]),
        ({"x": np.zeros((9, 0))}, ["empty"]),
        ({"x": np.float64(3)}, ["must be (N, D)"]),
        ({"x": np.zeros((9, 4, 4, 3))}, ["must be (N, D)", "(9, 4, 4, 3)"]),
        ({"x": np.zeros((9, 2), complex)}, ["must hold numbers", "complex128"]),
        ({"x": np.array([["a", "b"]] * 9)}, ["must hold numbers"]),
        ({"x": np.zeros(9, [("a", int)])}, ["must hold numbers"]),
        ({"x": np.array([[1, 2], [3]], object)}, ["allow_pickle=False"]),
        ({"x": X, "levels": 1}, ["levels"]),
        ({"x": X, "levels": 30}, ["below levels = 30"]),
        ({"x": X, "levels": 2.5}, ["levels"]),
        ({"x": X, "image_shape": (3, 4)}, ["(3, 4) does not fit"]),
        ({"x": X, "image_shape": 2}, ["image_shape"]),
        ({"x": X[:2]}, ["too few"]),
        ({"x": np.zeros((9, 4, 4, 3))}, ["np.moveaxis(x, -1, -3) puts colours first"]),
        ({"x": np.zeros((9, 5, 4, 4))}, ["C = 1 or 3", "(9, 5, 4, 4)"]),
        ({"x": X, "x.legnths": Y}, ["'x.legnths'", "none of lengths, vocabulary, rate"]),
        ({"x": X, "y.cap.lenths": Y}, ["'y.cap.lenths'", "none of lengths"]),
        ({"x": X, "y_tset.cap": Y}, ["'y_tset.cap'"]),
        ({"x": X, "y.cap": Y, "y": Y}, ["both y and y.cap"]),
        ({"x": X, "y.cap": Y[:-1]}, ["y.cap (train)", "(19,)"]),
        ({"x": X, "y.cap.rate": 5}, ["says rate of y.cap, which is absent"]),
        ({"x": X, "x.lengths": Y + 1.5}, ["x (train)", "lengths", "whole numbers in 0 … 2"]),
        ({"x": X, "x.lengths": Y + 3}, ["x (train)", "whole numbers in 0 … 2"]),
        ({"x_train": X, "x_test": X, "x_train.lengths": Y}, ["x (test)", "no lengths"]),
        ({"x": X.astype(int), "x.vocabulary": np.array(["a", "b"])}, ["ids below 2"]),
        ({"x": X / 50, "x.vocabulary": np.array(["a", "b"])}, ["ids, whole numbers"]),
        ({"x": X.astype(int), "x.vocabulary": np.array(["a", "a"])}, ["different strings"]),
        ({"x": X.astype(int), "x.vocabulary": np.arange(50)}, ["different strings"]),
        ({"x": X, "x.rate": 8000}, ["x (train)", "in [-1, 1]", "39"]),
        ({"x": X / 50, "x.rate": 0}, ["rate must be one integer in 1"]),
        ({"x": X, "x.fps": 8}, ["(N, T, H, W)", "(20, 2)"]),
        ({"x": X, "y.a": X, "y.a.kind": "colour"}, ["y.a", "'colour'", "label, numbers"]),
        ({"x": X, "y.a": np.zeros((20, 4, 4)) + 7}, ["y.a (train)", "uint8", "7.0"]),
        ({"x": X, "y.a": X * np.nan, "y.a.kind": "numbers"}, ["y.a (train), row 0", "nan"]),
        ({"x": Y, "x.kind": "label"}, ["x can't be labels"]),
        ({"x": np.array([""] * 20)}, ["no characters"]),
    ],
)
def test_bad_npz(tmp_path, content, words):
    np.savez(tmp_path / "a.npz", **content)
    refuse(tmp_path / "a.npz", *words)


def test_nothing_is_unpickled(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (tmp_path.joinpath("fired").touch, ())

    bomb = pickle.dumps(Bomb())
    (tmp_path / "raw.npy").write_bytes(bomb)
    with zipfile.ZipFile(tmp_path / "member.npz", "w") as archive:
        archive.writestr("x.npy", bomb)
    with zipfile.ZipFile(tmp_path / "foreign.npz", "w") as archive:
        archive.writestr("x.pkl", bomb)
    np.save(tmp_path / "object.npy", np.array([Bomb(), 1], object), allow_pickle=True)
    for path in tmp_path.glob("*.np?"):
        refuse(path)
    assert not (tmp_path / "fired").exists()


@pytest.mark.parametrize("shape", ["(10, 10)", "(9000000000000000, 3)", "(-1, 3)", "(2,", "x" * 99])
def test_headers_that_lie(tmp_path, shape):
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".encode()
    raw = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) + 1) + header + b"\n" + bytes(64)
    (tmp_path / "a.npy").write_bytes(raw)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", raw)
    refuse(tmp_path / "a.npy")
    refuse(tmp_path / "a.npz")


def test_bytes_after_the_end(tmp_path):
    np.save(tmp_path / "a.npy", X)
    with (tmp_path / "a.npy").open("ab") as file:
        file.write(b"?")
    refuse(tmp_path / "a.npy", "after the end")


def test_short_text_and_bytes_that_are_no_text(tmp_path):
    (tmp_path / "a.txt").write_text("abc" * 9)
    refuse(tmp_path / "a.txt", "27 characters are too few for rows of 64")
    (tmp_path / "b.txt").write_bytes(b"abc" * 9 + b"\xff")
    refuse(tmp_path / "b.txt", "not UTF-8 text: byte 27")


def _npz_bytes() -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, x=np.arange(60.0).reshape(20, 3), y=np.arange(20) % 2)
    return buffer.getvalue()


def _lzma_bytes() -> bytes:
    member, out = io.BytesIO(), io.BytesIO()
    np.save(member, np.arange(60.0).reshape(20, 3))
    with zipfile.ZipFile(out, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("x.npy", member.getvalue())
    return out.getvalue()


def _npy_bytes() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.arange(60.0).reshape(20, 3))
    return buffer.getvalue()


WHOLE = {
    "deflate.npz": _npz_bytes(),
    "lzma.npz": _lzma_bytes(),
    "a.npy": _npy_bytes(),
    "a.csv": b"a,b,y\n" + b"1.5,2,0\n3,4,1\n" * 10,
    "a.txt": b"abcdefgh" * 200,
}


@given(st.sampled_from(sorted(WHOLE)), st.integers(0, 10**6), st.binary(max_size=4), st.booleans())
def test_damage_is_a_data_error_or_another_data_set(tmp_path_factory, name, at, new, cut):
    raw = bytearray(WHOLE[name])
    at %= len(raw)
    raw[at:] = b"" if cut else new + raw[at + len(new) :]
    path = tmp_path_factory.mktemp("damage") / name
    path.write_bytes(raw)
    try:
        data = load(path)
    except DataError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert np.isfinite(data.train.x).all()


# The formats of the public homes


def idx_bytes(array: np.ndarray) -> bytes:
    """The IDX format, gzipped."""
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return gzip.compress(header + array.astype(np.uint8).tobytes())


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=3, max_side=5)))
def test_idx_round_trips(tmp_path_factory, array):
    path = tmp_path_factory.mktemp("idx") / "a.gz"
    path.write_bytes(idx_bytes(array))
    np.testing.assert_array_equal(arrays.read_idx(path), array)


BAD_IDX = {
    "empty": b"",
    "plain": b"plain",
    "empty gzip": gzip.compress(b""),
    "doubles": gzip.compress(b"\0\0\x0d\x01\0\0\0\0"),
    "short header": gzip.compress(b"\0\0\x08\x03\0\0"),
    "short data": gzip.compress(b"\0\0\x08\x01\0\0\0\x05abc"),
    "short gzip": idx_bytes(np.ones((3, 3)))[:-9],
}


@pytest.mark.parametrize("raw", BAD_IDX.values(), ids=list(BAD_IDX))
def test_bad_idx(tmp_path, raw):
    (tmp_path / "a.gz").write_bytes(raw)
    with pytest.raises(DataError, match=r"a\.gz"):
        arrays.read_idx(tmp_path / "a.gz")


@given(
    hnp.arrays(
        np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=st.integers(0, 1)
    )
)
def test_amat_round_trips(tmp_path_factory, array):
    path = tmp_path_factory.mktemp("amat") / "a.amat"
    path.write_text("".join(" ".join(map(str, row)) + " \n" for row in array.tolist()))
    np.testing.assert_array_equal(arrays.read_amat(path), array)


@pytest.mark.parametrize(
    "raw", [b"", b"\n\n", b"0 1\n1", b"0 2\n1 0", b"0 1\n10", b"0 1\n\n1 0", b"0,1"]
)
def test_bad_amat(tmp_path, raw):
    (tmp_path / "a.amat").write_bytes(raw)
    with pytest.raises(DataError, match=r"a\.amat"):
        arrays.read_amat(tmp_path / "a.amat")
