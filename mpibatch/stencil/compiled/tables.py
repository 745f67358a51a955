"""Tables of whole numbers that compiled sweeps read: what a row holds, and in which column compiled text finds it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

__all__ = ["Beside", "Beyond", "EdgeJob", "FusedLevel", "Head", "in_text", "table_of"]


class EdgeJob(NamedTuple):
    """What ``edge`` fills before planes [first, end) of a sweep."""

    first: int
    end: int
    plane: int  # words from one plane to the next
    to: int  # words from the array's begin, with plane 0, to what is filled
    of: int  # and to what it is made of
    row: int  # words from row to row
    rows: int
    cells: int
    kind: int
    value: int  # place of the value


class FusedLevel(NamedTuple):
    """Which cells a level of fused steps computes: planes, rows and columns; turns go on for the fills behind them."""

    first: int
    planes_end: int
    turns_end: int
    row: int
    rows_end: int
    column: int
    columns_end: int


class Head(NamedTuple):
    """The rows of a level's fills in the table whose head it is; planes between the inner ones have none of planes."""

    beside: int
    beside_end: int
    beyond: int
    beyond_end: int
    inner: int
    inner_end: int


class Beside(NamedTuple):
    """A fill within a plane."""

    to_row: int
    to_column: int
    of_row: int
    of_column: int
    rows: int
    columns: int
    kind: int
    value: int  # place of the value


class Beyond(NamedTuple):
    """A fill of a whole plane, when that of `turn` is there."""

    turn: int
    to: int
    of: int
    kind: int
    value: int  # place of the value


def in_text(
    row: type[tuple[int, ...]], table: str, number: str, widest: type[tuple[int, ...]] | None = None
) -> SimpleNamespace:
    """Return by the name of each field how compiled text reads it of a table's row of that number. Local.

    `table` is the memory of `table_of`, made for rows of several kinds whose widest is `widest`; default: of one kind.
    """
    names: tuple[str, ...] = getattr(row, "_fields", ())
    columns = len(getattr(widest or row, "_fields", ()))
    text = f"{table}[U8({number} * {columns} + %d)]"
    return SimpleNamespace(**{name: text % column for column, name in enumerate(names)})


def table_of(rows: Sequence[tuple[int, ...]], widest: type[tuple[int, ...]]) -> npt.NDArray[np.int64]:
    """Return rows, which may be of several kinds, as a table; zeros behind the shorter ones. Local."""
    columns = len(getattr(widest, "_fields", ()))
    return np.array([(*row, *(0,) * (columns - len(row))) for row in rows], "i8").reshape(-1, columns)
