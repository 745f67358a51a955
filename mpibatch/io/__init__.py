"""Files in and out.

``load`` reads HDF5, npy, TIFF, PNG and JPEG, every rank its own box where the format allows it. ``save`` writes any
number of fields into one HDF5 file, all ranks at once, and gives it its name when it is complete. ``describe``,
``digest`` and ``read_slice`` look into files without MPI. The parts, in order of dependency:

- ``naming``: paths, ``file.h5::dataset``, names of datasets
- ``formats``: one module per format: what a file holds, and the reading of a box of it
- ``geometry``: a grid's spacing, origin, units, axes and periodicity as attributes of a dataset
- ``describing``: describe, digest, read_slice
- ``loading``: load
- ``layout``: a new HDF5 file with its datasets in place and no data in them
- ``direct``: the driver that fills such a file by MPI-IO
- ``commit``: write under a temporary name, rename when complete
- ``saving``: save
- ``series``: fields at successive times in one file

The layout of a saved file: one contiguous dataset for each field, under its name ("a/b" makes a group "a"), of the
global shape with components last; bool as HDF5 enumeration and complex as compound type, both as h5py has them. The
geometry lies in attributes of the dataset (``grid_axes``, ``grid_spacing``, ``grid_origin``, ``grid_units``,
``grid_periodic``), the rest of ``attrs=`` in those of the root group, which ``mpibatch_layout`` marks as ours. Nothing
in the file depends on ranks, time or place: the same fields give the same bytes.

This module loads nothing until a name is used: `describe` and its like must work where MPI is not installed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mpibatch.io.describing import DatasetInfo, describe, digest, file_attributes, read_slice
    from mpibatch.io.loading import load
    from mpibatch.io.saving import save

__all__ = ["DatasetInfo", "describe", "digest", "file_attributes", "load", "read_slice", "save"]

_HOMES = {"load": "loading", "save": "saving"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'mpibatch.io' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"mpibatch.io.{_HOMES.get(name, 'describing')}"), name)
    globals()[name] = value
    return value
