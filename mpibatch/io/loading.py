"""From files to fields."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from mpibatch.errors import UsageError
from mpibatch.field import Field, HaloLike
from mpibatch.grid import Grid
from mpibatch.io.formats import Source, inspect, read
from mpibatch.io.naming import PathLike, split_path, whole_name
from mpibatch.mpi import MPI, agreed, private
from mpibatch.redistribution import scatter
from mpibatch.timing import phase

__all__ = ["load"]


def load(
    path: PathLike,
    dataset: str | None = None,
    *,
    grid: Grid | None = None,
    comm: MPI.Intracomm | None = None,
    halo: HaloLike = 0,
    components: int | Literal["auto"] = "auto",
    topology: Sequence[int | None] | None = None,
    sizes: Sequence[Sequence[int] | None] | None = None,
    periodic: bool | Sequence[bool] | None = None,
    spacing: float | Sequence[float] | None = None,
    origin: float | Sequence[float] | None = None,
    units: str | None = None,
    axes: Sequence[str] | None = None,
) -> Field:
    """Return a Field with the values of a file. Collective.

    Every rank reads its own box of HDF5, npy and TIFF stacks; rank 0 decodes PNG, JPEG and single compressed TIFF
    pages and scatters them. Values keep their dtype, in native byte order.

    Parameters
    ----------
    path : HDF5, npy, TIFF, PNG or JPEG file, known by its content; or ``"file.h5::dataset"``.
    dataset : name within an HDF5 file (number of a TIFF series); may be left out if there is only one.
    grid : where the values go; its shape must be that of the first axes. Default: a new Grid, with the geometry that
        `save` stored, and of `comm` (default: COMM_WORLD).
    halo : width of the field's halo; it is not filled.
    components : how many of the last axes are not decomposed. "auto": as saved; the colours of a picture; else 0.
    topology, sizes, periodic, spacing, origin, units, axes : of the new Grid, see there; they go before the file's.

    Raises UsageError (unknown dataset, a dtype or shape that no field can have) or RunError (missing or damaged
    file), the same on every rank.
    """
    asked = {
        "topology": topology, "sizes": sizes, "periodic": periodic, "spacing": spacing, "origin": origin,
        "units": units, "axes": axes,
    }  # fmt: skip
    wanted = {name: value for name, value in asked.items() if value is not None}
    with phase("io"):
        home = grid.comm if grid is not None else private(comm)
        found: Source | None = None
        with agreed(home, f"reading {path}"):
            file, inside = split_path(path, dataset)
            _check(grid, comm, wanted, whole_name(file, inside or ""))
            # One rank asks the file, so that all work on one answer and the file server is asked once.
            if home.rank == 0:
                found = inspect(file, inside)
        source: Source = home.bcast(found, root=0)
        count = _components(source, grid, components)
        if grid is None:
            known = source.grid if len(source.grid.get("axes", ())) == len(source.shape) - count else {}
            grid = Grid(source.shape[: len(source.shape) - count], comm=comm, **{**known, **wanted})
        return _read(source, grid, halo)


def _check(grid: Grid | None, comm: MPI.Intracomm | None, wanted: dict[str, Any], name: str) -> None:
    if grid is None:
        return
    if comm is not None:
        wanted = {"comm": comm, **wanted}
    if wanted:
        raise UsageError(
            f"{name} was to be loaded with grid= and {', '.join(wanted)}=; the grid has these: give one or other"
        )


def _components(source: Source, grid: Grid | None, asked: int | str) -> int:
    """Return the number of trailing axes that are components. The same on every rank."""
    ndim = len(source.shape)
    if grid is not None:
        count = ndim - grid.ndim
        if asked not in ("auto", count) or source.shape[: grid.ndim] != grid.shape:
            raise UsageError(
                f"{source.name} of shape {source.shape} was to be loaded onto {grid} with components={asked!r}; the "
                "grid's shape must be that of the first axes, and the rest are components"
            )
        return count
    if isinstance(asked, str) and asked != "auto":
        raise UsageError(f'components={asked!r}; give "auto" or the number of trailing axes that are not decomposed')
    count = source.components if asked == "auto" else int(asked)
    if not 0 <= count < ndim or ndim - count > 4:
        raise UsageError(
            f"{source.name} of shape {source.shape} was to be loaded with {count} component axes; components= must "
            "leave 1 to 4 axes for the grid"
        )
    return count


def _read(source: Source, grid: Grid, halo: HaloLike) -> Field:
    if not source.boxwise:
        whole = None
        with agreed(grid.comm, f"reading {source.name}"):
            if grid.rank == 0:
                whole = np.empty(source.shape, source.dtype)
                everything = tuple(slice(0, n) for n in source.shape)
                read(source, everything, whole, everything)
        return scatter(whole, grid, halo)
    with agreed(grid.comm, f"reading {source.name}"):
        field = Field(grid, source.dtype, halo, source.shape[grid.ndim :])
        if field.owned.size:
            behind = tuple(slice(0, n) for n in field.components)
            read(source, field.box.slices() + behind, field.padded, field.box.slices(field.origin) + behind)
    return field
