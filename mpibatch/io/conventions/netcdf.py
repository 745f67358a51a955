"""netCDF-4 with the CF conventions: every axis of every dataset has a dimension scale, every grid axis coordinates.

Scales lie in the root group, named after the axes: datasets with an axis of the same cells share one, others of the
same name are numbered ("x", "x_2"). The axes of components are dimensions without coordinates. In a time series the
dataset "time" is the scale of the first axis.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from mpibatch.io.conventions.variable import Variable, unique, word
from mpibatch.io.conventions.views import ascii_text, dimension, new_array, set_missing

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["COORDINATES", "TIME", "scale"]

CONVENTIONS = "CF-1.11"
# Longer axes get a dimension without coordinates (8 bytes a cell): on one axis they would outweigh the data.
COORDINATES = 1 << 20
TIME = "time"
_AXIS = {"t": "T", "time": "T", "x": "X", "y": "Y", "z": "Z"}


def scale(file: Any, variables: Sequence[Variable], tables: Sequence[str] = ()) -> dict[str, tuple[str, ...]]:
    """Give scales to the axes of variables and tables; return their names by that of the dataset. Local."""
    set_missing(file, {"Conventions": ascii_text(CONVENTIONS)})
    made = _Scales(file, {v.label for v in variables})
    if TIME in tables and file[TIME].ndim == 1:
        made.adopt(TIME)
    names = {v.name: made.of(v) for v in variables}
    for table in tables:
        if file[table].ndim == 1 and table not in made.adopted:
            names[table] = (made.of_table(table),)
    for name, axes in names.items():
        for axis, chosen in enumerate(axes):
            h5py.h5ds.attach_scale(file[name].id, file[chosen].id, axis)
    return names


class _Scales:
    """The scales of a file so far, by what they say."""

    def __init__(self, file: Any, labels: set[str]) -> None:
        self.file, self.adopted = file, set[str]()
        self._taken = labels | set(file)
        self._known: dict[tuple[Any, ...], str] = {}

    def adopt(self, table: str) -> None:
        """Make a table of times the scale of that many times."""
        dataset = self.file[table]
        h5py.h5ds.set_scale(dataset.id, table.rpartition("/")[2].encode())
        set_missing(dataset, {"axis": ascii_text("T")})
        self._known[table.rpartition("/")[0], TIME, dataset.shape[0]] = table
        self.adopted.add(table)

    def of(self, v: Variable) -> tuple[str, ...]:
        times = [self._dimension(TIME, v.shape[0], "")] if v.timed else []
        cells = [self._coordinates(*axis, v.units) for axis in zip(v.axes, v.cells, v.origin, v.spacing, strict=True)]
        # Two axes of one dataset never share a dimension, which xarray could not tell apart.
        values = [self._dimension("component", extent, n) for n, extent in enumerate(v.components)]
        return (*times, *cells, *values)

    def of_table(self, table: str) -> str:
        """The times beside the table, if they are as many, else those of the file, else a dimension of this length."""
        group, extent = table.rpartition("/")[0], self.file[table].shape[0]
        beside = f"{group}/{TIME}" if group else TIME
        if beside not in self.adopted and beside in self.file and self.file[beside].shape == (extent,):
            self.adopt(beside)
        for place in (group, ""):
            if known := self._known.get((place, TIME, extent)):
                return known
        return self._dimension("row", extent, "")

    def _coordinates(self, axis: str, extent: int, origin: float, spacing: float, units: str) -> str:
        if extent > COORDINATES:
            return self._dimension(word(axis), extent, "")
        key = (axis, extent, origin, spacing, units)
        if key not in self._known:
            name = self._named(word(axis), key)
            letter = _AXIS.get(axis.lower())
            attrs = {"axis": ascii_text(letter)} if letter else {}
            line = origin + spacing * np.arange(extent, dtype="f8")
            made = new_array(self.file, name, line, {**attrs, **({"units": units} if units else {})})
            h5py.h5ds.set_scale(made.id, name.encode())
        return self._known[key]

    def _dimension(self, axis: str, extent: int, role: int | str) -> str:
        key = ("" if role == "" else role, axis, extent)
        if key not in self._known:
            dimension(self.file, self._named(axis, key), extent)
        return self._known[key]

    def _named(self, axis: str, key: tuple[Any, ...]) -> str:
        name = unique(axis, self._taken)
        self._taken.add(name)
        self._known[key] = name
        return name
