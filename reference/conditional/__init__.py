"""Generation under a condition: p(x | y), with x and y of any kind.

What comes with a sample (`data.given`) is what the sample is made for: a text to be translated, a
picture to be told, speech to be written down. Read `encoder_decoder` (one decoder for all that ends
in text, and what it owes to what it is given), then `translator`, whose encoder reads text, and
`captioner`, whose looks at a picture.
MISSION row C.
"""

from typing import TYPE_CHECKING, Any

from reference.conditional.published import NUMBERS, PUBLISHED, TEXT
from reference.table import Demo, Model, dim_and_vocabulary

if TYPE_CHECKING:
    from core.data import Dataset


def given_as(data: "Dataset", kind: str) -> None:
    """InputError unless one thing of this kind comes with each sample."""
    from core.errors import InputError  # the command line answers --help without it

    if "y" not in data.given or data.given["y"].kind != kind:
        held = ", ".join(f"{name} ({m.kind})" for name, m in data.given.items()) or "nothing"
        raise InputError(f"data must come with y of kind {kind}; {data.name} comes with {held}")


def dim_vocabulary_and_picture(data: "Dataset") -> dict[str, Any]:
    """The shape of the images that are given too, (C, H, W)."""
    given_as(data, "image")
    return {**dim_and_vocabulary(data), "picture": list(data.given["y"].shape)}


def dim_and_both_vocabularies(data: "Dataset") -> dict[str, Any]:
    """How many tokens the texts that are given have too."""
    given_as(data, "text")
    return {**dim_and_vocabulary(data), "symbols": len(data.given["y"].vocabulary)}


__all__ = ["PUBLISHED", "ROWS"]

ROWS = [
    Model(
        "translator", "reference.conditional.translator:Translator", "encoder-decoder", ("C",),
        "text",
        title="Encoder–decoder transformer", year=2017, parents=("transformer",),
        tiny={"dim": 4, "levels": 3, "symbols": 4, "end": 2, "layers": 1, "heads": 2, "width": 6},
        arguments=dim_and_both_vocabularies,
        demos=(Demo("dates", {"layers": 1, "width": 32}, {**TEXT, "epochs": 1, "lr": 8e-3}),
               Demo("numbers", {"layers": 2, "width": 48}, NUMBERS, full=True)),
    ),
    Model(
        "captioner", "reference.conditional.captioner:Captioner", "encoder-decoder", ("C",), "text",
        title="Captioner", year=2018, parents=("translator",),
        tiny={"dim": 4, "levels": 3, "picture": [2, 16, 8], "end": 2, "layers": 1, "heads": 2,
              "width": 6},
        arguments=dim_vocabulary_and_picture,
        demos=(Demo("captions", {}, {**TEXT, "epochs": 12, "lr": 2e-3}, full=True),),
    ),
]  # fmt: skip
