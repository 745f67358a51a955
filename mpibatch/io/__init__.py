"""Files in and out.

``load`` reads HDF5, npy, TIFF, PNG and JPEG, every rank its own box where the format allows it. ``save`` writes any
number of fields into one HDF5 file, all ranks at once, and gives it its name when it is complete. ``open``,
``describe``, ``digest`` and ``read_slice`` look into files without MPI, and ``verify`` tells whether a saved file is
still, byte for byte, what was written. The parts, in order of dependency:

- ``naming``: paths, ``file.h5::dataset``, names of datasets; ``closing``: closing HDF5 files
- ``formats``: one module per format: what a file holds, and the reading of a box of it
- ``geometry``: a grid's spacing, origin, units, axes and periodicity as attributes of a dataset
- ``marks``: the names by which listings tell data from views of them; ``indexing``: NumPy's, as far as files follow
- ``describing``: describe, digest, read_slice
- ``opening``: open, a file as lazy arrays
- ``loading``: load
- ``conventions``: what ParaView, xarray, NeXus and openPMD readers want to find beside the data
- ``chunking``, ``compression``, ``packing``: datasets in chunks, and the filters through which these go
- ``layout``: a new HDF5 file with its datasets in place and no data in them
- ``room``: whether a file finds room, and what is said if not
- ``extent``, ``digests`` (with ``loops_digests``): where values lie, and sums by which changed ones are found
- ``manifest``, ``seal``: a digest for every byte of a file, behind its end; ``verifying``: verify, check
- ``commit``: write under a temporary name, seal, rename when complete
- ``sharing``, ``chunked``: ranks pack and write their shares of the chunks
- ``hints``, ``direct``, ``mpio``, ``drivers``: the ways to write, by MPI-IO or by parallel HDF5, and their choice
- ``provenance``: versions, inputs and the record of the run
- ``saving``: save
- ``snapshot``, ``series``: fields at successive times in one file, and going on with it after a break

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

from mpibatch.base.lazy import attach

if TYPE_CHECKING:
    from mpibatch.io.describing import DatasetInfo, describe, digest, file_attributes, read_slice
    from mpibatch.io.loading import load
    from mpibatch.io.opening import File, Geometry, LazyArray, open
    from mpibatch.io.saving import save
    from mpibatch.io.verifying import Broken, Report, check, verify
else:
    __getattr__, __dir__ = attach(
        __name__,
        {
            "describing": ("DatasetInfo", "describe", "digest", "file_attributes", "read_slice"),
            "loading": ("load",),
            "opening": ("File", "Geometry", "LazyArray", "open"),
            "saving": ("save",),
            "verifying": ("Broken", "Report", "check", "verify"),
        },
    )

__all__ = [
    "Broken", "DatasetInfo", "File", "Geometry", "LazyArray", "Report", "check", "describe", "digest",
    "file_attributes", "load", "open", "read_slice", "save", "verify",
]  # fmt: skip
