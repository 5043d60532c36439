"""The columns of a table: what they are called, their units, and the way there and back.

Inside a run every column has mean 0 and variance 1 over the training rows; its samples, its scores
and the tables it writes have the units of the file. With x = offset + scale · z,

    log p(x) = log p(z) − Σ_j log scale_j
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from core.errors import InputError

ColumnKind = Literal["real", "whole", "category"]


@dataclass(frozen=True)
class Column:
    """One column. low, high: the range it has in the file, in its units.

    kind: real (with so many decimals, None: unknown), whole, or category: code k is names[k].
    """

    name: str
    kind: ColumnKind
    low: float
    high: float
    names: tuple[str, ...] = ()
    decimals: int | None = None
    offset: float = 0.0
    scale: float = 1.0

    def cells(self, x: NDArray[np.float64]) -> list[str]:
        """Numbers in the column's units as text of its type, within its range."""
        x = np.clip(x, self.low, self.high)
        if self.kind == "real" and self.decimals is None:
            return [f"{v:.7g}" for v in x]
        decimals = self.decimals if self.kind == "real" else 0
        rounded = [f"{v:.{decimals}f}" for v in x]
        return [self.names[int(v)] for v in rounded] if self.kind == "category" else rounded


@dataclass(frozen=True)
class Units:
    """All columns of a table.

    >>> age = Column("age", "whole", 18, 90, offset=40.0, scale=20.0)
    >>> Units((age,)).restore(np.array([[0.5], [-2.0]])).tolist()
    [[50.0], [0.0]]
    >>> Units((age,)).text(np.array([[0.5], [-2.0]]))
    'age\\n50\\n18'
    """

    columns: tuple[Column, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """What the columns are called."""
        return tuple(column.name for column in self.columns)

    @property
    def log_scale(self) -> float:
        """Σ log scale: what the density of z must be lowered by, in nats."""
        return math.fsum(math.log(column.scale) for column in self.columns)

    def fitted(self, x: NDArray[np.float64]) -> Units:
        """The same columns with offset and scale from rows x (N, D); a constant keeps scale 1."""
        mean, std = x.mean(axis=0), x.std(axis=0)
        columns = [
            replace(column, offset=float(m), scale=float(s) if s > 1e-12 * abs(m) else 1.0)
            for column, m, s in zip(self.columns, mean, std, strict=True)
        ]
        return Units(tuple(columns))

    def moved(self, offset: float, scale: float) -> Units:
        """The same columns with one offset and scale."""
        return Units(tuple(replace(c, offset=offset, scale=scale) for c in self.columns))

    def standardise(self, x: NDArray[np.float64]) -> NDArray[np.float32]:
        """x (N, D) in units → z (N, D)."""
        offset, scale = self._moments()
        return ((x - offset) / scale).astype(np.float32)

    def restore(self, z: NDArray[Any]) -> NDArray[np.float64]:
        """z (N, D) → x (N, D) in units, neither rounded nor clipped."""
        offset, scale = self._moments()
        return offset + scale * np.asarray(z, np.float64)

    def text(self, z: NDArray[Any], labels: Sequence[str] | None = None) -> str:
        """z (N, D) as a .csv with a header: columns of the types and ranges that the file has.

        labels: a last column, its name and then N cells.
        """
        x = self.restore(z)
        cells = [column.cells(x_j) for column, x_j in zip(self.columns, x.T, strict=True)]
        columns = [[name, *rest] for name, rest in zip(self.names, cells, strict=True)]
        lines = zip(*columns, *([] if labels is None else [labels]), strict=True)
        return "\n".join(",".join(map(_quoted, line)) for line in lines)

    def as_json(self) -> list[dict[str, Any]]:
        """What `from_json` takes."""
        return [{**asdict(column), "names": list(column.names)} for column in self.columns]

    @classmethod
    def from_json(cls, stored: Sequence[Mapping[str, Any]]) -> Units:
        """What `as_json` gave; InputError if it is something else."""
        try:
            units = cls(tuple(Column(**{**c, "names": tuple(c["names"])}) for c in stored))
            for column in units.columns:
                numbers = (column.low, column.high, column.offset, column.scale)
                if not (all(map(math.isfinite, numbers)) and column.scale > 0):
                    raise InputError(f"units of {column.name!r} must be finite, got {numbers}")
                if column.kind not in get_args(ColumnKind) or not isinstance(column.name, str):
                    raise InputError(f"units must name columns and kinds, got {column}")
        except (KeyError, TypeError) as error:
            raise InputError(f"units must be those of columns: {error}") from error
        return units

    def _moments(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return (
            np.array([column.offset for column in self.columns], np.float64),
            np.array([column.scale for column in self.columns], np.float64),
        )


def _quoted(cell: str) -> str:
    """A cell as RFC 4180 has it."""
    odd = any(mark in cell for mark in ',"\n\r')
    return '"' + cell.replace('"', '""') + '"' if odd else cell
