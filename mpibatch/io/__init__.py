"""Files in and out.

``load`` reads HDF5, TIFF, FITS, NIfTI, Zarr and more, every rank its own box where the format allows it. ``save``
writes any number of fields into one HDF5 file (or Zarr, OME-TIFF, FITS …), all ranks at once, and gives it its name
when it is complete. ``open``,
``describe``, ``digest`` and ``read_slice`` look into files without MPI, and ``verify`` tells whether a saved file is
still, byte for byte, what was written. The rooms, in order of dependency:

- ``base``: names, geometry, room on the disk, closing
- ``vault``: encrypted files, their keys, and the plain bytes that HDF5 sees of them
- ``chunks``: datasets in chunks, and the filters through which they go
- ``formats``: one module per format, what a file holds and the reading of a box of it; and what files of others say
- ``seal``: digests, the seal of a file, and whether it still holds
- ``conventions``: what ParaView, xarray, NeXus and openPMD readers want to find beside the data
- ``write``: save, series, the drivers and the commit
- ``read``: load, open, describe

The layout of a saved file: one contiguous dataset for each field, under its name ("a/b" makes a group "a"), of the
global shape with components last; bool as HDF5 enumeration and complex as compound type, both as h5py has them. The
geometry lies in attributes of the dataset (``grid_axes``, ``grid_spacing``, ``grid_origin``, ``grid_units``,
``grid_periodic``), the rest of ``attrs=`` in those of the root group, which ``mpibatch_layout`` marks as ours, and
``versions`` (JSON text) of the packages. Nothing in the file depends on ranks, time or place: the same fields give the
same bytes, unless the attribute ``run_record`` is asked for. Behind all that HDF5 knows of lies the seal.

This module loads nothing until a name is used: `describe` and its like must work where MPI is not installed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpibatch.base.lazy_names import attach

if TYPE_CHECKING:
    from mpibatch.io.read.description import DatasetInfo, describe, digest, file_attributes, read_slice
    from mpibatch.io.read.lazy_array import Geometry, LazyArray
    from mpibatch.io.read.lazy_file import File, open
    from mpibatch.io.read.loader import load
    from mpibatch.io.read.merger import merge
    from mpibatch.io.seal.hits import Broken
    from mpibatch.io.seal.verification import Report, check, verify
    from mpibatch.io.write.saver import save
else:
    __getattr__, __dir__ = attach(
        __name__,
        {
            "read.description": ("DatasetInfo", "describe", "digest", "file_attributes", "read_slice"),
            "read.loader": ("load",),
            "read.merger": ("merge",),
            "read.lazy_array": ("Geometry", "LazyArray"),
            "read.lazy_file": ("File", "open"),
            "write.saver": ("save",),
            "seal.hits": ("Broken",),
            "seal.verification": ("Report", "check", "verify"),
        },
    )

__all__ = [
    "Broken", "DatasetInfo", "File", "Geometry", "LazyArray", "Report", "check", "describe", "digest",
    "file_attributes", "load", "merge", "open", "read_slice", "save", "verify",
]  # fmt: skip
