"""A NaN in a key: whom it reaches, by the mask alone (shared with the Triton cases)."""

from __future__ import annotations

from typing import Any

import numpy as np

from reference.operations import masks


def poison(arguments: dict[str, Any]) -> None:
    """In place: a key of the first head that some query sees becomes NaN, all else finite."""
    for name in "qkv":
        arguments[name] = np.nan_to_num(arguments[name], nan=0.5)
    if "dout" in arguments:
        arguments["dout"] = np.nan_to_num(arguments["dout"], nan=0.5)
    arguments["k"][0, 0, _victim(arguments)] = np.nan


def check_poison(arguments: dict[str, Any], found: Any) -> None:
    """AssertionError unless out, lse, dq, dk, dv are NaN where the NaN reaches, and only there.

    dq alone may be NaN for the head's other queries as well: 0 · NaN is in its sum.
    """
    seen = _seen(arguments)  # (B, H_kv, G, Q, K)
    hit = np.zeros(seen.shape[:-1], bool)
    hit[0, 0] = seen[0, 0, ..., _victim(arguments)]
    assert hit.any()
    keys = (seen & hit[..., None]).any((2, 3))  # (B, H_kv, K)
    queries = hit.reshape(arguments["q"].shape[:3])
    for name, x, nan in zip(
        ("out", "lse", "dq", "dk", "dv"),
        found,
        (queries, queries, queries, keys, keys),
        strict=True,
    ):
        is_nan = np.isnan(x) if x.ndim == 3 else np.isnan(x).any(-1)
        assert is_nan[nan].all(), f"{name}: a NaN is lost"
        if name != "dq":
            assert not is_nan[~nan].any(), f"{name}: a NaN travels too far"
    untouched = ~hit.any((2, 3)).repeat(seen.shape[2], 1)  # key heads without it
    assert not np.isnan(found[2][untouched]).any(), "dq: a NaN goes to another head"


def _seen(arguments: dict[str, Any]) -> Any:
    (B, H, Q, _), (_, H_kv, K, _) = arguments["q"].shape, arguments["k"].shape
    dense = (arguments["mask"] or masks.full()).dense(Q, K)
    return np.broadcast_to(dense, (B, H, Q, K)).reshape(B, H_kv, H // H_kv, Q, K)


def _victim(arguments: dict[str, Any]) -> int:
    """The last key in the first batch entry that some query sees, but not the most seen of all."""
    return int(np.flatnonzero(_seen(arguments)[0, 0].any((0, 1)))[-1])
