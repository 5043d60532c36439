"""What a scene is: things on a floor, by name and as arrays.

    x    −1 … 1   left to right
    y    −1 … 1   front to back
    z     0 …     the height of a thing's lowest point over the floor

size is the radius: half the edge of a cube, half the height of a cylinder. velocity is in the same
units for each image of a film.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from core.checks import number, one_of
from core.errors import InputError

COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.85, 0.16, 0.14),
    "green": (0.16, 0.62, 0.24),
    "blue": (0.16, 0.32, 0.86),
    "yellow": (0.95, 0.80, 0.12),
    "purple": (0.56, 0.20, 0.66),
    "cyan": (0.15, 0.74, 0.78),
}
"""Name → red, green, blue in 0 … 1."""

SIZES = {"small": 0.22, "large": 0.34}
"""Word → radius; a thing is called by the nearer one."""

RELATIONS: dict[str, tuple[int, int]] = {
    "left of": (0, -1),
    "right of": (0, 1),
    "in front of": (1, -1),
    "behind": (1, 1),
    "below": (2, -1),
    "above": (2, 1),
}
"""Words → axis, and the sign along it of where the first is, seen from the second."""

DIRECTIONS: dict[str, tuple[int, int]] = {
    "left": (0, -1),
    "right": (0, 1),
    "forward": (1, -1),
    "back": (1, 1),
    "down": (2, -1),
    "up": (2, 1),
}
"""Word → axis and sign of a motion."""

Vector = tuple[float, float, float]


@dataclass(frozen=True, repr=False)
class Thing:
    """A coloured body. Raises InputError for an unknown colour and for numbers out of range.

    >>> Cube(color="blue", position=(0.5, 0.0, 0.0))
    Cube(color='blue', position=(0.5, 0.0, 0.0), size=0.34)
    """

    color: str
    position: Vector = (0.0, 0.0, 0.0)
    size: float = SIZES["large"]
    velocity: Vector = (0.0, 0.0, 0.0)

    word: ClassVar[str]

    def __post_init__(self) -> None:
        one_of("color", self.color, COLOURS)
        object.__setattr__(self, "size", number("size", self.size, above=0.0, most=1.0))
        object.__setattr__(self, "position", _vector("position", self.position, 3.0))
        object.__setattr__(self, "velocity", _vector("velocity", self.velocity, 1.0))
        if self.position[2] < 0:
            raise InputError(f"position must not be under the floor, got z = {self.position[2]:g}")

    def __repr__(self) -> str:
        told = [f"{name}={getattr(self, name)!r}" for name in ("color", "position", "size")]
        told += [f"velocity={self.velocity!r}"] if any(self.velocity) else []
        return f"{type(self).__name__}({', '.join(told)})"

    @property
    def size_word(self) -> str:
        """small or large."""
        return min(SIZES, key=lambda word: abs(SIZES[word] - self.size))

    @property
    def direction(self) -> str | None:
        """The word for how it mostly moves, None if it stands."""
        if not any(self.velocity):
            return None
        return _along(self.velocity, DIRECTIONS)


class Cube(Thing):
    """Standing on a face, seen from over an edge."""

    word = "cube"


class Cylinder(Thing):
    """Upright, as high as it is wide."""

    word = "cylinder"


class Sphere(Thing):
    """A ball."""

    word = "sphere"


KINDS: tuple[type[Thing], ...] = (Cube, Cylinder, Sphere)
WORDS = tuple(kind.word for kind in KINDS)


def _vector(name: str, v: Any, most: float) -> Vector:
    if not isinstance(v, Sequence) or isinstance(v, str) or len(v) != 3:
        raise InputError(f"{name} must be three numbers (x, y, z), got {v!r}")
    x, y, z = (number(name, a, least=-most, most=most) for a in v)
    return x, y, z


def _along(v: Sequence[float], words: dict[str, tuple[int, int]]) -> str:
    """The word whose axis v mostly follows."""
    axis = max(range(3), key=lambda i: abs(v[i]))
    return next(w for w, (i, sign) in words.items() if i == axis and sign * v[i] >= 0)


@dataclass(frozen=True)
class Scene:
    """Some things, in the order in which they are told.

    >>> scene = Scene((Cube("red", (-0.5, 0, 0)), Sphere("blue", (0.5, 0, 0))))
    >>> scene.relation(0, 1), Scene.parse(repr(scene)) == scene
    ('left of', True)
    """

    things: tuple[Thing, ...]

    def __post_init__(self) -> None:
        if not self.things or not all(isinstance(thing, Thing) for thing in self.things):
            raise InputError(f"things must be at least one Cube, Cylinder … , got {self.things!r}")

    def __repr__(self) -> str:
        return ", ".join(map(repr, self.things))

    def relation(self, i: int, j: int) -> str:
        """Where thing i is, seen from thing j: the words for the longest of the three distances."""
        here, there = self.things[i].position, self.things[j].position
        return _along([a - b for a, b in zip(here, there, strict=True)], RELATIONS)

    @classmethod
    def parse(cls, text: str) -> Scene:
        """The scene that a `repr` describes; InputError for anything else (nothing is executed)."""
        try:
            tree = ast.parse(f"({text},)", mode="eval").body
            calls = tree.elts if isinstance(tree, ast.Tuple) else []
            return cls(tuple(map(_thing, calls)))
        except (SyntaxError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"description must read like {EXAMPLE}, got {text!r}") from error


EXAMPLE = "Cube(color='blue', position=(0, 0, 0), size=0.3), Sphere(color='red')"


def _thing(call: ast.expr) -> Thing:
    """One `Cube(color='blue', …)`, of literals only."""
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        raise ValueError
    kind = next((k for k in KINDS if k.__name__ == call.func.id), None)
    if kind is None:
        names = ", ".join(k.__name__ for k in KINDS)
        raise InputError(f"description must be of {names}, got {call.func.id}")
    known = [field.name for field in fields(Thing)]
    given = dict(zip(known, map(ast.literal_eval, call.args), strict=False))
    given |= {k.arg or "**": ast.literal_eval(k.value) for k in call.keywords}
    if unknown := set(given) - set(known):
        raise InputError(f"{kind.__name__} must be given {', '.join(known)}, got {unknown.pop()}")
    if "color" not in given:
        raise InputError(f"{kind.__name__} must be given a color, got {ast.unparse(call)}")
    return kind(**given)


@dataclass(frozen=True, eq=False)
class Scenes:
    """N scenes of at most K things as arrays: what a renderer wants, and a judge's exact factors.

    kind (N, K): index of KINDS, −1 where a scene has fewer things. color (N, K): index of COLOURS.
    size (N, K), position and velocity (N, K, 3): float32.
    """

    kind: NDArray[np.int64]
    color: NDArray[np.int64]
    size: NDArray[np.float32]
    position: NDArray[np.float32]
    velocity: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.kind)

    def __getitem__(self, rows: Any) -> Scenes:
        """Some of the scenes: a slice or an array of indices."""
        return Scenes(*(getattr(self, field.name)[rows] for field in fields(self)))

    @classmethod
    def of(cls, scenes: Sequence[Scene]) -> Scenes:
        """Scenes side by side."""
        n, most = len(scenes), max(len(scene.things) for scene in scenes)
        kind, color = np.full((n, most), -1), np.zeros((n, most), np.int64)
        size = np.ones((n, most), np.float32)
        position, velocity = np.zeros((2, n, most, 3), np.float32)
        for i, scene in enumerate(scenes):
            for j, thing in enumerate(scene.things):
                kind[i, j] = KINDS.index(type(thing))
                color[i, j] = list(COLOURS).index(thing.color)
                size[i, j] = thing.size
                position[i, j], velocity[i, j] = thing.position, thing.velocity
        return cls(kind, color, size, position, velocity)

    def scene(self, i: int) -> Scene:
        """Scene i by name, its numbers to four digits."""
        names = list(COLOURS)
        return Scene(
            tuple(
                KINDS[self.kind[i, j]](
                    names[self.color[i, j]],
                    _rounded(self.position[i, j]),
                    round(float(self.size[i, j]), 4),
                    _rounded(self.velocity[i, j]),
                )
                for j in np.flatnonzero(self.kind[i] >= 0)
            )
        )

    def at(self, time: float) -> Scenes:
        """The scenes after so many images of a film."""
        moved = self.position + np.float32(time) * self.velocity
        return Scenes(self.kind, self.color, self.size, moved, self.velocity)


def _rounded(v: NDArray[np.float32]) -> Vector:
    x, y, z = (round(float(a), 4) + 0.0 for a in v)
    return x, y, z
