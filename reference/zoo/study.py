"""Commands for study: pages that run, and the hand-engineered generator."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reference.zoo import printing
from reference.zoo.commands import Seed

if TYPE_CHECKING:
    from reference.lessons import Lesson


def lesson(
    name: Annotated[
        str | None, typer.Argument(help="A lesson, or a row of docs/MISSION.md such as F4.")
    ] = None,
    seed: Seed = 0,
    out: Annotated[Path, typer.Option(help="Folder for its picture.")] = Path("lessons"),
) -> None:
    """A page that runs: its claim, its numbers, its picture, its law. Without NAME, all of them."""
    from reference.lessons import LESSONS

    if name is None:
        rows = [(one.name, " ".join(one.rows), one.title) for one in LESSONS.values()]
        printing.print_table(("lesson", "rows", "what it shows"), rows)
        return
    broken = [one.name for one in _lessons(name) if not _show(one, seed, out)]
    if broken:
        print(f"genzoo: a law of {', '.join(broken)} does not hold", file=sys.stderr)
        raise typer.Exit(1)


def _lessons(name: str) -> list[Lesson]:
    """The lesson of that name, or all that teach a row."""
    from core.errors import InputError
    from reference.lessons import LESSONS

    found = [one for one in LESSONS.values() if name == one.name or name.upper() in one.rows]
    if not found:
        rows = sorted({row for one in LESSONS.values() for row in one.rows})
        raise InputError(
            f"NAME must be a lesson ({', '.join(LESSONS)}) or a row that one teaches "
            f"({', '.join(rows)}), got {name!r}"
        )
    return found


def _show(one: Lesson, seed: int, out: Path) -> bool:
    """Print a lesson and leave its picture; whether its law holds."""
    from core.checkpoint import write_atomic

    page = one.load()
    result = page.run(seed)
    facts = page.facts(result)
    claim = (page.__doc__ or "").strip().splitlines()[0]
    print(f"{one.title} ({', '.join(one.rows)})\n{claim}")
    told = [
        (f.what, f.found, f.law, "" if not f.law else "yes" if f.holds else "NO") for f in facts
    ]
    printing.print_table(("what", "found", "must be", "is it"), told)
    if hasattr(page, "picture"):
        out.mkdir(parents=True, exist_ok=True)
        path = out / f"{one.name}.png"
        out.mkdir(parents=True, exist_ok=True)
        write_atomic(path, page.picture(result))
        print(f"its picture is {path}")
    return all(fact.holds for fact in facts)


def scene(
    text: Annotated[
        str,
        typer.Argument(help='"a red cube left of a blue cylinder", or "Cube(color=\'red\', …)".'),
    ],
    out: Annotated[Path, typer.Option(help="A .png; of moving things, a .gif.")] = Path("scene"),
    pixels: Annotated[int, typer.Option(min=8, max=2048, help="Height and width.")] = 256,
    frames: Annotated[int, typer.Option(min=1, max=64, help="Images of a film.")] = 8,
    seed: Seed = 0,
) -> None:
    """The hand-engineered generator: a picture of a described scene, or a film of a moving one."""
    from core.checkpoint import write_atomic
    from core.data import scenes
    from core.errors import InputError
    from reference.zoo.pictures import film_grid, image_grid

    made = scenes.read(text, seed=seed)
    moving = any(thing.direction for thing in made.things)
    ending = ".gif" if moving else ".png"
    if out.suffix not in ("", ending):
        raise InputError(f"--out must end in {ending} for this scene, got {out}")
    if moving:
        x = scenes.film(made, frames=frames, pixels=pixels)
        picture = film_grid(x[None], x.shape, fps=8, low=0, high=255)
    else:
        x = scenes.render(made, pixels=pixels)
        picture = image_grid(x[None], x.shape, low=0, high=255)
    path = out.with_suffix(ending)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, picture)
    print(f"{scenes.caption(made)}\n{made}\nis {path}")
