"""The names in an HDF5 file by which data are told from what only points to them for other programs' readers.

A file of ours lists in one attribute of its root group which members of that group are such views: groups of other
conventions (VTKHDF, NeXus, openPMD), whose datasets are links to the data or virtual, and coordinates worked out from
the grids. They can be read by name; listings, digests and "the only dataset" pass them over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.io.base.subfiles import SUBFILES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["VERSION_ATTRIBUTE", "VIEWS", "own", "views"]

VERSION_ATTRIBUTE = "mpibatch_layout"  # of the root group: marks a file as ours

VIEWS = "mpibatch_views"

# What HDF5 keeps in attributes to tie dimension scales to datasets, netCDF and VTK for their own purposes.
_OF_DATASETS = frozenset({
    "Attribute", "CLASS", "DIMENSION_LIST", "NAME", "REFERENCE_LIST", "_Netcdf4Coordinates", "_Netcdf4Dimid",
})  # fmt: skip
# What the conventions want of the root group.
_OF_ROOT = frozenset({
    SUBFILES, VIEWS,
    "Conventions", "NX_class", "basePath", "default", "iterationEncoding", "iterationFormat", "meshesPath",
    "openPMD", "openPMDextension", "software", "softwareVersion",
})  # fmt: skip


def views(root: Mapping[str, Any]) -> frozenset[str]:
    """Return the members of the root group that are views, from its attributes; none in files of others. Local."""
    try:
        names = np.atleast_1d(root[VIEWS])
        return frozenset(n.decode("utf-8", "replace") if isinstance(n, bytes) else str(n) for n in names)
    except (KeyError, TypeError, ValueError, OSError):
        return frozenset()


def own(names: Iterable[str], root: bool = False) -> list[str]:
    """Return, of the names of a dataset's or our root group's attributes, those that are not the machinery's. Local."""
    return sorted(set(names) - (_OF_ROOT if root else _OF_DATASETS))
