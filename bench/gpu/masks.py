"""The masks that attention is proven and timed under, ours and as FlexAttention writes them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from reference.operations import masks
from reference.operations.masks import Mask

Rule = Callable[[Any, Any, Any, Any], Any]
"""FlexAttention's mask_mod: (batch, head, query, key) → whether it may be seen."""


class Case(NamedTuple):
    """mask: a Mask, or a bool array of its own; rule(device): for FlexAttention."""

    mask: Mask | Any
    rule: Callable[[Any], Rule]


def _full(rng: Any, S: int) -> Case:
    return Case(masks.full(), lambda device: lambda b, h, i, j: i >= 0)


def _causal(rng: Any, S: int) -> Case:
    return Case(masks.causal(), lambda device: lambda b, h, i, j: i >= j)


def _window(rng: Any, S: int) -> Case:
    left = min(S // 4, 1024)
    return Case(
        masks.causal() & masks.window(left),
        lambda device: lambda b, h, i, j: (i >= j) & (i - j <= left),
    )


def _prefix(rng: Any, S: int) -> Case:
    n = S // 4
    return Case(
        masks.causal() | masks.prefix(n), lambda device: lambda b, h, i, j: (i >= j) | (j < n)
    )


def _documents(rng: Any, S: int) -> Case:
    """Causal, in documents of S / 8 on average."""
    ids = np.sort(rng.integers(0, 8, S)).astype(np.int32)

    def rule(device: Any) -> Rule:
        at = _tensor(ids, device)
        return lambda b, h, i, j: (i >= j) & (at[i] == at[j])

    return Case(masks.causal() & masks.documents(ids), rule)


def _padding(rng: Any, S: int) -> Case:
    """A batch that is a quarter padding."""
    n = 3 * S // 4
    return Case(masks.padding(np.int64(n)), lambda device: lambda b, h, i, j: j < n)


def _raster(rng: Any, S: int) -> Case:
    """The pixels at most 8 rows above and 8 columns aside, in a square image."""
    width = math.isqrt(S)

    def seen(b: Any, h: Any, i: Any, j: Any) -> Any:
        near = (i // width - j // width <= 8) & (abs(i % width - j % width) <= 8)
        return (j <= i) & near

    return Case(masks.raster(width, width, reach=8), lambda device: seen)


def _arbitrary(rng: Any, S: int) -> Case:
    """Three keys in ten at random, in half of the blocks of 256."""
    n = -(-S // 256)
    blocks = np.repeat(np.repeat(rng.random((n, n)) < 0.5, 256, 0), 256, 1)[:S, :S]
    seen = blocks & (rng.integers(0, 10, (S, S), np.uint8) < 3)

    def rule(device: Any) -> Rule:
        at = _tensor(seen, device)
        return lambda b, h, i, j: at[i, j]

    return Case(seen, rule)


def _tensor(x: Any, device: Any) -> Any:
    import torch

    return torch.from_numpy(x).to(device)


KINDS: dict[str, Callable[[Any, int], Case]] = {
    "full": _full,
    "causal": _causal,
    "window": _window,
    "prefix": _prefix,
    "documents": _documents,
    "padding": _padding,
    "raster": _raster,
    "arbitrary": _arbitrary,
}
