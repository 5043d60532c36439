"""The readable truth: one file per model, and `MODELS`, the table that lists them.

Read the families in this order: `counting`, where everything is a table; `autoregressive`, where
the table becomes a network; `latent`, where something unseen explains what is seen; `flows`,
`adversarial`, `diffusion`; then `conditional`, where something is given. Each folder's first lines
are its chapter's preface.
"""

from __future__ import annotations

from reference import (
    adversarial,
    autoregressive,
    conditional,
    counting,
    diffusion,
    flows,
    latent,
)
from reference.table import FAMILIES, KINDS, Demo, Model, Published

__all__ = ["FAMILIES", "KINDS", "MODELS", "PUBLISHED", "Demo", "Model", "Published"]

CHAPTERS = (counting, autoregressive, latent, flows, adversarial, diffusion, conditional)
MODELS: dict[str, Model] = {row.name: row for chapter in CHAPTERS for row in chapter.ROWS}
PUBLISHED: dict[str, Published] = {
    row.name: row for chapter in CHAPTERS for row in chapter.PUBLISHED
}
"""The figures that `genzoo reproduce` knows, of the chapters that have some."""
