"""What a scene looks like: parallel rays, three bodies, one lamp.

The camera looks down at the floor at an angle of 35°. Its rays are parallel; a point of space is

    p = u · right + v · up + t · away        right = (1, 0, 0), up = (0, s, c), away = (0, c, −s)

with s = sin 35°, c = cos 35°: (u, v) is where it is seen, t how far away. Each body says at which t
a ray meets it first (∞: never) and how its surface is turned to the lamp; the nearest one is seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.checks import whole
from core.data.scenes.things import COLOURS, KINDS, Cube, Cylinder, Scene, Scenes, Sphere

S, C = math.sin(math.radians(35)), math.cos(math.radians(35))
WIDTH = 2.8  # of what is seen, in the units of a scene
BOTTOM, TOP = -0.85, -0.85 + WIDTH  # v of the lowest and highest lines of sight
TURN = math.radians(30)  # of cubes, so that two of their sides are seen
LAMP = np.array([-0.45, -0.55, 0.70]) / math.hypot(0.45, 0.55, 0.70)  # the way to it
DARK = 0.35  # light where the lamp doesn't reach
FLOOR = (0.80, 0.79, 0.77)
SHADOW = 0.45
FINE = 2  # rays for a pixel, squared: edges are smooth
_CHUNK = 32  # scenes at a time: their rays stay in cache

Rays = NDArray[np.float32]
Body = Callable[[Rays, Rays, Rays], tuple[Rays, Rays]]


def _sphere(u: Rays, v: Rays, r: Rays) -> tuple[Rays, Rays]:
    """Where rays at (u, v) from its centre meet a ball of radius r: t, and the lamp's cosine."""
    room = r * r - u * u - v * v
    h = np.sqrt(np.maximum(room, 0))
    return np.where(room > 0, -h, np.inf), (u * _RIGHT + v * _UP - h * _AWAY) / r


def _cylinder(u: Rays, v: Rays, r: Rays) -> tuple[Rays, Rays]:
    """The same of an upright cylinder: its side, or its top, where z = r."""
    back = np.sqrt(np.maximum(r * r - u * u, 0))  # −y of the side
    t_side, t_top = (-back - v * S) / C, (v * C - r) / S
    z, y = v * C - t_side * S, v * S + t_top * C
    side = (np.abs(z) <= r) & (np.abs(u) < r)
    top = u * u + y * y < r * r
    t = np.where(top, t_top, np.where(side, t_side, np.inf))
    return t, np.where(top, _f32(LAMP[2]), (u * _f32(LAMP[0]) - back * _f32(LAMP[1])) / r)


def _cube(u: Rays, v: Rays, r: Rays) -> tuple[Rays, Rays]:
    """The same of a cube: inside three pairs of planes; it is met where the last is entered."""
    enter = np.full(np.broadcast_shapes(u.shape, v.shape), -np.inf, np.float32)
    leave, cosine = -enter, np.zeros_like(enter)
    for n in _FACES:
        right, up, away = n[0], n[1] * S + n[2] * C, n[1] * C - n[2] * S
        middle, half = (u * _f32(right) + v * _f32(up)) * _f32(-1 / away), r * _f32(1 / abs(away))
        np.copyto(cosine, _f32(-np.sign(away) * (n @ LAMP)), where=middle - half > enter)
        enter, leave = np.maximum(enter, middle - half), np.minimum(leave, middle + half)
    return np.where(enter < leave, enter, np.float32(np.inf)), cosine


def _f32(x: Any) -> np.float32:
    return np.float32(x)


_RIGHT, _UP, _AWAY = (_f32(a @ LAMP) for a in np.array([[1, 0, 0], [0, S, C], [0, C, -S]]))
_COS, _SIN = math.cos(TURN), math.sin(TURN)
_FACES = np.array([[_COS, _SIN, 0.0], [-_SIN, _COS, 0.0], [0.0, 0.0, 1.0]])
_BODIES: dict[type, Body] = {Cube: _cube, Cylinder: _cylinder, Sphere: _sphere}


def render(scene: Scene, *, pixels: int = 32) -> NDArray[np.uint8]:
    """The image (3, pixels, pixels) of a scene, red, green and blue in 0 … 255.

    >>> render(Scene((Cube("red"),))).shape
    (3, 32, 32)
    """
    image: NDArray[np.uint8] = render_all(Scenes.of([scene]), pixels=pixels)[0]
    return image


def film(scene: Scene, *, frames: int = 8, pixels: int = 32) -> NDArray[np.uint8]:
    """The images (frames, 3, pixels, pixels) of a scene whose things move."""
    whole("frames", frames, 1)
    moving = Scenes.of([scene])
    return np.concatenate([render_all(moving.at(t), pixels=pixels) for t in range(frames)])


def render_all(scenes: Scenes, *, pixels: int = 32) -> NDArray[np.uint8]:
    """The images (N, 3, pixels, pixels) of N scenes. Raises InputError unless pixels ≥ 1."""
    whole("pixels", pixels, 1)
    images = np.empty((len(scenes), 3, pixels, pixels), np.uint8)
    for start in range(0, len(scenes), _CHUNK):
        part = slice(start, start + _CHUNK)
        images[part] = _render(scenes[part], pixels)
    return images


def _render(scenes: Scenes, pixels: int) -> NDArray[np.uint8]:
    side = pixels * FINE
    along = (np.arange(side, dtype=np.float32) + _f32(0.5)) * _f32(WIDTH / side)
    u, v = along - _f32(WIDTH / 2), along[::-1, None] + _f32(BOTTOM)  # (W,), (H, 1)
    light = _floor(scenes, u, v)  # (N, H, W) of FLOOR
    nearest = np.full(light.shape, np.inf, np.float32)
    seen = np.full(light.shape, len(COLOURS), np.int8)
    for j in range(scenes.kind.shape[1]):
        t, cosine = _body(scenes, j, u, v)
        front = t < nearest
        np.copyto(nearest, t, where=front)
        np.copyto(light, np.maximum(cosine, 0) * _f32(1 - DARK) + _f32(DARK), where=front)
        np.copyto(seen, scenes.color[:, j, None, None].astype(np.int8), where=front)
    return _pixels(seen, light)


def _body(scenes: Scenes, j: int, u: Rays, v: Rays) -> tuple[Rays, Rays]:
    """Of the j-th thing of each scene: how far away it is on each ray (N, H, W), and its light."""
    n, (x, y, z) = len(scenes), scenes.position[:, j].T[:, :, None, None]
    r = scenes.size[:, j, None, None]
    z = z + r  # of the centre
    t, cosine = np.full((2, n, len(v), len(u)), np.inf, np.float32)
    for kind, body in zip(KINDS, map(_BODIES.__getitem__, KINDS), strict=True):
        rows = np.flatnonzero(scenes.kind[:, j] == KINDS.index(kind))
        if len(rows):
            du, dv = u - x[rows], v - (y * _f32(S) + z * _f32(C))[rows]
            t[rows], cosine[rows] = body(du, dv, r[rows])
    return t + (y * _f32(C) - z * _f32(S)), cosine


def _floor(scenes: Scenes, u: Rays, v: Rays) -> Rays:
    """The floor's light (N, H, W): darker around where things stand, less so under high ones."""
    y = v / _f32(S)  # where z = 0
    light = np.ones((len(scenes), len(v), len(u)), np.float32)
    for j in range(scenes.kind.shape[1]):
        px, py, pz = scenes.position[:, j].T[:, :, None, None]
        r = scenes.size[:, j, None, None] * _f32(1.3)
        here = (scenes.kind[:, j, None, None] >= 0) * _f32(SHADOW) / (1 + 4 * pz)
        d2 = ((u - px - pz * _f32(0.4)) / r) ** 2 + ((y - py - pz * _f32(0.4)) / r) ** 2
        light *= 1 - here * np.maximum(1 - d2, 0)
    return light


_PALETTE = np.array([*COLOURS.values(), FLOOR], np.float32)  # (colours + 1, 3)


def _pixels(seen: NDArray[np.int8], light: Rays) -> NDArray[np.uint8]:
    """Colours (N, H, W) and light on them to images, a pixel the mean of its rays."""
    n, side, _ = seen.shape
    image = np.empty((n, 3, side // FINE, side // FINE), np.uint8)
    for channel in range(3):
        rays = _PALETTE[:, channel][seen] * light
        mean = rays.reshape(n, side // FINE, FINE, side // FINE, FINE).mean(axis=(2, 4))
        image[:, channel] = np.rint(np.minimum(mean, 1) * 255)
    return image
