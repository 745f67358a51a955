"""The subfiles that HDF5 would open for a front: of a forged one others than its seal tells."""

from __future__ import annotations

from mpibatch.io.base.subfiles import SUBFILES

__all__ = ["subfiles"]


def subfiles(file: str) -> list[str]:
    """Return the names of a front's subfiles, relative to its folder, in order; [] of other files. Local. RunError.

    HDF5 parses the file: its seal must have told before that it is as it was.
    """
    from mpibatch.io.formats import hdf5
    from mpibatch.io.formats.hazards import subfiles_of

    with hdf5.opened(file) as opened:
        if SUBFILES not in opened.attrs:
            return []
        return sorted({name for dataset in hdf5.datasets(opened).values() for name in subfiles_of(dataset)})
