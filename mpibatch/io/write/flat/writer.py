"""FITS, NIfTI and npy files, written by all ranks: headers, and the values of fields, or rows, where they belong."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.base.casts import as_numbers
from mpibatch.base.errors import UsageError
from mpibatch.base.timing import phase
from mpibatch.fields.field import Field
from mpibatch.io.formats.flat.fits import BLOCK
from mpibatch.io.write import shared_file
from mpibatch.io.write.commit import committed
from mpibatch.io.write.flat import headers
from mpibatch.io.write.flat.fits_tables import FitsTable, table_of
from mpibatch.mpi import agreed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mpibatch.mpi import MPI

__all__ = ["save"]


@dataclass(frozen=True)
class _FlatImage:
    """A header, the field behind it, and the dtype that its values are stored as."""

    header: bytes
    field: Field
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        """Bytes of the values. Local."""
        return int(np.prod(self.field.shape, dtype=np.int64)) * self.dtype.itemsize


def save(
    comm: MPI.Intracomm, path: str, fields: Mapping[str, Any], attrs: Mapping[str, Any], *, overwrite: bool, kind: str
) -> None:
    """Write fields, and in FITS tables, of `comm` to a file of this kind. Collective. UsageError, RunError."""
    with agreed(comm, f"writing {path}"):
        parts, unit = _planned(comm, kind, path, fields, attrs)
        places, size = [], 0
        for part in parts:
            places.append(size + len(part.header))
            size = places[-1] + part.nbytes
            size = -(-size // unit) * unit

    def layout(name: str) -> None:
        with open(name, "r+b") as file:
            for part, place in zip(parts, places, strict=True):
                file.seek(place - len(part.header))
                file.write(part.header)
            file.truncate(size)

    with committed(comm, path, overwrite, sealed=False) as new:
        shared_file.make(comm, new.path, lambda: layout(new.path), size)
        with shared_file.opened(comm, new.path) as file:
            for part, place in zip(parts, places, strict=True):
                if isinstance(part, FitsTable):
                    with agreed(comm, f"writing {path}"):
                        rows = part.stored()
                    shared_file.put(
                        comm, file, new.path, [(place + part.first * part.row.itemsize, rows)] if rows.size else []
                    )
                else:
                    with agreed(comm, f"writing {path}"):
                        values = _stored(part)
                    shared_file.write_field(comm, file, new.path, values, place)


def _planned(
    comm: MPI.Intracomm, kind: str, path: str, fields: Mapping[str, Any], attrs: Mapping[str, Any]
) -> tuple[list[_FlatImage | FitsTable], int]:
    """The images and tables of a file, and the bytes that it is a multiple of. Local."""
    if kind == "FITS":
        return _fits(comm, path, fields, attrs), BLOCK
    for name, u in fields.items():
        if not isinstance(u, Field):
            raise UsageError(f"cannot save {name!r} to {path!r}: {kind} has no tables; use .h5, .csv or .fits")
    if len(fields) != 1:
        raise UsageError(
            f"cannot save {sorted(fields)} to {path!r}: {kind} files hold one field; save each to a file of its own"
        )
    if attrs:
        raise UsageError(f"cannot save the attributes {sorted(attrs)} to {path!r}: {kind} files have no place for them")
    ((name, u),) = fields.items()
    if kind == "npy":
        return [_FlatImage(headers.npy(u), u, u.dtype)], 1
    dtype = _dtype_for(kind, path, name, u)
    return [_FlatImage(headers.nifti(u), u, dtype)], 1


def _fits(
    comm: MPI.Intracomm, path: str, fields: Mapping[str, Any], attrs: Mapping[str, Any]
) -> list[_FlatImage | FitsTable]:
    cards = headers.check_cards(attrs)
    for name in fields:
        if not (name.isascii() and name.isprintable() and len(name) <= headers.LONGEST_TEXT):
            raise UsageError(
                f"cannot save {name!r} to {path!r}: in FITS names are ASCII of up to 68 characters; rename it"
            )
    is_alone = len(fields) == 1
    parts: list[_FlatImage | FitsTable] = []
    for name, u in sorted(fields.items()):
        if isinstance(u, Field):
            dtype = _dtype_for("FITS", path, name, u)
            header = headers.fits(u, name, cards if is_alone else {}, is_extension=not is_alone)
            parts.append(_FlatImage(header, u, dtype))
        else:
            is_alone = False  # a table is never the first of a file
            parts.append(table_of(name, u, comm))
    if not is_alone:
        parts[0] = replace(parts[0], header=headers.fits_of_many(cards) + parts[0].header)
    return parts


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


def _stored(image: _FlatImage) -> Field:
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
            result.owned[...] = as_numbers(u.owned)
        if not dtype.isnative:
            result.owned.byteswap(inplace=True)
    return result
