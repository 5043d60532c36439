"""The hand-engineered generator: a description, and a renderer that knows what it means.

    description    Cube(color="blue", position=(x, y, z), size=…), Cylinder(color="red", …)
        ↓  render
    pixels         (3, H, W)

Everything about such an image is known: what is in it, where, in which colours and how it moves.
So it comes with an exact caption, and what a learned model draws for a caption can be judged.
`things` says what a scene is, `captions` how it is put in words and read, `camera` what it looks
like, `drawing` how scenes are drawn at random. MISSION row H7.

    >>> scene = read("a red cube left of a blue cylinder")
    >>> render(scene, pixels=32).shape, caption(scene, sizes=False)
    ((3, 32, 32), 'a red cube left of a blue cylinder')
"""

from core.data.scenes.camera import film, render, render_all
from core.data.scenes.captions import VOCABULARY, Phrase, caption, encode, fulfils, parse
from core.data.scenes.dataset import SETS
from core.data.scenes.drawing import draw, fulfilling, read
from core.data.scenes.things import COLOURS, RELATIONS, Cube, Cylinder, Scene, Scenes, Sphere, Thing

__all__ = [
    "COLOURS",
    "RELATIONS",
    "SETS",
    "VOCABULARY",
    "Cube",
    "Cylinder",
    "Phrase",
    "Scene",
    "Scenes",
    "Sphere",
    "Thing",
    "caption",
    "draw",
    "encode",
    "film",
    "fulfilling",
    "fulfils",
    "parse",
    "read",
    "render",
    "render_all",
]
