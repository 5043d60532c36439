"""Kernels that see the past only (MISSION row A6)."""

from __future__ import annotations

from typing import Any

import numpy as np

from core.errors import InputError


def kernel_mask(kind: str, kernel: tuple[int, ...]) -> Any:
    """bool of the kernel's shape: True before its centre in raster order, and with "B" there too.

    Mask A is for a first layer, whose input holds what is to be predicted, mask B for later ones
    (van den Oord et al. 2016, PixelRNN, section 3.4). Raises InputError if a length is even.

    >>> kernel_mask("A", (3, 3)).astype(int)
    array([[1, 1, 1],
           [1, 0, 0],
           [0, 0, 0]])
    """
    if any(k % 2 == 0 for k in kernel):
        raise InputError(f"kernel must have a centre for mask {kind}, odd lengths, got {kernel}")
    place = np.arange(np.prod(kernel)).reshape(kernel)
    return place < place.size // 2 + (kind == "B")


def colour_mask(kind: str, kernel: tuple[int, ...], n_in: int, n_out: int, colours: int) -> Any:
    """bool (n_out, n_in, *kernel): as `kernel_mask`, and at the centre colour by colour.

    Channel i is of colour i mod `colours`. At the centre a channel sees those of the colours before
    its own, and with "B" of its own as well (van den Oord et al. 2016, PixelRNN, section 3.4).

    >>> colour_mask("A", (1, 3), 3, 3, 3)[:, :, 0].astype(int).tolist()[1]
    [[1, 1, 0], [1, 0, 0], [1, 0, 0]]
    """
    seen, own = (np.arange(n) % colours for n in (n_in, n_out))
    centre = seen < own[:, None] + (kind == "B")  # (n_out, n_in)
    before = kernel_mask("A", kernel)
    at_centre = kernel_mask("B", kernel) & ~before
    return before | (centre.reshape(n_out, n_in, *(1 for _ in kernel)) & at_centre)


def checked_mask(mask: Any, shape: tuple[int, ...]) -> Any:
    """bool of a weight's `shape` (n_out, n_in, …): which connections there are.

    mask: "A" or "B", an array of bool that broadcasts to the shape, or None for all.
    """
    if isinstance(mask, str) and mask in ("A", "B"):
        mask = kernel_mask(mask, shape[2:])
    given = np.asarray(True if mask is None else mask)
    fits = given.ndim <= len(shape) and all(
        n in (1, m) for n, m in zip(given.shape[::-1], shape[::-1], strict=False)
    )
    if given.dtype != np.bool_ or isinstance(mask, bool) or not fits:
        raise InputError(f"mask must be 'A', 'B', None or bool {shape}, got {mask!r}")
    return np.broadcast_to(given, shape)
