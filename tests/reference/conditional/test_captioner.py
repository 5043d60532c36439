"""Image to text: pictures that are given wrongly are told, and sizes that no convolution fits.

The laws of every model under a condition are in tests/laws.
"""

from __future__ import annotations

import numpy as np
import pytest

from core.data import load
from core.errors import InputError
from reference import MODELS
from reference.conditional.captioner import Captioner

X = np.array([[1, 0, 0], [2, 1, 0]])


def tiny(picture=(3, 9, 11), **how) -> Captioner:
    return Captioner(3, 3, picture, end=0, layers=1, heads=2, width=4, **how)


@pytest.mark.parametrize(
    ("y", "told"),
    [
        (np.zeros((2, 3, 9, 10), np.float32), "^y must have shape"),
        (np.zeros((1, 3, 9, 11), np.float32), "^y must have 2 rows, one for each of x, got 1"),
        (np.full((2, 3, 9, 11), np.nan, np.float32), "^y must hold finite numbers"),
        (np.full((2, 3, 9, 11), 1 / 3), "^y must be float32, got float64"),
        ("a picture", "^y must be"),
    ],
)
def test_a_picture_that_is_given_wrongly_is_told(y, told: str):
    for ask in (tiny().log_prob, tiny().conditionals):
        with pytest.raises(InputError, match=told):
            ask(X, y)


@pytest.mark.parametrize("picture", [(3, 7, 8), (3, 8, 7), (8, 8), (1, 3, 8, 8)])
def test_a_picture_has_eight_pixels_at_least(picture):
    with pytest.raises(InputError, match=r"^picture must be \(C, H, W\), of 8 pixels at least"):
        tiny(picture)


def test_sizes_that_eight_does_not_divide_are_seen_to_their_edges():
    model, y = tiny(), np.zeros((2, 3, 9, 11), np.float32)
    before = model.log_prob(X, y).data
    for corner in ((0, 0), (0, 10), (8, 0), (8, 10)):
        moved = y.copy()
        moved[:, :, *corner] = 1
        assert (model.log_prob(X, moved).data != before).all()


def test_data_without_a_picture_that_is_given_are_refused():
    with pytest.raises(
        InputError, match=r"^data must come with y of kind image; dates comes with y"
    ):
        MODELS["captioner"].arguments(load("dates", n=5))
