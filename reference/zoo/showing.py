"""Samples, and what comes with them, as a picture, a sound or text.

What it takes to show them is kept in a run's config.json, so that no data set is needed for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from core import Array
from core.data import Dataset, Units
from core.data.tokenisers import Tokeniser, from_json
from core.samples import Batch, Meaning, Padded
from reference.zoo import pictures

How = Mapping[str, Any]


def how_to_show(data: Dataset) -> dict[str, Any]:
    """What turns samples into a picture, a sound or text: JSON, without what does not apply."""
    how: dict[str, Any] = {"domain": data.domain}
    if data.image_shape is not None:
        top = 1.0 if data.domain == "continuous" else float((data.levels or 2) - 1)
        low = -1.0 if data.domain == "continuous" else 0.0
        how |= {"image_shape": list(data.image_shape), "low": low, "high": top}
        how |= {} if data.fps is None else {"fps": data.fps}
    elif data.vocabulary is not None:
        how |= {"vocabulary": list(data.vocabulary), "end": data.end}
        how |= {} if data.tokeniser is None else {"tokeniser": data.tokeniser.as_json()}
    elif data.rate is not None:
        how["rate"] = data.rate
    elif data.train.x.shape[1:] == (2,) and not isinstance(data.train.x, Padded):
        how["box"] = [round(edge, 6) for edge in pictures.square_box(data.train.x)]
    if data.units is not None:
        how["units"] = data.units.as_json()
    if data.given:
        how["given"] = {name: _how(meaning) for name, meaning in data.given.items()}
    return how


def _how(meaning: Meaning) -> dict[str, Any]:
    """The same of what comes with a sample."""
    image = {"image_shape": list(meaning.shape), "low": -1.0, "high": 1.0}
    kinds: dict[str, dict[str, Any]] = {
        "label": {"names": list(meaning.names)},
        "numbers": {},
        "image": image,
        "film": {**image, "fps": meaning.fps},
        "text": {"vocabulary": list(meaning.vocabulary)},
        "sound": {"rate": meaning.rate},
    }
    return kinds[meaning.kind]


def show(
    x: Batch,
    how: How,
    *,
    density: Callable[[Array], Array] | None = None,
    columns: int | None = None,
    scale: int = 1,
    color: str = pictures.INK,
) -> bytes | str:
    """`x` (N, …) as PNG (images, points), GIF (films), WAV (sounds), or text (anything else)."""
    if "image_shape" in how:
        look: dict[str, Any] = {"low": how["low"], "high": how["high"]}
        look |= {"columns": columns, "scale": scale}
        if "fps" in how:
            return pictures.film_grid(x, how["image_shape"], fps=how["fps"], **look)
        return pictures.image_grid(x, how["image_shape"], **look)
    if "vocabulary" in how:
        return "\n".join(pictures.text(x, tokeniser(how), end=how.get("end")))
    if "rate" in how:
        return pictures.sounds(x, how["rate"])
    if "box" in how:
        left, right, bottom, top = how["box"]
        return pictures.scatter(x, box=(left, right, bottom, top), density=density, color=color)
    if "units" in how:
        return Units.from_json(how["units"]).text(x)
    if "names" in how:
        return "\n".join(how["names"][int(k)] for k in x)
    return "\n".join(" ".join(f"{v:g}" for v in np.ravel(row)) for row in x)


def beside(x: Batch, again: Batch, how: How, *, scale: int = 1) -> bytes | str:
    """Of images a row of `x` (N, …), below it that of `again`, and so on; else `again` alone."""
    if "image_shape" not in how:
        return show(again, how, scale=scale)
    columns = min(8, len(x))
    blank = np.full((-len(x) % columns, *x.shape[1:]), how["low"], x.dtype)
    both = [np.concatenate([part, blank]) for part in (x, again)]
    rows = [part[i : i + columns] for i in range(0, len(x), columns) for part in both]
    return show(np.concatenate(rows), how, columns=columns, scale=scale)


def tokeniser(how: How) -> Tokeniser:
    """What samples that are text were made of."""
    plain = {"kind": "characters", "vocabulary": how.get("vocabulary")}
    return from_json(how.get("tokeniser", plain))


def show_given(y: Batch, how: How, *, scale: int = 1) -> dict[str, bytes | str]:
    """What came with samples, each thing by its name; nothing where `how` knows of nothing."""
    things = how.get("given", {})
    several = y if isinstance(y, Mapping) else {"y": y}
    return {name: show(several[name], one, scale=scale) for name, one in things.items()}
