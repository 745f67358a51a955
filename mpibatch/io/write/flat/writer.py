"""FITS, NIfTI and npy files of fields, written by all ranks: a header, and the values where they belong."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.base.errors import UsageError
from mpibatch.base.timing import phase
from mpibatch.fields.field import Field
from mpibatch.io.base.names import foreign_format
from mpibatch.io.formats.flat.fits import BLOCK
from mpibatch.io.write import direct
from mpibatch.io.write.commit import committed
from mpibatch.io.write.flat import headers
from mpibatch.mpi import agreed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mpibatch.mpi import MPI

__all__ = ["save"]


@dataclass(frozen=True)
class _Image:
    """A header, the field behind it, and the dtype that its values are stored as."""

    header: bytes
    field: Field
    dtype: np.dtype[Any]


def save(
    comm: MPI.Intracomm, path: str, fields: Mapping[str, Any], attrs: Mapping[str, Any], *, overwrite: bool
) -> None:
    """Write fields of `comm` to a file of the format that its name stands for. Collective. UsageError, RunError."""
    with agreed(comm, f"writing {path}"):
        images, unit = _planned(path, fields, attrs)
        places, size = [], 0
        for image in images:
            places.append(size + len(image.header))
            size = places[-1] + int(np.prod(image.field.shape, dtype=np.int64)) * image.dtype.itemsize
            size = -(-size // unit) * unit

    def layout(part: str) -> None:
        with open(part, "r+b") as file:
            for image, place in zip(images, places, strict=True):
                file.seek(place - len(image.header))
                file.write(image.header)
            file.truncate(size)

    with committed(comm, path, overwrite, sealed=False) as part:
        direct.make(comm, part.path, lambda: layout(part.path), size)
        with direct.opened(comm, part.path) as file:
            for image, place in zip(images, places, strict=True):
                with agreed(comm, f"writing {path}"):
                    values = _stored(image)
                direct.write_field(comm, file, part.path, values, place)


def _planned(path: str, fields: Mapping[str, Any], attrs: Mapping[str, Any]) -> tuple[list[_Image], int]:
    """The images of a file, and the bytes that it is a multiple of. Local."""
    kind = foreign_format(path)
    assert kind is not None
    for name, u in fields.items():
        if not isinstance(u, Field):
            raise UsageError(
                f"cannot save {name!r} to {path!r}: {kind} has no tables as we write them; use .h5 or .csv"
            )
    if kind == "FITS":
        return _fits(path, fields, attrs), BLOCK
    if len(fields) != 1:
        raise UsageError(
            f"cannot save {sorted(fields)} to {path!r}: {kind} files hold one field; save each to a file of its own"
        )
    if attrs:
        raise UsageError(f"cannot save the attributes {sorted(attrs)} to {path!r}: {kind} files have no place for them")
    ((name, u),) = fields.items()
    if kind == "npy":
        return [_Image(headers.npy(u), u, u.dtype)], 1
    dtype = _dtype_for(kind, path, name, u)
    return [_Image(headers.nifti(u), u, dtype)], 1


def _fits(path: str, fields: Mapping[str, Field], attrs: Mapping[str, Any]) -> list[_Image]:
    cards = headers.check_cards(attrs)
    dtypes = {name: _dtype_for("FITS", path, name, u) for name, u in fields.items()}
    for name in fields:
        if not (name.isascii() and name.isprintable() and len(name) <= headers.LONGEST_TEXT):
            raise UsageError(f"cannot save {name!r} to {path!r}: in FITS names are ASCII of up to 68 characters")
    if len(fields) == 1:
        ((name, u),) = fields.items()
        return [_Image(headers.fits(u, name, cards), u, dtypes[name])]
    first, *others = (
        _Image(headers.fits(u, name, {}, is_extension=True), u, dtypes[name]) for name, u in sorted(fields.items())
    )
    return [replace(first, header=headers.fits_of_many(cards) + first.header), *others]


def _dtype_for(kind: str, path: str, name: str, u: Field) -> np.dtype[Any]:
    """What a format stores a field as. UsageError."""
    if u.components:
        raise UsageError(
            f"cannot save {name!r} to {path!r}: it has components {u.components}, for which {kind} has no place; "
            "save each as a field of its own, or all as .h5"
        )
    dtype = (headers.fits_dtype if kind == "FITS" else headers.nifti_dtype)(u.dtype)
    if dtype is None:
        raise UsageError(f"cannot save {name!r} to {path!r}: {kind} has no {u.dtype}; convert it with u.astype")
    return dtype


def _stored(image: _Image) -> Field:
    """The values as the file has them: the field itself, or a copy of this rank's block. Local."""
    u, dtype = image.field, image.dtype
    if u.dtype == dtype:
        return u
    native = dtype.newbyteorder("=")
    result = Field(u.grid, native, 0)
    with phase("pack"):
        if headers.is_toggled(u.dtype):
            bits = np.dtype(f"u{dtype.itemsize}")
            half = bits.type(1 << (8 * dtype.itemsize - 1))
            np.bitwise_xor(u.owned.view(bits), half, out=result.owned.view(bits))
        else:
            result.owned[...] = u.owned.view("u1") if u.dtype.kind == "b" else u.owned
        if not dtype.isnative:
            result.owned.byteswap(inplace=True)
    return result
