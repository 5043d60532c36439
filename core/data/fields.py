"""What the arrays of an .npz are: x and what comes with it, by part, with their meaning.

A key is a thing (`x`, `y`, or one of several, `y.caption`), perhaps of one part (`x_train`,
`y_test.caption`), perhaps followed by what is said about the thing:

    .lengths      (N,) how many of the T entries of each row count; of a part: `x_train.lengths`
    .vocabulary   (V,) the characters or words of a text, whose ids the array holds
    .rate         numbers a second: the array is a sound
    .fps          images a second: the array is a film
    .levels       values are 0 … levels − 1 (`levels` alone is that of x)
    .kind         label, text, image, sound, film or numbers, where the array alone doesn't tell

    image   (N, H, W), (N, H, W, 1) or (N, C, H, W), C = 1 or 3
    film    (N, T, H, W) or (N, T, C, H, W)
    sound   (N, T), int16 or in [−1, 1]
    text    (N, T) ids, or (N,) strings
    label   (N,) whole numbers or strings: the default of y
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, cast

import numpy as np
from numpy.typing import NDArray

from core.data.dataset import encode
from core.data.tokenisers import UNKNOWN
from core.errors import DataError
from core.samples import KINDS, Batch, Kind, Meaning, Padded

Arrays = dict[str, NDArray[Any]]
PARTS = {
    "": "train",
    "_train": "train",
    "_validation": "validation",
    "_valid": "validation",
    "_val": "validation",
    "_test": "test",
}
ABOUT = ("vocabulary", "rate", "fps", "levels", "kind")
_KEY = re.compile(r"([xy])(_[a-z]+)?((?:\.\w+)*)")


@dataclass
class Field:
    """One thing of a file: its arrays and lengths by part, and what is said about it."""

    path: Path
    name: str
    parts: Arrays = field(default_factory=dict)
    lengths: Arrays = field(default_factory=dict)
    about: Arrays = field(default_factory=dict)
    missing: str = "error"  # NaN is one, unless it is said what is done about it

    def fail(self, fault: str, part: str | None = None) -> NoReturn:
        """Raise a DataError that names the file, the thing and its part."""
        where = self.name if part is None else f"{self.name} ({part})"
        raise DataError(f"{self.path}: {where} {fault}")

    def whole(self, name: str, low: int, high: int) -> int | None:
        """A number that is said about it, or None."""
        given = self.about.get(name)
        if given is None:
            return None
        if not (is_whole(given) and given.size == 1 and within(given, low, high)):
            raise DataError(
                f"{self.path}: {name} must be one integer in {low} … {high}, got {given}"
            )
        return int(given.item())


def sort_out(path: Path, arrays: Arrays) -> dict[str, Field]:
    """The things of a file by name; keys that don't begin with x or y are left alone."""
    fields: dict[str, Field] = {}
    for key, array in arrays.items():
        if key[:1] in ("x", "y"):
            _place(path, fields, key, array)
    if "train" not in fields.get("x", Field(path, "x")).parts:
        raise DataError(f"{path}: has no array x or x_train, only {', '.join(arrays) or 'nothing'}")
    for one in fields.values():
        if not one.parts:
            raise DataError(f"{path}: says {', '.join(one.about)} of {one.name}, which is absent")
    return fields


def _place(path: Path, fields: dict[str, Field], key: str, array: NDArray[Any]) -> None:
    match = _KEY.fullmatch(key)
    part = match and PARTS.get(match[2] or "")
    if not match or part is None:
        raise DataError(f"{path}: array {key!r} is none of x, y, x_train, y_train, x_validation, …")
    words = match[3].split(".")[1:]
    said = words.pop() if words and words[-1] in ("lengths", *ABOUT) else ""
    if len(words) > (match[1] == "y"):
        known = ", ".join(("lengths", *ABOUT))
        raise DataError(f"{path}: array {key!r} ends in {words[-1]!r}, none of {known}")
    name = ".".join([match[1], *words])
    one = fields.setdefault(name, Field(path, name))
    into = {"": one.parts, "lengths": one.lengths}.get(said, one.about)
    slot = said if into is one.about else part
    if slot in into:
        raise DataError(f"{path}: array {key!r} is the second one for the {part} part")
    into[slot] = array


# One thing, read


def kind_of(one: Field) -> Kind:
    """What a thing is, by what is said about it and its shape."""
    said = one.about.get("kind")
    if said is not None:
        if str(said) not in KINDS:
            one.fail(f"must have a kind among {', '.join(KINDS)}, got {str(said)!r}")
        return cast(Kind, str(said))
    for about, kind in (("vocabulary", "text"), ("rate", "sound"), ("fps", "film")):
        if about in one.about:
            return cast(Kind, kind)
    first = next(iter(one.parts.values()))
    if first.ndim > 2:
        return "image"
    if one.name == "x":
        return "text" if first.dtype.kind == "U" and first.ndim == 1 else "numbers"
    return "label"


def read_given(one: Field) -> tuple[Meaning, dict[str, Batch]]:
    """The meaning of what comes with x, and its values by part, ready for a model."""
    kind = kind_of(one)
    if kind == "label":
        codes, names = labels(one)
        return Meaning("label", names=names), dict(codes)
    if kind == "text":
        texts, vocabulary = text(one)
        longest = max(x.shape[1] for x in texts.values())
        return Meaning("text", (longest,), vocabulary=vocabulary), dict(texts)
    parts = {part: _scaled(one, kind, part) for part in one.parts}
    shape = next(iter(parts.values())).shape[1:]
    rate, fps = one.whole("rate", 1, 10**6), one.whole("fps", 1, 1000)
    if kind == "sound" and one.lengths:
        padded = {part: padded_part(one, part, x) for part, x in parts.items()}
        return Meaning("sound", shape, rate=rate), dict(padded)
    return Meaning(kind, shape, rate=rate, fps=fps), dict(parts)


def _scaled(one: Field, kind: Kind, part: str) -> NDArray[np.float32]:
    """Images, films and sounds as float32 in [−1, 1]; numbers as they are."""
    x = numbers(one, part, kind)
    levels = one.whole("levels", 2, 65536) or (256 if x.dtype == np.uint8 else None)
    if kind == "sound":
        return loudness(one, part, x)
    if kind == "numbers":
        return x.astype(np.float32)
    if levels is not None:
        if not (is_whole(x) and within(x, 0, levels - 1)):
            one.fail(f"must be whole numbers below levels = {levels}", part)
        return (x * (2.0 / (levels - 1)) - 1.0).astype(np.float32)
    if not within(x, -1, 1):
        low, high = x.min(), x.max()
        one.fail(
            f"must be uint8, have {one.name}.levels, or lie in [-1, 1], got {low} … {high}", part
        )
    return x.astype(np.float32)


def loudness(one: Field, part: str, x: NDArray[Any]) -> NDArray[np.float32]:
    """A sound as float32 in [−1, 1]."""
    if x.dtype == np.int16:
        return (x / 32768.0).astype(np.float32)
    if not within(x, -1, 1):
        one.fail(f"must be a sound, int16 or in [-1, 1], got {x.min()} … {x.max()}", part)
    return x.astype(np.float32)


def numbers(one: Field, part: str, kind: Kind) -> NDArray[Any]:
    """The array of a part in the shape of its kind, seen to hold finite numbers."""
    x = one.parts[part]
    if x.dtype.kind not in "biuf":
        one.fail(f"must hold numbers, got {x.dtype}", part)
    if x.ndim == 1 and kind == "numbers":
        x = x[:, None]
    if kind == "image" and (x.ndim == 3 or (x.ndim == 4 and x.shape[3] == 1)):
        x = x.reshape(len(x), 1, *x.shape[1:3])
    if kind == "film" and x.ndim == 4:
        x = x[:, :, None]
    right = {"numbers": 2, "sound": 2, "image": 4, "film": 5}[kind]
    if x.ndim != right or (right > 2 and x.shape[-3] not in (1, 3)):
        shapes = {
            "numbers": "(N, D), (N, H, W), (N, H, W, 1) or (N, C, H, W) with C = 1 or 3",
            "image": "(N, D), (N, H, W), (N, H, W, 1) or (N, C, H, W) with C = 1 or 3",
            "sound": "(N, T)",
            "film": "(N, T, H, W) or (N, T, C, H, W) with C = 1 or 3",
        }
        cure = "; np.moveaxis(x, -1, -3) puts colours first" if x.shape[-1:] == (3,) else ""
        one.fail(f"must be {shapes[kind]}, got {one.parts[part].shape}{cure}", part)
    if x.size == 0:
        one.fail(f"is empty: shape {x.shape}", part)
    return _finite(one, part, x)


def _finite(one: Field, part: str, x: NDArray[Any]) -> NDArray[Any]:
    flat = x.reshape(len(x), -1)
    with np.errstate(over="ignore"):
        fits = np.isfinite(flat.astype(np.float32))
    if one.lengths and x.ndim == 2:
        fits |= ~padded_part(one, part, x).mask
    if one.missing != "error":
        fits |= np.isnan(flat)
    if not fits.all():
        row, column = np.argwhere(~fits)[0]
        fault = f"expected a finite float32, got {flat[row, column]}"
        raise DataError(f"{one.path}: {one.name} ({part}), row {row}, column {column}: {fault}")
    return x


def padded_part(one: Field, part: str, x: NDArray[Any]) -> Padded:
    """x (N, T) with the lengths that the file has for the part, zeros where none counts."""
    lengths = one.lengths.get(part)
    if lengths is None:
        one.fail("has no lengths, and other parts have", part)
    if lengths.shape != x.shape[:1] or not (is_whole(lengths) and within(lengths, 0, x.shape[1])):
        wanted = f"{len(x)} whole numbers in 0 … {x.shape[1]}"
        one.fail(f"must have lengths that are {wanted}, got {lengths.dtype} {lengths.shape}", part)
    here = np.arange(x.shape[1]) < lengths[:, None]
    return Padded(np.where(here, x, np.zeros((), x.dtype)), lengths.astype(np.int64))


def text(one: Field) -> tuple[dict[str, Padded], tuple[str, ...]]:
    """Ids by part, and their vocabulary: the file's, or the characters of the training strings."""
    said = one.about.get("vocabulary")
    if all(x.dtype.kind == "U" and x.ndim == 1 for x in one.parts.values()) and said is None:
        return _from_strings(one)
    if said is None or said.ndim != 1 or said.dtype.kind != "U" or len(set(said)) != said.size:
        got = "none" if said is None else f"{said.dtype} of shape {said.shape}"
        one.fail(f"must have a vocabulary of different strings (V,), got {got}")
    return {part: _ids(one, part, len(said)) for part in one.parts}, tuple(map(str, said))


def _from_strings(one: Field) -> tuple[dict[str, Padded], tuple[str, ...]]:
    everything = set("".join("".join(map(str, x)) for x in one.parts.values()))
    known = set("".join(map(str, one.parts.get("train", np.array([]))))) - {UNKNOWN}
    if not known:
        one.fail("has no characters in its training part")
    vocabulary = (*sorted(known), *([UNKNOWN] if everything - known else []))
    rows = {part: [encode(str(s), vocabulary) for s in x] for part, x in one.parts.items()}
    return {part: Padded.of(ids) for part, ids in rows.items()}, vocabulary


def _ids(one: Field, part: str, size: int) -> Padded:
    x = one.parts[part]
    if x.ndim != 2 or not is_whole(x) or x.size == 0:
        one.fail(f"must be ids, whole numbers (N, T), got {x.dtype} {x.shape}", part)
    full = np.full(len(x), x.shape[1], np.int64)
    padded = padded_part(one, part, x) if one.lengths else Padded(x, full)
    if not within(padded.data, 0, size - 1):
        one.fail(f"must hold ids below {size}, the size of its vocabulary", part)
    return Padded(padded.data.astype(np.int64), padded.lengths)


def labels(one: Field) -> tuple[dict[str, NDArray[np.int64]], tuple[str, ...]]:
    """Labels by part as 0 … K − 1, and what each was called: only those that occur are classes."""
    for part, y in one.parts.items():
        if y.ndim != 1:
            cure = f"; {one.name}.vocabulary, .rate, .fps or .kind says what else it is"
            one.fail(f"must be one label a row, got shape {y.shape}{cure}", part)
        if y.dtype.kind != "U" and not is_whole(y):
            one.fail("must be whole numbers or strings", part)
    values = np.concatenate([y if y.dtype.kind == "U" else as_int(y) for y in one.parts.values()])
    names = np.unique(values)
    codes = {
        part: np.searchsorted(names, y if y.dtype.kind == "U" else as_int(y)).astype(np.int64)
        for part, y in one.parts.items()
    }
    return codes, tuple(map(str, names))


def as_int(y: NDArray[Any]) -> NDArray[Any]:
    """Whole numbers as int64, those beyond it as they are."""
    return y if y.dtype.kind == "u" or not within(y, -(2**62), 2**62) else y.astype(np.int64)


def is_whole(x: NDArray[Any]) -> bool:
    """Whether an array holds whole numbers only."""
    return x.dtype.kind in "biu" or (x.dtype.kind == "f" and bool((x == np.floor(x)).all()))


def within(x: NDArray[Any], low: float, high: float) -> bool:
    """Whether all of x, which isn't empty, lies in [low, high]."""
    return bool(x.size) and bool(x.min() >= low) and bool(x.max() <= high)
