"""A palette of colours, learned by k-means, and images painted with it (Chen et al. 2020).

A pixel of three bytes has 2²⁴ values, too many for one softmax, and a third of a sequence if each
colour is a token of its own. With K colours that occur, a pixel is one of K.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from core import Array
from core.checks import whole
from core.errors import InputError

MOST_PIXELS = 20_000
"""Different pixels that k-means looks at: as many as are there, or so many, evenly spread."""


def learned_palette(x: Any, colours: int, *, seed: int = 0) -> Any:
    """At most `colours` colours for images x (N, C, H, W) of whole numbers: (K, C) int64, sorted.

    The means of k-means, rounded; the colours themselves where there are no more of them.

    >>> learned_palette(np.array([[[[0, 0, 9]]]]), 16).tolist()
    [[0], [9]]
    """
    whole("colours", colours, 2)
    found, counts = np.unique(
        np.moveaxis(x, 1, -1).reshape(-1, x.shape[1]), axis=0, return_counts=True
    )
    if len(found) <= colours:
        return found.astype(np.int64)
    from sklearn.cluster import KMeans

    some = np.unique(np.linspace(0, len(found) - 1, MOST_PIXELS).astype(int))
    means = KMeans(colours, n_init=1, random_state=seed).fit(
        found[some].astype(np.float64), sample_weight=counts[some]
    )
    return np.unique(np.round(means.cluster_centers_).astype(np.int64), axis=0)


def checked_palette(palette: Any, channels: int, levels: int) -> Any:
    """(K, C) int64; InputError unless K ≥ 2 different colours of whole numbers below `levels`."""
    told = f"palette must be at least 2 different colours of {channels} numbers in 0 … {levels - 1}"
    try:
        given = np.asarray(palette)
    except ValueError:
        raise InputError(f"{told}, got {palette!r}") from None
    fits = given.ndim == 2 and given.shape[1] == channels and given.dtype.kind in "iu"
    if not fits or not ((given >= 0) & (given < levels)).all():
        raise InputError(f"{told}, got {palette!r}")
    if len(np.unique(given, axis=0)) < max(len(given), 2):
        raise InputError(f"{told}, got {palette!r}")
    return given.astype(np.int64)


def nearest(x: Any, palette: Any) -> Any:
    """The colour of palette (K, C) that is nearest to each pixel of x (B, C, H, W): (B, H, W).

    By squared distance; of two as near the first.
    """
    pixels = np.moveaxis(x, 1, -1).astype(np.float64)  # (B, H, W, C)
    p = palette.astype(np.float64)
    return np.argmin(np.sum(p * p, axis=1) - 2 * pixels @ p.T, axis=-1)


def painted(k: Any, palette: Any) -> Array:
    """Images (B, C, H, W) of colours k (B, H, W)."""
    return np.moveaxis(palette[k], -1, 1)
