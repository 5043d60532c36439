"""Scenes in words, and words read.

    caption  := phrase, then any number of (relation phrase)
    phrase   := "a" [size] color kind ["moving" direction]
    relation := "left of" | "right of" | "in front of" | "behind" | "below" | "above"

A relation is between the thing before it and the thing after it, in the first image of a film.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.checks import one_of
from core.data.scenes.things import COLOURS, DIRECTIONS, RELATIONS, SIZES, WORDS, Scene, Thing
from core.errors import InputError


@dataclass(frozen=True)
class Phrase:
    """What is asked of one thing. None: anything, of `moving` that it stands.

    relation: to the thing of the phrase before it, seen from this one; "" in the first.
    """

    color: str
    kind: str
    size: str | None = None
    moving: str | None = None
    relation: str = ""

    def __str__(self) -> str:
        words = ["a", self.size, self.color, self.kind]
        words += ["moving", self.moving] if self.moving else []
        return " ".join(word for word in words if word)

    def fits(self, thing: Thing) -> bool:
        """Whether a thing is what is asked, its place apart."""
        return (self.color, self.kind, self.moving) == (
            thing.color,
            thing.word,
            thing.direction,
        ) and self.size in (None, thing.size_word)


def caption(scene: Scene, *, sizes: bool = True) -> str:
    """The scene in words: exact, and the same for every scene that looks alike.

    >>> caption(Scene.parse("Cube('red', (-0.5, 0, 0)), Sphere('blue', (0.5, 0, 0), 0.25)"))
    'a large red cube left of a small blue sphere'
    """
    told = []
    for i, thing in enumerate(scene.things):
        told += [scene.relation(i - 1, i)] if i else []
        size = thing.size_word if sizes else None
        told.append(str(Phrase(thing.color, thing.word, size, thing.direction)))
    return " ".join(told)


def parse(text: str) -> tuple[Phrase, ...]:
    """What a caption asks for. Raises InputError at the first word that isn't understood.

    >>> [str(phrase) for phrase in parse("a red cube left of a blue cylinder")]
    ['a red cube', 'a blue cylinder']
    """
    if not isinstance(text, str) or not text.split():
        raise InputError(f"caption must read like {EXAMPLE!r}, got {text!r}")
    words = text.lower().replace(",", " ").rstrip(". ").split()
    phrases = [_phrase(words, "")]
    while words:
        phrases.append(_phrase(words, _relation(words)))
    return tuple(phrases)


EXAMPLE = "a red cube left of a blue cylinder"
_ARTICLES = ("a", "an", "the")


def _phrase(words: list[str], relation: str) -> Phrase:
    """Take the words of one thing off the front."""
    _take(words, _ARTICLES)
    size = words.pop(0) if words[:1] and words[0] in SIZES else None
    color, kind, moving = _take(words, COLOURS), _take(words, WORDS), None
    if words[:1] == ["moving"]:
        del words[0]
        moving = _take(words, DIRECTIONS)
    return Phrase(color, kind, size, moving, relation)


def _relation(words: list[str]) -> str:
    for relation in RELATIONS:
        n = len(relation.split())
        if words[:n] == relation.split():
            del words[:n]
            return relation
    raise InputError(f"caption must go on with {', '.join(RELATIONS)}, got {' '.join(words)!r}")


def _take(words: list[str], allowed: Iterable[str]) -> str:
    word = words.pop(0) if words else "its end"
    chosen: str = one_of("caption's word", word, tuple(allowed))
    return chosen


def fulfils(scene: Scene, phrases: Sequence[Phrase]) -> bool:
    """Whether a scene has the things that are asked for, in this order, and nothing else."""
    return len(scene.things) == len(phrases) and all(
        phrase.fits(thing) and phrase.relation in ("", scene.relation(i - 1, i))
        for i, (phrase, thing) in enumerate(zip(phrases, scene.things, strict=True))
    )


_KNOWN = ("a", *SIZES, *COLOURS, *WORDS, "moving", *DIRECTIONS)
_MORE = dict.fromkeys(word for relation in RELATIONS for word in relation.split())
VOCABULARY: tuple[str, ...] = ("a", *(f" {word}" for word in dict.fromkeys((*_KNOWN, *_MORE))))
"""The words of captions, each with the space before it, so that joined they are the text."""


def encode(text: str) -> NDArray[np.int64]:
    """A caption as indices into VOCABULARY (words,); InputError for a word that isn't one."""
    first, *rest = text.split()
    words = [first, *(f" {word}" for word in rest)]
    return np.array([VOCABULARY.index(one_of("word", w, VOCABULARY)) for w in words], np.int64)
