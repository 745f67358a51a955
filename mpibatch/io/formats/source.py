"""What a file holds, in a form that can be sent to all ranks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError
from mpibatch.io.base.names import whole_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mpibatch.io.chunks.compression import Filter
    from mpibatch.io.formats.orientation import View

__all__ = ["Array", "Scaling", "Selection", "Source", "Storage", "ask", "check", "native", "numeric"]

Array = npt.NDArray[Any]
Selection = tuple[slice, ...]


@dataclass(frozen=True)
class Scaling:
    """What stored numbers stand for: ``number * scale + offset``, computed in `dtype`.

    Attributes
    ----------
    dtype : of the values, in native byte order.
    blank : the number that stands for a value that is not known, which becomes NaN.
    is_toggled : whether the numbers are integers of the other sign, whose top bit is the other way round.
    """

    dtype: str
    scale: float = 1.0
    offset: float = 0.0
    blank: int | None = None
    is_toggled: bool = False

    def applied(self, stored: Array) -> Array:
        """Return the values of stored numbers. Local."""
        dtype = np.dtype(self.dtype)
        if self.is_toggled:
            unsigned = np.dtype(f"u{dtype.itemsize}")
            numbers = stored.astype(stored.dtype.newbyteorder("=")).view(unsigned)
            toggled: Array = (numbers ^ unsigned.type(1 << (8 * dtype.itemsize - 1))).view(dtype)
            return toggled
        values: Array = stored.astype(dtype)
        # One after the other, as the libraries of the formats do: a fused operation would round once.
        if self.scale != 1.0:
            np.multiply(values, self.scale, values)
        if self.offset != 0.0:
            np.add(values, self.offset, values)
        if self.blank is not None:
            values[stored == self.blank] = np.nan
        return values


@dataclass(frozen=True)
class Storage:
    """Where in a file the values lie, for reading them without asking the format's library.

    Attributes
    ----------
    dtype : as stored, in the file's byte order.
    offset : the byte at which they begin, all in C order, if `chunks` is ().
    chunks, filters : the shape of chunks, and what they are packed by.
    table : one row for each chunk in C order: first byte (-1: never written), bytes, mask of filters left out. Empty if
        HDF5 is to unpack them.
    fill : the bytes of a value that was never written.
    view : how the stored array's axes become the source's; None: they are.
    scaling : what the stored numbers stand for; None: for themselves.
    path : the file of the values, if it is not the source's own.
    """

    dtype: str
    offset: int = -1
    chunks: tuple[int, ...] = ()
    filters: tuple[Filter, ...] = ()
    table: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty((0, 3), np.int64), repr=False, compare=False)
    fill: bytes = b""
    view: View | None = None
    scaling: Scaling | None = None
    path: str = ""

    @property
    def is_plain(self) -> bool:
        """Whether bytes at known places are all that it takes. Local."""
        return not self.chunks or len(self.table) > 0


@dataclass(frozen=True)
class Source:
    """One array in a file."""

    path: str
    format: str  # the format's module
    dataset: str  # "" where the format has none
    shape: tuple[int, ...]
    dtype: str  # NumPy's, in native byte order; a name if NumPy has none
    components: int = 0  # trailing axes that are the values of one cell, as far as the file tells
    boxwise: bool = True  # whether a box can be read without decoding everything
    grid: Mapping[str, Any] = field(default_factory=dict)  # keywords of Grid that the file knows
    storage: Storage | None = None  # None: only the format's library knows
    allow: tuple[str, ...] = ()  # what would be refused otherwise
    notes: tuple[str, ...] = ()  # what a reader should know: what the file says of its values and is not applied
    # Of a table, whose shape is that of a column: the dtypes of its columns, datasets in this group, by their names in
    # order, and what it tells of itself.
    columns: Mapping[str, str] = field(default_factory=dict)
    attrs: Mapping[str, Any] = field(default_factory=dict)
    # Of the stored first axis, the rows that are the source's: (start, stop) of each run; (): all.
    runs: tuple[tuple[int, int], ...] = ()
    question: str = ""  # asked before it is loaded: what the file does not tell of its axes, and what to type

    @property
    def name(self) -> str:
        """Its name for messages. Local."""
        return whole_name(self.path, self.dataset)


def native(dtype: Any) -> str:
    """Return a dtype in native byte order as text. Local."""
    return str(np.dtype(dtype).newbyteorder("=").str)


def numeric(text: str) -> np.dtype[Any] | None:
    """Return the dtype of this name if a field can have it in a file, else None. Local."""
    try:
        dtype = np.dtype(text)
    except (TypeError, ValueError, SyntaxError):
        return None
    # Wider floats are another type on every machine.
    return dtype if dtype.kind in "biufc" and dtype.itemsize <= (16 if dtype.kind == "c" else 8) else None


def check(source: Source) -> None:
    """Refuse an array that no field can hold. Local. UsageError."""
    if source.columns:
        raise UsageError(
            f"cannot read {source.name} as an array: it is a table; name a column, as in "
            f"{source.name}/{next(iter(source.columns))}, of {', '.join(source.columns)}"
        )
    if numeric(source.dtype) is None:
        raise UsageError(
            f"cannot read {source.name}: its values are of dtype {source.dtype}; "
            "bool, integers, floats up to 64 bits and complex up to 128 can be read"
        )
    if not source.shape:
        raise UsageError(f"cannot read {source.name}: it is a single value, not an array of 1 to 4 axes")
    if 0 in source.shape:
        raise UsageError(f"cannot read {source.name}: its shape {source.shape} holds no values")


def ask(source: Source, components: int | str | None, axes: object) -> None:
    """Refuse an array whose axes neither the file nor the caller tells. Local. UsageError."""
    if source.question and components in (None, "auto") and axes is None:
        raise UsageError(source.question)
