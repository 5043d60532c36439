"""Scenes at random: any, or such as fulfil a caption.

Kinds, colours and sizes are uniform. Positions are drawn until nothing touches or hides, and until
neighbours in the caption are apart along one axis more clearly than along the others: so every
relation that a caption states can be seen. Scene i depends on the seed and i alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from core import random
from core.checks import whole
from core.data.scenes.camera import TOP, C, S
from core.data.scenes.captions import Phrase, parse
from core.data.scenes.things import (
    COLOURS,
    DIRECTIONS,
    KINDS,
    RELATIONS,
    SIZES,
    WORDS,
    Scene,
    Scenes,
)
from core.errors import InputError

EDGE = 0.95  # |x|, |y| of centres
CLEAR = 1.5  # times as far along one axis as along the others
APART = 0.65  # of the sum of two radii: how far centres are apart in the picture
SPEED = (0.04, 0.08)  # of things that move, for each image
FRAMES = 8  # that things stay in the picture for
_TRIES = 400
_RELATIONS, _DIRECTIONS = list(RELATIONS.values()), list(DIRECTIONS.values())

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


def draw(n: int, *, seed: int, things: int = 2, moving: bool = False) -> Scenes:
    """n scenes of 1 … things things, no two of a scene alike in both colour and kind.

    things: at most 3; 2 where moving, of which the first moves. Raises InputError for bad numbers.

    >>> draw(3, seed=0).scene(0) == draw(1, seed=0).scene(0)
    True
    """
    whole("n", n, 1)
    k = whole("things", things, 1, 2 if moving else 3)
    u = random.uniform(seed, (n, 6 * k + 1), step=0, stream="data")
    u, many = u[:, :-1].reshape(n, 6, k), _pick(u[:, -1], k)
    kind = _pick(u[:, 0], len(KINDS))
    color = _different(_pick(u[:, 1], len(COLOURS)), kind)
    size = np.array(list(SIZES.values()), np.float32)[_pick(u[:, 2], 2)]
    relation = _pick(u[:, 3], len(RELATIONS))
    relation[:, 2:] %= 4  # a third thing beside the second: under two there may be no room
    heading = np.where(_pick(u[:, 4], 2) + (np.arange(k) == 0) > 0, _pick(u[:, 5], 4), -1)
    kind[np.arange(k) > many[:, None]] = -1
    heading = heading if moving else np.full((n, k), -1)
    return _placed(kind, color, size, relation, heading, seed)


def fulfilling(phrases: Sequence[Phrase], n: int, *, seed: int) -> Scenes:
    """n scenes that are as a caption asks, and random in what it leaves open."""
    whole("n", n, 1)
    k = len(phrases)
    kind = np.tile([WORDS.index(p.kind) for p in phrases], (n, 1))
    color = np.tile([list(COLOURS).index(p.color) for p in phrases], (n, 1))
    asked = np.array([list(SIZES).index(p.size) if p.size else -1 for p in phrases])
    any_size = _pick(random.uniform(seed, (n, k), step=0, stream="data"), 2)
    size = np.array(list(SIZES.values()), np.float32)[np.where(asked < 0, any_size, asked)]
    relation = np.tile([list(RELATIONS).index(p.relation or "left of") for p in phrases], (n, 1))
    ways = [list(DIRECTIONS).index(p.moving) if p.moving else -1 for p in phrases]
    return _placed(kind, color, size, relation, np.tile(ways, (n, 1)), seed)


def read(text: str, *, seed: int = 0) -> Scene:
    """A scene from words (`captions.parse`) or from its description (`Scene.parse`)."""
    if isinstance(text, str) and "(" in text:
        return Scene.parse(text)
    return fulfilling(parse(text), 1, seed=seed).scene(0)


def _pick(u: Floats, n: int) -> Ints:
    return (u * n).astype(np.int64)


def _different(color: Ints, kind: Ints) -> Ints:
    """Colours, moved on where an earlier thing has the same in the same kind."""
    for j in range(1, color.shape[1]):
        for _ in range(j):
            same = (color[:, :j] == color[:, j : j + 1]) & (kind[:, :j] == kind[:, j : j + 1])
            color[:, j] = (color[:, j] + same.any(axis=1)) % len(COLOURS)
    return color


def _placed(
    kind: Ints, color: Ints, size: Floats, relation: Ints, heading: Ints, seed: int
) -> Scenes:
    """Speeds and positions by rejection: first all scenes are tried, then again those that failed.

    relation (N, K) and heading (N, K) are indices of RELATIONS and DIRECTIONS; −1 stands still.
    """
    n, k = kind.shape
    scenes = Scenes(kind, color, size, *np.zeros((2, n, k, 3), np.float32))
    left = np.arange(n)
    for attempt in range(_TRIES):
        u = random.uniform(seed, (n, k * 4), step=1 + attempt, stream="data")
        u = u[left].reshape(-1, k, 4)
        tried = scenes[left]
        tried.velocity[:] = _velocities(heading[left], u[..., 3])
        tried.position[:] = _positions(tried, relation[left], u[..., :3])
        good = _clear(tried, relation[left])
        scenes.position[left[good]] = tried.position[good]
        scenes.velocity[left[good]] = tried.velocity[good]
        left = left[~good]
        if not len(left):
            return scenes
    raise InputError(
        f"caption must leave room for its things, got one that {_TRIES} tries found none for"
    )


def _velocities(heading: Ints, u: Floats) -> Floats:
    """Uniforms (N, K) to velocities (N, K, 3)."""
    low, high = SPEED
    along = np.array([[sign * (axis == i) for i in range(3)] for axis, sign in _DIRECTIONS])
    velocity = along[heading] * (low + (high - low) * u)[..., None] * (heading >= 0)[..., None]
    exact: Floats = velocity.astype(np.float32)
    return exact


def _positions(scenes: Scenes, relation: Ints, u: Floats) -> Floats:
    """Each thing where it is told to be, seen from the one before, and the whole group anywhere.

    All are on the floor, or as high over it as they will sink; what is above another, as near to it
    as their motions allow.
    """
    position = np.zeros_like(u)
    rise = (FRAMES - 1) * scenes.velocity[..., 2]
    position[..., 2] = np.maximum(0, -rise)
    for j in range(1, u.shape[1]):
        position[:, j, :2] = position[:, j - 1, :2] - _steps(relation[:, j], u[:, j])
        for word, over, under in (("below", j, j - 1), ("above", j - 1, j)):
            asked = relation[:, j] == list(RELATIONS).index(word)
            rows = np.flatnonzero(asked & (scenes.kind[:, j] >= 0))
            top = position[rows, under, 2] + 2 * scenes.size[rows, under]
            height = top + np.maximum(0, rise[rows, under] - rise[rows, over])
            lift = height - position[rows, over, 2]
            for i in range(over, -1, -1):  # and what already stands on it
                position[rows, i, 2] += lift
                keep = relation[rows, i] == list(RELATIONS).index("above")
                rows, lift = rows[keep], lift[keep]
    position[..., :2] += _shift(scenes, position[..., :2], u[:, 0, :2])[:, None]
    return position


def _shift(scenes: Scenes, flat: Floats, u: Floats) -> Floats:
    """Uniforms (N, 2) to shifts (N, 2) of groups (N, K, 2) that stay on the floor, if they can."""
    here = (scenes.kind >= 0)[..., None]
    later = flat + (FRAMES - 1) * scenes.velocity[..., :2]
    low = np.where(here, np.minimum(flat, later), np.inf).min(axis=1)
    high = np.where(here, np.maximum(flat, later), -np.inf).max(axis=1)
    shift: Floats = -EDGE - low + u * np.maximum(2 * EDGE - (high - low), 0)
    return shift.astype(np.float32)


def _steps(relation: Ints, u: Floats) -> Floats:
    """Uniforms (N, 3) to steps (N, 2) over the floor that a relation is clearly true of."""
    axis, sign = np.array(_RELATIONS).T[:, relation]
    far = u[:, 0] * np.float32(2 * EDGE)
    aside = far * (2 * u[:, 1] - 1) / np.float32(CLEAR)
    step = np.where(np.arange(2) == axis[:, None], (far * sign)[:, None], aside[:, None])
    flat: Floats = np.where(axis[:, None] == 2, 0, step).astype(np.float32)
    return flat


def _clear(scenes: Scenes, relation: Ints) -> NDArray[np.bool_]:
    """(N,): whether nothing hides another at first, nor ever meets it or leaves the picture.

    And whether neighbours are where they are told to be.
    """
    here, good = scenes.kind >= 0, np.ones(len(scenes), np.bool_)
    for time in range(FRAMES) if scenes.velocity.any() else (0,):
        p = scenes.at(time).position
        centres = p + scenes.size[..., None] * np.array([0, 0, 1], np.float32)
        top = centres[..., 1] * S + centres[..., 2] * C + scenes.size
        inside = (np.abs(p[..., :2]) <= EDGE).all(axis=-1) & (p[..., 2] >= 0) & (top < TOP)
        good &= (inside | ~here).all(axis=1)
        for i in range(p.shape[1]):
            for j in range(i):
                reach = scenes.size[:, i] + scenes.size[:, j]
                apart = _apart(centres[:, i] - centres[:, j], reach, seen=time == 0)
                good &= apart | ~(here[:, i] & here[:, j])
    for j in range(1, here.shape[1]):
        told = _as_told(scenes.position[:, j - 1] - scenes.position[:, j], relation[:, j])
        good &= told | ~here[:, j]
    return good


def _apart(d: Floats, reach: Floats, *, seen: bool) -> NDArray[np.bool_]:
    """(N,): whether things whose centres are d (N, 3) apart don't touch; seen: nor hide."""
    flat, high = np.hypot(d[:, 0], d[:, 1]), np.abs(d[:, 2]) * np.float32(1.01)
    free: NDArray[np.bool_] = np.maximum(flat, high) > reach
    return free & (np.hypot(d[:, 0], d[:, 1] * S + d[:, 2] * C) > APART * reach) if seen else free


def _as_told(d: Floats, relation: Ints) -> NDArray[np.bool_]:
    """(N,): whether d (N, 3) points as a relation says, clearly."""
    axis, sign = np.array(_RELATIONS).T[:, relation]
    ahead = d[np.arange(len(d)), axis] * sign
    aside = np.where(np.arange(3) == axis[:, None], 0, np.abs(d)).max(axis=1)
    told: NDArray[np.bool_] = ahead > np.maximum(CLEAR * aside, 0.2)
    return told
