"""Columns of tables as drivers write them: arrays of one axis, of which each rank has some consecutive rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError
from mpibatch.domain import Box
from mpibatch.fields.grid import Grid
from mpibatch.io.base.names import normal_name
from mpibatch.io.formats.hdf5 import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mpibatch.fields.field import Field
    from mpibatch.io.base.block import Block
    from mpibatch.io.write.tables.region_table import RegionTable
    from mpibatch.mpi import MPI

__all__ = ["Column", "columns_of", "field_of", "group_of"]


@dataclass(frozen=True)
class Column:
    """A rank's rows of a column, the first of which is number `first` of `rows`. A block (`io.base.block`)."""

    padded: npt.NDArray[Any]
    first: int
    rows: int
    components: tuple[int, ...] = ()
    halo: tuple[tuple[int, int], ...] = ((0, 0),)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the values. Local."""
        return self.padded.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the whole column. Local."""
        return (self.rows,)

    @property
    def box(self) -> Box:
        """This rank's rows. Local."""
        return Box((self.first,), (self.first + len(self.padded),))

    @property
    def owned(self) -> npt.NDArray[Any]:
        """This rank's values. Local."""
        return self.padded


def field_of(comm: MPI.Intracomm, column: Block) -> Field:
    """Return a column as a field, whose cells can be shared out; a field as it is. Collective."""
    if not isinstance(column, Column):
        return cast("Field", column)
    counts = comm.allgather(len(column.padded))
    field = Grid((column.rows,), comm=comm, sizes=[counts]).zeros(column.dtype)
    field.owned[...] = column.padded
    return field


def columns_of(name: str, table: RegionTable, comm: MPI.Intracomm) -> dict[str, Column]:
    """Return the columns of a table by the names of their datasets. Local. UsageError if they cannot be saved."""
    if table.comm != comm:
        raise UsageError(f"cannot save {name!r} with fields of another communicator; save them into separate files")
    if not table:
        raise UsageError(f"cannot save the table {name!r}: it has no columns; give it one, such as label")
    group = normal_name(name)
    for column in table:
        if "/" in normal_name(column) or column != normal_name(column):
            raise UsageError(f"the table {name!r} has a column {column!r}; name it without /")
    return {
        f"{group}/{column}": Column(np.ascontiguousarray(values), table.first, table.rows)
        for column, values in table.items()
    }


def group_of(table: RegionTable, more: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes of a table's group: those of the table, and more, and by which it is a table. Local."""
    return {**table.attrs, **more, COLUMNS: list(table)}
