"""What every model without a likelihood owes, and every noise schedule (MISSION rows D1, G1)."""

from __future__ import annotations

import numpy as np
import pytest

from core.errors import InputError
from tests.laws.subject import Subject


def has_no_log_prob(s: Subject) -> None:
    """An implicit model says that it has no likelihood, rather than give a number."""
    with pytest.raises((AttributeError, TypeError, InputError)):
        s.model.log_prob(s.model.sample(4, seed=0))


def noise_schedule_ends_in_noise(s: Subject) -> None:
    """ᾱ falls from below 1 to below 1e-3 (D1)."""
    alpha_bar = np.asarray(s.model.alphas_cumprod)
    assert np.all(np.diff(alpha_bar) < 0)
    assert alpha_bar[-1] < 1e-3
