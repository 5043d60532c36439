"""What the adapters share."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from core import Array
from core.errors import InputError
from reference.counting.frequencies import weighed


def seed_of(random_state: Any) -> int:
    """A seed of ours from whatever scikit-learn takes for one."""
    return int(check_random_state(random_state).randint(2**31 - 1))


def agree(one: Any, other: Any) -> None:
    """InputError unless other is a fitted estimator of the same class and number of features."""
    if type(other) is not type(one):
        raise InputError(f"other must be a {type(one).__name__}, got {type(other).__name__}")
    check_is_fitted(other)
    if other.n_features_in_ != one.n_features_in_:
        raise InputError(
            f"other must have {one.n_features_in_} features, got {other.n_features_in_}"
        )


def counted(sample_weight: Any, *arrays: Array) -> tuple[list[Array], Array | None]:
    """The rows whose weight is not 0, and their weights; all rows and None without weights."""
    if sample_weight is None:
        return list(arrays), None
    weights = weighed(sample_weight, len(arrays[0]))
    if not weights.any():
        raise InputError("sample_weight must not be zero in every row, got zeros only")
    kept = np.flatnonzero(weights)
    return [a[kept] for a in arrays], weights[kept]
