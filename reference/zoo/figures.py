"""The report's drawings as inline SVG: the family tree with its timeline, loss curves, intervals.

They take their colours from the page (classes, `currentColor`), so that they follow its light and
dark theme and print as lines, not as pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from reference import FAMILIES, KINDS, Model

KIND_TITLES = {
    "histogram": "Histograms",
    "class-conditional": "Class-conditional",
    "mixture": "Mixtures",
    "linear": "Linear and Gaussian",
    "autoregressive": "Autoregressive",
    "encoder-decoder": "Encoder–decoder",
    "latent": "Latent variables",
    "flow": "Flows",
    "dequantised": "Flows of pixels",
    "adversarial": "Adversarial",
    "autoencoder": "Autoencoders",
    "diffusion": "Diffusion",
    "discriminative": "Classifiers",
}


_FAMILY_OF = {kind: name for name, kinds in FAMILIES.items() for kind in kinds}


# --- the family tree ----------------------------------------------------------------------------

_ROW, _TOP, _WIDTH = 30, 44, 1000
_ROOT, _FAMILY, _KIND, _NAME, _TIME = 6, 18, 180, 336, 580
_ERAS = ((1890, 1990, 0.0, 0.3), (1990, 2026, 0.3, 1.0))
_TICKS = (1900, 1950, 1990, 2000, 2010, 2020)


@dataclass(frozen=True)
class _Leaf:
    model: Model
    y: float

    @property
    def x(self) -> float:
        return _TIME + (_WIDTH - 44 - _TIME) * _when(self.model.year)


def family_tree(models: Sequence[Model], cards: dict[str, str]) -> str:
    """Every model on its branch (left) and at its year (right), linked to its parents.

    `cards` maps the names of models that were trained to the ids of their cards on the page.
    """
    leaves = _leaves(models)
    height = _TOP + _ROW * len(leaves) + 16
    body = [
        *_axis(height),
        *_branches(leaves),
        *_lineage(leaves),
        *(_leaf(leaf, cards.get(leaf.model.name)) for leaf in leaves),
    ]
    label = f"Family tree and timeline of {len(leaves)} generative models"
    return _svg(_WIDTH, height, label, body, "tree")


def _leaves(models: Sequence[Model]) -> list[_Leaf]:
    ranked = sorted(models, key=lambda m: (KINDS.index(m.kind), m.year))
    return [_Leaf(m, _TOP + _ROW * (i + 0.5)) for i, m in enumerate(ranked)]


def _when(year: float) -> float:
    """Place on the time axis, in [0, 1]: a century, then thirty years at a closer look."""
    for start, end, left, right in _ERAS:
        if year <= end:
            return left + (right - left) * (year - start) / (end - start)
    return 1.0


def _axis(height: float) -> Iterable[str]:
    for year in _TICKS:
        x = _TIME + (_WIDTH - 44 - _TIME) * _when(year)
        yield _line(x, _TOP - 8, x, height - 12, "rule")
        yield _text(x, _TOP - 16, str(year), "tick mid")


def _branches(leaves: Sequence[_Leaf]) -> Iterable[str]:
    """The cladogram: root → family → kind → model, drawn with right angles."""
    families = {name: [leaf for leaf in leaves if leaf.model.family == name] for name in FAMILIES}
    families = {name: members for name, members in families.items() if members}
    centres = {name: _centre(members) for name, members in families.items()}
    yield from _fork(_ROOT, sum(centres.values()) / len(centres), centres.values(), _FAMILY)
    for name, members in families.items():
        kinds = {k: [m for m in members if m.model.kind == k] for k in KINDS}
        kind_y = {k: _centre(v) for k, v in kinds.items() if v}
        yield _text(_FAMILY + 4, centres[name] - 6, name, "family")
        yield from _fork(_FAMILY, centres[name], kind_y.values(), _KIND, stem=_KIND - 10)
        for kind, y in kind_y.items():
            yield _text(_KIND + 4, y - 6, KIND_TITLES[kind], "kind")
            yield from _fork(_KIND, y, [m.y for m in kinds[kind]], _NAME - 6, stem=_NAME - 20)


def _centre(leaves: Sequence[_Leaf]) -> float:
    return (leaves[0].y + leaves[-1].y) / 2


def _fork(
    x: float, y: float, children: Iterable[float], to: float, stem: float | None = None
) -> Iterable[str]:
    stem = x if stem is None else stem
    ys = list(children)
    yield _line(x, y, stem, y, "branch")
    yield _line(stem, min([y, *ys]), stem, max([y, *ys]), "branch")
    for child in ys:
        yield _line(stem, child, to, child, "branch")


def _lineage(leaves: Sequence[_Leaf]) -> Iterable[str]:
    at = {leaf.model.name: leaf for leaf in leaves}
    for child in leaves:
        for parent in (at[p] for p in child.model.parents if p in at):
            bend = (parent.x + child.x) / 2
            start = f"M{parent.x:.1f} {parent.y:.1f}C{bend:.1f} {parent.y:.1f}"
            end = f"{bend:.1f} {child.y:.1f} {child.x:.1f} {child.y:.1f}"
            yield f'<path class="lineage" d="{start} {end}"/>'


def _leaf(leaf: _Leaf, card: str | None) -> str:
    name = _text(_NAME, leaf.y + 4, leaf.model.title, "leaf" if card else "leaf untrained")
    if card:
        name = f'<a href="#{escape(card)}">{name}</a>'
    year = _text(leaf.x + 10, leaf.y + 4, str(leaf.model.year), "year")
    return name + mark(leaf.model.kind, leaf.x, leaf.y) + year


def mark(kind: str, x: float, y: float) -> str:
    """A full dot (exact), a half-full one (bound), a ring (samples only), else without p(x):

    a square (a code), a cross (classes).
    """
    if _FAMILY_OF[kind] == "classifies only":
        cross = f"M{x - 4:.1f} {y - 4:.1f}l8 8m-8 0l8-8"
        return f'<path class="mark cross" d="{cross}"/>'
    if _FAMILY_OF[kind] == "reconstructs only":
        return f'<rect class="mark ring" x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8"/>'
    ring = f'<circle class="mark ring" cx="{x:.1f}" cy="{y:.1f}" r="5"/>'
    if _FAMILY_OF[kind] == "samples only":
        return ring
    if _FAMILY_OF[kind] == "bounded likelihood":
        return ring + f'<path class="mark" d="M{x:.1f} {y - 5:.1f}a5 5 0 0 0 0 10z"/>'
    return f'<circle class="mark" cx="{x:.1f}" cy="{y:.1f}" r="5"/>'


def legend() -> str:
    """The signs of the families and what they mean."""
    items = [
        f'<span><svg viewBox="0 0 12 12" width="12" height="12" aria-hidden="true">'
        f"{mark(kinds[0], 6, 6)}</svg> {escape(name)}</span>"
        for name, kinds in FAMILIES.items()
    ]
    return f'<p class="legend">{"".join(items)}</p>'


# --- curves -------------------------------------------------------------------------------------


def loss_curve(
    epochs: Sequence[float], curves: Mapping[str, Sequence[float]], unit: str, best: int | None
) -> str:
    """Losses by epoch, one line each; a dot on the last curve at the epoch that was kept."""
    width, height, left, right, top, bottom = 420, 190, 44, 12, 10, 30
    ticks = _nice_ticks(*_window([v for values in curves.values() for v in values]))
    x_of = _scale(min(epochs), max(epochs), left, width - right)
    y_of = _scale(ticks[0], ticks[-1], height - bottom, top)
    body = []
    for tick in ticks:
        body.append(_line(left, y_of(tick), width - right, y_of(tick), "rule"))
        body.append(_text(left - 6, y_of(tick) + 4, _minus(f"{tick:g}"), "tick end"))
    body.append(_text(left, height - 8, f"{min(epochs):g}", "tick"))
    body.append(_text(width - right, height - 8, f"{max(epochs):g}", "tick end"))
    body.append(_text((left + width - right) / 2, height - 8, f"epoch · {unit}", "tick mid"))
    for i, values in enumerate(curves.values()):
        body.append(_polyline(epochs, values, x_of, y_of, f"curve c{len(curves) - i}"))
    kept = [v for e, v in zip(epochs, [*curves.values()][-1], strict=True) if e == best]
    if best is not None and kept and math.isfinite(kept[0]):
        y = y_of(min(kept[0], ticks[-1]))
        body.append(f'<circle class="mark" cx="{x_of(best):.1f}" cy="{y:.1f}" r="3.5"/>')
    label = f"{' and '.join(curves)} loss over {max(epochs):g} epochs"
    return _svg(width, height, label, body, "plot")


def _minus(number: str) -> str:
    return number.replace("-", "−")


def _window(values: Sequence[float]) -> tuple[float, float]:
    """The range to draw: everything but a tall start, which would flatten all that follows."""
    finite = sorted(v for v in values if math.isfinite(v)) or [0.0, 1.0]
    middle, low = finite[len(finite) // 2], finite[0]
    return low, min(finite[-1], middle + 4 * max(middle - low, 1e-9))


def _nice_ticks(low: float, high: float) -> list[float]:
    """Three to eight round numbers that enclose [low, high]."""
    span = (high - low) or max(abs(low), 1.0) * 0.1
    raw = span / 5
    power: float = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw)
    first, last = math.floor(low / step), math.ceil((low + span) / step)
    return [round(i * step, 12) for i in range(first, last + 1)]


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    span = (high - low) or 1.0
    return lambda v: start + (end - start) * (v - low) / span


def _polyline(
    xs: Sequence[float],
    ys: Sequence[float],
    x_of: Callable[[float], float],
    y_of: Callable[[float], float],
    style: str,
) -> str:
    """A line through the finite points, from where it enters the plot."""
    pairs = [(x_of(x), y_of(y)) for x, y in zip(xs, ys, strict=True) if math.isfinite(y)]
    points = [(x, y) for x, y in pairs if y >= 0]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline class="{style}" points="{path}"/>'


def interval(nats: float, se: float, low: float, high: float, kind: str | None) -> str:
    """A mark at `nats` with two standard errors to each side; an arrow for what is beyond high."""
    width = 200
    x_of = _scale(low, high, 8, width - 14)
    body = [_line(0, 9, width, 9, "rule")]
    if nats > high:
        body.append(_text(width, 13, "→", "tick end"))
    else:
        reach = 2 * se if math.isfinite(se) else 0.0
        body.append(_line(x_of(nats - reach), 9, x_of(nats + reach), 9, "whisker"))
        x = x_of(nats)
        body.append(mark(kind, x, 9) if kind else _line(x, 4, x, 14, "whisker"))
    return (
        f'<svg class="interval" viewBox="0 0 {width} 18" width="{width}" height="18" '
        f'aria-hidden="true">{"".join(body)}</svg>'
    )


# --- primitives ---------------------------------------------------------------------------------


def _svg(width: float, height: float, label: str, body: Iterable[str], style: str) -> str:
    return (
        f'<svg class="{style}" viewBox="0 0 {width} {height:g}" role="img" '
        f'aria-label="{escape(label)}">{"".join(body)}</svg>'
    )


def _line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    return f'<path class="{style}" d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}"/>'


def _text(x: float, y: float, content: str, style: str) -> str:
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}">{escape(content)}</text>'
