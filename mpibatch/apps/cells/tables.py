"""Rows of cells, with scikit-image's names; and those of many fields in one table, with the field's name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import mpibatch as mb
from mpibatch.io.write.saver import save_table
from mpibatch.io.write.tables.region_table import RegionTable
from mpibatch.measure._properties.properties import check
from mpibatch.mpi import agreed

if TYPE_CHECKING:
    from mpibatch.batch.results import Batch
    from mpibatch.fields.field import Field
    from mpibatch.mpi import MPI

__all__ = ["check_properties", "measured", "merged", "save_named"]

Columns = dict[str, npt.NDArray[Any]]

SHAPE = ("label", "area", "bbox", "centroid", "equivalent_diameter_area", "extent", "axis_major_length",
         "axis_minor_length", "euler_number")  # fmt: skip
FLAT = ("eccentricity", "orientation", "perimeter", "solidity")  # of two axes
INTENSITY = ("intensity_mean", "intensity_std", "intensity_min", "intensity_max")
FIELD = "field"  # the first column of tables of many fields


def check_properties(properties: Sequence[str], ndim: int) -> None:
    """Refuse now columns that could not be measured in the end. Local. UsageError."""
    if properties:
        check(properties, ndim, has_values=True, spacing=(1.0,) * ndim)


def measured(labels: Field, image: Field, properties: Sequence[str]) -> RegionTable:
    """Return a row for each cell. Collective."""
    usual = (*SHAPE, *(FLAT if image.grid.ndim == 2 else ()), *INTENSITY)
    return mb.regionprops_table(labels, image, tuple(properties) or usual)


def merged(batch: Batch, comm: MPI.Intracomm, lacking: Sequence[str]) -> tuple[Columns, npt.NDArray[np.int64]]:
    """Return this rank's share of the rows of all fields, in their order, and which field each is of. Collective.

    Of the results of a batch those of the names in `lacking` are left out.
    """
    results = batch.share()
    mine = {item: {n: v for n, v in values.items() if n not in lacking} for item, values in results.items()}
    kinds: dict[str, str] = {}
    with agreed(comm, "merging tables"):
        for values in mine.values():
            kinds = _common(kinds, {name: column.dtype.str for name, column in values.items()})
    kinds = comm.allreduce(kinds, op=_common)
    with agreed(comm, "merging tables"):
        for item, values in mine.items():
            if list(values) != list(kinds):
                raise mb.UsageError(
                    f"field {item} has the columns {', '.join(values)}, and others {', '.join(kinds)}; give fields of "
                    "as many axes, or the same --properties"
                )
    counts = [len(next(iter(values.values()))) for values in mine.values()]
    columns = {
        name: np.concatenate([np.empty(0, kind), *(values[name] for values in mine.values())]).astype(kind)
        for name, kind in kinds.items()
    }
    return columns, np.repeat(np.array([*mine], np.int64), counts)


def _common(a: Mapping[str, str], b: Mapping[str, str]) -> dict[str, str]:
    """The columns of the first that has any, of dtypes that hold the other's, too."""
    first, second = (a, b) if a else (b, a)
    return {name: np.result_type(kind, second.get(name, kind)).str for name, kind in first.items()}


def save_named(
    path: str, comm: MPI.Intracomm, name: str, columns: Columns, items: npt.NDArray[np.int64], names: Sequence[str]
) -> int:
    """Write columns with the name of each row's field before them; return the number of rows. Collective.

    HDF5 has the field's number, and all names in an attribute of the table.
    """
    if path.endswith((".csv", ".parquet")):
        table = RegionTable(comm, columns)
        save_table(table, path, name, {FIELD: [names[item] for item in items.tolist()]})
    else:
        table = RegionTable(comm, {FIELD: items, **columns}, {"field_names": list(names)})
        save_table(table, path, name)
    return table.rows
