"""What twins that draw images check of their arguments (row K3)."""

from __future__ import annotations

from typing import Any

import numpy as np

from core.checks import shaped, whole
from core.errors import InputError


def image_uniforms(u: Any) -> Any:
    """u (n, C, H, W), contiguous. InputError unless they are floats in [0, 1), C ≥ 1."""
    u = np.ascontiguousarray(shaped("u", np.asarray(u), ("n", "C", "H", "W"), None))
    if not u.shape[1]:
        raise InputError(f"u must have at least one colour, got shape {u.shape}")
    if not ((u >= 0) & (u < 1)).all():
        raise InputError(f"u must lie in [0, 1), got {u.min()}..{u.max()}")
    return u


def convolution(name: str, layer: Any, shape: tuple[Any, ...], u: Any) -> tuple[Any, Any]:
    """(W, b). InputError unless W has this shape, b one number for each output, and u's dtype."""
    try:
        W, b = layer
    except (TypeError, ValueError):
        raise InputError(f"{name} must be (W, b), got {type(layer).__name__}") from None
    W = shaped(f"W of {name}", W, shape, u.dtype)
    return W, shaped(f"b of {name}", b, (len(W),), u.dtype)


def parameters(levels: int, mixture: int | None = None) -> int:
    """P, of each conditional. InputError for numbers out of range."""
    levels = whole("levels", levels, 2)
    if mixture is None:
        return 1 if levels == 2 else levels
    return 3 * mixture if whole("mixture", mixture, 1) > 1 else 2
