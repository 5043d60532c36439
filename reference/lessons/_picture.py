"""What lessons draw with: panels side by side in one PNG. Matplotlib is imported on demand."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

INK, ACCENT, PAPER = "#3b6fb6", "#c4572c", "#9a9a9a"


def panels(*draw: Callable[[Any], None], width: float = 4.5, height: float = 3.4) -> bytes:
    """A PNG of as many panels as there are functions; each is handed its axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * len(draw), height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    for i, fill in enumerate(draw):
        axes = figure.add_subplot(1, len(draw), i + 1)
        axes.spines[["top", "right"]].set_visible(False)
        fill(axes)
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()
