"""Pages that run: a claim, its numbers in the order of the derivation, a picture, its law.

A lesson is a module whose docstring states the claim and its equation. `run(seed=0)` computes, its
`facts(result)` tell what was found beside what must be, and where something is to be seen,
`picture(result)` is a PNG of it. `genzoo lesson NAME` shows all three; what a lesson claims is a
test too. `LESSONS` lists them; nothing is imported until a lesson is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from types import ModuleType


@dataclass(frozen=True)
class Fact:
    """A line of a lesson: what is computed, what was found, what it must be, and whether it is."""

    what: str
    found: str
    law: str = ""
    holds: bool = True


def note(what: str, found: float | str) -> Fact:
    """A number without a law of its own.

    >>> note("entropy of a fair coin, nats", 0.693147).found
    '0.693147'
    """
    return Fact(what, _told(found))


def close(what: str, found: float, expected: float, *, within: float) -> Fact:
    """A number that must be the expected one; `within` says how nearly, rounding or 4 errors.

    >>> close("one half", 0.5, 0.5, within=1e-12)
    Fact(what='one half', found='0.5', law='= 0.5 ± 1e-12', holds=True)
    """
    return Fact(
        what, _told(found), f"= {_told(expected)} ± {within:.2g}", abs(found - expected) <= within
    )


def below(what: str, found: float, limit: float) -> Fact:
    """A number that must not exceed another."""
    return Fact(what, _told(found), f"≤ {_told(limit)}", found <= limit)


def above(what: str, found: float, limit: float) -> Fact:
    """A number that must not fall below another."""
    return Fact(what, _told(found), f"≥ {_told(limit)}", found >= limit)


def _told(x: float | str) -> str:
    return f"{x:.6g}" if isinstance(x, float) else str(x)


@dataclass(frozen=True)
class Lesson:
    """One lesson: its name, where it lives, the rows of MISSION.md that it teaches, its title."""

    name: str
    module: str
    rows: tuple[str, ...]
    title: str

    def load(self) -> ModuleType:
        """Import and return the module."""
        return import_module(self.module)


_ALL = (
    ("amortisation", ("L5", "L3"), "What is lost between a bound and the likelihood"),
    ("backprop", ("F7",), "All derivatives of a number in one walk backwards"),
    ("bayes", ("F1", "F2"), "One joint distribution, read in every direction"),
    ("change_of_variables", ("F7",), "What a map does to a density"),
    ("collapse", ("L5",), "Codes that say nothing, and how to keep them in use"),
    ("denoising", ("L4", "D5"), "What it takes to remove noise: the slope of the density"),
    ("dimensionality", ("H2",), "What a table costs, and what each assumption saves"),
    ("discrete_sampling", ("F9",), "Three ways to draw a value, and the controls of decoding"),
    ("divergences", ("F3",), "How far one distribution is from another, in bits"),
    ("elbo", ("L3", "L1", "L2"), "The evidence lower bound in its four forms"),
    ("exposure_bias", ("A9",), "Errors that a chain learns from itself"),
    ("gradients", ("F6",), "Two gradients of an expectation"),
    ("langevin", ("D5",), "Walks along a score, and a score that is learned from noise"),
    ("lotus", ("F8",), "Means without a density of the values; Dirac's delta"),
    ("maximum_likelihood", ("F4",), "What maximum likelihood minimises"),
    ("monte_carlo", ("F5",), "A mean of samples instead of an integral"),
    ("pair", ("H6",), "The generative and the discriminative twin, by what they have seen"),
    (
        "rareness",
        ("N2",),
        "How rare it is: tails of a density, and why a foreign set scores higher",
    ),
    ("warm_up", ("F10",), "One number to learn, and how much was known before"),
)
LESSONS: dict[str, Lesson] = {
    name: Lesson(name, f"reference.lessons.{name}", rows, title) for name, rows, title in _ALL
}
