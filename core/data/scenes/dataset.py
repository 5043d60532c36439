"""Scenes as data sets: images with captions, and films with captions.

Half of the captions tell the sizes, so that a model understands both. Training, validation and test
scenes are parts of one endless sequence, so no scene is in two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.checks import whole
from core.data.dataset import Dataset, Split
from core.data.scenes.camera import render_all
from core.data.scenes.captions import VOCABULARY, caption, encode
from core.data.scenes.drawing import FRAMES, draw
from core.data.scenes.things import Scene, Scenes
from core.samples import Meaning, Padded

FPS = 8


@dataclass(frozen=True)
class Set:
    """A data set of scenes: n for training unless it is said, held_out for validation and test."""

    name: str
    doc: str
    n: int
    held_out: int
    moving: bool

    def make(self, *, n: int, seed: int = 0) -> Dataset:
        """n training images or films, levels 0 … 255, and their captions."""
        n = whole("n", n, 1)
        h = self.held_out
        drawn = draw(n + 2 * h, seed=seed, moving=self.moving)
        x, y = _seen(drawn, self.moving), _captions(drawn)
        cuts = slice(2 * h, None), slice(h), slice(h, 2 * h)
        train, validation, test = (Split(x[cut], y[cut]) for cut in cuts)
        return Dataset(
            self.name,
            train,
            validation,
            test,
            domain="integer",
            levels=256,
            image_shape=(FRAMES, 3, 32, 32) if self.moving else (3, 32, 32),
            fps=FPS if self.moving else None,
            given={"y": Meaning("text", y.shape[1:], vocabulary=VOCABULARY)},
            doc=self.doc,
        )


@dataclass(frozen=True)
class Told:
    """The other way round: captions, and the images that they tell.

    Things are told from left to right, each with its size, so that an image has one caption.
    """

    name: str
    doc: str
    n: int
    held_out: int

    def make(self, *, n: int, seed: int = 0) -> Dataset:
        """n training captions, in words filled up with the end, and their images in [−1, 1]."""
        n, h = whole("n", n, 1), self.held_out
        drawn = draw(n + 2 * h, seed=seed)
        y = (render_all(drawn) * np.float32(2 / 255) - 1).astype(np.float32)
        told = [encode(caption(_from_the_left(drawn.scene(i)))) for i in range(len(drawn))]
        x = Padded.of(told, fill=len(VOCABULARY)).data
        x = np.pad(x, ((0, 0), (0, 1)), constant_values=len(VOCABULARY))
        cuts = slice(2 * h, None), slice(h), slice(h, 2 * h)
        train, validation, test = (Split(x[cut], y[cut]) for cut in cuts)
        about: dict[str, Any] = {"vocabulary": (*VOCABULARY, "\n"), "end": len(VOCABULARY)}
        about["given"] = {"y": Meaning("image", y.shape[1:])}
        return Dataset(self.name, train, validation, test, "text", doc=self.doc, **about)


def _from_the_left(scene: Scene) -> Scene:
    return Scene(tuple(sorted(scene.things, key=lambda thing: thing.position[0])))


_DOC = "cubes, cylinders and spheres in six colours, 3 × 32 × 32, with captions"
SETS: dict[str, Set | Told] = {
    "scenes": Set("scenes", _DOC, 10_000, 1_000, moving=False),
    "moving-scenes": Set("moving-scenes", f"{_DOC}, in films of 8 images", 2_000, 200, moving=True),
    "captions": Told(
        "captions", "captions of images of cubes, cylinders and spheres", 10_000, 1_000
    ),
}


def _seen(drawn: Scenes, moving: bool) -> NDArray[np.uint8]:
    """Flat rows of pixels."""
    if not moving:
        return render_all(drawn).reshape(len(drawn), -1)
    frames = np.stack([render_all(drawn.at(t)) for t in range(FRAMES)], axis=1)
    return frames.reshape(len(drawn), -1)


def _captions(drawn: Scenes) -> Padded:
    texts = (caption(drawn.scene(i), sizes=i % 2 == 0) for i in range(len(drawn)))
    return Padded.of([encode(text) for text in texts])
