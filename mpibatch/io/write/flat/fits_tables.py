"""Tables as FITS has them (BINTABLE): rows one after the other, big-endian, the values of a row packed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError
from mpibatch.io.write.column import columns_of
from mpibatch.io.write.flat import headers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mpibatch.io.write.column import Column
    from mpibatch.mpi import MPI

__all__ = ["FitsTable", "table_of"]

MOST_COLUMNS = 999
_LETTERS = {
    "b1": "L", "u1": "B", "i1": "B", "i2": "I", "u2": "I", "i4": "J", "u4": "J", "i8": "K", "u8": "K", "f4": "E",
    "f8": "D", "c8": "C", "c16": "M",
}  # fmt: skip


@dataclass(frozen=True)
class FitsTable:
    """A header, and this rank's rows, the first of which is number `first` of `rows`."""

    header: bytes
    columns: Mapping[str, npt.NDArray[Any]]
    first: int
    rows: int

    @property
    def row(self) -> np.dtype[Any]:
        """The type of a row as it is stored. Local."""
        return np.dtype([(name, _stored_as(values.dtype)) for name, values in self.columns.items()])

    @property
    def nbytes(self) -> int:
        """Bytes of all rows. Local."""
        return self.rows * self.row.itemsize

    def stored(self) -> npt.NDArray[np.uint8]:
        """Return the bytes of this rank's rows. Local."""
        rows = np.empty(len(next(iter(self.columns.values()))), self.row)
        for name, values in self.columns.items():
            rows[name] = _stored(values)
        return rows.view(np.uint8)


def table_of(name: str, table: Any, comm: MPI.Intracomm) -> FitsTable:
    """Return what is written of a table of `comm`. Local. UsageError if FITS cannot have it."""
    columns = {path.rpartition("/")[2]: column for path, column in columns_of(name, table, comm).items()}
    if len(columns) > MOST_COLUMNS:
        raise UsageError(f"cannot save the table {name!r} of {len(columns)} columns: FITS has {MOST_COLUMNS}; save .h5")
    cards: list[tuple[str, Any]] = []
    for number, (key, column) in enumerate(columns.items(), 1):
        letter = _LETTERS.get(column.dtype.str[1:])
        if letter is None:
            raise UsageError(f"cannot save the table {name!r}: FITS has no {column.dtype} ({key}); convert the column")
        if not (key.isascii() and key.isprintable() and len(key) <= headers.LONGEST_TEXT):
            raise UsageError(f"cannot save the column {key!r}: in FITS names are ASCII of up to 68 characters")
        cards += [(f"TTYPE{number}", key), (f"TFORM{number}", letter)]
        if headers.is_toggled(column.dtype):
            cards += [(f"TSCAL{number}", 1), (f"TZERO{number}", headers.zero_of(column.dtype))]
    first: Column = next(iter(columns.values()))
    values = {key: column.owned for key, column in columns.items()}
    draft = FitsTable(b"", values, first.first, first.rows)
    sizes = [("NAXIS1", draft.row.itemsize), ("NAXIS2", first.rows), ("PCOUNT", 0), ("GCOUNT", 1)]
    start: list[tuple[str, Any]] = [("XTENSION", "BINTABLE"), ("BITPIX", 8), ("NAXIS", 2), *sizes]
    header = headers.packed([*start, ("TFIELDS", len(columns)), *cards, ("EXTNAME", name)])
    return FitsTable(header, values, first.first, first.rows)


def _stored_as(dtype: np.dtype[Any]) -> np.dtype[Any]:
    if headers.is_toggled(dtype):
        return np.dtype("u1") if dtype.itemsize == 1 else np.dtype(f">i{dtype.itemsize}")
    return np.dtype("u1") if dtype.kind == "b" else dtype.newbyteorder(">")


def _stored(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Values in the column's own bits, still in native byte order."""
    if values.dtype.kind == "b":
        return np.where(values, np.uint8(ord("T")), np.uint8(ord("F")))
    if not headers.is_toggled(values.dtype):
        return values
    bits = np.dtype(f"u{values.dtype.itemsize}")
    toggled: npt.NDArray[Any] = np.ascontiguousarray(values).view(bits) ^ bits.type(1 << (8 * bits.itemsize - 1))
    return toggled if bits.itemsize == 1 else toggled.view(f"i{bits.itemsize}")
