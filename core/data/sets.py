"""The named data sets that are not made on the spot, their homes and their splits.

    digits            1797 images 8 × 8, grey 0 … 16, from scikit-learn: 1297 / 200 / 300
    mnist             70 000 images 28 × 28, grey 0 … 255: the last 10 000 of train are validation
    fashion-mnist     the same, of clothes
    binarized-mnist   Larochelle's fixed binarisation, 50 000 / 10 000 / 10 000, without labels
    shakespeare       1 115 394 characters (core.data.text: cut 90 / 5 / 5 %)
    names             32 033 first names (80 / 10 / 10 %; 2 539 are repeats, so some names are in
                      two parts, as in makemore)
    dna, mushrooms, nips   binary tables in the splits of the NADE paper
    english-russian   1 000 sentences and their translations, shuffled once, 80 / 10 / 10 %

These splits are fixed: `seed` does not move them, so that figures compare.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core import random
from core.data import pairs, text
from core.data.arrays import read_amat, read_idx, read_npz
from core.data.dataset import Dataset, Split
from core.data.homes import File, Source
from core.data.text import Cut
from core.errors import DataError

DIGITS = "1797 handwritten digits, 8 × 8, grey 0 … 16"


def digits() -> Dataset:
    """The project's first data set: perm = default_rng(0).permutation(1797), cut at 1297, 1497."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    perm = np.random.default_rng(0).permutation(1797)
    rows = np.split(perm, (1297, 1497))
    train, validation, test = (Split(x[i].astype(np.uint8), y[i].astype(np.int64)) for i in rows)
    return Dataset(
        "digits",
        train,
        validation,
        test,
        domain="integer",
        levels=17,
        image_shape=(8, 8),
        classes=10,
        doc=DIGITS,
    )


def _mnist(name: str, doc: str, paths: tuple[Path, ...], _cut: Cut) -> Dataset:
    """Four IDX files (train images, train labels, test images, test labels) or one .npz."""
    if paths[0].suffix == ".npz":
        x, y, x_test, y_test = _members(paths[0], "x_train", "y_train", "x_test", "y_test")
    else:
        x, y, x_test, y_test = (read_idx(path) for path in paths)
    if x.ndim != 3 or x_test.shape[1:] != x.shape[1:]:
        raise DataError(f"{paths[0]}: images must be (N, H, W), got {x.shape} and {x_test.shape}")
    cut = len(x) * 5 // 6
    pairs = (x[:cut], y[:cut]), (x[cut:], y[cut:]), (x_test, y_test)
    train, validation, test = (Split(a.reshape(len(a), -1), b.astype(np.int64)) for a, b in pairs)
    return Dataset(
        name,
        train,
        validation,
        test,
        domain="integer",
        levels=256,
        image_shape=x.shape[1:],
        classes=10,
        doc=doc,
    )


def _binarized_mnist(name: str, doc: str, paths: tuple[Path, ...], _cut: Cut) -> Dataset:
    """Three .amat files, or one .npz of packed bits."""
    if paths[0].suffix == ".npz":
        packed = _members(paths[0], "train", "valid", "test")
        parts = [np.unpackbits(a, axis=1) for a in packed]
    else:
        parts = [read_amat(path) for path in paths]
    return _binary(name, doc, parts, (28, 28))


def _uci(name: str, doc: str, paths: tuple[Path, ...], _cut: Cut) -> Dataset:
    """One .npz of its own (train_data, …) or the one of all three sets ({name}_train, …)."""
    parts = ("train", "valid", "test")
    own = [f"{part}_data" for part in parts]
    keys = own if paths[0].stem == name else [f"{name}_{part}" for part in parts]
    return _binary(name, doc, _members(paths[0], *keys), None)


def _binary(
    name: str, doc: str, parts: list[NDArray[Any]], image_shape: tuple[int, int] | None
) -> Dataset:
    train, validation, test = map(Split, parts)
    return Dataset(name, train, validation, test, "binary", 2, image_shape, doc=doc)


def _shakespeare(name: str, doc: str, paths: tuple[Path, ...], cut: Cut) -> Dataset:
    return text.stream(name, text.read_text(paths[0]), cut=cut, doc=doc)


def _names(name: str, doc: str, paths: tuple[Path, ...], cut: Cut) -> Dataset:
    return text.words(name, text.read_text(paths[0]), cut=cut, doc=doc)


def _english_russian(name: str, doc: str, paths: tuple[Path, ...], _cut: Cut) -> Dataset:
    """One pair a line, with a tab between: y the first, x the second, both in characters."""
    lines = np.array([line for line in text.read_text(paths[0]).split("\n") if line])
    order = random.permutation(0, len(lines), stream="data")
    parts = np.split(lines[order], (len(lines) * 8 // 10, len(lines) * 9 // 10))
    both = [[line.split("\t") for line in part.tolist()] for part in parts]
    if any(len(row) != 2 for part in both for row in part):
        raise DataError(f"{paths[0]}: every line must be two sentences, with a tab between")
    y, x = ([[row[i] for row in part] for part in both] for i in range(2))
    known = tuple(sorted({c for part in y for row in part for c in row}))
    return pairs.paired(name, x, y, vocabulary=known, doc=doc)


def _members(path: Path, *keys: str) -> list[NDArray[Any]]:
    arrays = read_npz(path)
    if missing := [key for key in keys if key not in arrays]:
        raise DataError(f"{path}: has no array {missing[0]!r}, only {', '.join(arrays)}")
    return [arrays[key] for key in keys]


def _idx(name: str, home: str, *md5: str) -> tuple[File, ...]:
    """The four files of MNIST's layout."""
    kinds = "train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"
    files = (f"{kind}-ubyte.gz" for kind in kinds)
    return tuple(
        File(f"{name}/{file}", (f"md5:{h}",), home + file)
        for file, h in zip(files, md5, strict=True)
    )


_TORONTO = "http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/"
_KARPATHY = "https://raw.githubusercontent.com/karpathy/"
_MADE = (
    "https://raw.githubusercontent.com/mgermain/MADE/"
    "514849eb9451311c02049f9e2d9a17fac589996a/datasets/"
)
_UCI_ALL = File(
    "uci_binary_nade.npz",
    ("sha256:62a895d07747c499083058f8c983f4ba0c5e15f140cf7454a5c4a552fddd5232",),
)


def _nade_table(name: str, doc: str, licence: str, size: int, sha256: str) -> Source:
    own = File(f"{name}.npz", (f"sha256:{sha256}",), f"{_MADE}{name}.npz")
    return Source(name, doc, licence, size, ((_UCI_ALL,), (own,)), _uci)


_ALL = (
    Source(
        "mnist",
        "70 000 handwritten digits, 28 × 28, grey 0 … 255",
        "CC BY-SA 3.0",
        11_594_722,
        (
            _idx(
                "mnist",
                "https://ossci-datasets.s3.amazonaws.com/mnist/",
                "f68b3c2dcbeaaa9fbdd348bbdeb94873",
                "d53e105ee54ea40749a09fcbcd1e9432",
                "9fb629c4189551a2d022fa330f9573f3",
                "ec29112dd5afa0611ce80d1b7f02629c",
            ),
            (
                File(
                    "mnist.npz",
                    (
                        "sha256:731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1",
                        "sha256:a7ca5941ed14a4e275a85c70d92dc1ec30216050a9a8efb4cd648939b6ce6b80",
                    ),
                    "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz",
                ),
            ),
        ),
        _mnist,
    ),
    Source(
        "binarized-mnist",
        "70 000 binary digits, 28 × 28, Larochelle's fixed binarisation",
        "CC BY-SA 3.0",
        109_760_000,
        (
            (
                File(
                    "binarized_mnist_packed.npz",
                    ("sha256:50de2c8299a5a297789293ab2c30f6fc3cb8c359a15e5e88d5501aa18ebb8fa5",),
                ),
            ),
            tuple(
                File(
                    f"binarized_mnist_{part}.amat",
                    (f"sha256:{sha256}",),
                    f"{_TORONTO}binarized_mnist_{part}.amat",
                )
                for part, sha256 in {
                    "train": "ad693b29f94c14277b095f5238ddefbbdaaae0939789dd2f4f0205278cee3e4d",
                    "valid": "1de3d397c40fe8eeb33dafd4099a1f665ec01e96d9be234aaeeac8a34930e2e2",
                    "test": "e6687bfea3f820c174f33b7865140b2a2dd2930ef786f35d45795fc193b5ab2c",
                }.items()
            ),
        ),
        _binarized_mnist,
    ),
    Source(
        "fashion-mnist",
        "70 000 pictures of clothes, 28 × 28, grey 0 … 255",
        "MIT",
        30_878_645,
        (
            _idx(
                "fashion-mnist",
                "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
                "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                "25c81989df183df01b3e8a0aad5dffbe",
                "bef4ecab320f06d8554ea6380940ec79",
                "bb300cfdad3c16e7a12a480ee83cd310",
            ),
        ),
        _mnist,
    ),
    Source(
        "shakespeare",
        "tiny Shakespeare, 1 115 394 characters of plays",
        "public domain",
        1_115_394,
        (
            (
                File(
                    "tinyshakespeare.txt",
                    ("sha256:86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",),
                    f"{_KARPATHY}char-rnn/master/data/tinyshakespeare/input.txt",
                ),
            ),
        ),
        _shakespeare,
    ),
    Source(
        "names",
        "32 033 first names in the United States",
        "public domain",
        228_145,
        (
            (
                File(
                    "names.txt",
                    ("sha256:0a30b5557f192f32ab962680889aac5f6fda0f4cecf40a6d0b5694f58ea8cc4d",),
                    f"{_KARPATHY}makemore/master/names.txt",
                ),
            ),
        ),
        _names,
    ),
    Source(
        "english-russian",
        "1 000 English sentences and their Russian translations",
        "CC BY 2.0 FR",
        0,
        (
            (
                File(
                    "tatoeba_eng_rus_1000.tsv",
                    ("sha256:bad2d353a167dab815759c6cbb7ace6bd3d29e4252c540ff0cae98793d4e79da",),
                ),
            ),
        ),
        _english_russian,
    ),
    _nade_table(
        "dna",
        "3186 DNA sequences around splice junctions, 180 bits",
        "CC BY 4.0",
        2_300_000,
        "df2d2e7ce1469edfead15e41024e108d64f1b4633cfecfc40ef7107cc22c895c",
    ),
    _nade_table(
        "mushrooms",
        "8124 mushrooms, 112 bits of one-hot attributes",
        "CC BY 4.0",
        3_600_000,
        "4130f1defa3033911fe746a3ab1bb22b0c812bb29e68391a0fbc2d65bab6ae74",
    ),
    _nade_table(
        "nips",
        "1740 NIPS papers, presence of 500 words",
        "not stated",
        3_500_000,
        "dbf3b659a49670957c0851971bd51ff952a657f010581d12f6c1e2dca8907b20",
    ),
)
SOURCES = {source.name: source for source in _ALL}
