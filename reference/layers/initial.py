"""How every layer's weights begin: normal, with a variance that keeps the signal's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from core import Tensor
from core.checks import float_dtype, number
from core.random import Generator, checked_generator


def normal_weight(
    shape: tuple[int, ...], fan_in: float, rng: Generator, gain: float, dtype: Any
) -> Tensor:
    """A Tensor drawn from N(0, gain²/fan_in); fan_in: how many inputs an output sums over.

    gain 1 keeps the variance of the signal (LeCun et al. 1998, section 4.6); √2 does so before a
    ReLU (He et al. 2015, Eq. 10); 0 starts at zero. Raises InputError, naming what is wrong.
    """
    gain, dtype = number("gain", gain, least=0), float_dtype(dtype)
    return Tensor(checked_generator(rng).normal(shape, dtype=dtype) * (gain / math.sqrt(fan_in)))


def zeros(shape: int | tuple[int, ...], dtype: Any) -> Tensor:
    """A Tensor of zeros: where biases and shifts begin."""
    return Tensor(np.zeros(shape, float_dtype(dtype)))


def ones(shape: int | tuple[int, ...], dtype: Any) -> Tensor:
    """A Tensor of ones: where scales begin."""
    return Tensor(np.ones(shape, float_dtype(dtype)))
