"""The formats that can be read, by the first bytes of a file; each module knows one.

A format's module has two functions: `inspect` tells what a file holds without reading its data, `read` fills (a part
of) an array with a box of it. A file that can hold several arrays has a third, `names`.
"""

from __future__ import annotations

import errno
import importlib
import os
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast

from mpibatch.base.errors import RunError, UsageError, reason_of
from mpibatch.io.base.names import split_path
from mpibatch.io.base.stores import MARKS
from mpibatch.io.formats.source import Array, Scaling, Selection, Source, ask, check
from mpibatch.io.vault.keyring import is_sealed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = [
    "OWN_PARSERS", "Array", "Format", "Scaling", "Selection", "Source", "ask", "check", "format_of", "inspect", "names",
    "read",
]  # fmt: skip


class Format(Protocol):
    """What every format's module offers."""

    def inspect(self, path: str, dataset: str | None, allow: Sequence[str] = ()) -> Source:
        """Tell what a file holds; `allow`: hazards that are not refused. Local."""

    def read(self, source: Source, selection: Selection, out: Array, at: Selection) -> None:
        """Fill ``out[at]`` with ``source[selection]``, in native byte order. Local; `out` is C-contiguous."""


# Where a format's module lies, and what must be installed for it.
_MODULES = {
    "dicom": "pieces.dicom", "edf": "flat.edf", "fits": "flat.fits", "hdf5": "hdf5", "metaimage": "flat.metaimage",
    "mrc": "flat.mrc", "nifti": "flat.nifti", "npy": "flat.npy", "nrrd": "flat.nrrd", "picture": "picture",
    "raw": "flat.raw", "stack": "pieces.stack", "tiff": "tiff", "zarr": "pieces.zarr_store",
}  # fmt: skip
_EXTRAS = {
    "astropy": "formats", "imagecodecs": "formats", "pydicom": "formats", "zarr": "formats", "tifffile": "image",
    "PIL": "image",
}  # fmt: skip
# Those whose headers a few lines of ours read, which nothing in a file can crash or keep busy.
OWN_PARSERS = frozenset({"edf", "fits", "metaimage", "mrc", "nifti", "npy", "nrrd", "raw", "zarr"})
_WILD = "*?["

_SIGNATURES = {
    b"\x89HDF\r\n\x1a\n": "hdf5",
    b"\x93NUMPY": "npy",
    b"II*\0": "tiff",
    b"MM\0*": "tiff",
    b"II+\0": "tiff",
    b"MM\0+": "tiff",
    b"\x89PNG\r\n\x1a\n": "picture",
    b"\xff\xd8\xff": "picture",
    b"SIMPLE  =": "fits",
    b"NRRD000": "nrrd",
    b"ObjectType": "metaimage",
    b"NDims": "metaimage",
}
# An HDF5 file may begin with a block of its user's; its own signature then lies at a power of two.
_HDF5_OFFSETS = tuple(512 << shift for shift in range(12))


def format_of(path: str, dataset: str | None = None) -> str:
    """Return the name of the format of a file, by its content. Local. RunError if there is none.

    A description of plain bytes in a dataset's place goes before the content; a path with ``*`` or ``?`` that is not
    the name of a file stands for many.
    """
    from mpibatch.io.formats.flat import raw

    place = Path(path)
    if place.is_dir():
        if any((place / name).is_file() for name in MARKS):
            return "zarr"
        raise RunError(f"cannot read {path!r}: it is a folder, and not of Zarr; give a file")
    if place.is_fifo():
        # Opening would wait for a writer, perhaps for ever.
        raise RunError(f"cannot read {path!r}: it is a pipe, which cannot be read in parts; give a file")
    if any(letter in path for letter in _WILD) and not os.path.lexists(path):
        return "stack"
    try:
        with open(path, "rb") as file:
            head = file.read(4096)
            name = "raw" if raw.is_description(dataset) else _signed(file, head)
    except FileNotFoundError:
        raise RunError(
            f"cannot read {path!r}: there is no such file; check the path (the working folder is {Path.cwd()})"
        ) from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise RunError(f"cannot read {path!r}: its symbolic links form a loop; give the file itself") from None
        raise RunError(f"cannot read {path!r}: {reason_of(error)}") from error
    if name is None:
        raise RunError(f"cannot read {path!r}: {_refusal(path, head)}")
    return name


def _refusal(path: str, head: bytes) -> str:
    """Why a file that begins so is of no format, and what to do."""
    if head.startswith(b"PK\3\4") and path.lower().endswith(".npz"):
        return "it is an .npz archive; extract one array of it: numpy.save('array.npy', numpy.load(...)['name'])"
    if head.startswith(b"\x1f\x8b"):
        return "it is packed as a whole; unpack it with gunzip (of such files only .nii.gz can be read)"
    content = "it is empty" if not head else f"it begins with {head[:8]!r}"
    return (
        f"{content}; HDF5, npy, TIFF, PNG, JPEG, FITS, NIfTI, MRC, EDF, MetaImage, NRRD, DICOM and Zarr can be read, "
        f"and plain bytes with a description: {path}::dtype=u2,shape=100x512x512"
    )


def _signed(file: BinaryIO, head: bytes) -> str | None:
    if head[128:132] == b"DICM":  # what stands before is free, and may be the beginning of a TIFF
        return "dicom"
    for signature, name in _SIGNATURES.items():
        if head.startswith(signature):
            return name
    if marked := _marked(head):
        return marked
    if is_sealed(file.name):
        return "hdf5"  # encrypted
    for offset in _HDF5_OFFSETS:
        file.seek(offset)
        if file.read(8) == b"\x89HDF\r\n\x1a\n":
            return "hdf5"
    return None


def _marked(head: bytes) -> str | None:
    """The format by marks that do not stand at the beginning."""
    from mpibatch.io.formats.flat import nifti

    if head.startswith(b"\x1f\x8b"):
        try:
            return "nifti" if nifti.is_header(zlib.decompressobj(31).decompress(head, nifti.HEADER)) else None
        except zlib.error:
            return None
    if nifti.is_header(head):
        return "nifti"
    if head[208:211] == b"MAP":
        return "mrc"
    is_edf = head.lstrip().startswith(b"{") and b"Dim_1" in head and b";" in head
    return "edf" if is_edf else None


def names(path: str) -> list[str]:
    """Return the names of the arrays of a file; "" of one that has none. Local."""
    kind = format_of(path)
    with _installed(kind):
        listed = getattr(_module(kind), "names", None)
        return [""] if listed is None else listed(path)


def inspect(path: str, dataset: str | None = None, allow: Sequence[str] = (), *, tables: bool = False) -> Source:
    """Tell what a file (or ``file::dataset``) holds, refusing what no field (or table) can hold, and hazards. Local."""
    file, inside = split_path(path, dataset)
    name = format_of(file, inside)
    with _installed(name):
        source = _module(name).inspect(file, inside, allow)
    if not (tables and source.columns):
        check(source)
    return source


def read(source: Source, selection: Selection, out: Array, at: Selection) -> None:
    """Fill ``out[at]`` with ``source[selection]``. Local. `out` is C-contiguous; steps > 0 are allowed."""
    with _installed(source.format):
        _module(source.format).read(source, selection, out, at)


def _module(name: str) -> Format:
    return cast("Format", importlib.import_module(f"mpibatch.io.formats.{_MODULES[name]}"))


@contextmanager
def _installed(name: str) -> Iterator[None]:
    """Turn the absence of a format's library into an error that names what to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library not in _EXTRAS:
            raise
        raise UsageError(
            f"{library} is not installed, which reads {name}; pip install 'mpibatch[{_EXTRAS[library]}]'"
        ) from error
