"""The smallest call that a function gets wrong: what `genzoo check` says."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from core.checks import whole
from core.errors import InputError
from kernels.calls import Call
from kernels.proof import check
from kernels.table import Op

SHOWN = 12
"""Larger arrays are told by dtype and shape."""


class Fault(NamedTuple):
    """A call that came out wrong, what is said of it, and how many were drawn till one did."""

    call: Call
    said: str
    after: int


def smallest(
    function: Callable[..., Any], op: Op, *, examples: int = 200, seed: int = 0, **narrow: Any
) -> Fault | None:
    """The smallest wrong call among so many and what they shrink to; None if all are right.

    narrow: dims, dtypes and without, as `Op.calls` has them. The same for a seed. Whatever the
    function raises is wrong, but for an InputError. Raises InputError for a function that is right
    and wrong on the same call.
    """
    calls = op.calls(**narrow)  # before hypothesis is imported: it says so if that is missing
    from hypothesis import HealthCheck, Verbosity, errors, given, settings
    from hypothesis import seed as seeded

    found: list[Fault] = []
    drawn = 0

    @seeded(whole("seed", seed))
    @settings(
        max_examples=whole("examples", examples, 1),
        verbosity=Verbosity.quiet,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
        database=None,
        deadline=None,
    )
    @given(calls)
    def holds(call: Call) -> None:
        nonlocal drawn
        drawn += 1
        if said := complaint(function, call):
            found.append(Fault(call, said, found[0].after if found else drawn))
            raise AssertionError(said)

    try:
        holds()
    except errors.Flaky:
        raise InputError(
            f"{op.name} must come out the same every time; {found[-1].call!r} did not"
        ) from None
    except AssertionError:
        return found[-1]
    return None


def complaint(function: Callable[..., Any], call: Call) -> str:
    """What the check says against a call, without the call itself; "" if nothing."""
    try:
        check(function, call)
    except InputError:
        raise
    except AssertionError as error:
        return str(error).removesuffix(f"\n{call!r}")
    except Exception as error:
        return f"{call.op.name} raised {type(error).__name__}: {error}"
    return ""


def report(path: str, fault: Fault) -> str:
    """What is wrong, the arguments, and how to draw them again."""
    lines = [f"{path} is wrong, found in call {fault.after} and shrunk to the smallest:", ""]
    lines += _arguments(fault.call.arguments.items())
    return "\n".join([*lines, "", fault.said, "", f"call = {fault.call!r}"])


def _arguments(arguments: Iterable[tuple[str, Any]]) -> list[str]:
    return [f"  {name:8s}= {_shown(value)}" for name, value in arguments]


def _shown(value: Any) -> str:
    """The repr; of a large array its dtype and shape."""
    if isinstance(value, np.ndarray) and value.size > SHOWN:
        return f"{value.dtype} of shape {value.shape}{', with NaN' * _has_nan(value)}"
    return repr(value).replace("\n", "\n" + " " * 12)


def _has_nan(value: Any) -> bool:
    return value.dtype.kind == "f" and bool(np.isnan(value).any())
