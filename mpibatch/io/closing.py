"""HDF5 files closed by HDF5 alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["closing"]


@contextmanager
def closing(file: Any) -> Iterator[Any]:
    """Yield an open h5py.File, and let HDF5 close it with all that is open in it. Local.

    h5py's own way first closes, one by one, what it takes for open in the file. After another file could not be
    closed, on a full disk, HDF5 1.10 counts among these what it has freed already, and the process crashes.
    """
    try:
        yield file
    finally:
        file.id.close()
