"""The formats that can be read, by the first bytes of a file; each module knows one.

A format's module has two functions: `inspect` tells what a file holds without reading its data, `read` fills (a part
of) an array with a box of it.
"""

from __future__ import annotations

import errno
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast

from mpibatch.base.errors import RunError, reason_of
from mpibatch.io.base.names import split_path
from mpibatch.io.formats.source import Array, Selection, Source, ask, check

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Array", "Format", "Selection", "Source", "ask", "check", "format_of", "inspect", "read"]


class Format(Protocol):
    """What every format's module offers."""

    def inspect(self, path: str, dataset: str | None, allow: Sequence[str] = ()) -> Source:
        """Tell what a file holds; `allow`: hazards that are not refused. Local."""

    def read(self, source: Source, selection: Selection, out: Array, at: Selection) -> None:
        """Fill ``out[at]`` with ``source[selection]``, in native byte order. Local; `out` is C-contiguous."""


_SIGNATURES = {
    b"\x89HDF\r\n\x1a\n": "hdf5",
    b"\x93NUMPY": "npy",
    b"II*\0": "tiff",
    b"MM\0*": "tiff",
    b"II+\0": "tiff",
    b"MM\0+": "tiff",
    b"\x89PNG\r\n\x1a\n": "picture",
    b"\xff\xd8\xff": "picture",
}
# An HDF5 file may begin with a block of its user's; its own signature then lies at a power of two.
_HDF5_OFFSETS = tuple(512 << shift for shift in range(12))


def format_of(path: str) -> str:
    """Return the name of the module for a file, by its content. Local. RunError if there is none."""
    if Path(path).is_dir():
        raise RunError(f"cannot read {path!r}: it is a folder; give a file")
    if Path(path).is_fifo():
        # Opening would wait for a writer, perhaps for ever.
        raise RunError(f"cannot read {path!r}: it is a pipe, which cannot be read in parts; give a file")
    try:
        with open(path, "rb") as file:
            head = file.read(16)
            name = _signed(file, head)
    except FileNotFoundError:
        raise RunError(
            f"cannot read {path!r}: there is no such file; check the path (the working folder is {Path.cwd()})"
        ) from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise RunError(f"cannot read {path!r}: its symbolic links form a loop; give the file itself") from None
        raise RunError(f"cannot read {path!r}: {reason_of(error)}") from error
    if name is not None:
        return name
    if head.startswith(b"PK\3\4") and path.lower().endswith(".npz"):
        raise RunError(
            f"cannot read {path!r}: it is an .npz archive; extract one array of it: "
            "numpy.save('array.npy', numpy.load(...)['name'])"
        )
    content = "it is empty" if not head else f"it begins with {head[:8]!r}"
    raise RunError(f"cannot read {path!r}: {content}; HDF5, npy, TIFF, PNG and JPEG can be read")


def _signed(file: BinaryIO, head: bytes) -> str | None:
    for signature, name in _SIGNATURES.items():
        if head.startswith(signature):
            return name
    for offset in _HDF5_OFFSETS:
        file.seek(offset)
        if file.read(8) == b"\x89HDF\r\n\x1a\n":
            return "hdf5"
    return None


def inspect(path: str, dataset: str | None = None, allow: Sequence[str] = (), *, tables: bool = False) -> Source:
    """Tell what a file (or ``file::dataset``) holds, refusing what no field (or table) can hold, and hazards. Local."""
    file, inside = split_path(path, dataset)
    name = format_of(file)
    source = _module(name).inspect(file, inside, allow)
    if not (tables and source.columns):
        check(source)
    return source


def read(source: Source, selection: Selection, out: Array, at: Selection) -> None:
    """Fill ``out[at]`` with ``source[selection]``. Local. `out` is C-contiguous; steps > 0 are allowed."""
    _module(source.format).read(source, selection, out, at)


def _module(name: str) -> Format:
    return cast("Format", importlib.import_module(f"mpibatch.io.formats.{name}"))
