"""Closing HDF5 files for certain, also when their disk is full."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import h5py

__all__ = ["close", "closing"]


@contextmanager
def closing(file: Any) -> Iterator[Any]:
    """Yield an open h5py.File and close it, see `close`. Local."""
    try:
        yield file
    except BaseException:
        with suppress(OSError, RuntimeError, ValueError):
            close(file)
        raise
    close(file)


def close(file: Any) -> None:
    """Close an h5py.File; if what it still holds cannot be written, raise, but close it all the same. Local.

    HDF5 writes when it closes. When it cannot, it frees the file and yet counts it among those that are open: in HDF5
    1.10 the process crashes when the next file is closed. So it is to write before that, and if this fails, into
    nowhere.
    """
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        h5py.h5f.flush(file.id)
    except (OSError, RuntimeError):
        if file.driver == "sec2" and hasattr(os, "memfd_create"):
            _divert(file.id.get_vfd_handle())
            resource.setrlimit(resource.RLIMIT_FSIZE, (limits[1], limits[1]))  # it holds in memory, too
        raise
    finally:
        file.id.close()
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def _divert(handle: int) -> None:
    """Let what is still written through a file descriptor go to memory instead, and be forgotten."""
    nowhere = os.memfd_create("mpibatch")
    os.dup2(nowhere, handle)
    os.close(nowhere)
