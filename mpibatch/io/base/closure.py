"""HDF5 files that are closed for certain, also when their disk is full.

HDF5 writes when it closes, and when it cannot, it is left half closed: it frees the file and yet counts it among those
that are open, and the process crashes when the next one is closed (1.10), or at its end (2.0). So what is written goes
through an `Outlet`, and HDF5 never learns of a write that failed.
"""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from mpibatch.io.base.images import FileImage, PlainImage, drafts

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

__all__ = ["Outlet", "closing", "revised"]


@contextmanager
def closing(file: Any) -> Iterator[Any]:
    """Yield an h5py.File that is open for reading, and close it. Local."""
    try:
        yield file
    finally:
        file.close()


@contextmanager
def revised(path: str, access: Any, creation: Any = None) -> Iterator[Any]:
    """Yield an h5py.File that may be written to, and close it. Local. Raises OSError if a write failed.

    Parameters
    ----------
    access : HDF5's properties for opening it; its driver is set here.
    creation : those for a new file, which takes the place of the one there; None: go on with the one there.
    """
    with Outlet(path, is_new=creation is not None).opened(access, creation) as file:
        yield file


class Outlet:
    """A file as HDF5 sees it: of its writes, the first that fails is kept, and those after it are thrown away.

    Attributes
    ----------
    error : what failed first; None: nothing.
    """

    def __init__(self, path: str, is_new: bool = False) -> None:
        self.error: OSError | None = None
        self._path, self._place, self._is_lost = path, 0, False
        self._left_out: tuple[npt.NDArray[np.uint8], list[int]] | None = None
        self._draft: FileImage | None = drafts.get(path)
        flags = os.O_RDWR | os.O_NOFOLLOW | (os.O_CREAT | os.O_TRUNC) * is_new
        self._image: FileImage = self._draft or PlainImage(path, flags)

    @contextmanager
    def opened(self, access: Any, creation: Any = None) -> Iterator[Any]:
        """Yield the file, open through this, and close both; see `revised`. Local."""
        try:
            access.set_fileobj_driver(h5py.h5fd.fileobj_driver, self)
            path = self._path.encode()
            if creation is None:
                file = h5py.File(h5py.h5f.open(path, h5py.h5f.ACC_RDWR, access))
            else:
                file = h5py.File(h5py.h5f.create(path, h5py.h5f.ACC_TRUNC, creation, access))
            try:
                yield file
            except BaseException:
                self._is_lost = True
                raise
            finally:
                with suppress(RuntimeError):  # where it read again what could not be written
                    file.id.close()
        except Exception:
            self.check()  # whatever HDF5 made of it
            raise
        finally:
            # Else, where a traceback keeps it until the process ends, HDF5 lets go of this when there is no Python.
            access.close()
            self._close()
        self.check()

    def check(self) -> None:
        """Raise what failed first, if anything did. Local."""
        if self.error is not None:
            raise OSError(self.error.errno, self.error.strerror, self._path) from self.error

    def _close(self) -> None:
        with self._kept():
            if self._draft is None:
                self._image.close()

    @contextmanager
    def leaving_out(self, blank: npt.NDArray[np.uint8]) -> Iterator[list[int]]:
        """Keep memory that HDF5 writes in one piece out of the file, and tell its place there. Local. Raises OSError.

        Others write what belongs there.
        """
        places: list[int] = []
        self._left_out = blank, places
        try:
            yield places
            if not places and self.error is None:
                raise OSError(errno.EIO, "HDF5 did not write a chunk in one piece", self._path)
        finally:
            self._left_out = None

    @contextmanager
    def _kept(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.error = self.error or error
            self._is_lost = True

    # What h5py calls, with the meanings of Python's files.

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a byte, and return it. Local."""
        end = self._image.size if whence == os.SEEK_END else 0
        self._place = offset + end
        return self._place

    def tell(self) -> int:
        """Return the byte to be read or written next. Local."""
        return self._place

    def readinto(self, target: Any) -> int:
        """Fill memory from the file, and return how many bytes there were. Local."""
        view = memoryview(target).cast("B")
        data = b""
        with self._kept():
            data = self._image.read(len(view), self._place)
        view[: len(data)] = data
        self._place += len(data)
        return len(data)

    def write(self, data: Any) -> int:
        """Write all bytes, or seem to. Local."""
        view = memoryview(data).cast("B")
        if self._left_out is not None and _is_same(view, self._left_out[0]):
            self._left_out[1].append(self._place)
        elif not self._is_lost:
            with self._kept():
                self._image.write(view, self._place)
        self._place += len(view)
        return len(view)

    def truncate(self, size: int) -> int:
        """Give the file a length, or seem to. Local."""
        if not self._is_lost:
            with self._kept():
                self._image.truncate(size)
        return size

    def flush(self) -> None:
        """Do nothing: no byte waits here. Local."""


def _is_same(view: memoryview, array: npt.NDArray[np.uint8]) -> bool:
    """Whether a view is of the memory of an array."""
    same = np.frombuffer(view, np.uint8)
    return same.size == array.size and same.ctypes.data == array.ctypes.data
