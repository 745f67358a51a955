"""The subfiles that HDF5 would open for a front: of a forged one others than its seal tells."""

from __future__ import annotations

__all__ = ["subfiles"]


def subfiles(file: str) -> list[str]:
    """Return the names of a front's subfiles, relative to its folder, in order; [] of other files. Local. RunError.

    HDF5 parses the file: its seal must have told before that it is as it was, or a child does it.
    """
    from mpibatch.io.formats import hdf5
    from mpibatch.io.formats.hazards import all_sources

    with hdf5.opened(file) as opened:
        return [*all_sources(opened)]
