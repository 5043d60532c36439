"""scipy.special, imported when a function of it is first used.

The kernels run, and are proven, on machines that have PyTorch and no SciPy.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

INSTALLED = find_spec("scipy") is not None


def __getattr__(name: str) -> Any:
    from scipy import special

    function = getattr(special, name)
    globals()[name] = function  # the next look-up costs what an attribute does
    return function
