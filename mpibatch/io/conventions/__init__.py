"""One file, every reader: what other programs want to find in an HDF5 file, beside data that are stored once.

- ``netcdf``: dimension scales and coordinates, for netCDF-4, xarray and all who know CF
- ``vtkhdf``: group ``VTKHDF``, for ParaView and VTK
- ``nexus``: group ``entry``, for NeXus readers
- ``openpmd``: group ``data``, for openPMD readers
- ``variable``: what they have to know of a dataset; ``views``: groups and views without times in them

All of it is links, virtual datasets within the file, attributes and small arrays; it depends on the datasets alone, and
is written by one rank. A dataset or group of the user's goes before: a file with a dataset ``data`` or ``data/raw``
lacks openPMD's group, one with ``entry`` that of NeXus, one with ``VTKHDF`` that; a coordinate gives way to a dataset
``x`` and is called ``x_2``. Attributes that the user gave are not replaced either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mpibatch.io.base.marks import VIEWS
from mpibatch.io.conventions import netcdf, nexus, openpmd, vtkhdf
from mpibatch.io.conventions.variable import variables

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["complete", "describe"]


def describe(file: Any, names: Sequence[str]) -> None:
    """Add the conventions of datasets that are there, whether or not their values are. Local.

    `file` is an open HDF5 file.
    """
    before = set(file)
    entries = variables(file, names, timed=False)
    columns = [name for name in names if "grid_axes" not in file[name].attrs and 0 not in file[name].shape]
    scales = netcdf.scale(file, entries, columns)
    _unless(file, vtkhdf.GROUP, lambda: vtkhdf.add(file, entries))
    _unless(file, nexus.GROUP, lambda: nexus.add(file, entries, scales))
    _unless(file, openpmd.GROUP, lambda: openpmd.add(file, entries))
    _mark(file, before)


def complete(file: Any, names: Sequence[str], tables: Sequence[str]) -> None:
    """Add the conventions of a time series whose datasets have their final length. Local.

    `tables` are the small datasets in the file; "time" and "step" have the times and steps of the outputs.
    """
    before = set(file)
    entries = variables(file, names, timed=True)
    times = file[netcdf.TIME] if netcdf.TIME in tables else ()
    steps = file["step"] if "step" in tables else ()
    scales = netcdf.scale(file, entries, tables)
    _unless(file, vtkhdf.GROUP, lambda: vtkhdf.add(file, entries, times))
    _unless(file, nexus.GROUP, lambda: nexus.add(file, entries, scales))
    _unless(file, openpmd.GROUP, lambda: openpmd.add(file, entries, times, steps))
    _mark(file, before)


def _unless(file: Any, name: str, add: Callable[[], object]) -> None:
    if name not in file:
        add()


def _mark(file: Any, before: set[str]) -> None:
    added = sorted(set(file) - before)
    if added:
        file.attrs[VIEWS] = added
