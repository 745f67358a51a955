"""Tables of regions of which a slab at a time is in memory: rows of whole numbers that add up."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.io.base.geometry import to_attributes
from mpibatch.io.write import shared_file
from mpibatch.io.write.storage.stripes import make_striped
from mpibatch.io.write.tables.region_table import RegionTable
from mpibatch.measure._engine.shares import Shares
from mpibatch.measure._engine.tallies import layout_from, spans_of, tallied
from mpibatch.measure._properties.properties import INTENSITY, Regions, check, kinds_of, order_of
from mpibatch.measure.regions import check_labels, spacing_of
from mpibatch.mpi import MPI, agreed
from mpibatch.mpi.prefix import sums_before
from mpibatch.mpi.routes import forward

if TYPE_CHECKING:
    from mpibatch.fields.field import Field
    from mpibatch.fields.grid import Grid
    from mpibatch.job.file.schema import Step
    from mpibatch.job.slabs.scans import Arrays

__all__ = ["Rows", "Spans"]

Ints = npt.NDArray[np.int64]


class Spans:
    """The greatest label so far, and how far the exponents of values go."""

    def __init__(self, known: Arrays) -> None:
        self.ends: Ints = known.get("ends", np.array([0, -2047, 0], np.int64))

    def add(self, labels: Field | None, values: Field | None) -> None:
        """Take a slab in; what is None is known otherwise, or not wanted. Collective."""
        field = labels if labels is not None else values
        assert field is not None
        with agreed(field.grid.comm, "regionprops_table"):
            if labels is not None:
                check_labels("regionprops_table", labels)
            mine = spans_of(labels, values)
        field.grid.comm.Allreduce(MPI.IN_PLACE, mine, op=MPI.MAX)
        self.ends = np.maximum(self.ends, mine)

    def arrays(self) -> Arrays:
        """Return what another run goes on from. Local."""
        return {"ends": self.ends}


class Rows:
    """The rows of a table of regions, of which each rank has its share; those of each slab are noted in a file, too."""

    def __init__(self, step: Step, grid: Grid, dtype: np.dtype[Any] | None, spans: Ints, known: Arrays) -> None:
        given = step.parameters
        self._grid, self._scales = grid, spacing_of(given.get("spacing"), grid.ndim)
        has_values = dtype is not None
        self._names = check(given.get("properties", ("label", "bbox")), grid.ndim, has_values, self._scales)
        self._has_values = has_values and bool({*self._names} & {*INTENSITY})
        kind = dtype if self._has_values else None
        order, kinds = order_of(self._names), kinds_of(self._names)
        self._layout, top = layout_from(grid.shape, kind, order, kinds, spans)
        self._shares = Shares(1, top, grid.size)
        self._rows: Ints = np.empty((0, self._layout.width), np.int64)
        self.noted = int(known["noted"]) if "noted" in known else 0

    def open(self, path: str) -> None:
        """Open the file in which slabs' rows are noted, and take in those of an earlier run. Collective."""
        comm, row = self._grid.comm, 8 * self._layout.width
        with agreed(comm, f"writing {path}"):
            if comm.rank == 0:
                if not Path(path).exists():
                    make_striped(Path(path))
                with open(path, "ab") as file:
                    file.truncate(self.noted * row)
        comm.Barrier()
        self._path = path
        low, high = (self.noted * rank // comm.size for rank in (comm.rank, comm.rank + 1))
        with agreed(comm, f"reading {path}"):
            mine = np.fromfile(path, np.int64, (high - low) * self._layout.width, offset=low * row)
            mine = self._layout.merge(mine.reshape(-1, self._layout.width))
        owners = self._shares.owners(mine[:, 0])
        self._rows = self._layout.merge(forward(comm, owners, mine, self._layout.merge))

    def add(self, labels: Field, values: Field | None, plane: int) -> None:
        """Take in a slab that begins at a plane, and note its rows. Collective."""
        more = tallied(labels, values if self._has_values else None, self._layout, self._shares, plane)
        self._rows = self._layout.merge(np.concatenate([self._rows, more]))
        comm = self._grid.comm
        before, total = sums_before(comm, range(comm.size), np.array([len(more)], np.int64))
        with shared_file.opened(comm, self._path) as file:
            place = 8 * self._layout.width * (self.noted + int(before[0]))
            shared_file.put(comm, file, self._path, [(place, np.ascontiguousarray(more))])
        self.noted += int(total[0])

    def arrays(self) -> Arrays:
        """Return what another run goes on from. Local."""
        return {"noted": np.array(self.noted)}

    def table(self) -> RegionTable:
        """Return the table. Collective."""
        with agreed(self._grid.comm, "regionprops_table"):
            columns = Regions(self._layout, self._rows, self._scales).columns(self._names, {})
        return RegionTable(self._grid.comm, columns, {**to_attributes(self._grid), "spacing": self._scales})
