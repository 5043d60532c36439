"""Every operation of the table: our twin, its definition and other libraries, checked then timed.

Where timing is off (`make test`) sizes are cut, so that a benchmark can't rot unseen.
"""

from __future__ import annotations

from typing import Any

from bench.cases import by_id, operations
from bench.entries import entries

CASES = by_id(operations())


@entries(CASES)
def test_operation(enter: Any, operation: str, case: str, contestant: str) -> None:
    enter(CASES[operation, case], contestant)
