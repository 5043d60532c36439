"""What the commands print: tables, scores, distances. One fact a line, on stdout."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from reference.zoo.news import say

if TYPE_CHECKING:
    from core.data import Dataset


def megabytes(size: int) -> str:
    """A size in bytes, for people."""
    return f"{size / 1e6:.1f} MB" if size else "–"


def print_table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """A table for a terminal; tab-separated values for a pipe."""
    if not sys.stdout.isatty():
        for row in (head, *rows):
            print("\t".join(row))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    if sum(widths) + 3 * len(widths) > Console().width:
        for name, *rest in rows:  # too narrow: a name, and what is said of it beneath
            print(name)
            print(textwrap.indent(textwrap.fill(" · ".join(rest), Console().width - 4), "    "))
        return
    table = Table(*head, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def print_likelihood(model: Any, data: Dataset, split: str, first: int | None, seed: int) -> None:
    """The nats of a model on a part of the data, and what follows from them."""
    from reference.judges.likelihood import likelihood, takes_condition

    s = likelihood(model, data, split, first=first, seed=seed)
    print(f"{data.name}, {split}, {s.count} samples")
    if data.given and takes_condition(model):
        print(f"of x, given {', '.join(data.given)}")
    if s.bound is not None:
        print(f"an upper bound ({s.bound}): the exact figures are at most these")
    at_most = "≤ " if s.bound is not None else ""
    print(f"nats per sample     {at_most}{s.nats:.3f} ± {s.se:.3f}")
    if data.domain == "text":
        print_tokens(data, split, first, s.nats)
    elif s.bits_per_dim is not None:
        print(f"bits per dimension  {at_most}{s.bits_per_dim:.4f}")
    if data.given and hasattr(model, "greedy"):
        print_exact(model, data, split, first)
    if s.terms is not None:
        print_terms(s.terms)
    if s.gap is not None:
        print(f"gap to the truth    {at_most}{s.gap:.4f} ± {s.gap_se:.4f}")
    if s.impossible:
        cure = "; training with --set alpha=0.5 gives it some" if hasattr(model, "alpha") else ""
        print(f"impossible samples  {s.impossible}, which the model gives probability 0{cure}")


def print_exact(model: Any, data: Dataset, split: str, first: int | None) -> None:
    """How many of the answers to what is given are right."""
    from reference.judges.exact import exact

    found = exact(model, data, split, first=first)
    print(f"exact answers       {found.share:.4f} ± {found.se:.4f}")


def print_terms(terms: Sequence[float]) -> None:
    """What a diffusion model's bound is the sum of: the decoder, the steps by fifths, the prior."""
    T = len(terms) - 1
    ends = [1 + (T - 1) * i // 5 for i in range(6)]
    print(f"  L_0, the decoder  {terms[0]:9.3f}")
    for a, b in pairwise(ends):
        if a < b:
            print(f"  {f'L_{a} … L_{b - 1}':16}  {sum(terms[a:b]):9.3f}")
    print(f"  {f'L_{T}, the prior':16}  {terms[-1]:9.3f}")


def print_tokens(data: Dataset, split: str, first: int | None, nats: float) -> None:
    """Nats of a text by its tokens, the end among them, and by its characters if they differ."""
    import numpy as np

    rows = [row.tolist() for row in getattr(data, split).take(slice(first)).x]
    tokens = sum(row.index(data.end) + 1 if data.end in row else len(row) for row in rows)
    print(f"nats per token      {nats * len(rows) / tokens:.4f}")
    if data.tokeniser is not None:
        ends = sum(data.end in row for row in rows)
        characters = sum(len(data.decode(np.array(row))) for row in rows) + ends
        print(f"nats per character  {nats * len(rows) / characters:.4f}")


def print_classification(model: Any, data: Dataset, split: str, first: int | None) -> None:
    """How often a classifier is right on a part of the data, and the nats of the labels given x."""
    from core.errors import InputError
    from reference.judges.likelihood import mean_and_se

    part = getattr(data, split).take(slice(first))
    if part.y is None or len(part.x) == 0:
        raise InputError(f"{data.name} has no {split} rows with labels to score")
    log_p = model.log_proba(part.x)[range(len(part.y)), part.y]
    print(f"{data.name}, {split}, {len(part.x)} samples")
    (right, right_se), (nats, se) = map(mean_and_se, (model.predict(part.x) == part.y, -log_p))
    print(f"accuracy            {right:.4f} ± {right_se:.4f}")
    print(f"nats per label      {nats:.4f} ± {se:.4f}")


def print_reconstruction(model: Any, data: Dataset, split: str, first: int | None) -> None:
    """How far a part of the data is from what the model makes of it again."""
    from reference.judges.reconstruction import reconstruction

    r = reconstruction(model, data, split, first=first)
    print(f"{data.name}, {split}, {r.count} samples")
    print("not a distribution: no likelihood, an error of reconstruction")
    print(f"squared error       {r.error:.4f} ± {r.se:.4f}")
    print(f"variance explained  {100 * r.explained:.1f} %")


def print_distance(model: Any, data: Dataset, seed: int, data_dir: Any = None) -> None:
    """How far samples are from held-out data, beside how far real data are."""
    from reference.judges.likelihood import takes_condition
    from reference.judges.trained import has_judge
    from reference.judges.two_sample import HeldOut
    from reference.zoo.runs import first_given

    held_out = HeldOut(data, seed=seed)
    n = held_out.count
    print(f"{data.name}: {n} samples, and {n} fresh real rows, against {n} held-out rows")
    conditional = bool(data.given) and takes_condition(model)
    given = {"y": first_given(data, "test", n)} if conditional else {}
    x = model.sample(n, seed=seed, **given)
    for who, d in (("samples", held_out.distance(x)), ("fresh rows", held_out.baseline)):
        print(
            f"{who:10}  MMD² × 1000 {1000 * d.mmd2:7.2f} (95 % of its null: {1000 * d.null_95:.2f})"
            f"   told apart with accuracy {d.accuracy:.3f} ± {d.accuracy_se:.3f}"
        )
    if has_judge(data):
        _print_fidelity(model, held_out, x, seed, data_dir)


def _print_fidelity(model: Any, held_out: Any, x: Any, seed: int, data_dir: Any) -> None:
    """What a classifier of digits says of samples, beside what it says of real digits."""
    from reference.judges.fidelity import InFeatures, classes_in_turn
    from reference.judges.likelihood import takes_condition
    from reference.judges.trained import judge_of

    data = held_out.data
    judge = judge_of(data.source, data_dir=data_dir, tell=say)
    print(f"in the features of a classifier that is right on {100 * judge.accuracy:.1f} % of test")
    seen = InFeatures(held_out, judge.classifier)
    rows = [("samples", seen.fidelity(x)), ("fresh rows", seen.baseline)]
    head = ("", "Fréchet", "precision", "recall", "density", "coverage", "classes", "copied")
    print_table(head, [(who, *_fidelity_cells(f)) for who, f in rows])
    if takes_condition(model):
        y = classes_in_turn(held_out.count, data.classes)
        right = seen.asked(model.sample(len(y), seed=seed, y=y), y)
        print(f"of the class asked for  {100 * right:.1f} %")


def _fidelity_cells(f: Any) -> tuple[str, ...]:
    shares = (f.precision, f.recall, f.density, f.coverage)
    return (
        f"{f.frechet:.2f}",
        *(f"{share:.3f}" for share in shares),
        f"{f.classes} of 10, {f.entropy:.2f} nats",
        f"{f.copied:.3f} ({f.copied_z:+.1f} se)",
    )
